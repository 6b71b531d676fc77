//! How an RTEP server is configured.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::net::{Address, Network};
use crate::units::{HumanDuration, HumanSize};

/// The port of the original.
const PORT: u16 = 844;

/// What happens when too much waits for a connection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Overflow {
    /// The oldest events are dropped, and the client is told how many: `{"type":"missed","count":3}`.
    #[default]
    DropOldest,
    /// The connection is closed.
    Close,
}

/// Events for programs on this and other machines, as lines of JSON: docs/rtep.md. The event `NAME` is the topic `NAME` of `@skep/events`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct RtepServer {
    /// Addresses to listen on: `"127.0.0.1:844"`, `"unix:run/rtep.sock"`.
    pub listen: Vec<Address>,
    /// Networks that may connect. An empty list: everybody.
    pub allow: Vec<Network>,
    /// Pages that may connect by the HTTP form from a browser: `"https://example.com"`; `"*"` stands for all. Programs that are no browser
    /// say no origin and may always.
    pub origins: Vec<String>,
    /// Connections open at the same time, in each worker. Further ones wait in the kernel's queue.
    pub max_connections: u32,
    /// The longest line that is taken. With a longer one the connection is closed.
    pub max_line: HumanSize,
    /// Events that one connection may subscribe to.
    pub max_subscriptions: u32,
    /// Requests of one connection that may be under way. With more nothing is read until there are answers.
    pub max_pending: u32,
    /// Lines that may wait for a connection that does not read.
    pub queue: u32,
    /// Bytes that may wait for a connection that does not read.
    pub queue_bytes: HumanSize,
    /// What happens when more would wait.
    pub overflow: Overflow,
    /// How long a connection may take nothing of what waits for it before it is closed.
    pub stalled: HumanDuration,
    /// How long neither side may say anything before the connection is closed. None: for ever.
    pub idle: Option<HumanDuration>,
    /// After this long without a sign the kernel asks whether the other machine is still there, three times; then the connection is closed.
    /// None: it is not asked.
    pub keepalive: Option<HumanDuration>,
    /// Over how long the connections of a worker that ends are closed one after the other, so that they do not all come back at once.
    pub drain_spread: HumanDuration,
}

impl Default for RtepServer {
    fn default() -> Self {
        let alone = |address: IpAddr| Network::from(address);
        Self {
            listen: vec![Address::Tcp(SocketAddr::from((Ipv4Addr::LOCALHOST, PORT)))],
            allow: vec![alone(Ipv4Addr::LOCALHOST.into()), alone(Ipv6Addr::LOCALHOST.into())],
            origins: Vec::new(),
            max_connections: 10_000,
            max_line: HumanSize::mib(1),
            max_subscriptions: 1000,
            max_pending: 1000,
            queue: 1000,
            queue_bytes: HumanSize::mib(4),
            overflow: Overflow::default(),
            stalled: HumanDuration::seconds(60),
            idle: None,
            keepalive: Some(HumanDuration::seconds(30)),
            drain_spread: HumanDuration::seconds(2),
        }
    }
}
