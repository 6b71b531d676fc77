//! Blocks of the configuration that servers of requests share.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::units::{HumanDuration, HumanSize};

/// How long a client may take.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct HttpTimeouts {
    /// From the first byte of a request to the end of its header, and from the connection to the first byte. Longer: 408.
    pub header: HumanDuration,
    /// Between two pieces of a body. Longer: 408.
    pub body: HumanDuration,
    /// Between two requests of a connection. Longer: it is closed.
    pub idle: HumanDuration,
    /// While the client takes nothing of the answer. Longer: the connection is closed.
    pub write: HumanDuration,
}

impl Default for HttpTimeouts {
    fn default() -> Self {
        Self {
            header: HumanDuration::seconds(10),
            body: HumanDuration::seconds(30),
            idle: HumanDuration::seconds(75),
            write: HumanDuration::seconds(30),
        }
    }
}

/// Files that clients send in forms.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Uploads {
    /// Where they are kept while the request lasts. None: `uploads` in the data directory.
    pub dir: Option<PathBuf>,
    /// The largest file. A larger one is dropped and carries an error; the rest of the form arrives.
    pub max_file: HumanSize,
    /// The most files of one request. More are dropped and carry an error.
    pub max_files: u32,
    /// The most fields of one form. More: 413.
    pub max_fields: u32,
    /// Files up to this size stay in memory.
    pub memory: HumanSize,
}

impl Default for Uploads {
    fn default() -> Self {
        Self { dir: None, max_file: HumanSize::mib(32), max_files: 20, max_fields: 1000, memory: HumanSize::kib(64) }
    }
}
