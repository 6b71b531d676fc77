//! A channel on the reactor.

use std::cell::Cell;
use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::rc::Rc;

use crate::reactor::{Io, spawn};
use crate::sys::channel::Channel;

/// One end of a channel in a process that runs a reactor: receiving waits, sending never does.
pub struct Port {
    io: Io<Channel>,
    flushing: Cell<bool>,
}

impl Port {
    /// Puts a channel on this thread's reactor.
    ///
    /// # Errors
    /// When the reactor cannot register it.
    pub fn new(channel: Channel) -> io::Result<Rc<Self>> {
        Ok(Rc::new(Self { io: Io::new(channel)?, flushing: Cell::new(false) }))
    }

    /// Sends a message, or queues it within the channel's limit.
    ///
    /// # Errors
    /// The peer is gone or does not read.
    pub fn send(self: &Rc<Self>, body: &[u8], fds: &[BorrowedFd<'_>]) -> io::Result<()> {
        let channel = self.io.get_ref();
        channel.send(body, fds)?;
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
        Ok(())
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
