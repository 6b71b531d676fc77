//! HTTP/1.1 messages (RFC 9112): heads, chunked bodies, and what both are written with.

pub mod chunked;
mod framing;
mod lines;
pub mod request;
pub mod response;
mod usual;
pub mod write;

pub use chunked::{ChunkError, ChunkEvent, ChunkedDecoder};
pub use request::{HeadError, Parsed, ParsedRequest, RequestParser, parse_request};
pub use response::{ParsedResponse, ResponseError, ResponseParser};
pub use usual::Usual;

/// How the end of a body is found (RFC 9112 §6.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BodyFraming {
    /// There is no body.
    None,
    /// Exactly this many bytes; may be 0.
    Length(u64),
    /// The chunked coding: [`ChunkedDecoder`].
    Chunked,
    /// Everything until the connection ends; only in responses.
    UntilClose,
}

/// How large a head may be. All in bytes, line ends not counted, except for `fields`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HeadLimits {
    /// The request line; beyond it 414.
    pub line: usize,
    /// One field line; beyond it 431.
    pub field: usize,
    /// The number of field lines, at most [`MAX_FIELDS`]; beyond it 431.
    pub fields: usize,
    /// The whole head with its line ends; beyond it 431.
    pub total: usize,
}

/// More fields than this are never accepted, whatever the limits say.
pub const MAX_FIELDS: usize = 256;

impl Default for HeadLimits {
    fn default() -> Self {
        Self { line: 8 << 10, field: 16 << 10, fields: 100, total: 32 << 10 }
    }
}

#[cfg(test)]
mod tests;
