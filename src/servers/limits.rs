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

/// HTTP/2 connections: docs/http2.md.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Http2 {
    /// Whether it is spoken: with clients that choose it in the TLS handshake, and without TLS with those that begin with it.
    pub enabled: bool,
    /// Requests under way on one connection. Further ones are refused, and may be repeated.
    pub streams: u32,
    /// What a client may send of the body of one request before the application reads it.
    pub window: HumanSize,
    /// The same for all requests of a connection together.
    pub connection_window: HumanSize,
    /// What may wait to be sent of one answer.
    pub send_buffer: HumanSize,
    /// Requests that a client may begin and take back at once, before the connection is closed (CVE-2023-44487).
    pub resets: u32,
}

impl Default for Http2 {
    fn default() -> Self {
        Self {
            enabled: true,
            streams: 100,
            window: HumanSize::kib(256),
            connection_window: HumanSize::mib(1),
            send_buffer: HumanSize::kib(64),
            resets: 100,
        }
    }
}
