//! Accepting connections from a socket that several processes share.
//!
//! The master holds every listening socket, so a process that goes loses no connection in its queue. The price of a shared queue is
//! that whoever wakes first takes everything. So a worker that has clearly more connections than the least loaded one lets the
//! others go first: it looks away for a moment, then takes one if it is still there. (Measured on 1,000 sequential connections
//! over four processes: without this 391/330/145/134.)

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::socket::{setsockopt, sockopt};

use super::Peer;
use super::accept::accept;
use crate::reactor::{Io, sleep};

/// How long a loaded worker leaves the queue to the others.
const LOOK_AWAY: Duration = Duration::from_millis(1);
/// How long accepting rests when descriptors or memory run out, growing to `REST_LONGEST`.
const REST: Duration = Duration::from_millis(5);
const REST_LONGEST: Duration = Duration::from_secs(1);

/// Says how this process stands among those that share its listeners.
pub trait Balance {
    /// Whether this process should leave new connections to the others for now.
    fn is_loaded(&self) -> bool;
    /// Whether this process may take connections at all (its own limit is not reached).
    fn has_room(&self) -> bool;
}

/// A connection just accepted.
pub struct Accepted {
    /// The connection: non-blocking, closed on exec.
    pub fd: OwnedFd,
    /// Who connected.
    pub peer: Peer,
}

/// How often the kernel asks before it takes the other machine for gone.
const PROBES: u32 = 3;

impl Accepted {
    /// Has the kernel find out whether the other machine is there, after `span` without a sign of it (tcp(7)). A unix socket needs no asking.
    ///
    /// # Errors
    /// What the kernel says; the connection is as good as before.
    pub fn keep_asking(&self, span: Duration) -> io::Result<()> {
        if self.peer.ip().is_none() {
            return Ok(());
        }
        let seconds = u32::try_from(span.as_secs()).unwrap_or(u32::MAX).clamp(1, 32_767);
        setsockopt(&self.fd, sockopt::KeepAlive, &true)?;
        setsockopt(&self.fd, sockopt::TcpKeepIdle, &seconds)?;
        setsockopt(&self.fd, sockopt::TcpKeepInterval, &seconds.div_ceil(PROBES))?;
        Ok(setsockopt(&self.fd, sockopt::TcpKeepCount, &PROBES)?)
    }
}

/// A shared listening socket in this process.
pub struct Listener {
    io: Io<OwnedFd>,
}

impl Listener {
    /// Takes a listening, non-blocking socket.
    ///
    /// # Errors
    /// When the reactor cannot register it.
    pub fn new(fd: OwnedFd) -> io::Result<Self> {
        // Connections have it from their listener: a small piece of an answer does not wait until the client has acknowledged the one before
        // (40 ms and more). A unix socket knows no such wait, and refuses.
        let _unix = setsockopt(&fd, sockopt::TcpNoDelay, &true);
        Ok(Self { io: Io::listener(fd)? })
    }

    /// Waits for the next connection, after the others where `balance` says so. When descriptors or memory run out it rests, says so through
    /// `exhausted` once a rest, and tries again: it never spins and never gives up.
    ///
    /// One connection is taken for each time that the kernel tells of the queue: the other tasks get their turn in between.
    ///
    /// # Errors
    /// When the socket is no listener any more.
    pub async fn accept(&self, balance: &dyn Balance, mut exhausted: impl FnMut(&io::Error)) -> io::Result<Accepted> {
        let mut rest = REST;
        loop {
            while !balance.has_room() {
                self.rest(LOOK_AWAY).await?;
            }
            self.io.readable().await;
            if balance.is_loaded() {
                self.rest(LOOK_AWAY).await?;
            }
            match accept(self.io.as_fd()) {
                Ok(accepted) => return Ok(accepted),
                // Another process took it, it was gone before it was taken, or a signal came: the next one.
                Err(
                    Errno::EAGAIN
                    | Errno::ECONNABORTED
                    | Errno::EINTR
                    | Errno::EPROTO
                    | Errno::ENETDOWN
                    | Errno::EHOSTUNREACH
                    | Errno::ENETUNREACH,
                ) => {}
                Err(error @ (Errno::EMFILE | Errno::ENFILE | Errno::ENOBUFS | Errno::ENOMEM)) => {
                    exhausted(&error.into());
                    self.rest(rest).await?;
                    rest = (rest * 2).min(REST_LONGEST);
                }
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Looks away for a while: a queue that is not empty would otherwise wake this process at once, again and again.
    async fn rest(&self, duration: Duration) -> io::Result<()> {
        struct Resume<'a>(&'a Io<OwnedFd>);
        impl Drop for Resume<'_> {
            fn drop(&mut self) {
                // Fails only when the socket is going away, and then nothing is to be told any more.
                let _ = self.0.set_listening(true);
            }
        }
        self.io.set_listening(false)?;
        let _resume = Resume(&self.io);
        sleep(duration).await;
        Ok(())
    }
}
