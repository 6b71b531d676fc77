//! The body of a request as it comes over an HTTP/1.1 connection.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;

use super::wire::Wire;
use crate::codec::http::http1::{BodyFraming, ChunkError, ChunkEvent, ChunkedDecoder};
use crate::reactor::Alarm;
use crate::request::{BodyError, BodySource};

/// The largest piece given out at once, and the most that waits unused: what nobody reads stays with the client.
const PIECE: usize = 64 << 10;

/// A body that is read from the connection when somebody asks for it.
pub(super) struct WireBody {
    /// `None` once the exchange is over: a script may keep its request until the VM cleans up, and that must not keep the connection.
    wire: RefCell<Option<Rc<Wire>>>,
    state: RefCell<State>,
    /// The client waits for `100 Continue`.
    expects: Cell<bool>,
    alarm: Alarm,
    limits: BodyLimits,
    taken: Cell<u64>,
}

/// What a body may cost.
#[derive(Debug, Clone, Copy)]
pub(super) struct BodyLimits {
    /// Bytes.
    pub(super) size: u64,
    /// The longest time without a byte.
    pub(super) time: Duration,
}

/// Ends a body with its exchange, however that ends.
pub(super) struct Closing(pub(super) Rc<WireBody>);

impl Drop for Closing {
    fn drop(&mut self) {
        self.0.close();
    }
}

enum State {
    Length(u64),
    Chunked(ChunkedDecoder),
    Done,
    Failed(BodyError),
}

/// What is at hand of a body.
enum Taken {
    Piece(Bytes),
    /// More must arrive first.
    Nothing,
    End,
}

impl WireBody {
    pub(super) fn new(wire: Rc<Wire>, framing: BodyFraming, expects: bool, limits: BodyLimits) -> Self {
        let state = match framing {
            BodyFraming::Length(length) if length > 0 => State::Length(length),
            BodyFraming::Chunked => State::Chunked(ChunkedDecoder::new()),
            _ => State::Done,
        };
        Self {
            wire: RefCell::new(Some(wire)),
            state: RefCell::new(state),
            expects: Cell::new(expects),
            alarm: Alarm::new(),
            limits,
            taken: Cell::new(0),
        }
    }

    /// Bytes that were received and taken.
    pub(super) fn taken(&self) -> u64 {
        self.taken.get()
    }

    /// Whether all of it was received.
    pub(super) fn is_done(&self) -> bool {
        matches!(*self.state.borrow(), State::Done)
    }

    /// Whether it may be worth to read the rest away so that the connection can be kept: only a little is left,
    /// and the client is not waiting to be told to send it.
    pub(super) fn is_nearly_done(&self, rest: u64) -> bool {
        match &*self.state.borrow() {
            State::Done => true,
            State::Length(left) => !self.expects.get() && *left <= rest,
            State::Chunked(_) => !self.expects.get(),
            State::Failed(_) => false,
        }
    }

    /// The answer begins: `100 Continue` would come behind its head now, where no client looks for it. One that waited to be told sees the answer
    /// instead, and sends the body or does not (RFC 9110 §10.1.1).
    pub(super) fn answer_begins(&self) {
        self.expects.set(false);
    }

    /// Ends it: nobody reads from the connection through this any more.
    pub(super) fn close(&self) {
        self.wire.take();
        let mut state = self.state.borrow_mut();
        if !matches!(*state, State::Done) {
            *state = State::Failed(BodyError::Gone);
        }
    }

    /// Reads the rest away, at most `most` bytes. Whether the end was reached.
    pub(super) async fn discard(&self, most: u64) -> bool {
        let mut seen = 0;
        loop {
            match std::future::poll_fn(|cx| self.poll_chunk(cx)).await {
                Ok(None) => return true,
                Ok(Some(chunk)) => {
                    seen += chunk.len() as u64;
                    if seen > most {
                        return false;
                    }
                }
                Err(_) => return false,
            }
        }
    }

    fn wire(&self) -> Option<Rc<Wire>> {
        self.wire.borrow().clone()
    }

    /// Takes a piece from what has arrived.
    fn take(&self) -> Result<Taken, BodyError> {
        let mut state = self.state.borrow_mut();
        match &*state {
            State::Done => return Ok(Taken::End),
            State::Failed(error) => return Err(error.clone()),
            State::Length(_) | State::Chunked(_) => {}
        }
        let wire = self.wire().ok_or(BodyError::Gone)?;
        match &mut *state {
            State::Done | State::Failed(_) => Ok(Taken::End),
            State::Length(left) => {
                let piece = wire.with_input(|input| {
                    let count = usize::try_from(*left).unwrap_or(usize::MAX).min(input.len()).min(PIECE);
                    (count > 0).then(|| Bytes::copy_from_slice(&input[..count]))
                });
                let Some(piece) = piece else { return Ok(Taken::Nothing) };
                wire.consume(piece.len());
                *left -= piece.len() as u64;
                if *left == 0 {
                    *state = State::Done;
                }
                Ok(Taken::Piece(piece))
            }
            State::Chunked(decoder) => loop {
                let step = wire.with_input(|input| {
                    let step = decoder.decode(&input[..input.len().min(PIECE)])?;
                    let piece = match &step.event {
                        ChunkEvent::Data(range) => Some(Bytes::copy_from_slice(&input[range.clone()])),
                        _ => None,
                    };
                    Ok((step, piece))
                });
                let (step, piece) = step.map_err(|error: ChunkError| BodyError::Malformed(error.to_string()))?;
                wire.consume(step.consumed);
                // A chunk that alone is too much is not waited for.
                let certain = self.taken.get() + piece.as_ref().map_or(0, |piece| piece.len() as u64);
                if decoder.announced() > self.limits.size.saturating_sub(certain) {
                    return Err(BodyError::TooLarge(self.limits.size));
                }
                match step.event {
                    ChunkEvent::Data(_) => {
                        if let Some(piece) = piece.filter(|piece| !piece.is_empty()) {
                            return Ok(Taken::Piece(piece));
                        }
                    }
                    ChunkEvent::NeedMore => return Ok(Taken::Nothing),
                    ChunkEvent::Trailers(_) => {}
                    ChunkEvent::End => {
                        *state = State::Done;
                        return Ok(Taken::End);
                    }
                }
            },
        }
    }

    fn fail(&self, error: BodyError) -> Poll<Result<Option<Bytes>, BodyError>> {
        self.state.replace(State::Failed(error.clone()));
        Poll::Ready(Err(error))
    }

    /// Tells the client to send the body, once, as soon as somebody wants it.
    fn poll_continue(&self, wire: &Wire, cx: &mut Context<'_>) -> Poll<Result<(), BodyError>> {
        if self.expects.get() {
            self.expects.set(false);
            wire.with_output(|out| out.extend_from_slice(b"HTTP/1.1 100 Continue\r\n\r\n"));
        }
        wire.poll_drain(cx, false).map_err(|_| BodyError::Gone)
    }
}

impl BodySource for WireBody {
    fn poll_chunk(&self, cx: &mut Context<'_>) -> Poll<Result<Option<Bytes>, BodyError>> {
        loop {
            match self.take() {
                Ok(Taken::End) => return Poll::Ready(Ok(None)),
                Ok(Taken::Piece(piece)) => {
                    self.taken.set(self.taken.get() + piece.len() as u64);
                    if self.taken.get() > self.limits.size {
                        return self.fail(BodyError::TooLarge(self.limits.size));
                    }
                    self.alarm.clear();
                    return Poll::Ready(Ok(Some(piece)));
                }
                Ok(Taken::Nothing) => {}
                Err(error) => return self.fail(error),
            }
            let Some(wire) = self.wire() else { return self.fail(BodyError::Gone) };
            if let Err(error) = ready!(self.poll_continue(&wire, cx)) {
                return self.fail(error);
            }
            match wire.poll_fill(cx, PIECE) {
                Poll::Ready(Ok(0) | Err(_)) => return self.fail(BodyError::Gone),
                Poll::Ready(Ok(_)) => self.alarm.set(self.limits.time),
                Poll::Pending => {
                    if !self.alarm.is_set() {
                        self.alarm.set(self.limits.time);
                    }
                    return match self.alarm.poll(cx) {
                        Poll::Ready(()) => self.fail(BodyError::TimedOut),
                        Poll::Pending => Poll::Pending,
                    };
                }
            }
        }
    }
}
