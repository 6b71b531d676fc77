//! The head of a request, whole and byte by byte: both must come to the same, and what is accepted must be unambiguous.

#![no_main]

use libfuzzer_sys::fuzz_target;
use skep::codec::http::http1::{BodyFraming, HeadLimits, Parsed, RequestParser, parse_request};

fuzz_target!(|bytes: &[u8]| {
    let whole = parse_request(bytes, &HeadLimits::default());
    let mut parser = RequestParser::new(HeadLimits::default());
    let mut piecewise = Ok(None);
    for end in 0..=bytes.len() {
        match parser.parse(&bytes[..end]) {
            Ok(Parsed::Partial) => {}
            Ok(Parsed::Complete(request)) => {
                piecewise = Ok(Some(request.consumed));
                break;
            }
            Err(error) => {
                piecewise = Err(error);
                break;
            }
        }
    }
    match whole {
        Ok(Parsed::Partial) => assert_eq!(piecewise, Ok(None)),
        Err(error) => assert_eq!(piecewise, Err(error)),
        Ok(Parsed::Complete(request)) => {
            assert_eq!(piecewise, Ok(Some(request.consumed)));
            assert_ne!(request.framing, BodyFraming::UntilClose);
            let fields = &request.head.fields;
            assert!(fields.get_all("host").count() <= 1 && fields.get_all("content-length").count() <= 1);
            assert!(!(fields.contains("content-length") && fields.contains("transfer-encoding")));
            assert!(request.head.path().starts_with('/') || request.head.path() == "*");
        }
    }
});
