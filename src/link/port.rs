//! A channel on the reactor.

use std::cell::Cell;
use std::future::poll_fn;
use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::rc::Rc;
use std::task::{Poll, ready};

use serde::Serialize;

use crate::reactor::{Io, spawn};
use crate::sys::channel::Channel;

/// So many bytes are written at once without waiting for more.
const FULL_WRITE: usize = 64 << 10;

/// Room for a message while it is written: most need no more, and what is larger is no trouble for the allocator each time.
const MESSAGE: usize = 1000;

/// One end of a channel in a process that runs a reactor: receiving waits, sending never does.
pub struct Port {
    io: Io<Channel>,
    flushing: Cell<bool>,
    /// A task that sends what was posted is on its way.
    posted: Cell<bool>,
}

impl Port {
    /// Puts a channel on this thread's reactor.
    ///
    /// # Errors
    /// When the reactor cannot register it.
    pub fn new(channel: Channel) -> io::Result<Rc<Self>> {
        Ok(Rc::new(Self { io: Io::mostly_read(channel)?, flushing: Cell::new(false), posted: Cell::new(false) }))
    }

    /// Sends a message, or queues it within the channel's limit.
    ///
    /// # Errors
    /// The peer is gone or does not read.
    pub fn send(self: &Rc<Self>, body: &[u8], fds: &[BorrowedFd<'_>]) -> io::Result<()> {
        self.io.get_ref().send(body, fds)?;
        self.flush_later();
        Ok(())
    }

    /// Sends a message of worker or hub.
    ///
    /// # Errors
    /// As [`Port::send`].
    pub fn send_message<T: Serialize>(self: &Rc<Self>, message: &T) -> io::Result<()> {
        let body = postcard::to_extend(message, Vec::with_capacity(MESSAGE)).map_err(io::Error::other)?;
        self.send(&body, &[])
    }

    /// Queues a message behind those sent before: it leaves with everything else that is posted in this turn of the loop, in one write.
    ///
    /// # Errors
    /// `WouldBlock` when the peer does not read and the queue is full, `InvalidInput` when the message is too long.
    pub fn post(self: &Rc<Self>, body: &[u8]) -> io::Result<()> {
        let channel = self.io.get_ref();
        let waiting = channel.enqueue(body)?;
        if self.flushing.get() {
            return Ok(());
        }
        if waiting >= FULL_WRITE {
            // A peer that is gone is told to whoever receives.
            let _ = channel.flush();
            self.flush_later();
        } else if !self.posted.replace(true) {
            let port = self.clone();
            spawn(async move {
                port.posted.set(false);
                let _ = port.io.get_ref().flush();
                port.flush_later();
            })
            .detach();
        }
        Ok(())
    }

    /// Bytes that wait for the peer to read.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.io.get_ref().waiting()
    }

    /// Waits for the peer where not everything could be sent.
    fn flush_later(self: &Rc<Self>) {
        let channel = self.io.get_ref();
        if channel.wants_write() && !self.flushing.replace(true) {
            let port = self.clone();
            spawn(async move {
                let flushed = port.io.write_with(|channel| {
                    channel.flush()?;
                    if channel.wants_write() { Err(io::ErrorKind::WouldBlock.into()) } else { Ok(()) }
                });
                // A peer that is gone is told to whoever receives.
                let _ = flushed.await;
                port.flushing.set(false);
            })
            .detach();
        }
    }

    /// The next message that is there already.
    ///
    /// # Errors
    /// As [`Port::receive`].
    pub fn received(&self) -> io::Result<Option<(Vec<u8>, Vec<OwnedFd>)>> {
        self.io.get_ref().recv()
    }

    /// The next message, which `take` makes something of. Descriptors of it are closed.
    ///
    /// # Errors
    /// As [`Port::receive`].
    pub async fn receive_as<R>(&self, mut take: impl FnMut(&[u8]) -> R) -> io::Result<R> {
        poll_fn(|cx| {
            loop {
                if let Some(taken) = self.io.get_ref().take_read(&mut take)? {
                    return Poll::Ready(Ok(taken));
                }
                // A socket that was found empty is not asked again before the kernel tells of more.
                if !ready!(self.io.poll_read_with(cx, Channel::fill))? {
                    self.io.drained();
                }
            }
        })
        .await
    }

    /// The next message and its descriptors.
    ///
    /// # Errors
    /// `UnexpectedEof` when the peer is gone, `InvalidData` when it breaks the framing.
    pub async fn receive(&self) -> io::Result<(Vec<u8>, Vec<OwnedFd>)> {
        self.io
            .read_with(|channel| match channel.recv() {
                Ok(Some(message)) => Ok(message),
                Ok(None) => Err(io::ErrorKind::WouldBlock.into()),
                Err(error) => Err(error),
            })
            .await
    }
}
