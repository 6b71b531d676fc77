//! How a server of Flash policies is configured.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::net::Address;
use crate::units::HumanDuration;

/// The port that Flash asks.
const PORT: u16 = 843;

/// The policy file that Flash asks for before it opens a socket to this machine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct FlashPolicy {
    /// Addresses to listen on: `"0.0.0.0:843"`.
    pub listen: Vec<Address>,
    /// The policy, 64 KiB at most. A saved file counts from the next second on. While there is none the answer is `<error/>`.
    pub file: PathBuf,
    /// How long a connection may take from its first byte to its last.
    pub timeout: HumanDuration,
    /// Connections open at the same time, in each worker. When there are more the oldest is closed.
    pub max_connections: u32,
}

impl Default for FlashPolicy {
    fn default() -> Self {
        Self {
            listen: vec![Address::Tcp(SocketAddr::from((Ipv4Addr::UNSPECIFIED, PORT)))],
            file: PathBuf::from("crossdomain.xml"),
            timeout: HumanDuration::seconds(5),
            max_connections: 1000,
        }
    }
}
