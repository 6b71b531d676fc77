//! FastCGI records and parameters, in two pieces.

#![no_main]

use libfuzzer_sys::fuzz_target;
use skep::codec::fastcgi::{BeginRequest, EndRequest, Kind, MAX_RECORD, decode, pairs, write_pair};

fuzz_target!(|bytes: &[u8]| {
    let mut input = Vec::new();
    let (first, second) = bytes.split_at(bytes.len() / 2);
    for piece in [first, second] {
        input.extend_from_slice(piece);
        while let Ok(Some(record)) = decode(&input) {
            assert!(record.consumed <= MAX_RECORD && record.content.len() < record.consumed);
            match record.kind {
                Kind::BeginRequest => drop(BeginRequest::read(record.content)),
                Kind::EndRequest => drop(EndRequest::read(record.content)),
                _ => {
                    for pair in pairs(record.content) {
                        let Ok((name, value)) = pair else { break };
                        let mut written = Vec::new();
                        write_pair(name, value, &mut written);
                        assert_eq!(pairs(&written).next(), Some(Ok((name, value))));
                    }
                }
            }
            let consumed = record.consumed;
            input.drain(..consumed);
        }
    }
});
