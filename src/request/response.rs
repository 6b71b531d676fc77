//! What a handler answers.

use std::borrow::Cow;
use std::fs::File;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use futures_lite::Stream;

use super::app::Takeover;
use crate::codec::http::FieldError;
use crate::codec::http::fields::check_field;
use crate::limiter::Held;

/// The fields of a response, as they are written: lines, in order, names in the case they were given.
///
/// The transport owns the framing: `Content-Length`, `Transfer-Encoding`, `Keep-Alive` and `Connection` given here are left out
/// (`Connection: close` is obeyed).
#[derive(Debug, Clone, Default)]
pub struct ResponseFields {
    block: Vec<u8>,
    close: bool,
}

/// Fields that the transport sets itself.
const FRAMING: [&str; 4] = ["content-length", "transfer-encoding", "connection", "keep-alive"];

impl ResponseFields {
    /// Adds a field after the others.
    ///
    /// # Errors
    /// A name that is no token or a value with control characters; nothing is added then.
    pub fn push(&mut self, name: impl AsRef<[u8]>, value: impl AsRef<[u8]>) -> Result<(), FieldError> {
        let (name, value) = (name.as_ref(), value.as_ref().trim_ascii());
        check_field(name, value)?;
        if FRAMING.iter().any(|framing| name.eq_ignore_ascii_case(framing.as_bytes())) {
            self.close |= name.eq_ignore_ascii_case(b"connection") && value.eq_ignore_ascii_case(b"close");
            return Ok(());
        }
        self.block.reserve(name.len() + value.len() + 4);
        self.block.extend_from_slice(name);
        self.block.extend_from_slice(b": ");
        self.block.extend_from_slice(value);
        self.block.extend_from_slice(b"\r\n");
        Ok(())
    }

    /// Adds a field whose text stands in the program and is known to be right.
    pub fn push_static(&mut self, name: &'static str, value: &'static str) {
        debug_assert!(check_field(name.as_bytes(), value.as_bytes()).is_ok());
        self.block.extend_from_slice(name.as_bytes());
        self.block.extend_from_slice(b": ");
        self.block.extend_from_slice(value.as_bytes());
        self.block.extend_from_slice(b"\r\n");
    }

    /// Names and values in order.
    pub fn iter(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        lines(&self.block)
    }

    /// The value of the first field of this name, in any case.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&[u8]> {
        self.iter().find(|(field, _)| field.eq_ignore_ascii_case(name.as_bytes())).map(|(_, value)| value)
    }

    /// Whether the application asked for the connection to end after this response.
    #[must_use]
    pub fn asks_to_close(&self) -> bool {
        self.close
    }

    /// The lines, each ended by CR LF.
    #[must_use]
    pub fn block(&self) -> &[u8] {
        &self.block
    }

    /// Room for about this many bytes of lines.
    #[must_use]
    pub fn with_capacity(bytes: usize) -> Self {
        Self { block: Vec::with_capacity(bytes), close: false }
    }
}

/// The fields of a block of lines.
fn lines(block: &[u8]) -> impl Iterator<Item = (&[u8], &[u8])> {
    block.split(|&byte| byte == b'\n').filter_map(|line| {
        let line = line.strip_suffix(b"\r")?;
        let colon = memchr::memchr(b':', line)?;
        Some((&line[..colon], line[colon + 1..].trim_ascii()))
    })
}

/// A range of an open file.
#[derive(Debug, Clone)]
pub struct FileRange {
    /// The file; its own position is not used.
    pub file: Rc<File>,
    /// The first byte.
    pub offset: u64,
    /// How many bytes. A file that became shorter meanwhile breaks the connection: the length is announced already.
    pub length: u64,
}

/// A part of a body made of several.
#[derive(Debug, Clone)]
pub enum Part {
    /// Bytes in memory.
    Bytes(Bytes),
    /// Bytes of a file.
    File(FileRange),
}

impl Part {
    /// Its length in bytes.
    #[must_use]
    pub fn len(&self) -> u64 {
        match self {
            Self::Bytes(bytes) => bytes.len() as u64,
            Self::File(range) => range.length,
        }
    }

    /// Whether it has no bytes.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// Pieces of a body as they come. An error breaks the transfer off, so that the client sees that it is not whole.
pub type BodyStream = Pin<Box<dyn Stream<Item = io::Result<Bytes>>>>;

/// The body of a response.
#[derive(Default)]
pub enum ResponseBody {
    /// None.
    #[default]
    Empty,
    /// Bytes in memory.
    Bytes(Bytes),
    /// A file or a part of it, sent without copying it.
    File(FileRange),
    /// Several parts one after the other.
    Parts(Vec<Part>),
    /// Pieces whose number and length only their end tells.
    Stream(BodyStream),
    /// Pieces that are this many bytes together, announced before they come; a stream that gives others must end with an error.
    Measured(BodyStream, u64),
    /// None: behind the head the connection speaks another protocol, and this goes on with it. For status 101 only.
    Upgrade(Takeover),
}

impl ResponseBody {
    /// The length in bytes, where it is known.
    #[must_use]
    pub fn length(&self) -> Option<u64> {
        match self {
            Self::Empty => Some(0),
            Self::Bytes(bytes) => Some(bytes.len() as u64),
            Self::File(range) => Some(range.length),
            Self::Parts(parts) => Some(parts.iter().map(Part::len).sum()),
            Self::Measured(_, length) => Some(*length),
            Self::Stream(_) | Self::Upgrade(_) => None,
        }
    }
}

impl From<Bytes> for ResponseBody {
    fn from(bytes: Bytes) -> Self {
        Self::Bytes(bytes)
    }
}

impl From<Vec<u8>> for ResponseBody {
    fn from(bytes: Vec<u8>) -> Self {
        Self::Bytes(bytes.into())
    }
}

impl From<&'static str> for ResponseBody {
    fn from(text: &'static str) -> Self {
        Self::Bytes(Bytes::from_static(text.as_bytes()))
    }
}

/// A response.
#[derive(Default)]
pub struct Response {
    /// The status code, 200 to 599.
    pub status: u16,
    /// The fields.
    pub fields: ResponseFields,
    /// Field lines prepared before, each ended by CR LF, written after `fields`: what a cache keeps with its entry.
    pub prepared: Option<Bytes>,
    /// The body. For a HEAD request its length is announced and nothing sent.
    pub body: ResponseBody,
    /// Whom it is for, where the route asks for that: what the access log shows. Set by the route.
    pub user: Option<Rc<str>>,
    /// Made by [`Response::error`]: a page of the configuration may take its place.
    pub plain: bool,
    /// What counts its request as under way until it is sent. Set by the route.
    pub held: Vec<Held>,
}

impl Response {
    /// A response without fields.
    pub fn new(status: u16, body: impl Into<ResponseBody>) -> Self {
        Self { status, body: body.into(), ..Self::default() }
    }

    /// A response of plain text.
    pub fn text(status: u16, text: impl Into<String>) -> Self {
        let mut response = Self::new(status, text.into().into_bytes());
        response.fields.push_static("Content-Type", "text/plain; charset=utf-8");
        response
    }

    /// The plain answer to something that went wrong: status, its name, and in words what happened. Where the configuration has a page for that, the
    /// client gets the page.
    #[must_use]
    pub fn error(status: u16, what: &str) -> Self {
        let name = crate::codec::http::status::reason(status);
        let text = if what.is_empty() { format!("{status} {name}\n") } else { format!("{status} {name}: {what}\n") };
        Self { plain: true, ..Self::text(status, text) }
    }

    /// [`Response::error`] that says when it makes sense to come again (RFC 9110 §10.2.3).
    #[must_use]
    pub fn later(status: u16, what: &str, wait: Duration) -> Self {
        let mut response = Self::error(status, what);
        let seconds = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
        // Digits can be sent.
        let _ = response.fields.push("Retry-After", seconds.max(1).to_string());
        response
    }

    /// The value of the first field of this name, in any case, prepared or not.
    #[must_use]
    pub fn field(&self, name: &str) -> Option<&[u8]> {
        self.all_fields().find(|(field, _)| field.eq_ignore_ascii_case(name.as_bytes())).map(|(_, value)| value)
    }

    /// Whether its type, without parameters, is one of these.
    pub(super) fn has_type(&self, types: &[String]) -> bool {
        let Some(value) = self.field("content-type") else { return false };
        let kind = value.split(|&byte| byte == b';').next().unwrap_or_default().trim_ascii();
        types.iter().any(|known| known.as_bytes().eq_ignore_ascii_case(kind))
    }

    /// All fields, prepared ones behind the others.
    pub fn all_fields(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        self.fields.iter().chain(lines(self.prepared.as_deref().unwrap_or_default()))
    }

    /// Changes the values of fields one after the other, of prepared ones too; `None` leaves one out.
    pub(super) fn map_fields(&mut self, mut change: impl for<'a> FnMut(&'a [u8], &'a [u8]) -> Option<Cow<'a, [u8]>>) {
        let prepared = self.prepared.take().unwrap_or_default();
        let mut fields =
            ResponseFields { block: Vec::with_capacity(self.fields.block.len() + prepared.len() + 64), close: self.fields.close };
        for (name, value) in self.fields.iter().chain(lines(&prepared)) {
            if let Some(value) = change(name, value) {
                for part in [name, b": ", &value, b"\r\n"] {
                    fields.block.extend_from_slice(part);
                }
            }
        }
        self.fields = fields;
    }

    /// Sends the client elsewhere.
    ///
    /// # Errors
    /// A location with control characters.
    pub fn redirect(status: u16, location: &str) -> Result<Self, FieldError> {
        let mut response = Self::new(status, ResponseBody::Empty);
        response.fields.push("Location", location)?;
        Ok(response)
    }
}
