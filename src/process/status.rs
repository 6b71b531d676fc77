use std::path::Path;
use std::time::SystemTime;

use serde::{Deserialize, Serialize};

use super::ListenerName;
use crate::limiter::Refusals;
use crate::net::Certificate;
use crate::scoreboard::{SlotStatus, StateCounts, UpstreamStatus};
use crate::telemetry::clock;

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
    /// The servers that applications pass requests on to, in all workers together.
    #[serde(default)]
    pub upstreams: Vec<UpstreamStatus>,
    /// How many of those are not shown: a worker has room for 64.
    #[serde(default)]
    pub upstreams_left_out: u64,
    /// What limits by address refused, of all servers, since the start.
    #[serde(default)]
    pub limits: Refusals,
}

/// A certificate that is shown to clients.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CertificateStatus {
    /// The names and addresses it is for.
    pub names: Vec<String>,
    /// The file it is in.
    pub file: String,
    /// From when on it holds, in RFC 3339.
    pub begins: String,
    /// Until when, in RFC 3339.
    pub ends: String,
    /// Whole days until then; below zero when it has expired.
    pub days_left: i64,
}

impl CertificateStatus {
    /// How it is at a moment.
    #[must_use]
    pub fn new(file: &Path, certificate: Certificate, now: SystemTime) -> Self {
        let moment = |seconds: u64| String::from_utf8_lossy(&clock::iso(seconds.saturating_mul(1000))).into_owned();
        Self {
            file: file.display().to_string(),
            begins: moment(certificate.begins),
            ends: moment(certificate.ends),
            days_left: certificate.days_left(now),
            names: certificate.names,
        }
    }
}

/// A certificate that is ordered by ACME.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OrderStatus {
    /// The names it is for.
    pub names: Vec<String>,
    /// `"ordering"`, `"served"` or `"failed"`.
    pub state: String,
    /// Orders that have failed since the last that did not.
    pub failures: u32,
    /// Why the last of them failed, and what to do.
    pub error: Option<String>,
    /// When the next is made, in RFC 3339.
    pub next: Option<String>,
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
    /// The certificates that are shown to clients; whoever watches this instance sees in time which of them expires.
    #[serde(default)]
    pub certificates: Vec<CertificateStatus>,
    /// Certificates that are ordered by ACME.
    #[serde(default)]
    pub orders: Vec<OrderStatus>,
    /// Resident memory of the master, bytes.
    pub rss: u64,
    /// Workers that ended without being asked to, since the start.
    pub crashes: u64,
    /// The last thing that went wrong (a configuration that was refused, a crash loop) and has not been put right since.
    pub last_error: Option<String>,
    /// What dropping privileges could not do, in words.
    pub privileges: Vec<String>,
}
