//! A chunked body, whole and in pieces: both must give the same content and the same end.

#![no_main]

use libfuzzer_sys::fuzz_target;
use skep::codec::http::http1::{ChunkError, ChunkEvent, ChunkedDecoder};

/// Content, and how many bytes were used when the end was reached.
fn decode<'a>(pieces: impl Iterator<Item = &'a [u8]>) -> Result<(Vec<u8>, Option<usize>), ChunkError> {
    let mut decoder = ChunkedDecoder::new();
    let (mut content, mut used) = (Vec::new(), 0);
    for mut piece in pieces {
        loop {
            let step = decoder.decode(piece)?;
            used += step.consumed;
            match step.event {
                ChunkEvent::Data(range) => content.extend_from_slice(&piece[range]),
                ChunkEvent::Trailers(_) => {}
                ChunkEvent::NeedMore => break,
                ChunkEvent::End => return Ok((content, Some(used))),
            }
            piece = &piece[step.consumed..];
        }
    }
    Ok((content, None))
}

fuzz_target!(|bytes: &[u8]| {
    let Some((&size, bytes)) = bytes.split_first() else { return };
    let whole = decode(std::iter::once(bytes));
    assert_eq!(decode(bytes.chunks(usize::from(size).max(1))), whole);
});
