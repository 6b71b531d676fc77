//! The body of an answer, read as it comes.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};

use super::exchange::Failed;
use super::pool::{Connection, Pool};
use super::upload::{Unsent, Upload};
use super::{ClientRequest, HttpError, Url};
use crate::codec::http::http1::{BodyFraming, ChunkEvent, ChunkedDecoder};
use crate::reactor::timeout;

/// A body up to this size is read away, to keep the connection, rather than breaking it off.
const SMALL: usize = 64 << 10;

/// A body up to this size is copied out of the buffer.
const COPIED: usize = 4 << 10;

/// The body. Read to its end it gives the connection back to be used again.
pub struct ResponseBody {
    /// `None` at the end, after a failure, and while it is read.
    state: RefCell<Option<Incoming>>,
    ended: Cell<bool>,
    pool: Rc<Pool>,
    url: Url,
    authorities: Option<Rc<str>>,
    limit: Duration,
    /// The most bytes that may come, and how many may still.
    most: Cell<Option<(usize, usize)>>,
}

/// The body of an answer while it comes over its connection.
pub struct Incoming {
    connection: Connection,
    framing: Framing,
    ending: Ending,
}

/// What remains to be done beside reading the body, and after it.
pub(super) struct Ending {
    /// Whether the connection may serve another request.
    pub keep: bool,
    /// What is still being sent of the request.
    pub upload: Option<Upload>,
}

/// What the bytes at hand come to.
enum Found {
    Piece(Bytes),
    End,
    Nothing,
}

enum Framing {
    Length(u64),
    Chunked(Box<ChunkedDecoder>),
    UntilClose,
}

impl ResponseBody {
    pub(super) fn new(incoming: Incoming, pool: Rc<Pool>, request: &ClientRequest) -> ResponseBody {
        let body = ResponseBody {
            state: RefCell::new(None),
            ended: false.into(),
            pool,
            url: request.url.clone(),
            authorities: request.authorities.clone(),
            limit: request.timeout,
            most: Cell::new(None),
        };
        if matches!(incoming.framing, Framing::Length(0)) && incoming.ending.upload.is_none() {
            body.end(incoming);
        } else {
            body.state.replace(Some(incoming));
        }
        body
    }

    fn end(&self, state: Incoming) {
        self.ended.set(true);
        if let Some(connection) = state.into_kept() {
            self.pool.put(&self.url, self.authorities.as_ref(), connection);
        }
    }

    /// Allows so many bytes and no more: the piece that passes them is an error, and the connection ends.
    pub fn allow(&self, most: usize) {
        self.most.set(Some((most, most)));
    }

    /// The next piece; `None` after the last.
    ///
    /// # Errors
    /// [`HttpError`]; the body is of no further use then.
    pub async fn chunk(&self) -> Result<Option<Bytes>, HttpError> {
        if self.ended.get() {
            return Ok(None);
        }
        let mut state = self.state.take().ok_or(HttpError::Taken)?;
        let piece = match timeout(self.limit, poll_fn(|cx| state.poll_next(cx))).await {
            Ok(piece) => piece.map_err(|failed| failed.into_http(self.url.server()))?,
            Err(_) => return Err(HttpError::TimedOut(self.url.server())),
        };
        match piece {
            Some(piece) => {
                if let Some((most, left)) = self.most.get() {
                    let left = left.checked_sub(piece.len()).ok_or(HttpError::TooLarge(most))?;
                    self.most.set(Some((most, left)));
                }
                self.state.replace(Some(state));
                Ok(Some(piece))
            }
            None => {
                state.finish_upload(self.limit).await?;
                self.end(state);
                Ok(None)
            }
        }
    }

    /// All that is left, at most `limit` bytes.
    ///
    /// # Errors
    /// [`HttpError`]; `TooLarge` beyond `limit`.
    pub async fn bytes(&self, limit: usize) -> Result<Bytes, HttpError> {
        let mut all = BytesMut::new();
        while let Some(piece) = self.chunk().await? {
            if all.len() + piece.len() > limit {
                return Err(HttpError::TooLarge(limit));
            }
            all.extend_from_slice(&piece);
        }
        Ok(all.freeze())
    }

    /// Reads a small rest away. A request that is still being sent is broken off.
    pub(super) async fn finish_small(&self) {
        if self.state.borrow().as_ref().is_some_and(|state| state.ending.upload.is_some()) {
            return self.close();
        }
        // What cannot be read away just costs the connection.
        let _ = self.bytes(SMALL).await;
    }

    /// Ends the connection, unless the body has been read to its end.
    pub fn close(&self) {
        self.state.take();
    }
}

impl Incoming {
    pub(super) fn new(connection: Connection, framing: BodyFraming, ending: Ending) -> Incoming {
        let framing = match framing {
            BodyFraming::None => Framing::Length(0),
            BodyFraming::Length(length) => Framing::Length(length),
            BodyFraming::Chunked => Framing::Chunked(Box::default()),
            BodyFraming::UntilClose => Framing::UntilClose,
        };
        Incoming { connection, framing, ending }
    }

    /// The bytes that are left; `None` when only the end will tell.
    #[must_use]
    pub fn length(&self) -> Option<u64> {
        match self.framing {
            Framing::Length(left) => Some(left),
            Framing::Chunked(_) | Framing::UntilClose => None,
        }
    }

    /// Whether all of the request was sent.
    #[must_use]
    pub fn is_sent(&self) -> bool {
        self.ending.upload.is_none()
    }

    /// Bytes that went either way over the connection.
    #[must_use]
    pub fn moved(&self) -> u64 {
        self.connection.stream.moved()
    }

    /// All of the body, when its length is known and it has come already.
    pub fn take_whole(&mut self) -> Option<Bytes> {
        let left = usize::try_from(self.length()?).ok()?;
        if left > self.connection.input.len() {
            return None;
        }
        self.framing = Framing::Length(0);
        let input = &mut self.connection.input;
        if left > COPIED {
            return Some(input.split_to(left).freeze());
        }
        // A small one leaves the buffer to the next answer.
        let whole = Bytes::copy_from_slice(&input[..left]);
        input.advance(left);
        Some(whole)
    }

    /// The connection, behind the last piece: `None` when it cannot serve another request.
    #[must_use]
    pub fn into_kept(self) -> Option<Connection> {
        let mut connection = Some(self.connection).filter(|connection| self.ending.keep && connection.input.is_empty())?;
        if connection.input.capacity() > COPIED {
            // Who waits for the next request holds no large buffer.
            connection.input = BytesMut::new();
        }
        Some(connection)
    }

    /// The connection, when it speaks another protocol from here on.
    #[must_use]
    pub fn into_connection(self) -> Connection {
        self.connection
    }

    /// The next piece, while what is left of the request goes out; `None` after the last.
    ///
    /// # Errors
    /// [`Failed`]; the body is of no further use then.
    pub fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Bytes>, Failed>> {
        self.poll_upload(cx).map_err(Failed::Http)?;
        loop {
            match self.take().map_err(Failed::Http)? {
                Found::Piece(piece) => return Poll::Ready(Ok(Some(piece))),
                Found::End => return Poll::Ready(Ok(None)),
                Found::Nothing => {}
            }
            match ready!(self.connection.poll_fill(cx)) {
                Ok(0) if matches!(self.framing, Framing::UntilClose) => {
                    self.ending.keep = false;
                    return Poll::Ready(Ok(None));
                }
                Ok(0) => return Poll::Ready(Err(Failed::Http(HttpError::Truncated))),
                Ok(_) => {}
                Err(error) => return Poll::Ready(Err(Failed::Io(error))),
            }
        }
    }

    fn poll_upload(&mut self, cx: &mut Context<'_>) -> Result<(), HttpError> {
        let Some(upload) = &mut self.ending.upload else { return Ok(()) };
        let Poll::Ready(result) = upload.poll(cx) else { return Ok(()) };
        self.ending.upload = None;
        self.uploaded(result)
    }

    /// Sends the rest of the request, where the connection is worth it: the answer is there whole.
    async fn finish_upload(&mut self, limit: Duration) -> Result<(), HttpError> {
        let Some(upload) = self.ending.upload.take_if(|_| self.ending.keep) else { return Ok(()) };
        let result = timeout(limit, upload.finish()).await;
        self.uploaded(result.unwrap_or_else(|timed_out| Err(Unsent::Io(timed_out.into()))))
    }

    /// A server that takes no more of a request that it has answered costs the connection and nothing else.
    fn uploaded(&mut self, result: Result<(), Unsent>) -> Result<(), HttpError> {
        match result {
            Ok(()) => Ok(()),
            Err(Unsent::Io(_)) => {
                self.ending.keep = false;
                Ok(())
            }
            Err(Unsent::Body(why)) => Err(HttpError::Body(why)),
        }
    }

    /// What the buffer has.
    fn take(&mut self) -> Result<Found, HttpError> {
        let input = &mut self.connection.input;
        match &mut self.framing {
            Framing::Length(0) => Ok(Found::End),
            Framing::Length(_) | Framing::UntilClose if input.is_empty() => Ok(Found::Nothing),
            Framing::UntilClose => Ok(Found::Piece(input.split().freeze())),
            Framing::Length(left) => {
                let count = input.len().min(usize::try_from(*left).unwrap_or(usize::MAX));
                *left -= count as u64;
                Ok(Found::Piece(input.split_to(count).freeze()))
            }
            Framing::Chunked(decoder) => loop {
                let step = decoder.decode(input).map_err(HttpError::Chunk)?;
                match step.event {
                    ChunkEvent::Data(range) => {
                        let mut taken = input.split_to(step.consumed);
                        taken.truncate(range.end);
                        taken.advance(range.start);
                        return Ok(Found::Piece(taken.freeze()));
                    }
                    ChunkEvent::NeedMore => {
                        input.advance(step.consumed);
                        return Ok(Found::Nothing);
                    }
                    ChunkEvent::Trailers(_) => input.advance(step.consumed),
                    ChunkEvent::End => {
                        input.advance(step.consumed);
                        return Ok(Found::End);
                    }
                }
            },
        }
    }
}
