//! RESP2 as a server sends it: pieces do not matter, every value takes something off, and a command that was written is read as it was.

#![no_main]

use bytes::BytesMut;
use libfuzzer_sys::fuzz_target;
use skep::codec::resp::{Decoder, Value, command};

fn read(bytes: &[u8], step: usize) -> (Vec<Value>, bool) {
    let (mut decoder, mut input, mut values) = (Decoder::default(), BytesMut::new(), Vec::new());
    for piece in bytes.chunks(step) {
        input.extend_from_slice(piece);
        loop {
            let before = input.len();
            match decoder.take(&mut input) {
                Ok(Some(value)) => {
                    assert!(input.len() < before);
                    values.push(value);
                }
                Ok(None) => break,
                Err(_) => return (values, true),
            }
        }
    }
    (values, false)
}

fuzz_target!(|bytes: &[u8]| {
    let Some((&step, bytes)) = bytes.split_first() else { return };
    let step = usize::from(step).max(1);
    assert_eq!(read(bytes, usize::MAX), read(bytes, step));
    let parts: Vec<&[u8]> = bytes.chunks(step).collect();
    let mut written = Vec::new();
    command(&mut written, &parts);
    let (values, failed) = read(&written, step);
    assert!(!failed && values.len() == 1);
    let elements = values[0].elements().expect("a command is an array");
    assert!(elements.iter().map(|part| part.bytes().expect("of strings")).eq(parts));
});
