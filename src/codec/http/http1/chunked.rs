//! The chunked transfer coding (RFC 9112 §7.1), read strictly and written plainly.

use std::fmt;
use std::ops::Range;

use super::framing::forbidden_in_trailer;
use super::write::write_field;
use crate::codec::http::fields::{FieldError, Fields};

/// Bytes of all chunk extensions of one body together.
const MAX_EXTENSIONS: usize = 16 << 10;
/// Bytes of the trailer section.
const MAX_TRAILER: usize = 8 << 10;
/// Fields in the trailer section.
const MAX_TRAILER_FIELDS: usize = 64;
/// Hexadecimal digits of a chunk size; 16 are 64 bits.
const MAX_DIGITS: u8 = 16;

/// What a piece of input held.
#[derive(Debug)]
pub enum ChunkEvent {
    /// Content: this range of the input just given.
    Data(Range<usize>),
    /// Everything was used; give what arrives next.
    NeedMore,
    /// The trailer fields, without those that must not be there. Comes at most once, just before [`ChunkEvent::End`].
    Trailers(Box<Fields>),
    /// The body is over; what follows in the input belongs to the next message.
    End,
}

/// One step: `consumed` bytes of the input are done with, and mean `event`.
#[derive(Debug)]
pub struct ChunkStep {
    /// Bytes of the input to drop from its front.
    pub consumed: usize,
    /// What they held.
    pub event: ChunkEvent,
}

/// Why a chunked body is refused. The connection cannot be used any further.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChunkError {
    /// A chunk size that is missing, no hexadecimal number or has more than 16 digits: what is counted in 64 bits (RFC 9112 §7.1) must not wrap around.
    Size,
    /// A chunk extension with control characters or without its semicolon.
    Extension,
    /// The chunk extensions together passed 16 KiB.
    ExtensionsTooLarge,
    /// A line end that is not CR LF, or content longer than its announced size.
    LineEnd,
    /// A trailer section that is no list of fields.
    Trailer,
    /// A trailer section above 8 KiB or 64 fields.
    TrailerTooLarge,
}

impl ChunkError {
    /// The status code that tells the client.
    pub fn status(self) -> u16 {
        match self {
            Self::TrailerTooLarge => 431,
            _ => 400,
        }
    }

    /// What is wrong, in words for the peer's developer.
    pub fn reason(self) -> &'static str {
        match self {
            Self::Size => "a chunk size is not a hexadecimal number",
            Self::Extension => "a chunk extension is malformed",
            Self::ExtensionsTooLarge => "the chunk extensions are too large",
            Self::LineEnd => "a chunk does not end with CR LF",
            Self::Trailer => "the trailer section is malformed",
            Self::TrailerTooLarge => "the trailer section is too large",
        }
    }
}

impl fmt::Display for ChunkError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.reason())
    }
}

impl std::error::Error for ChunkError {}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// In the digits of a size.
    Size {
        size: u64,
        digits: u8,
    },
    /// White space between a size and the `;` of an extension.
    Space {
        size: u64,
    },
    Extension {
        size: u64,
    },
    /// Behind the CR of a size line.
    SizeEnd {
        size: u64,
    },
    Data {
        left: u64,
    },
    /// Before the CR behind a chunk's content.
    DataEnd,
    /// Before the LF behind a chunk's content.
    DataEndLine,
    Trailer,
    End,
}

/// Decodes one chunked body. Input may be split anywhere; content is not copied.
#[derive(Debug)]
pub struct ChunkedDecoder {
    state: State,
    extensions: usize,
    trailer: Vec<u8>,
}

impl Default for ChunkedDecoder {
    fn default() -> Self {
        Self { state: State::Size { size: 0, digits: 0 }, extensions: 0, trailer: Vec::new() }
    }
}

impl ChunkedDecoder {
    /// A decoder at the start of a body.
    pub fn new() -> Self {
        Self::default()
    }

    /// Whether [`ChunkEvent::End`] was reached.
    pub fn is_end(&self) -> bool {
        self.state == State::End
    }

    /// Bytes of the chunk that has begun, as its size says, that have not come yet.
    pub fn announced(&self) -> u64 {
        match self.state {
            State::Data { left } => left,
            _ => 0,
        }
    }

    /// Takes the next step. The caller drops `consumed` bytes from the front of its input and calls again until
    /// [`ChunkEvent::NeedMore`] or [`ChunkEvent::End`]. Input that ends before [`ChunkEvent::End`] is a broken body.
    ///
    /// # Errors
    /// See [`ChunkError`].
    pub fn decode(&mut self, input: &[u8]) -> Result<ChunkStep, ChunkError> {
        let mut at = 0;
        loop {
            match self.state {
                State::End => {
                    return Ok(ChunkStep { consumed: at, event: ChunkEvent::End });
                }
                State::Data { left } if at < input.len() => {
                    let available = (input.len() - at) as u64;
                    // `take` is at most the length of the input, so it fits.
                    let take = available.min(left) as usize;
                    let left = left - take as u64;
                    self.state = if left == 0 { State::DataEnd } else { State::Data { left } };
                    return Ok(ChunkStep { consumed: at + take, event: ChunkEvent::Data(at..at + take) });
                }
                _ => {}
            }
            let Some(&byte) = input.get(at) else {
                return Ok(ChunkStep { consumed: at, event: ChunkEvent::NeedMore });
            };
            at += 1;
            if self.state == State::Trailer {
                if let Some(fields) = self.trailer_byte(byte)? {
                    self.state = State::End;
                    if !fields.is_empty() {
                        return Ok(ChunkStep { consumed: at, event: ChunkEvent::Trailers(Box::new(fields)) });
                    }
                }
            } else {
                self.state = self.line_byte(byte)?;
            }
        }
    }

    /// The state behind one byte of a size line or of the line end behind content.
    fn line_byte(&mut self, byte: u8) -> Result<State, ChunkError> {
        if matches!(self.state, State::Space { .. } | State::Extension { .. }) {
            self.extensions += 1;
            if self.extensions > MAX_EXTENSIONS {
                return Err(ChunkError::ExtensionsTooLarge);
            }
        }
        Ok(match (self.state, byte) {
            (State::Size { size, digits }, _) if byte.is_ascii_hexdigit() => {
                if digits == MAX_DIGITS {
                    return Err(ChunkError::Size);
                }
                let digit = (byte as char).to_digit(16).unwrap_or(0);
                State::Size { size: size << 4 | u64::from(digit), digits: digits + 1 }
            }
            (State::Size { digits: 0, .. }, _) => return Err(ChunkError::Size),
            (State::Size { size, .. } | State::Extension { size }, b'\r') => State::SizeEnd { size },
            (State::Size { size, .. } | State::Space { size }, b';') => State::Extension { size },
            (State::Size { size, .. } | State::Space { size }, b' ' | b'\t') => State::Space { size },
            (State::Size { .. }, b'\n') => return Err(ChunkError::LineEnd),
            (State::Size { .. }, _) => return Err(ChunkError::Size),
            (State::Extension { size }, _) if byte == b'\t' || (byte >= b' ' && byte != 0x7f) => State::Extension { size },
            (State::Space { .. } | State::Extension { .. }, _) => {
                return Err(ChunkError::Extension);
            }
            (State::SizeEnd { size: 0 }, b'\n') => State::Trailer,
            (State::SizeEnd { size }, b'\n') => State::Data { left: size },
            (State::DataEnd, b'\r') => State::DataEndLine,
            (State::DataEndLine, b'\n') => State::Size { size: 0, digits: 0 },
            _ => return Err(ChunkError::LineEnd),
        })
    }

    /// Takes one byte of the trailer section; the fields when it was the last.
    fn trailer_byte(&mut self, byte: u8) -> Result<Option<Fields>, ChunkError> {
        if self.trailer.len() == MAX_TRAILER {
            return Err(ChunkError::TrailerTooLarge);
        }
        self.trailer.push(byte);
        if byte != b'\n' {
            return Ok(None);
        }
        match self.trailer[..] {
            [b'\r', b'\n'] => Ok(Some(Fields::new())),
            [.., b'\r', b'\n', b'\r', b'\n'] => parse_trailer(&self.trailer).map(Some),
            [.., b'\r', b'\n'] => Ok(None),
            _ => Err(ChunkError::LineEnd),
        }
    }
}

fn parse_trailer(bytes: &[u8]) -> Result<Fields, ChunkError> {
    let mut slots = [httparse::EMPTY_HEADER; MAX_TRAILER_FIELDS];
    let headers = match httparse::parse_headers(bytes, &mut slots) {
        Ok(httparse::Status::Complete((_, headers))) => headers,
        Err(httparse::Error::TooManyHeaders) => return Err(ChunkError::TrailerTooLarge),
        Ok(httparse::Status::Partial) | Err(_) => return Err(ChunkError::Trailer),
    };
    let mut fields = Fields::new();
    for header in headers.iter().filter(|header| !forbidden_in_trailer(header.name)) {
        fields.push(header.name, header.value).map_err(|_| ChunkError::Trailer)?;
    }
    Ok(fields)
}

/// Writes the size line of a chunk of `length` bytes, which must not be 0 (that would end the body). The content and
/// [`CHUNK_END`] follow.
pub fn chunk_header(length: usize, out: &mut Vec<u8>) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let significant = (usize::BITS - length.leading_zeros()).div_ceil(4).max(1);
    out.extend((0..significant).rev().map(|digit| DIGITS[length >> (digit * 4) & 0xf]));
    out.extend_from_slice(b"\r\n");
}

/// What follows the content of every chunk.
pub const CHUNK_END: &[u8] = b"\r\n";

/// The end of a body without trailer fields.
pub const LAST_CHUNK: &[u8] = b"0\r\n\r\n";

/// Writes the end of a body with trailer fields.
///
/// # Errors
/// A field that must not stand in a trailer (RFC 9110 §6.5.1); nothing is written then.
pub fn last_chunk(trailers: &Fields, out: &mut Vec<u8>) -> Result<(), FieldError> {
    if trailers.iter().any(|(name, _)| forbidden_in_trailer(name)) {
        return Err(FieldError::Name);
    }
    out.extend_from_slice(b"0\r\n");
    for (name, value) in trailers.iter() {
        write_field(name, value, out)?;
    }
    out.extend_from_slice(b"\r\n");
    Ok(())
}
