//! The vocabulary between the master and the processes it forks: what a child is given, what it is told, what it answers.
//!
//! The master calls [`crate::worker::main`] or [`crate::hub::main`] with a [`ChildContext`] in the forked child, after privileges
//! were dropped, and leaves the process with the number they return. From then on the two talk over [`ChildContext::control`]:
//! [`ToChild`] one way, [`ToMaster`] the other, one JSON value a frame, descriptors beside it (see [`Channel`]).
//!
//! What a child owes the master:
//! - send [`ToMaster::Ready`] once it can serve (or [`ToMaster::Failed`] and return non-zero);
//! - answer each [`ToChild::Update`] with exactly one [`ToMaster::Updated`];
//! - after [`ToChild::Drain`], take no new work, finish what it has, send [`ToMaster::Drained`], return 0;
//! - return at once when `control` reports end of file: the master is gone;
//! - keep its scoreboard slot true: `heartbeat` while it runs, `waiting` while it sleeps, `step` around anything that may run away.

pub mod child;
pub mod control_socket;
mod message;
mod status;

pub use message::{Command, ListenerName, Outcome, Reply, ToChild, ToMaster};
pub use status::{CertificateStatus, MasterStatus, OrderStatus, Status};

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::config::Settings;
use crate::limiter::Limiter;
use crate::link::locks::{FastPath, Right};
use crate::net::Address;
use crate::scoreboard::{Scoreboard, Slot};
use crate::sys::channel::Channel;

/// Everything a forked child starts with. It owns all of it; nothing else of the master's is open in the child.
pub struct ChildContext {
    /// The child's place in the scoreboard; see [`ChildContext::own_slot`].
    pub slot: usize,
    /// Which generation of workers it belongs to: each `reload` starts a new one.
    pub generation: u64,
    /// Which configuration `settings` is: each applied `update` adds one.
    pub revision: u64,
    /// The configuration as checked.
    pub settings: Settings,
    /// Bound, listening, non-blocking sockets. Workers get those of the servers, the hub those of `admin` (named `"admin"`).
    pub listeners: Vec<ListenSocket>,
    /// To and from the master.
    pub control: Channel,
    /// To and from the hub; `None` in the hub itself. A new one comes with [`ToChild::HubChannel`] when the hub was restarted.
    pub hub: Option<Channel>,
    /// Shared by all processes of this instance.
    pub scoreboard: Scoreboard,
    /// What each address asks for; shared by all processes too.
    pub limiter: Limiter,
    /// Locks that are taken without the hub; shared as well.
    pub fast_path: FastPath,
    /// The instance's right to grant locks, which ends with the last of its processes.
    pub right: Right,
    /// What was found out before privileges were dropped.
    pub boot: BootInfo,
}

impl ChildContext {
    /// The slot this process writes.
    #[must_use]
    pub fn own_slot(&self) -> Slot {
        self.scoreboard.slot(self.slot)
    }
}

/// One bound socket and what it is for.
#[derive(Debug)]
pub struct ListenSocket {
    /// The key in `servers` of the configuration, or `"admin"`.
    pub server: String,
    /// The address as configured or, for a default that moved to the next free port, as bound.
    pub address: Address,
    /// The socket: listening (datagram sockets: bound), non-blocking, close-on-exec.
    pub fd: OwnedFd,
}

/// Facts from before the privileges were dropped and the root changed.
#[derive(Clone, Debug, Default, Serialize)]
pub struct BootInfo {
    /// The master's process id.
    pub master_pid: i32,
    /// When this instance started, milliseconds since the Unix epoch.
    pub started_ms: u64,
    /// The configuration file; `None` on built-in defaults.
    pub config: Option<PathBuf>,
    /// `skep run` without a configuration: errors are shown to the browser, saved files are live at once.
    pub dev: bool,
    /// Whether the root directory is another one than the master's.
    pub chroot: bool,
    /// `/etc/resolv.conf`, empty when there is none. In a chroot it could not be read any more.
    pub resolv_conf: String,
    /// `/etc/hosts`, empty when there is none.
    pub hosts: String,
    /// Until when lasting leases on locks may run whose workers have ended, milliseconds of [`crate::scoreboard::now_ms`]: for a new hub.
    pub leases_until: u64,
    /// No worker can know of an earlier hub: this is the first one of a start that took nothing over.
    pub first_hub: bool,
    /// What dropping privileges could not do, in words, for the log; empty when all was done.
    pub privileges: Vec<String>,
}

/// Sends one message with its descriptors. It never blocks: what the socket does not take now is queued
/// (see [`Channel::wants_write`]).
///
/// # Errors
/// The peer is gone, or reads so slowly that the queue is full.
pub fn send<T: Serialize>(channel: &Channel, message: &T, fds: &[BorrowedFd<'_>]) -> io::Result<()> {
    let body = serde_json::to_vec(message).map_err(io::Error::other)?;
    channel.send(&body, fds)
}

/// The next whole message and its descriptors; `None` when no more has arrived yet.
///
/// # Errors
/// `UnexpectedEof` when the peer has closed, `InvalidData` when it sent something else than a `T`.
pub fn receive<T: DeserializeOwned>(channel: &Channel) -> io::Result<Option<(T, Vec<OwnedFd>)>> {
    let Some((body, fds)) = channel.recv()? else {
        return Ok(None);
    };
    let message = serde_json::from_slice(&body).map_err(|e| io::Error::new(io::ErrorKind::InvalidData, e))?;
    Ok(Some((message, fds)))
}

impl AsFd for ListenSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}
