//! How a server of raw connections is configured.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::net::tls_files::TlsFiles;
use crate::net::{Address, Network};
use crate::units::HumanDuration;

/// Connections that go to the `connection` handler of a Luau application as they are.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ScriptServer {
    /// Addresses to listen on: `"127.0.0.1:7000"`, `"[::1]:7000"`, `":7000"` (every IPv4 address), `"unix:run/irc.sock"`.
    pub listen: Vec<Address>,
    /// Certificates and keys, for TLS (1.2 and 1.3). None: plain connections.
    pub tls: Option<TlsFiles>,
    /// The name of the application, of the kind `Script`.
    pub app: String,
    /// Networks that may connect. An empty list: everybody.
    pub allow: Vec<Network>,
    /// Networks of proxies that announce each connection by the PROXY protocol, version 1 or 2
    /// (<https://www.haproxy.org/download/2.9/doc/proxy-protocol.txt>): it then has the client's address. Theirs must be announced; what others
    /// send is never taken for an announcement.
    pub proxy_protocol: Vec<Network>,
    /// Connections open at the same time, in each worker. Further ones wait in the kernel's queue.
    pub max_connections: u32,
    /// How long neither side may send anything before the connection is closed. None: for ever.
    pub idle: Option<HumanDuration>,
}

impl Default for ScriptServer {
    fn default() -> Self {
        Self {
            listen: Vec::new(),
            tls: None,
            proxy_protocol: Vec::new(),
            app: String::new(),
            allow: Vec::new(),
            max_connections: 10_000,
            idle: Some(HumanDuration::seconds(3600)),
        }
    }
}
