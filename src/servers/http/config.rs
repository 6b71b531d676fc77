//! How an HTTP server is configured.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::net::Address;
use crate::net::tls_files::TlsFiles;
use crate::request::route::Route;
use crate::units::{HumanDuration, HumanSize};
use crate::websocket::config::WebSocket;

/// An HTTP server.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Http {
    /// Addresses to listen on: `"127.0.0.1:80"`, `"[::1]:80"`, `":80"` (every IPv4 address), `"unix:run/web.sock"`.
    pub listen: Vec<Address>,
    /// Certificate and key, for HTTPS. None: plain HTTP, which is all that this version serves.
    pub tls: Option<TlsFiles>,
    /// Which application answers what.
    pub routes: Vec<Route>,
    /// The longest request line. Longer: 414.
    pub max_line: HumanSize,
    /// The most header fields of a request. More: 431.
    pub max_headers: u32,
    /// The most bytes of header fields of a request. More: 431.
    pub max_header_bytes: HumanSize,
    /// The largest body of a request. Larger: 413.
    pub max_body: HumanSize,
    /// Connections open at the same time, in each worker. Further ones wait in the kernel's queue.
    pub max_connections: u32,
    /// Requests on one connection before it is closed.
    pub keep_alive_requests: u32,
    /// How long the client may take for what.
    pub timeouts: HttpTimeouts,
    /// What happens to files that clients send in forms.
    pub uploads: Uploads,
    /// WebSocket connections.
    pub websocket: Box<WebSocket>,
    /// Whether the Server header is sent.
    pub server_tokens: bool,
    /// Applications that let a client wait for longer than this, for the head of an answer or for the next piece of one that is
    /// written bit by bit, are reported in the log while they wait, once a request, with the lines of the script where they do. What
    /// goes on for longer is not slow by that, nor is a client that takes its answer slowly, nor a stream of events
    /// (`text/event-stream`) in which nothing happens. None: none.
    pub slow_request: Option<HumanDuration>,
}

impl Default for Http {
    fn default() -> Self {
        Self {
            listen: Vec::new(),
            tls: None,
            routes: Vec::new(),
            max_line: HumanSize::kib(8),
            max_headers: 100,
            max_header_bytes: HumanSize::kib(32),
            max_body: HumanSize::mib(64),
            max_connections: 10_000,
            keep_alive_requests: 10_000,
            timeouts: HttpTimeouts::default(),
            uploads: Uploads::default(),
            websocket: Box::default(),
            server_tokens: true,
            slow_request: Some(HumanDuration::seconds(5)),
        }
    }
}

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
