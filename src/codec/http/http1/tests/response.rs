use proptest::prelude::*;

use crate::codec::http::http1::{BodyFraming, HeadLimits, ParsedResponse, ResponseError, ResponseParser};
use crate::codec::http::{Method, Version};

fn parse(method: Method, text: &str) -> Result<Option<ParsedResponse>, ResponseError> {
    ResponseParser::new(method, false, HeadLimits::default()).parse(text.as_bytes())
}

#[test]
fn a_response_is_understood_behind_interim_ones() {
    let text =
        "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\nHTTP/1.1 200 Fine\r\nContent-Length: 5\r\n\r\nhello";
    let parsed = parse(Method::Get, text).unwrap().unwrap();
    assert_eq!((parsed.head.status, parsed.head.reason.as_str(), parsed.head.version), (200, "Fine", Version::Http11));
    assert_eq!(parsed.framing, BodyFraming::Length(5));
    assert_eq!(parsed.head.fields.len(), 1);
    assert!(parsed.keep_alive);
    assert_eq!(&text[parsed.consumed..], "hello");
}

#[test]
fn bodies_are_framed_by_method_status_and_fields() {
    for (method, head, framing, keep) in [
        (Method::Get, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n", BodyFraming::Chunked, true),
        (Method::Get, "HTTP/1.1 200 OK\r\n", BodyFraming::UntilClose, false),
        (Method::Get, "HTTP/1.0 200 OK\r\nContent-Length: 1\r\n", BodyFraming::Length(1), false),
        (Method::Get, "HTTP/1.0 200 OK\r\nContent-Length: 1\r\nConnection: keep-alive\r\n", BodyFraming::Length(1), true),
        (Method::Head, "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n", BodyFraming::None, true),
        (Method::Head, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n", BodyFraming::None, true),
        (Method::Get, "HTTP/1.1 204 No Content\r\n", BodyFraming::None, true),
        (Method::Get, "HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n", BodyFraming::None, true),
        (Method::Get, "HTTP/1.1 200\r\nContent-Length: 0\r\nConnection: close\r\n", BodyFraming::Length(0), false),
    ] {
        let parsed = parse(method, &format!("{head}\r\n")).unwrap().unwrap();
        assert_eq!((parsed.framing, parsed.keep_alive), (framing, keep), "{head:?}");
    }
}

#[test]
fn switching_protocols_must_be_asked_for() {
    let text = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\n";
    let parse = |upgrade| ResponseParser::new(Method::Get, upgrade, HeadLimits::default()).parse(text);
    assert_eq!(parse(true).unwrap().unwrap().head.status, 101);
    assert_eq!(parse(false).err(), Some(ResponseError::UnexpectedUpgrade));
}

#[test]
fn malformed_responses_are_refused() {
    for (text, error) in [
        ("HTTP/1.1 200 OK\nA: b\r\n\r\n", ResponseError::Field),
        ("HTTP/1.1 200 OK\r\nA : b\r\n\r\n", ResponseError::Field),
        ("HTTP/1.1 200 OK\r\nA: b\r\n c\r\n\r\n", ResponseError::Field),
        ("HTTP/1.1 20 OK\r\n\r\n", ResponseError::StatusLine),
        ("HTTP/1.1 099 OK\r\n\r\n", ResponseError::StatusLine),
        ("HTTP/2.0 200 OK\r\n\r\n", ResponseError::StatusLine),
        ("200 OK\r\n\r\n", ResponseError::StatusLine),
        ("\r\n\r\n", ResponseError::StatusLine),
        ("HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n", ResponseError::Framing),
        ("HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n", ResponseError::Framing),
        ("HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n", ResponseError::Framing),
    ] {
        assert_eq!(parse(Method::Get, text).err(), Some(error), "{text:?}");
        // Nor is what is said of a body that does not come.
        assert_eq!(parse(Method::Head, text).err(), Some(error), "{text:?}");
    }
    let endless = "HTTP/1.1 100 Continue\r\n\r\n".repeat(17);
    assert_eq!(parse(Method::Get, &endless).err(), Some(ResponseError::TooManyInterim));
    let large = format!("HTTP/1.1 200 OK\r\nA: {}", "x".repeat(40_000));
    assert_eq!(parse(Method::Get, &large).err(), Some(ResponseError::TooLarge));
}

proptest! {
    #[test]
    fn splits_make_no_difference(
        bytes in prop_oneof![
            Just(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello".to_vec()),
            prop::collection::vec(prop_oneof![Just("HTTP/1.1 200 OK\r\n"), Just("HTTP/1.1 100 \r\n"), Just("\r\n"), Just("\n"), Just("A: b\r\n"), Just(" ")], 0..10)
                .prop_map(|pieces| pieces.concat().into_bytes()),
            prop::collection::vec(any::<u8>(), 0..64),
        ],
    ) {
        let run = |step: usize| {
            let mut parser = ResponseParser::new(Method::Get, false, HeadLimits::default());
            for end in (0..bytes.len()).step_by(step).chain([bytes.len()]) {
                if let Some(parsed) = parser.parse(&bytes[..end])? {
                    return Ok(Some((parsed.consumed, parsed.head.status)));
                }
            }
            Ok::<_, ResponseError>(None)
        };
        prop_assert_eq!(run(1), run(bytes.len().max(1)));
    }
}
