//! The bytes of one connection: what came and is not used yet, what is to go out, and the deadline of both.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::io::{self, IoSlice};
use std::rc::{Rc, Weak};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use crate::net::Stream;
use crate::reactor::{self, Alarm, PutOff, TimedOut};
use crate::servers::buffers;

/// Output kept together before it must go: replies to pipelined requests leave in one write.
pub(super) const OUTPUT: usize = 64 << 10;
/// A connection's stream and buffers. While nothing has arrived it holds no input buffer, so that an idle connection is small.
pub(super) struct Wire {
    pub(super) stream: Stream,
    input: RefCell<Input>,
    output: RefCell<Vec<u8>>,
    /// The deadline of whatever the connection's own task waits for.
    pub(super) alarm: Alarm,
    /// When an exchange is reported that still waits. One for the whole connection: the queue of timers is not touched by each request.
    pub(super) slow: Alarm,
    pub(super) received: Cell<u64>,
    pub(super) sent: Cell<u64>,
    /// The output goes at the end of the turn.
    put_off: Cell<bool>,
}

/// It grows up to what a head may take.
#[derive(Default)]
struct Input {
    buffer: Vec<u8>,
    start: usize,
    end: usize,
}

impl Drop for Input {
    fn drop(&mut self) {
        buffers::give_back(std::mem::take(&mut self.buffer));
    }
}

impl PutOff for Wire {
    fn run(&self) {
        self.put_off.set(false);
        let mut output = self.output.borrow_mut();
        let Stream::Plain(socket) = &self.stream else { return };
        if output.is_empty() {
            return;
        }
        match socket.try_send(&output) {
            Ok(written) if written == output.len() => self.advance(&mut output, written),
            // The connection's own task sees to the rest: it may wait, and it knows what to do when the client is gone.
            Ok(written) => {
                self.advance(&mut output, written);
                socket.wake_reader();
            }
            Err(_) => socket.wake_reader(),
        }
    }
}

impl Wire {
    pub(super) fn new(stream: Stream) -> Self {
        Self {
            stream,
            input: RefCell::default(),
            output: RefCell::default(),
            alarm: Alarm::new(),
            slow: Alarm::new(),
            received: Cell::new(0),
            sent: Cell::new(0),
            put_off: Cell::new(false),
        }
    }

    /// The stream, and what has arrived and is not used yet: the connection leaves HTTP.
    pub(super) fn into_parts(self) -> (Stream, Vec<u8>) {
        let early = self.with_input(<[u8]>::to_vec);
        (self.stream, early)
    }

    /// Looks at what has arrived and is not used yet.
    pub(super) fn with_input<R>(&self, f: impl FnOnce(&[u8]) -> R) -> R {
        let input = self.input.borrow();
        f(&input.buffer[input.start..input.end])
    }

    /// Whether anything has arrived that is not used yet.
    pub(super) fn has_input(&self) -> bool {
        let input = self.input.borrow();
        input.start < input.end
    }

    /// Marks input as used.
    pub(super) fn consume(&self, count: usize) {
        let mut input = self.input.borrow_mut();
        input.start = (input.start + count).min(input.end);
        if input.start == input.end {
            input.start = 0;
            input.end = 0;
        }
    }

    /// Gives the input buffer back when it holds nothing: before a wait that may be long.
    pub(super) fn rest(&self) {
        let mut input = self.input.borrow_mut();
        if input.start == input.end {
            buffers::give_back(std::mem::take(&mut input.buffer));
            input.start = 0;
            input.end = 0;
        }
    }

    /// Reads once, behind what is there already; 0 is the end of the stream. `most` bounds how much may wait unused.
    pub(super) fn poll_fill(&self, cx: &mut Context<'_>, most: usize) -> Poll<io::Result<usize>> {
        if let Stream::Plain(socket) = &self.stream {
            ready!(socket.poll_readable(cx));
        }
        let mut input = self.input.borrow_mut();
        let Input { buffer, start, end } = &mut *input;
        if buffer.is_empty() {
            *buffer = buffers::take();
        }
        if *end == buffer.len() {
            buffer.copy_within(*start..*end, 0);
            *end -= *start;
            *start = 0;
            if *end == buffer.len() {
                let larger = (buffer.len() * 2).min(most);
                if larger <= buffer.len() {
                    return Poll::Ready(Err(io::ErrorKind::OutOfMemory.into()));
                }
                buffer.resize(larger, 0);
            }
        }
        let Poll::Ready(read) = self.stream.poll_read(cx, &mut buffer[*end..])? else {
            // Only TLS comes here, which cannot tell before whether there is anything.
            if start == end {
                buffers::give_back(std::mem::take(buffer));
                (*start, *end) = (0, 0);
            }
            return Poll::Pending;
        };
        *end += read;
        self.received.set(self.received.get() + read as u64);
        Poll::Ready(Ok(read))
    }

    /// Notes that so much of the output was written.
    fn advance(&self, output: &mut Vec<u8>, written: usize) {
        self.sent.set(self.sent.get() + written as u64);
        if written < output.len() {
            output.drain(..written);
        } else if output.capacity() <= OUTPUT {
            output.clear();
        } else {
            *output = Vec::new();
        }
    }

    /// Adds to what is to go out.
    pub(super) fn with_output<R>(&self, f: impl FnOnce(&mut Vec<u8>) -> R) -> R {
        f(&mut self.output.borrow_mut())
    }

    /// How much is to go out.
    pub(super) fn pending(&self) -> usize {
        self.output.borrow().len()
    }

    /// Writes what is to go out, for who polls and watches the time itself. `more` promises a bare socket that more follows at once.
    pub(super) fn poll_drain(&self, cx: &mut Context<'_>, more: bool) -> Poll<io::Result<()>> {
        let mut output = self.output.borrow_mut();
        while !output.is_empty() {
            let slices = [IoSlice::new(&output)];
            let written = ready!(match &self.stream {
                Stream::Plain(socket) => socket.poll_send(cx, &slices, more),
                stream => stream.poll_write_vectored(cx, &slices),
            })?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.advance(&mut output, written);
        }
        self.stream.poll_flush(cx)
    }

    /// Lets the output go at the end of the turn, in company. `false`: it is to go now.
    pub(super) fn put_off(self: &Rc<Self>) -> bool {
        let Stream::Plain(_) = &self.stream else { return false };
        if !self.put_off.replace(true) {
            let wire: Weak<Self> = Rc::downgrade(self);
            reactor::put_off(wire);
        }
        true
    }

    /// Writes what is to go out, with `body` behind it, within `limit` for each write that makes progress.
    pub(super) async fn flush(&self, body: &[u8], limit: Duration) -> io::Result<()> {
        if body.is_empty() {
            return self.flush_output(limit).await;
        }
        let mut head = self.output.take();
        let result = self.write(&mut [IoSlice::new(&head), IoSlice::new(body)], limit).await;
        head.clear();
        if head.capacity() <= OUTPUT {
            self.output.replace(head);
        }
        result
    }

    async fn flush_output(&self, limit: Duration) -> io::Result<()> {
        let mut seen = None;
        poll_fn(|cx| match self.poll_drain(cx, false) {
            Poll::Pending => {
                // Each write that took something gives the next one its whole time.
                if seen.replace(self.sent.get()) != Some(self.sent.get()) {
                    self.alarm.set(limit);
                }
                self.alarm.poll(cx).map(|()| Err(TimedOut.into()))
            }
            drained => drained,
        })
        .await
    }

    async fn write(&self, mut slices: &mut [IoSlice<'_>], limit: Duration) -> io::Result<()> {
        IoSlice::advance_slices(&mut slices, 0);
        while !slices.is_empty() {
            self.alarm.set(limit);
            let written = poll_fn(|cx| match self.stream.poll_write_vectored(cx, slices) {
                Poll::Pending => self.alarm.poll(cx).map(|()| Err(TimedOut.into())),
                written => written,
            })
            .await?;
            if written == 0 {
                return Err(io::ErrorKind::WriteZero.into());
            }
            self.sent.set(self.sent.get() + written as u64);
            IoSlice::advance_slices(&mut slices, written);
        }
        self.alarm.set(limit);
        poll_fn(|cx| match self.stream.poll_flush(cx) {
            Poll::Pending => self.alarm.poll(cx).map(|()| Err(TimedOut.into())),
            flushed => flushed,
        })
        .await
    }

    /// Sends the buffers' memory back while a long wait begins.
    pub(super) fn release_output(&self) {
        let mut output = self.output.borrow_mut();
        if output.is_empty() {
            *output = Vec::new();
        }
    }
}
