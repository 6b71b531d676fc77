//! A descriptor of the reactor: operations that would block wait for its readiness.

use std::cell::Cell;
use std::future::poll_fn;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use super::poller::{Interest, Source, keep};
use super::{Reactor, current, is_running};
use crate::sys::prefetch;

/// A non-blocking descriptor registered for its whole life. At most one task waits to read, one to write, one for the hang-up.
/// `T` owns the descriptor and closes it when dropped.
pub struct Io<T: AsFd> {
    inner: T,
    key: usize,
    source: Rc<Source>,
    interest: Interest,
    /// Room to write is told just now, of those of which it is told only at times.
    asks_for_room: Cell<bool>,
}

impl<T: AsFd> Io<T> {
    /// Has what is known of its readiness loaded: it is asked soon.
    pub fn prefetch(&self) {
        prefetch::value(std::ptr::from_ref(&*self.source));
    }

    /// Registers a connection (edge-triggered). The descriptor must be non-blocking.
    ///
    /// # Errors
    /// When the kernel refuses the registration.
    pub fn new(inner: T) -> io::Result<Self> {
        Self::with(inner, Interest::Edge)
    }

    /// Registers a connection (edge-triggered) that is hardly ever full, so that room to write is told only to who waits for it: a unix socket
    /// would tell of it at every read of the peer, each time for nothing.
    ///
    /// # Errors
    /// When the kernel refuses the registration.
    pub fn mostly_read(inner: T) -> io::Result<Self> {
        Self::with(inner, Interest::Reading)
    }

    /// Registers a listener (level-triggered): its accept queue is shared with other processes.
    ///
    /// # Errors
    /// When the kernel refuses the registration.
    pub fn listener(inner: T) -> io::Result<Self> {
        Self::with(inner, Interest::Level)
    }

    fn with(inner: T, interest: Interest) -> io::Result<Self> {
        let (key, source) = current(|reactor| reactor.poller.add(inner.as_fd(), interest))?;
        Ok(Self { inner, key, source, interest, asks_for_room: Cell::new(false) })
    }

    /// The descriptor's owner.
    #[must_use]
    pub fn get_ref(&self) -> &T {
        &self.inner
    }

    /// Says that a read took less than it asked for: nothing is left to read until the next edge, except a known end of stream.
    pub fn drained(&self) {
        if !self.source.hung_up.get() {
            self.source.readable.set(false);
        }
    }

    /// Says that a read is worth trying: what has come since the loop last asked the kernel is not known yet.
    pub fn recheck(&self) {
        self.source.readable.set(true);
    }

    /// Says that a write took less than it was given: the next one would block.
    pub fn filled(&self) {
        self.source.writable.set(false);
    }

    /// Whether the peer has closed its side or the connection broke, as far as the kernel has told.
    #[must_use]
    pub fn is_hung_up(&self) -> bool {
        self.source.hung_up.get()
    }

    /// Ready when the peer has closed its side or the connection broke.
    pub fn poll_hang_up(&self, cx: &mut Context<'_>) -> Poll<()> {
        if self.source.hung_up.get() {
            return Poll::Ready(());
        }
        keep(&self.source.watcher, cx.waker());
        Poll::Pending
    }

    /// Lets the task that waits to read look around once, for a reason other than readiness.
    pub fn wake_reader(&self) {
        if let Some(waker) = self.source.reader.take() {
            waker.wake();
        }
    }

    /// Ready when a read may succeed.
    pub fn poll_readable(&self, cx: &mut Context<'_>) -> Poll<()> {
        if self.source.readable.get() {
            return Poll::Ready(());
        }
        keep(&self.source.reader, cx.waker());
        Poll::Pending
    }

    /// Tries `op` now and whenever the descriptor becomes readable, until it does not say `WouldBlock`.
    ///
    /// # Errors
    /// Whatever `op` gives.
    pub fn poll_read_with<R>(&self, cx: &mut Context<'_>, mut op: impl FnMut(&T) -> io::Result<R>) -> Poll<io::Result<R>> {
        loop {
            ready!(self.poll_readable(cx));
            match op(&self.inner) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => self.source.readable.set(false),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                result => return Poll::Ready(result),
            }
        }
    }

    /// Tries `op` now and whenever the descriptor becomes writable, until it does not say `WouldBlock`.
    ///
    /// # Errors
    /// Whatever `op` gives.
    pub fn poll_write_with<R>(&self, cx: &mut Context<'_>, mut op: impl FnMut(&T) -> io::Result<R>) -> Poll<io::Result<R>> {
        loop {
            if !self.source.writable.get() {
                keep(&self.source.writer, cx.waker());
                return Poll::Pending;
            }
            match op(&self.inner) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.source.writable.set(false);
                    if let Err(error) = self.ask_for_room(true) {
                        return Poll::Ready(Err(error));
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                result => return Poll::Ready(self.ask_for_room(false).and(result)),
            }
        }
    }

    /// Tries `op` once, and only if the descriptor may be writable, for who does not wait.
    ///
    /// # Errors
    /// `WouldBlock`, and whatever `op` gives.
    pub fn try_write_with<R>(&self, op: impl FnOnce(&T) -> io::Result<R>) -> io::Result<R> {
        if !self.source.writable.get() {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        op(&self.inner)
    }

    /// Has room to write told from now on, or not any more, where that is not always so.
    fn ask_for_room(&self, on: bool) -> io::Result<()> {
        if self.interest != Interest::Reading || self.asks_for_room.replace(on) == on {
            return Ok(());
        }
        current(|reactor| reactor.poller.set(self.inner.as_fd(), self.key, self.interest, on))
    }

    /// [`Io::poll_read_with`] as a future.
    ///
    /// # Errors
    /// Whatever `op` gives.
    pub async fn read_with<R>(&self, mut op: impl FnMut(&T) -> io::Result<R>) -> io::Result<R> {
        poll_fn(|cx| self.poll_read_with(cx, &mut op)).await
    }

    /// [`Io::poll_write_with`] as a future.
    ///
    /// # Errors
    /// Whatever `op` gives.
    pub async fn write_with<R>(&self, mut op: impl FnMut(&T) -> io::Result<R>) -> io::Result<R> {
        poll_fn(|cx| self.poll_write_with(cx, &mut op)).await
    }

    /// Waits until a listener has something to accept. Unlike a connection's edge this holds for one wait only.
    pub async fn readable(&self) {
        self.source.readable.set(false);
        poll_fn(|cx| self.poll_readable(cx)).await;
    }

    /// Stops (`false`) or resumes (`true`) telling a listener's readiness.
    ///
    /// # Errors
    /// When the kernel refuses, or for a connection.
    pub fn set_listening(&self, on: bool) -> io::Result<()> {
        if self.interest != Interest::Level {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        current(|reactor: &Rc<Reactor>| reactor.poller.set(self.inner.as_fd(), self.key, self.interest, on))
    }
}

impl<T: AsFd> AsFd for Io<T> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.inner.as_fd()
    }
}

impl<T: AsFd> Drop for Io<T> {
    fn drop(&mut self) {
        if is_running() {
            // A connection's descriptor is ours alone and closed right after this, which takes it out of epoll: one call saved.
            let shared = (self.interest == Interest::Level).then(|| self.inner.as_fd());
            current(|reactor| reactor.poller.remove(self.key, shared));
        }
    }
}
