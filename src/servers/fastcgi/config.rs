//! How a FastCGI server is configured.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::codec::http::http1::HeadLimits;
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

/// The port of the original.
const PORT: u16 = 9000;

/// Applications behind a web server that speaks FastCGI: docs/fastcgi.md.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct FastCgi {
    /// Addresses to listen on: `"127.0.0.1:9000"`, `"unix:run/fcgi.sock"`.
    pub listen: Vec<Address>,
    /// Networks that may connect. An empty list: everybody, who then may say of any request where it came from.
    pub allow: Vec<Network>,
    /// Proxies in front of the web server that are believed when they say who their client is; what the web server says of where a request came from
    /// (`REMOTE_ADDR`) is believed anyhow. None: nobody is.
    pub trusted: Option<Trusted>,
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
    /// The most parameters of a request. More: 431.
    pub max_parameters: u32,
    /// The most bytes of parameters of a request. More: 431.
    pub max_parameter_bytes: HumanSize,
    /// The largest body of a request. Larger: 413.
    pub max_body: HumanSize,
    /// Connections open at the same time, in each worker. Further ones wait in the kernel's queue.
    pub max_connections: u32,
    /// Requests under way on one connection. More are refused as `FCGI_OVERLOADED`.
    pub max_requests: u32,
    /// How long the front may take for what. `header` is the time for the parameters.
    pub timeouts: HttpTimeouts,
    /// What happens to files that clients send in forms.
    pub uploads: Uploads,
    /// Directories in which the front stores request bodies, to name them as `REQUEST_BODY_FILE`. An empty list: it must not.
    pub body_files: Vec<PathBuf>,
    /// Answers that go to the front as files, which it sends itself. None: none do.
    pub sendfile: Option<SendFile>,
    /// Applications that let a client wait for longer than this are reported in the log, as those of HTTP servers are. None: none.
    pub slow_request: Option<HumanDuration>,
}

impl Default for FastCgi {
    fn default() -> Self {
        let alone = |address: IpAddr| Network::from(address);
        Self {
            listen: vec![Address::Tcp(SocketAddr::from((Ipv4Addr::LOCALHOST, PORT)))],
            allow: vec![alone(Ipv4Addr::LOCALHOST.into()), alone(Ipv6Addr::LOCALHOST.into())],
            trusted: None,
            routes: Vec::new(),
            compress: None,
            hsts: None,
            headers: None,
            limits: None,
            errors: Vec::new(),
            max_parameters: 200,
            max_parameter_bytes: HumanSize::kib(64),
            max_body: HumanSize::mib(64),
            max_connections: 10_000,
            max_requests: 100,
            timeouts: HttpTimeouts::default(),
            uploads: Uploads::default(),
            body_files: Vec::new(),
            sendfile: None,
            slow_request: Some(HumanDuration::seconds(5)),
        }
    }
}

impl FastCgi {
    /// What its exchanges need of it; `files` has the files of users and of error pages that it names.
    pub(super) fn terms<'a>(&'a self, files: &'a BTreeMap<PathBuf, Secret>) -> Terms<'a> {
        Terms {
            first: None,
            routes: &self.routes,
            head_limits: HeadLimits::default(),
            max_body: *self.max_body,
            keep_alive_requests: u64::MAX,
            timeouts: &self.timeouts,
            server_tokens: false,
            slow_request: self.slow_request,
            max_connections: self.max_connections.into(),
            uploads: &self.uploads,
            websocket: Settings::from(&WebSocket::default()),
            compress: self.compress.as_deref(),
            hsts: self.hsts.as_ref(),
            headers: self.headers.as_deref(),
            limits: self.limits.as_deref(),
            limiter: None,
            errors: &self.errors,
            files,
            proxies: &[],
            trusted: self.trusted.as_ref(),
            https_only: false,
            http2: Http2::default(),
        }
    }
}

/// Answers that go to the front as files.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct SendFile {
    /// Which answers: those to requests with the parameter `USE_SENDFILE`, or all but those with `DONT_USE_SENDFILE`.
    pub when: When,
    /// Where the files are written, best in memory. Made when it is not there.
    pub directory: PathBuf,
    /// The field that names a file to the front.
    pub field: Field,
    /// What stands in the field in the place of `directory` and the slash behind it: for `X-Accel-Redirect` the address of an internal location.
    /// None: the directory itself.
    pub prefix: Option<String>,
    /// Shorter answers go as they are.
    pub min: HumanSize,
    /// Longer answers go as they are.
    pub max_file: HumanSize,
    /// What all files of a worker may take together. Beyond that, answers go as they are.
    pub max_total: HumanSize,
    /// How long the front has to open a file, which is then removed.
    pub keep: HumanDuration,
}

/// When an answer goes as a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum When {
    /// The parameter `USE_SENDFILE` says so, and not `DONT_USE_SENDFILE`.
    Asked,
    /// Unless the parameter `DONT_USE_SENDFILE` says no.
    Always,
}

/// The field that names a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Field {
    /// `X-Sendfile`: a path (Apache's mod_xsendfile, lighttpd).
    Sendfile,
    /// `X-Accel-Redirect`: an address within the front (nginx).
    AccelRedirect,
}

impl Field {
    /// As it stands in the answer.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Sendfile => "X-Sendfile",
            Self::AccelRedirect => "X-Accel-Redirect",
        }
    }
}

impl Default for SendFile {
    fn default() -> Self {
        Self {
            when: When::Asked,
            directory: "/dev/shm/skep".into(),
            field: Field::Sendfile,
            prefix: None,
            min: HumanSize::kib(16),
            max_file: HumanSize::mib(64),
            max_total: HumanSize::mib(256),
            keep: HumanDuration::seconds(10),
        }
    }
}
