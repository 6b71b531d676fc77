//! How an HTTP server is configured.

use std::collections::BTreeMap;
use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::codec::http::http1::HeadLimits;
use crate::net::tls_files::TlsFiles;
use crate::net::{Address, Network};
use crate::request::compression::Compression;
use crate::request::errors::ErrorPage;
use crate::request::headers::{Headers, Hsts};
use crate::request::limits::Limits;
use crate::request::route::Route;
use crate::request::trusted::Trusted;
use crate::secret::Secret;
use crate::servers::limits::{Http2, HttpTimeouts, Uploads};
use crate::servers::live::Terms;
use crate::units::{HumanDuration, HumanSize};
use crate::websocket::config::{Settings, WebSocket};

/// An HTTP server.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Http {
    /// Addresses to listen on: `"127.0.0.1:80"`, `"[::1]:80"`, `":80"` (every IPv4 address), `"unix:run/web.sock"`.
    pub listen: Vec<Address>,
    /// Certificates and keys, for HTTPS (TLS 1.2 and 1.3). None: plain HTTP.
    pub tls: Option<TlsFiles>,
    /// Networks of proxies that announce each connection by the PROXY protocol, version 1 or 2
    /// (<https://www.haproxy.org/download/2.9/doc/proxy-protocol.txt>): it then has the client's address. Theirs must be announced; what others
    /// send is never taken for an announcement.
    pub proxy_protocol: Vec<Network>,
    /// Proxies that are believed when they say who their client is: the request then has the client's address, scheme and host everywhere. None:
    /// nobody is.
    pub trusted: Option<Trusted>,
    /// Whether requests that did not come encrypted are sent to the same address by HTTPS (308), before `routes` are looked at.
    pub https_only: bool,
    /// Which application answers what.
    pub routes: Vec<Route>,
    /// How answers are compressed for clients that can take that: `()` for the defaults. None: they are not.
    pub compress: Option<Box<Compression>>,
    /// Tells browsers, over encrypted connections alone, that they are to come by HTTPS only: `()` for the defaults. None: they are told nothing.
    pub hsts: Option<Hsts>,
    /// Header fields that all its answers have or have not, those too that no route gives. What a route says of a field counts before this.
    pub headers: Option<Box<Headers>>,
    /// How much one address may ask for, of all routes together: `(rate: "50/s", connections: 100)`. None: as much as it likes.
    pub limits: Option<Box<Limits>>,
    /// Pages in the place of errors: docs/errors.md.
    pub errors: Vec<ErrorPage>,
    /// The longest request line. Longer: 414.
    pub max_line: HumanSize,
    /// The most header fields of a request. More: 431.
    pub max_headers: u32,
    /// The most bytes of header fields of a request. More: 431.
    pub max_header_bytes: HumanSize,
    /// The largest body of a request. Larger: 413, as soon as its length or a chunk's size says so.
    pub max_body: HumanSize,
    /// Connections open at the same time, in each worker. Further ones wait in the kernel's queue.
    pub max_connections: u32,
    /// Requests on one connection before it is closed.
    pub keep_alive_requests: u32,
    /// How long the client may take for what.
    pub timeouts: HttpTimeouts,
    /// What happens to files that clients send in forms.
    pub uploads: Uploads,
    /// HTTP/2 connections.
    pub http2: Http2,
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
            proxy_protocol: Vec::new(),
            trusted: None,
            https_only: false,
            routes: Vec::new(),
            compress: None,
            hsts: None,
            headers: None,
            limits: None,
            errors: Vec::new(),
            max_line: HumanSize::kib(8),
            max_headers: 100,
            max_header_bytes: HumanSize::kib(32),
            max_body: HumanSize::mib(64),
            max_connections: 10_000,
            keep_alive_requests: 10_000,
            timeouts: HttpTimeouts::default(),
            uploads: Uploads::default(),
            http2: Http2::default(),
            websocket: Box::default(),
            server_tokens: true,
            slow_request: Some(HumanDuration::seconds(5)),
        }
    }
}

impl Http {
    /// What its exchanges need of it; `files` has the files of users and of error pages that it names.
    #[must_use]
    pub fn terms<'a>(&'a self, files: &'a BTreeMap<PathBuf, Secret>) -> Terms<'a> {
        let size = |size: HumanSize| usize::try_from(*size).unwrap_or(usize::MAX);
        let (line, fields) = (size(self.max_line), size(self.max_header_bytes));
        Terms {
            first: None,
            routes: &self.routes,
            head_limits: HeadLimits { line, field: fields, fields: self.max_headers as usize, total: fields + line },
            max_body: *self.max_body,
            keep_alive_requests: self.keep_alive_requests.into(),
            timeouts: &self.timeouts,
            server_tokens: self.server_tokens,
            slow_request: self.slow_request,
            max_connections: self.max_connections.into(),
            uploads: &self.uploads,
            websocket: Settings::from(&*self.websocket),
            compress: self.compress.as_deref(),
            hsts: self.hsts.as_ref(),
            headers: self.headers.as_deref(),
            limits: self.limits.as_deref(),
            limiter: None,
            errors: &self.errors,
            files,
            proxies: &self.proxy_protocol,
            trusted: self.trusted.as_ref(),
            https_only: self.https_only,
            http2: self.http2.clone(),
        }
    }
}
