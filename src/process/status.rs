use serde::{Deserialize, Serialize};

use super::ListenerName;
use crate::scoreboard::{SlotStatus, StateCounts};

/// How a running instance is: the JSON of `skep status --json` and of the admin listener's `/status`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Status {
    /// The master and what it decided.
    pub master: MasterStatus,
    /// Workers by state, as the original's `fullstatus` counts them.
    pub states: StateCounts,
    /// The hub; `None` while it is being restarted.
    pub hub: Option<SlotStatus>,
    /// The workers, by slot.
    pub workers: Vec<SlotStatus>,
}

/// The master's part of [`Status`].
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct MasterStatus {
    /// The version of the running binary.
    pub version: String,
    /// Process id.
    pub pid: i32,
    /// `"starting"`, `"running"`, `"stopping"` or `"upgrading"`.
    pub state: String,
    /// Start of this instance, milliseconds since the Unix epoch; an upgrade starts a new instance.
    pub started_ms: u64,
    /// Seconds since then.
    pub uptime_s: u64,
    /// Which configuration is in force: 1 at the start, one more with each applied update.
    pub revision: u64,
    /// The current generation of workers.
    pub generation: u64,
    /// How many workers are wanted now.
    pub wanted: usize,
    /// The configuration file; `None` on built-in defaults.
    pub config: Option<String>,
    /// What is listened on.
    pub listeners: Vec<ListenerName>,
    /// Resident memory of the master, bytes.
    pub rss: u64,
    /// Workers that ended without being asked to, since the start.
    pub crashes: u64,
    /// The last thing that went wrong (a configuration that was refused, a crash loop) and has not been put right since.
    pub last_error: Option<String>,
    /// What dropping privileges could not do, in words.
    pub privileges: Vec<String>,
}
