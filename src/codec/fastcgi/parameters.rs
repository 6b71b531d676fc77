//! Names and values (section 3.4), as PARAMS and GET_VALUES carry them.

use std::fmt;

/// A name or a value is longer than what follows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MalformedPair;

impl fmt::Display for MalformedPair {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a parameter is longer than the parameters together")
    }
}

impl std::error::Error for MalformedPair {}

/// The pairs of a whole stream, in order; after an error nothing follows. A pair may lie across records, so it is the stream that is read.
pub fn pairs(mut stream: &[u8]) -> impl Iterator<Item = Result<(&[u8], &[u8]), MalformedPair>> {
    std::iter::from_fn(move || {
        if stream.is_empty() {
            return None;
        }
        let pair = take_pair(&mut stream).ok_or(MalformedPair);
        if pair.is_err() {
            stream = &[];
        }
        Some(pair)
    })
}

fn take_pair<'a>(stream: &mut &'a [u8]) -> Option<(&'a [u8], &'a [u8])> {
    let (name, value) = (take_length(stream)?, take_length(stream)?);
    let (name, rest) = stream.split_at_checked(name)?;
    let (value, rest) = rest.split_at_checked(value)?;
    *stream = rest;
    Some((name, value))
}

/// One byte up to 127; four with the highest bit set.
fn take_length(stream: &mut &[u8]) -> Option<usize> {
    let (&first, rest) = stream.split_first()?;
    if first < 0x80 {
        *stream = rest;
        return Some(first.into());
    }
    let (&bytes, rest) = stream.split_first_chunk::<4>()?;
    *stream = rest;
    Some((u32::from_be_bytes(bytes) & 0x7fff_ffff) as usize)
}

/// Appends a pair. Lengths beyond 2³¹ - 1 bytes cannot be written; nothing that long is in memory here.
pub fn write_pair(name: &[u8], value: &[u8], out: &mut Vec<u8>) {
    for length in [name.len(), value.len()] {
        match u8::try_from(length) {
            Ok(short @ 0..0x80) => out.push(short),
            _ => out.extend_from_slice(&(length as u32 | 0x8000_0000).to_be_bytes()),
        }
    }
    out.extend_from_slice(name);
    out.extend_from_slice(value);
}
