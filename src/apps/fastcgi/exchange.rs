//! One request on a connection: the body goes out as the client sends it, the answer comes in as it is written.

use std::future::{Future, poll_fn};
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};

use super::pool::{Active, Pool};
use crate::apps::clock::Clock;
use crate::apps::error_log::ErrorLog;
use crate::apps::failure::Failure;
use crate::apps::gate::Pass;
use crate::apps::work::Program;
use crate::codec::fastcgi::{EndRequest, Kind, ProtocolStatus, decode, write_end, write_record};
use crate::net::Socket;
use crate::request::Body;

/// The number of the request: each connection has one at a time, since hardly any server takes more.
pub(super) const REQUEST: u16 = 1;
/// What is read at once.
const PIECE: usize = 32 << 10;
/// How often one side is served before the other has its turn.
const TURNS: usize = 16;

/// How long the server may take, and how much it may write.
#[derive(Clone, Copy)]
pub(super) struct Allowance {
    pub(super) head: Duration,
    /// What is over of that.
    pub(super) waited: Duration,
    pub(super) body: Duration,
    pub(super) output: Option<u64>,
}

/// Dropped before its end it closes the connection, by which the server knows that nobody wants the answer.
pub(super) struct Exchange {
    /// `None` once the request has ended.
    socket: Option<Socket>,
    pool: Rc<Pool>,
    /// What is to be sent, and how much of it was.
    output: Vec<u8>,
    sent: usize,
    body: Body,
    /// All of the body is in `output`, or the server takes no more.
    fed: bool,
    input: BytesMut,
    buffer: Box<[u8]>,
    errors: ErrorLog,
    clock: Clock,
    allowance: Allowance,
    /// The present limit of the clock, for the log.
    limit: Duration,
    received: u64,
    _place: (Pass, Active),
}

impl Exchange {
    /// Goes on with a request whose parameters are in `output`, with the end of its body if that is empty; `sent` bytes of it have gone out.
    pub(super) fn new(
        (socket, pool): (Socket, Rc<Pool>),
        (output, sent): (Vec<u8>, usize),
        body: Body,
        errors: ErrorLog,
        allowance: Allowance,
        place: (Pass, Active),
    ) -> Self {
        Self {
            socket: Some(socket),
            pool,
            output,
            sent,
            fed: body.is_empty(),
            body,
            input: BytesMut::new(),
            buffer: vec![0; PIECE].into(),
            errors,
            clock: Clock::new(allowance.head.saturating_sub(allowance.waited)),
            allowance,
            limit: allowance.head,
            received: 0,
            _place: place,
        }
    }

    /// Sends. Whether the server may be waiting for the client.
    fn poll_send(&mut self, cx: &mut Context<'_>) -> Result<bool, Failure> {
        for _ in 0..TURNS {
            let Some(socket) = &self.socket else { return Ok(false) };
            if self.sent < self.output.len() {
                match socket.poll_write_vectored(cx, &[IoSlice::new(&self.output[self.sent..])]) {
                    Poll::Ready(Ok(count)) => self.sent += count,
                    // A server need not read the body; what it has to say is still to be read.
                    Poll::Ready(Err(_)) => {
                        self.fed = true;
                        self.output.clear();
                        self.sent = 0;
                    }
                    Poll::Pending => return Ok(false),
                }
                continue;
            }
            self.output.clear();
            self.sent = 0;
            if self.fed {
                return Ok(false);
            }
            match self.body.poll_chunk(cx) {
                Poll::Ready(Ok(Some(chunk))) => write_record(Kind::Stdin, REQUEST, &chunk, &mut self.output),
                Poll::Ready(Ok(None)) => {
                    write_end(Kind::Stdin, REQUEST, &mut self.output);
                    self.fed = true;
                }
                Poll::Ready(Err(error)) => return Err(Failure::Body(error)),
                Poll::Pending => return Ok(true),
            }
        }
        cx.waker().wake_by_ref();
        Ok(false)
    }

    fn poll_receive(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Bytes>, Failure>> {
        loop {
            let Some(socket) = &self.socket else { return Poll::Ready(Ok(None)) };
            if let Some(record) = decode(&self.input).map_err(Failure::Record)? {
                let (kind, consumed, ours) = (record.kind, record.consumed, record.request == REQUEST);
                let content = Bytes::copy_from_slice(record.content);
                self.input.advance(consumed);
                match kind {
                    Kind::Stdout if ours && !content.is_empty() => return Poll::Ready(self.received(content)),
                    Kind::Stderr if ours => self.errors.push(&content),
                    Kind::EndRequest if ours => return Poll::Ready(self.end(&content)),
                    // What is not about this request means nothing (section 3.3).
                    _ => {}
                }
                continue;
            }
            match ready!(socket.poll_read(cx, &mut self.buffer)) {
                Ok(0) => return Poll::Ready(Err(Failure::Gone)),
                Ok(count) => self.input.extend_from_slice(&self.buffer[..count]),
                // Closed with something of ours unread.
                Err(error) if error.kind() == io::ErrorKind::ConnectionReset => return Poll::Ready(Err(Failure::Gone)),
                Err(error) => return Poll::Ready(Err(Failure::Io(error))),
            }
        }
    }

    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Bytes>, Failure>> {
        let starved = self.poll_send(cx)?;
        let polled = self.poll_receive(cx);
        if polled.is_ready() {
            // From here on it is the client who takes his time, and then the next piece has its own.
            self.limit = self.allowance.body;
            self.clock.reset(self.limit);
            return polled;
        }
        if starved {
            self.clock.pause();
            return Poll::Pending;
        }
        self.clock.run();
        self.clock.poll(cx).map(|()| Err(Failure::TimedOut(self.limit)))
    }

    fn received(&mut self, content: Bytes) -> Result<Option<Bytes>, Failure> {
        self.received += content.len() as u64;
        match self.allowance.output.filter(|&most| self.received > most) {
            Some(most) => Err(Failure::TooMuch(most)),
            None => Ok(Some(content)),
        }
    }

    /// The end of the request. A connection on which nothing is left may serve another.
    fn end(&mut self, content: &[u8]) -> Result<Option<Bytes>, Failure> {
        let end = EndRequest::read(content).map_err(Failure::Record)?;
        let socket = self.socket.take();
        if end.protocol != ProtocolStatus::Complete {
            return Err(Failure::Refused(end.protocol));
        }
        if self.fed
            && self.sent == self.output.len()
            && self.input.is_empty()
            && let Some(socket) = socket
        {
            self.pool.put(socket);
        }
        Ok(None)
    }
}

impl Program for Exchange {
    fn poll_output(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Bytes>, Failure>> {
        let polled = self.poll_next(cx);
        // It is the client who fails in its body.
        if matches!(&polled, Poll::Ready(Err(failure)) if !matches!(failure, Failure::Body(_))) {
            self.pool.failed();
        }
        polled
    }

    fn is_fed(&self) -> bool {
        self.fed || self.socket.is_none()
    }

    fn finish(mut self) -> Pin<Box<dyn Future<Output = Result<(), Failure>>>> {
        Box::pin(async move {
            while poll_fn(|cx| self.poll_output(cx)).await?.is_some() {}
            Ok(())
        })
    }
}
