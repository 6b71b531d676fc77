//! What a route may demand of its clients, as the configuration says it.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::net::{Clients, Peer};
use crate::units::HumanDuration;

/// What a route demands of its clients.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Access {
    /// Clients that may use it; empty: all.
    pub allow: Vec<Clients>,
    /// Clients that may not, even if they are among `allow`.
    pub deny: Vec<Clients>,
    /// How clients say who they are.
    pub auth: Option<Auth>,
}

impl Access {
    /// Whether a client's address is one that may use the route.
    #[must_use]
    pub fn admits(&self, peer: &Peer) -> bool {
        let among = |list: &[Clients]| list.iter().any(|clients| clients.contain(peer));
        !among(&self.deny) && (self.allow.is_empty() || among(&self.allow))
    }
}

/// How clients say who they are.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Auth {
    /// With name and password in every request (RFC 7617). Use it over TLS only: both can be read on the way otherwise.
    Basic(Basic),
}

impl Auth {
    /// The file with names and passwords.
    #[must_use]
    pub fn users(&self) -> &PathBuf {
        let Self::Basic(basic) = self;
        &basic.users
    }
}

/// Name and password in every request (RFC 7617).
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Basic {
    /// What browsers show when they ask for name and password; they use those again for everything of the same realm.
    pub realm: String,
    /// The file of names and hashed passwords, a line each, as `skep password` and `htpasswd -B` write them. It is read with the configuration.
    pub users: PathBuf,
    /// Wrong passwords that an address (IPv6: a /64) may send at once, and again in each minute, to each worker. More: 429.
    pub attempts: u32,
    /// How long a password that was right is remembered, as a keyed digest: what it costs to check one is then paid once. At most an hour.
    pub remember: HumanDuration,
}

impl Default for Basic {
    fn default() -> Self {
        Self { realm: "restricted".to_owned(), users: PathBuf::new(), attempts: 10, remember: HumanDuration::seconds(60) }
    }
}
