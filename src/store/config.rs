//! The embedded store in `config.ron`.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::units::{HumanDuration, HumanSize};

/// A store in a file of this machine. The hub writes it, in transactions that many writes share; every worker reads it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct EmbeddedStore {
    /// The file; two more beside it end in `-wal` and `-shm`. None: `store.db` in `data`.
    pub path: Option<PathBuf>,
    /// When a write is acknowledged: `Full`, when the disk has it; `Normal`, when the kernel has it. A killed process loses nothing acknowledged
    /// either way; when the machine loses power, `Normal` may lose the last writes. Neither leaves a write half done.
    pub sync: Sync,
    /// The largest document.
    pub max_document: HumanSize,
    /// The most collections.
    pub max_collections: u32,
    /// The most that one answer may hold: ask for less with `limit`.
    pub max_result: HumanSize,
    /// The most writes that wait; more are refused.
    pub max_queue: u32,
    /// How long a call may take.
    pub timeout: HumanDuration,
    /// How many changes are kept for those who follow a collection.
    pub changes: u32,
    /// How much they may take.
    pub max_changes: HumanSize,
    /// How often documents are removed whose time is over.
    pub expire_every: HumanDuration,
}

/// When a write is acknowledged.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Sync {
    /// When the disk has it.
    #[default]
    Full,
    /// When the kernel has it: a loss of power may lose the last writes.
    Normal,
}

impl Default for EmbeddedStore {
    fn default() -> Self {
        Self {
            path: None,
            sync: Sync::Full,
            max_document: HumanSize::mib(1),
            max_collections: 1000,
            max_result: HumanSize::mib(16),
            max_queue: 10_000,
            timeout: HumanDuration::seconds(10),
            changes: 10_000,
            max_changes: HumanSize::mib(64),
            expire_every: HumanDuration::seconds(1),
        }
    }
}
