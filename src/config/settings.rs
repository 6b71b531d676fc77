//! The configuration as checked: what the rest of the program works with.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::written::{Admin, App, Client, Events, Server, Workers};
use crate::net::Address;
use crate::telemetry::config::{AccessLog, Log};

/// The configuration as checked. Every path is absolute, every route names an application that exists, every limit makes sense.
///
/// The master sends it to its workers as JSON, secrets included; `Debug` hides them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Settings {
    /// The file it came from. None: the built-in defaults.
    pub file: Option<PathBuf>,
    /// The directory that relative paths were relative to.
    pub base: PathBuf,
    /// The user that workers run as, by name or number; it exists.
    pub user: Option<String>,
    /// The group that workers run as, by name or number; it exists.
    pub group: Option<String>,
    /// The root directory of the workers.
    pub chroot: Option<PathBuf>,
    /// The working directory of the workers, as seen inside the chroot.
    pub cwd: Option<PathBuf>,
    /// The directory for what must be kept.
    pub data: PathBuf,
    /// The directory for what lives as long as the server.
    pub run: PathBuf,
    /// The file with the master's process id.
    pub pid_file: PathBuf,
    /// Whether a saved configuration or application takes effect by itself.
    pub auto_reload: bool,
    /// Development mode.
    pub dev: bool,
    /// The log.
    pub log: Log,
    /// The log of requests.
    pub access_log: Option<AccessLog>,
    /// How many workers there are, and how long they live.
    pub workers: Workers,
    /// The admin listener.
    pub admin: Admin,
    /// Where documents are kept.
    pub store: Store,
    /// What carries events between workers.
    pub events: Events,
    /// Connections to other servers, by name.
    pub clients: BTreeMap<String, Client>,
    /// Applications, by name.
    pub apps: BTreeMap<String, App>,
    /// Servers, by name.
    pub servers: BTreeMap<String, Server>,
}

/// Where documents are kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Store {
    /// In this file.
    Embedded {
        /// The file, made when it does not exist.
        path: PathBuf,
    },
}

/// What stands for the admin listener where a server's name is expected; no server may be called so.
pub const ADMIN: &str = "admin";

impl Settings {
    /// Every address that must be bound, with the name of its server: servers by name, then the admin listener as [`ADMIN`].
    #[must_use]
    pub fn listeners(&self) -> Vec<(&str, &Address)> {
        let servers = self.servers.iter().flat_map(|(name, server)| server.listen().iter().map(|address| (name.as_str(), address)));
        servers.chain(self.admin.listen.iter().map(|address| (ADMIN, address))).collect()
    }
}
