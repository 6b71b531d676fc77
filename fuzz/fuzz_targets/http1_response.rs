//! The head of an answer, whole and byte by byte: both must come to the same, and what is accepted must be unambiguous.

#![no_main]

use libfuzzer_sys::fuzz_target;
use skep::codec::http::Method;
use skep::codec::http::http1::{HeadLimits, ResponseParser};

fuzz_target!(|bytes: &[u8]| {
    let Some((&kind, bytes)) = bytes.split_first() else { return };
    let method = if kind & 1 == 0 { Method::Get } else { Method::Head };
    let parser = || ResponseParser::new(method.clone(), kind & 2 != 0, HeadLimits::default());
    let whole = parser().parse(bytes);
    let mut byte_by_byte = parser();
    let mut piecewise = Ok(None);
    for end in 0..=bytes.len() {
        piecewise = byte_by_byte.parse(&bytes[..end]);
        if !matches!(piecewise, Ok(None)) {
            break;
        }
    }
    match (whole, piecewise) {
        (Ok(None), Ok(None)) => {}
        (Err(whole), Err(piecewise)) => assert_eq!(whole, piecewise),
        (Ok(Some(whole)), Ok(Some(piecewise))) => {
            assert_eq!((whole.consumed, whole.framing, whole.keep_alive), (piecewise.consumed, piecewise.framing, piecewise.keep_alive));
            assert!(whole.consumed <= bytes.len() && (101..1000).contains(&whole.head.status));
            let fields = &whole.head.fields;
            assert!(!(fields.contains("content-length") && fields.contains("transfer-encoding")));
        }
        (whole, piecewise) => panic!("{whole:?} {piecewise:?}"),
    }
});
