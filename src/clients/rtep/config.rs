//! How a client of an RTEP server is configured.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::units::{HumanDuration, HumanSize};

/// An RTEP server of another program or machine: docs/rtep.md. `@skep/rtep` reaches it by `rtep.client("NAME")`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct RtepClient {
    /// The server: `"127.0.0.1:844"`, `"events.example.com:844"`, `"unix:/run/rtep.sock"`.
    pub address: String,
    /// How long connecting may take.
    pub connect_timeout: HumanDuration,
    /// How often a silent server is asked whether it is there. One that says nothing for twice as long is taken for gone.
    pub ping: HumanDuration,
    /// The first wait before a server that could not be reached is tried again; it doubles each time.
    pub shortest_pause: HumanDuration,
    /// The longest such wait.
    pub longest_pause: HumanDuration,
    /// Requests that may wait for their responses.
    pub max_pending: u32,
    /// The longest line that is taken.
    pub max_line: HumanSize,
}

impl Default for RtepClient {
    fn default() -> Self {
        Self {
            address: "127.0.0.1:844".to_owned(),
            connect_timeout: HumanDuration::seconds(5),
            ping: HumanDuration::seconds(15),
            shortest_pause: HumanDuration::milliseconds(100),
            longest_pause: HumanDuration::seconds(10),
            max_pending: 1000,
            max_line: HumanSize::mib(1),
        }
    }
}
