//! How a Luau application is configured.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::net::Network;
use crate::units::{HumanDuration, HumanSize};

/// What a path begins with that names an application inside the binary.
pub const EMBEDDED_PREFIX: &str = "embedded:";

/// The applications inside the binary.
pub const EMBEDDED: [&str; 3] = ["examples", "chat", "push"];

/// The file of an application's directory that is loaded first: the first of these that is there.
pub const ENTRIES: [&str; 2] = ["main.luau", "init.luau"];

/// A Luau application.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ScriptApp {
    /// The directory of the application, whose `main.luau` is loaded, or one Luau file.
    /// `"embedded:examples"`, `"embedded:chat"` and `"embedded:push"` are inside the binary.
    pub path: PathBuf,
    /// What the application's `init` is called with: any value, written in RON.
    pub config: serde_json::Value,
    /// Directories of files that the application may have sent in the place of a reply's body, with the header `X-Sendfile`. An empty list: none, and the
    /// header is one like others. `skep.file` needs none.
    pub sendfile_roots: Vec<PathBuf>,
    /// What the application may use.
    pub limits: ScriptLimits,
}

impl ScriptApp {
    /// The name of the application inside the binary, when `path` names one.
    #[must_use]
    pub fn embedded(&self) -> Option<&str> {
        self.path.to_str().and_then(|path| path.strip_prefix(EMBEDDED_PREFIX))
    }
}

/// What an application may use. A breach is an error in that application; other applications of the worker do not notice.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ScriptLimits {
    /// Memory of the application's VM, in each worker.
    pub memory: HumanSize,
    /// How long the application may run without waiting for anything.
    pub step: HumanDuration,
    /// Sockets that may be open at the same time, in each worker: connections that it serves itself (WebSocket, TCP), makes, and listens for.
    pub sockets: u32,
    /// Subscriptions to events that may exist at the same time, in each worker.
    pub subscriptions: u32,
    /// Tasks (`skep.spawn`, timers, handlers at work) that may exist at the same time, in each worker.
    pub tasks: u32,
    /// The largest body of a request, or part of one, that is handed over whole (`req:body()`, `req:json()`, `part:read()`). What is read piece by
    /// piece is bounded by the server's `max_body` alone.
    pub body: HumanSize,
    /// Files and directories that may be read, besides the application's own directory. Relative to this file.
    pub read: Vec<PathBuf>,
    /// Files and directories that may be written (and read). Relative to this file.
    pub write: Vec<PathBuf>,
    /// Whether programs may be run.
    pub processes: bool,
    /// Programs that may run at the same time, in each worker.
    pub max_processes: u32,
    /// Networks that may be reached. An empty list: none.
    pub networks: Vec<Network>,
}

impl Default for ScriptLimits {
    fn default() -> Self {
        Self {
            memory: HumanSize::mib(64),
            step: HumanDuration::seconds(2),
            sockets: 10_000,
            subscriptions: 100_000,
            tasks: 16_384,
            body: HumanSize::mib(16),
            read: Vec::new(),
            write: Vec::new(),
            processes: false,
            max_processes: 16,
            networks: Network::everywhere(),
        }
    }
}
