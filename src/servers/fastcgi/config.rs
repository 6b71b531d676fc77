//! How a FastCGI server is configured.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::codec::http::http1::HeadLimits;
use crate::net::{Address, Network};
use crate::request::compression::Compression;
use crate::request::route::Route;
use crate::secret::Secret;
use crate::servers::limits::{HttpTimeouts, Uploads};
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
    /// Which application answers what.
    pub routes: Vec<Route>,
    /// How answers are compressed for clients that can take that: `()` for the defaults. None: they are not.
    pub compress: Option<Box<Compression>>,
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
    /// Applications that let a client wait for longer than this are reported in the log, as those of HTTP servers are. None: none.
    pub slow_request: Option<HumanDuration>,
}

impl Default for FastCgi {
    fn default() -> Self {
        let alone = |address: IpAddr| Network::from(address);
        Self {
            listen: vec![Address::Tcp(SocketAddr::from((Ipv4Addr::LOCALHOST, PORT)))],
            allow: vec![alone(Ipv4Addr::LOCALHOST.into()), alone(Ipv6Addr::LOCALHOST.into())],
            routes: Vec::new(),
            compress: None,
            max_parameters: 200,
            max_parameter_bytes: HumanSize::kib(64),
            max_body: HumanSize::mib(64),
            max_connections: 10_000,
            max_requests: 100,
            timeouts: HttpTimeouts::default(),
            uploads: Uploads::default(),
            slow_request: Some(HumanDuration::seconds(5)),
        }
    }
}

impl FastCgi {
    /// What its exchanges need of it; `users` has the files of users that its routes name.
    pub(super) fn terms<'a>(&'a self, users: &'a BTreeMap<PathBuf, Secret>) -> Terms<'a> {
        Terms {
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
            users,
        }
    }
}
