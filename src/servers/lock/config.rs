//! How a lock server is configured.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::net::{Address, Network};
use crate::units::{HumanDuration, HumanSize};

/// The port of the original.
const PORT: u16 = 833;

/// Locks for programs on this and other machines: docs/locks.md. All lock servers of one skep, and `@skep/lock`, know the same locks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct LockServer {
    /// Addresses to listen on: `"127.0.0.1:833"`, `"unix:run/locks.sock"`.
    pub listen: Vec<Address>,
    /// Networks that may connect. An empty list: everybody.
    pub allow: Vec<Network>,
    /// Connections open at the same time, in each worker. Further ones wait in the kernel's queue.
    pub max_connections: u32,
    /// How long neither side may say anything before the connection is closed, and what it holds has failed. None: for ever.
    pub idle: Option<HumanDuration>,
    /// After this long without a sign the kernel asks whether the other machine is still there, three times; then the connection is
    /// closed, and what it holds has failed. None: it is not asked.
    pub keepalive: Option<HumanDuration>,
    /// What may wait to be sent to a client that does not read. With more the connection is closed, and what it holds has failed.
    pub backlog: HumanSize,
}

impl Default for LockServer {
    fn default() -> Self {
        let alone = |address: IpAddr| Network::from(address);
        Self {
            listen: vec![Address::Tcp(SocketAddr::from((Ipv4Addr::LOCALHOST, PORT)))],
            allow: vec![alone(Ipv4Addr::LOCALHOST.into()), alone(Ipv6Addr::LOCALHOST.into())],
            max_connections: 10_000,
            idle: None,
            keepalive: Some(HumanDuration::seconds(30)),
            backlog: HumanSize::mib(1),
        }
    }
}
