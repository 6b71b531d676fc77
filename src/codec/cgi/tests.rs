use super::*;
use proptest::prelude::*;

const LIMITS: BlockLimits = BlockLimits { bytes: 1000, fields: 5 };

fn parse(input: &[u8]) -> Result<Option<(Reply, usize)>, BlockError> {
    BlockParser::default().parse(input, LIMITS)
}

fn document(input: &str) -> (u16, Vec<(String, String)>, Option<u64>) {
    match parse(input.as_bytes()).unwrap().unwrap().0 {
        Reply::Document { status, fields, length } => {
            let text = |(name, value): (&str, &[u8])| (name.to_owned(), String::from_utf8_lossy(value).into_owned());
            (status, fields.iter().map(text).collect(), length)
        }
        Reply::LocalRedirect(path) => panic!("to {path}"),
    }
}

fn error(input: &str) -> BlockError {
    parse(input.as_bytes()).unwrap_err()
}

#[test]
fn documents_have_a_status_and_fields() {
    let html = |name: &str| vec![("content-type".to_owned(), name.to_owned())];
    assert_eq!(document("Content-Type: text/html\n\nbody"), (200, html("text/html"), None));
    assert_eq!(
        document("Status: 404 Not Found\r\nContent-type:text/plain \r\nContent-Length: 7\r\n\r\n"),
        (404, html("text/plain"), Some(7))
    );
    assert_eq!(document("status: 204\n\n"), (204, vec![], None));
    assert_eq!(document("X: a: b\r\n\n"), (200, vec![("x".to_owned(), "a: b".to_owned())], None));
    assert_eq!(parse(b"A: b\r\n\r\nbody").unwrap().unwrap().1, 8);
    assert!(parse(b"A: b\r\n").unwrap().is_none());
}

#[test]
fn redirects_are_told_apart() {
    let local = |input: &str| match parse(input.as_bytes()).unwrap().unwrap().0 {
        Reply::LocalRedirect(path) => Some(path),
        Reply::Document { .. } => None,
    };
    assert_eq!(local("Location: /a/b?c=d\n\n").as_deref(), Some("/a/b?c=d"));
    assert_eq!(local("Content-Type: text/html\nLocation: /a\n\n").as_deref(), Some("/a"));
    for elsewhere in ["//host/a", "http://host/", "/a#place", "a", "?a"] {
        let (status, fields, _) = document(&format!("Location: {elsewhere}\n\n"));
        assert_eq!((status, fields[0].1.as_str()), (302, elsewhere));
    }
    assert_eq!(document("Status: 301 Moved\nLocation: /a\n\n").0, 301);
}

#[test]
fn what_is_wrong_is_said() {
    assert_eq!(error("\nbody"), BlockError::Empty);
    assert_eq!(error("<html>\n"), BlockError::NoField("<html>".into()));
    assert_eq!(error("Traceback (most recent call last):\n  File\n"), BlockError::NoField("Traceback (most recent call last):".into()));
    assert_eq!(error("a b: c\n\n"), BlockError::NoField("a b: c".into()));
    assert_eq!(error(": c\n\n"), BlockError::NoField(": c".into()));
    assert_eq!(error("A: b\n c\n\n"), BlockError::Folded("c".into()));
    assert_eq!(error("A: b\0c\n\n"), BlockError::BadField("A".into()));
    assert_eq!(error("A(: b\n\n"), BlockError::BadField("A(".into()));
    assert_eq!(error("A: b\rC: d\n\n"), BlockError::BadField("A".into()));
    for status in ["", "OK", "99", "1000", "101", "600", "2 00", "+20"] {
        assert_eq!(error(&format!("Status: {status}\n\n")), BlockError::BadStatus(status.into()));
    }
    assert_eq!(error("Content-Length: -1\n\n"), BlockError::BadLength("-1".into()));
    assert_eq!(error("Content-Length: 1\ncontent-length: 1\n\n"), BlockError::Twice("Content-Length"));
    assert_eq!(error("Location: /a\nLocation: /b\n\n"), BlockError::Twice("Location"));
    assert_eq!(error(&"A: b\n".repeat(6)), BlockError::TooMany(5));
    assert_eq!(error(&"x".repeat(1000)), BlockError::TooLarge(1000));
    assert!(error(&format!("{}\n", "\u{7f}<".repeat(200))).to_string().len() < 400);
}

proptest! {
    #[test]
    fn the_verdict_does_not_depend_on_the_pieces(
        input in "((Status|Location|Content-Length|X-Y|<html>)(: ?| )(200|/a|[a-z\\r\\t]{0,4})\\r?\\n){0,7}(\\r?\\n)?[a-z\\n]{0,5}",
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..4),
    ) {
        let input = input.as_bytes();
        let mut ends: Vec<usize> = cuts.iter().map(|cut| cut.index(input.len() + 1)).collect();
        ends.sort_unstable();
        ends.push(input.len());
        let whole = parse(input);
        let mut parser = BlockParser::default();
        let mut last = Ok(None);
        for end in ends {
            last = parser.parse(&input[..end], LIMITS);
            if !matches!(last, Ok(None)) {
                break;
            }
        }
        prop_assert_eq!(format!("{whole:?}"), format!("{last:?}"));
        if let Ok(Some((_, consumed))) = whole {
            prop_assert!(consumed <= input.len() && input[consumed - 1] == b'\n');
        }
    }

    #[test]
    fn no_bytes_break_it(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        if let Ok(Some((Reply::Document { fields, status, .. }, _))) = parse(&bytes) {
            prop_assert!((200..600).contains(&status));
            for (_, value) in fields.iter() {
                prop_assert!(!value.iter().any(|byte| matches!(byte, b'\r' | b'\n' | 0)));
            }
        }
    }
}
