//! A multipart form with the boundary `B`, whole and in pieces: both must give the same parts.

#![no_main]

use libfuzzer_sys::fuzz_target;
use skep::request::form::multipart::{MultipartError, MultipartEvent, MultipartParser};

/// Names and contents, and whether the end was reached.
type Parts = (Vec<(Vec<u8>, Vec<u8>)>, bool);

fn parse<'a>(pieces: impl Iterator<Item = &'a [u8]>) -> Result<Parts, MultipartError> {
    let mut parser = MultipartParser::new(b"B");
    let mut held = Vec::new();
    let mut parts: Vec<(Vec<u8>, Vec<u8>)> = Vec::new();
    for piece in pieces {
        held.extend_from_slice(piece);
        loop {
            let step = parser.step(&held)?;
            match step.event {
                MultipartEvent::PartBegin(head) => parts.push((head.name, Vec::new())),
                MultipartEvent::Data(range) => {
                    let (_, content) = parts.last_mut().expect("content comes in a part");
                    content.extend_from_slice(&held[range]);
                }
                MultipartEvent::PartEnd => {}
                MultipartEvent::NeedMore => {
                    held.drain(..step.consumed);
                    break;
                }
                MultipartEvent::End => return Ok((parts, true)),
            }
            held.drain(..step.consumed);
        }
    }
    Ok((parts, false))
}

fuzz_target!(|bytes: &[u8]| {
    let Some((&size, bytes)) = bytes.split_first() else { return };
    let whole = parse(std::iter::once(bytes));
    let pieces = parse(bytes.chunks(usize::from(size).max(1)));
    match (whole, pieces) {
        // Content of a part that is cut off may be held back differently.
        (Ok((_, false)), Ok((_, false))) => {}
        (whole, pieces) => assert_eq!(whole, pieces),
    }
});
