//! The bytes of a connection, as `h2` wants them.

use std::cell::Cell;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::net::Stream;
use crate::reactor::{Alarm, TimedOut};

/// Bytes that went over a connection.
#[derive(Default)]
pub(super) struct Moved {
    pub(super) received: Cell<u64>,
    pub(super) sent: Cell<u64>,
}

/// A stream, with what was read of it already in front.
pub(super) struct Transport {
    stream: Stream,
    early: Vec<u8>,
    taken: usize,
    /// How long a write may take nothing.
    limit: Duration,
    stalled: Alarm,
    moved: Rc<Moved>,
}

impl Transport {
    pub(super) fn new(stream: Stream, early: Vec<u8>, limit: Duration, moved: Rc<Moved>) -> Self {
        Self { stream, early, taken: 0, limit, stalled: Alarm::new(), moved }
    }

    /// A write that makes no progress ends the connection in time.
    fn bounded<T>(&self, cx: &mut Context<'_>, polled: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if polled.is_ready() {
            self.stalled.clear();
            return polled;
        }
        if !self.stalled.is_set() {
            self.stalled.set(self.limit);
        }
        self.stalled.poll(cx).map(|()| Err(TimedOut.into()))
    }
}

impl AsyncRead for Transport {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if self.taken < self.early.len() {
            let count = (self.early.len() - self.taken).min(buffer.remaining());
            buffer.put_slice(&self.early[self.taken..self.taken + count]);
            self.taken += count;
            if self.taken == self.early.len() {
                self.early = Vec::new();
                self.taken = 0;
            }
            return Poll::Ready(Ok(()));
        }
        let read = match self.stream.poll_read(cx, buffer.initialize_unfilled()) {
            Poll::Ready(read) => read?,
            Poll::Pending => return Poll::Pending,
        };
        buffer.advance(read);
        self.moved.received.set(self.moved.received.get() + read as u64);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Transport {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(cx, &[IoSlice::new(bytes)])
    }

    fn poll_write_vectored(self: Pin<&mut Self>, cx: &mut Context<'_>, slices: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        let written = self.stream.poll_write_vectored(cx, slices);
        if let Poll::Ready(Ok(count)) = &written {
            self.moved.sent.set(self.moved.sent.get() + *count as u64);
        }
        self.bounded(cx, written)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = self.stream.poll_flush(cx);
        self.bounded(cx, flushed)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let closed = self.stream.poll_shutdown_write(cx);
        self.bounded(cx, closed)
    }
}
