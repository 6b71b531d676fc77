//! Header blocks of CGI programs, in two pieces.

#![no_main]

use libfuzzer_sys::fuzz_target;
use skep::codec::cgi::{BlockLimits, BlockParser, Reply};

fuzz_target!(|bytes: &[u8]| {
    let limits = BlockLimits { bytes: 4096, fields: 20 };
    let whole = BlockParser::default().parse(bytes, limits);
    let mut parser = BlockParser::default();
    let half = &bytes[..bytes.len() / 2];
    let pieces = match parser.parse(half, limits) {
        Ok(None) => parser.parse(bytes, limits),
        early => early,
    };
    assert_eq!(format!("{whole:?}"), format!("{pieces:?}"));
    if let Ok(Some((reply, consumed))) = whole {
        assert!(consumed <= bytes.len() && consumed <= limits.bytes);
        match reply {
            Reply::Document { status, fields, .. } => {
                assert!((200..600).contains(&status) && fields.len() <= limits.fields);
                assert!(fields.iter().all(|(_, value)| !value.iter().any(|byte| matches!(byte, b'\r' | b'\n' | 0))));
            }
            Reply::LocalRedirect(path) => assert!(path.starts_with('/')),
        }
    }
});
