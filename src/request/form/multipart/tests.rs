use proptest::prelude::*;

use super::*;

/// Name, file name, content type, content.
type Part = (String, Option<String>, Option<String>, Vec<u8>);

/// Feeds pieces as a connection would bring them.
fn parse<'a>(boundary: &str, pieces: impl IntoIterator<Item = &'a [u8]>) -> Result<Vec<Part>, MultipartError> {
    let mut parser = MultipartParser::new(boundary.as_bytes());
    let mut held = Vec::new();
    let mut parts: Vec<Part> = Vec::new();
    let mut open = false;
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    for piece in pieces {
        held.extend_from_slice(piece);
        loop {
            let step = parser.step(&held)?;
            match step.event {
                MultipartEvent::PartBegin(head) => {
                    assert!(!open);
                    open = true;
                    parts.push((text(head.name), head.filename.map(text), head.content_type.map(text), Vec::new()));
                }
                MultipartEvent::Data(range) => {
                    assert!(open && !range.is_empty());
                    parts.last_mut().unwrap().3.extend_from_slice(&held[range]);
                }
                MultipartEvent::PartEnd => {
                    assert!(open);
                    open = false;
                }
                MultipartEvent::NeedMore => {
                    held.drain(..step.consumed);
                    assert!(held.len() <= MAX_HEADER);
                    break;
                }
                MultipartEvent::End => {
                    assert!(!open);
                    return Ok(parts);
                }
            }
            held.drain(..step.consumed);
        }
    }
    assert!(!parser.is_end());
    Err(MultipartError::Truncated)
}

fn plain(name: &str, content: &[u8]) -> Part {
    (name.into(), None, None, content.to_vec())
}

const BROWSER: &str = "preamble\r\n--X-1\r\nContent-Disposition: form-data; name=\"text\"\r\n\r\nhello\r\n--X\r\n\
    --X-1 \t\r\ncontent-disposition: form-data; name=\"f\"; filename=\"C:\\\\dir\\\\a \\\"b\\\".txt\"\r\nContent-Type: text/plain\r\n\r\n\
    \r\n\r\n\
    \r\n--X-1\r\nContent-Disposition: form-data; name=empty; filename=\"\"\r\n\r\n\r\n--X-1--\r\nepilogue\r\n--X-1\r\n";

fn browser_parts() -> Vec<Part> {
    vec![
        plain("text", b"hello\r\n--X"),
        ("f".into(), Some("a \"b\".txt".into()), Some("text/plain".into()), b"\r\n\r\n".to_vec()),
        ("empty".into(), Some(String::new()), None, vec![]),
    ]
}

#[test]
fn a_browser_form_is_taken_apart() {
    assert_eq!(parse("X-1", [BROWSER.as_bytes()]), Ok(browser_parts()));
}

#[test]
fn splits_make_no_difference() {
    let bytes = BROWSER.as_bytes();
    for cut in 0..bytes.len() {
        assert_eq!(parse("X-1", [&bytes[..cut], &bytes[cut..]]), Ok(browser_parts()), "at {cut}");
    }
    for size in 1..20 {
        assert_eq!(parse("X-1", bytes.chunks(size)), Ok(browser_parts()), "by {size}");
    }
}

#[test]
fn every_early_end_is_noticed() {
    let bytes = BROWSER.as_bytes();
    let end = BROWSER.find("--X-1--").unwrap() + "--X-1--".len();
    for cut in 0..end {
        assert_eq!(parse("X-1", [&bytes[..cut]]), Err(MultipartError::Truncated), "at {cut}");
    }
    assert_eq!(parse("X-1", [&bytes[..end]]), Ok(browser_parts()));
}

#[test]
fn a_form_may_be_empty() {
    assert_eq!(parse("b", [&b"--b--"[..]]), Ok(vec![]));
    assert_eq!(parse("b", [&b"\r\n--b--\r\n"[..]]), Ok(vec![]));
}

#[test]
fn malformed_forms_are_refused() {
    let part = |header: &str| format!("--b\r\n{header}\r\n\r\nx\r\n--b--");
    let disposition = "Content-Disposition: form-data; name=a";
    for (text, error) in [
        ("x".repeat(9000), MultipartError::Preamble),
        ("--bx\r\n".into(), MultipartError::Delimiter),
        ("--b-x".into(), MultipartError::Delimiter),
        ("--b\n".into(), MultipartError::Delimiter),
        (format!("--b{}\r\n", " ".repeat(65)), MultipartError::Delimiter),
        ("--b\r\n\r\nx\r\n--b--".into(), MultipartError::Name),
        (part("Content-Type: text/plain"), MultipartError::Name),
        (part("Content-Disposition: attachment; name=a"), MultipartError::Name),
        (part("Content-Disposition: form-data; filename=a"), MultipartError::Name),
        (part("nonsense"), MultipartError::Header),
        (part("Content-Disposition : form-data; name=a"), MultipartError::Header),
        (part(&format!("{disposition}\nX: y")), MultipartError::Header),
        (part(&format!("{disposition}\r\n folded")), MultipartError::Header),
        (part(&format!("{disposition}\0")), MultipartError::Header),
        (part(&format!("{disposition}{}", "\r\nX: y".repeat(32))), MultipartError::HeaderTooLarge),
        (part(&"x".repeat(9000)), MultipartError::HeaderTooLarge),
    ] {
        assert_eq!(parse("b", [text.as_bytes()]), Err(error), "{:?}", &text[..text.len().min(60)]);
        assert_eq!(parse("b", text.as_bytes().chunks(1)), Err(error), "{:?} byte by byte", &text[..text.len().min(60)]);
    }
}

#[test]
fn file_names_lose_their_directories() {
    for (sent, kept) in
        [("a.txt", "a.txt"), ("/etc/passwd", "passwd"), ("../../x", "x"), ("..", ""), ("a/..", ""), (r"C:\x\y.png", "y.png"), ("dir/", "")]
    {
        assert_eq!(base_name(sent.as_bytes()), kept.as_bytes());
    }
}

#[test]
fn boundaries_are_checked() {
    assert_eq!(boundary(b"Multipart/Form-Data; charset=x; boundary=\"a b\""), Ok(Some(b"a b".to_vec())));
    assert_eq!(
        boundary(b"multipart/form-data; boundary=----WebKitFormBoundary7MA4YWxk"),
        Ok(Some(b"----WebKitFormBoundary7MA4YWxk".to_vec()))
    );
    assert_eq!(boundary(b"application/json"), Ok(None));
    let long = format!("multipart/form-data; boundary={}", "x".repeat(71));
    for bad in [
        "multipart/form-data",
        "multipart/form-data; boundary=",
        "multipart/form-data; boundary=\"a \"",
        "multipart/form-data; boundary=\"a\tb\"",
        &long,
    ] {
        assert_eq!(boundary(bad.as_bytes()), Err(MultipartError::Boundary), "{bad:?}");
    }
}

proptest! {
    #[test]
    fn what_is_written_is_read_back(
        contents in prop::collection::vec(
            prop_oneof![
                prop::collection::vec(any::<u8>(), 0..60),
                prop::collection::vec(prop_oneof![Just("\r"), Just("\n"), Just("-"), Just("--"), Just("bo"), Just("\r\n--boun")], 0..12)
                    .prop_map(|pieces| pieces.concat().into_bytes()),
            ],
            0..5,
        ),
        size in 1usize..40,
    ) {
        let mut bytes = Vec::new();
        for (number, content) in contents.iter().enumerate() {
            bytes.extend_from_slice(format!("--boundary\r\nContent-Disposition: form-data; name=\"{number}\"\r\n\r\n").as_bytes());
            bytes.extend_from_slice(content);
            bytes.extend_from_slice(b"\r\n");
        }
        bytes.extend_from_slice(b"--boundary--\r\n");
        let expected: Vec<Part> = contents.iter().enumerate().map(|(number, content)| plain(&number.to_string(), content)).collect();
        prop_assert_eq!(parse("boundary", [&bytes[..]]), Ok(expected.clone()));
        prop_assert_eq!(parse("boundary", bytes.chunks(size)), Ok(expected));
    }

    #[test]
    fn any_bytes_split_anywhere_give_one_verdict(
        bytes in prop::collection::vec(
            prop_oneof![Just("--b"), Just("\r\n"), Just("--"), Just("\r"), Just("\n"), Just(" "), Just("Content-Disposition: form-data; name=a\r\n\r\n"), Just("x")],
            0..20,
        ).prop_map(|pieces| pieces.concat().into_bytes()),
        size in 1usize..10,
    ) {
        prop_assert_eq!(parse("b", bytes.chunks(size)), parse("b", [&bytes[..]]));
    }
}
