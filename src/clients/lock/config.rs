//! How a client of lock servers is configured.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::units::HumanDuration;

/// Lock servers that share the names among them: docs/locks.md. `@skep/lock` reaches them by `client: "NAME"`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct LockClient {
    /// The servers: `"127.0.0.1:833"`, `"locks.example.com:833"`, `"unix:/run/locks.sock"`. Every client must have the same ones in the same
    /// order: the CRC-32 of a name, modulo their number, says which one has it.
    pub servers: Vec<String>,
    /// Whether of a name with a part in brackets, `"user[17]mail"`, only that part says which server has it: related names are on one server.
    pub tags: bool,
    /// What every name begins with.
    pub prefix: String,
    /// Connections to one server. There is more than one only while a name is wanted that the first is busy with.
    pub max_connections: u32,
    /// How long connecting may take.
    pub connect_timeout: HumanDuration,
    /// How often a server is asked whether it is there, while something is held or waited for. One that says nothing for twice as long is
    /// taken for gone, and what it gave for lost.
    pub ping: HumanDuration,
    /// The first wait before a server that could not be reached is tried again; it doubles each time.
    pub shortest_pause: HumanDuration,
    /// The longest such wait.
    pub longest_pause: HumanDuration,
}

impl Default for LockClient {
    fn default() -> Self {
        Self {
            servers: Vec::new(),
            tags: false,
            prefix: String::new(),
            max_connections: 64,
            connect_timeout: HumanDuration::seconds(5),
            ping: HumanDuration::seconds(15),
            shortest_pause: HumanDuration::milliseconds(100),
            longest_pause: HumanDuration::seconds(10),
        }
    }
}
