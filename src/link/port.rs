//! A channel on the reactor.

use std::cell::Cell;
use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::rc::Rc;

use crate::reactor::{Io, spawn};
use crate::sys::channel::Channel;

/// So many bytes are written at once without waiting for more.
const FULL_WRITE: usize = 64 << 10;

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
        Ok(Rc::new(Self { io: Io::new(channel)?, flushing: Cell::new(false), posted: Cell::new(false) }))
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
