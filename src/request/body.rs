//! The body of a request, pulled by whoever wants it while it still arrives.

use std::cell::RefCell;
use std::fmt;
use std::future::poll_fn;
use std::rc::Rc;
use std::task::{Context, Poll};

use bytes::{Bytes, BytesMut};

/// Why a body cannot be had whole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BodyError {
    /// It is larger than a limit allows, in bytes: 413.
    TooLarge(u64),
    /// It came too slowly: 408.
    TimedOut,
    /// Its framing is broken: 400. Says how.
    Malformed(String),
    /// The client left before the end.
    Gone,
    /// Something else has read it already.
    Taken,
}

impl BodyError {
    /// The status that answers it.
    #[must_use]
    pub fn status(&self) -> u16 {
        match self {
            Self::TooLarge(_) => 413,
            Self::TimedOut => 408,
            Self::Malformed(_) | Self::Gone => 400,
            Self::Taken => 500,
        }
    }
}

impl fmt::Display for BodyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooLarge(limit) => write!(f, "the request body is larger than {limit} bytes"),
            Self::TimedOut => f.write_str("the request body came too slowly"),
            Self::Malformed(how) => write!(f, "the request body is malformed: {how}"),
            Self::Gone => f.write_str("the client left before its request was complete"),
            Self::Taken => f.write_str("the request body was read already"),
        }
    }
}

impl std::error::Error for BodyError {}

/// Where a body comes from: the transport. Reading it drives the transport, so what nobody reads is not received either.
pub trait BodySource {
    /// The next piece; `None` after the last. After an error or the end it gives the same again.
    fn poll_chunk(&self, cx: &mut Context<'_>) -> Poll<Result<Option<Bytes>, BodyError>>;
}

/// The body of a request. Clones are the same body: what one reads the other does not see.
#[derive(Clone, Default)]
pub struct Body {
    source: Option<Rc<dyn BodySource>>,
    length: Option<u64>,
}

impl Body {
    /// A body of no bytes.
    #[must_use]
    pub fn empty() -> Self {
        Self { source: None, length: Some(0) }
    }

    /// A body that is there already.
    #[must_use]
    pub fn full(bytes: Bytes) -> Self {
        let length = bytes.len() as u64;
        Self { source: Some(Rc::new(Full(RefCell::new(Some(bytes))))), length: Some(length) }
    }

    /// A body from a transport; `length` in bytes where it was announced.
    #[must_use]
    pub fn from_source(source: Rc<dyn BodySource>, length: Option<u64>) -> Self {
        Self { source: Some(source), length }
    }

    /// The announced length in bytes; `None` when only its end will tell.
    #[must_use]
    pub fn length(&self) -> Option<u64> {
        self.length
    }

    /// Whether the request has no body.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.length == Some(0)
    }

    /// The next piece; `None` after the last.
    pub fn poll_chunk(&self, cx: &mut Context<'_>) -> Poll<Result<Option<Bytes>, BodyError>> {
        match &self.source {
            Some(source) => source.poll_chunk(cx),
            None => Poll::Ready(Ok(None)),
        }
    }

    /// The next piece; `None` after the last.
    ///
    /// # Errors
    /// [`BodyError`].
    pub async fn chunk(&self) -> Result<Option<Bytes>, BodyError> {
        poll_fn(|cx| self.poll_chunk(cx)).await
    }

    /// All that is left of the body, at most `limit` bytes.
    ///
    /// # Errors
    /// [`BodyError`]; `TooLarge` beyond `limit`.
    pub async fn bytes(&self, limit: u64) -> Result<Bytes, BodyError> {
        if self.length.is_some_and(|length| length > limit) {
            return Err(BodyError::TooLarge(limit));
        }
        let Some(first) = self.chunk().await? else { return Ok(Bytes::new()) };
        let mut all = BytesMut::from(first);
        while let Some(chunk) = self.chunk().await? {
            all.extend_from_slice(&chunk);
            if all.len() as u64 > limit {
                return Err(BodyError::TooLarge(limit));
            }
        }
        Ok(all.freeze())
    }
}

struct Full(RefCell<Option<Bytes>>);

impl BodySource for Full {
    fn poll_chunk(&self, _: &mut Context<'_>) -> Poll<Result<Option<Bytes>, BodyError>> {
        Poll::Ready(Ok(self.0.take().filter(|bytes| !bytes.is_empty())))
    }
}
