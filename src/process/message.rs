use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::{OrderStatus, Status};
use crate::net::Address;

/// What the master tells a worker or the hub.
#[derive(Debug, Serialize, Deserialize)]
pub enum ToChild {
    /// Change over to another configuration in place. Answer with [`ToMaster::Updated`]; on failure everything must be as before.
    Update {
        /// Which configuration this is; the answer repeats it.
        revision: u64,
        /// [`crate::config::Settings`] as JSON.
        settings: String,
        /// Listeners to serve from now on, beside those kept; their descriptors are attached in this order.
        added: Vec<ListenerName>,
        /// Listeners to close. Connections accepted from them go on.
        removed: Vec<ListenerName>,
    },
    /// Take no new work, finish what there is, send [`ToMaster::Drained`] and return 0. When the limit has passed the master kills.
    Drain {
        /// Milliseconds.
        limit_ms: u64,
    },
    /// Go on in new log files: hand the attached descriptor, if there is one, to [`crate::telemetry::reopen`].
    ReopenLogs,
    /// Return 0 at once.
    Stop,
    /// To a worker: a new way to the hub; one descriptor is attached ([`crate::sys::channel::Channel::from_fd`]).
    HubChannel,
    /// To the hub: the way to a worker; one descriptor is attached.
    WorkerChannel {
        /// The worker's scoreboard slot.
        slot: usize,
        /// Its process id. A slot that is used again comes with another one.
        pid: i32,
    },
    /// To the hub: this worker has ended, however it did.
    WorkerGone {
        /// The scoreboard slot it had.
        slot: usize,
        /// The process id it had.
        pid: i32,
    },
    /// The answer to [`ToMaster::Ask`].
    Answer {
        /// The `id` of the question.
        id: u64,
        /// How it went.
        outcome: Outcome,
    },
}

/// What a child tells the master.
#[derive(Debug, Serialize, Deserialize)]
pub enum ToMaster {
    /// It can serve now.
    Ready,
    /// It cannot start, and returns right after this.
    Failed {
        /// The cause, in one line for the operator.
        why: String,
    },
    /// The answer to [`ToChild::Update`].
    Updated {
        /// The `revision` that was asked for.
        revision: u64,
        /// `Ok`: what cannot change without a restart, one line each. `Err`: why nothing was changed.
        result: Result<Vec<String>, String>,
    },
    /// Nothing is left to do; the process returns now.
    Drained,
    /// From the hub: a certificate that it has ordered lies in its file and is to be handed to all; [`ToChild::Update`] brings it.
    Renewed,
    /// From the hub: how it is about the certificates that it orders, all of them.
    Ordered(Vec<OrderStatus>),
    /// The hub's admin listener asks for something; the master answers with [`ToChild::Answer`]. Workers are not heard, and
    /// [`Command::Upgrade`] may not name a binary.
    Ask {
        /// Chosen by the asker, repeated in the answer.
        id: u64,
        /// What is asked for.
        command: Command,
    },
}

/// One listener by name: which server, and where.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ListenerName {
    /// The key in `servers` of the configuration, or `"admin"`.
    pub server: String,
    /// Where it listens.
    pub address: Address,
}

/// What can be asked of a running master: by a command over the control socket, by the admin listener through the hub.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Command {
    /// How everything is.
    Status,
    /// Let requests finish (up to `workers.drain`), then end.
    Stop,
    /// End now.
    HardStop,
    /// Read the configuration again and apply it in place.
    Update,
    /// Replace the workers gracefully by new ones.
    Reload,
    /// Open the log files anew.
    ReopenLogs,
    /// Hand over to a new binary without losing a connection.
    Upgrade {
        /// The binary; the one that runs (its path on disk) when absent.
        binary: Option<PathBuf>,
    },
    /// Replace one worker gracefully.
    Recycle {
        /// Its scoreboard slot.
        slot: usize,
    },
}

/// How a command went.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Outcome {
    /// Whether what was asked for has happened.
    pub ok: bool,
    /// For the person who asked, one line each: what was done, or why not.
    pub lines: Vec<String>,
    /// What is worth a look although it has happened, one line each, for the log: a command has checked the file itself.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
    /// The answer to [`Command::Status`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<Box<Status>>,
}

impl Outcome {
    /// It was done; `line` says what.
    pub fn done(line: impl Into<String>) -> Outcome {
        Outcome { ok: true, lines: vec![line.into()], ..Outcome::default() }
    }

    /// It was not done; `line` says why.
    pub fn failed(line: impl Into<String>) -> Outcome {
        Outcome { ok: false, lines: vec![line.into()], ..Outcome::default() }
    }
}

/// What the master writes to a command, a JSON line each: any number of `Progress`, then one `Done`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reply {
    /// Something long goes on; for the terminal.
    Progress(String),
    /// The end of the answer.
    Done(Outcome),
}
