//! Clients by where they come from.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use super::network::NetworkError;
use super::{Network, Peer};

/// What stands for everybody who comes by a unix socket.
const UNIX: &str = "unix";

/// Clients of a network, or those that come by a unix socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Clients {
    /// `"10.0.0.0/8"`, `"2001:db8::/32"`, or one address.
    Network(Network),
    /// `"unix"`.
    Unix,
}

impl Clients {
    /// Whether a client is one of them. One whose address is not known is nobody's.
    #[must_use]
    pub fn contain(&self, peer: &Peer) -> bool {
        match (self, peer) {
            (Self::Network(network), Peer::Ip(address)) => network.contains(address.ip()),
            (Self::Unix, Peer::Unix(_)) => true,
            _ => false,
        }
    }
}

impl FromStr for Clients {
    type Err = NetworkError;

    fn from_str(text: &str) -> Result<Self, NetworkError> {
        if text == UNIX { Ok(Self::Unix) } else { text.parse().map(Self::Network) }
    }
}

impl fmt::Display for Clients {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Network(network) => network.fmt(f),
            Self::Unix => f.write_str(UNIX),
        }
    }
}

impl Serialize for Clients {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Clients {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = Cow::<'de, str>::deserialize(deserializer)?;
        text.parse().map_err(de::Error::custom)
    }
}

impl JsonSchema for Clients {
    fn schema_name() -> Cow<'static, str> {
        "Clients".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string",
            "description": "Clients of a network such as \"10.0.0.0/8\" or \"fe80::/10\", of one address, or those that come by a unix socket: \"unix\".",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clients_are_told_apart_by_where_they_come_from() {
        let contain = |clients: &str, peer: &Peer| clients.parse::<Clients>().unwrap().contain(peer);
        let ip = |address: &str| Peer::Ip(address.parse().unwrap());
        assert!(contain("10.0.0.0/8", &ip("10.1.2.3:4")));
        assert!(contain("10.0.0.0/8", &ip("[::ffff:10.1.2.3]:4")));
        assert!(!contain("10.0.0.0/8", &ip("11.1.2.3:4")));
        assert!(contain("2001:db8::/32", &ip("[2001:db8::1]:4")));
        assert!(!contain("0.0.0.0/0", &Peer::Unix(None)));
        assert!(contain("unix", &Peer::Unix(Some("/a".into()))));
        assert!(!contain("unix", &ip("10.1.2.3:4")));
        assert!(!contain("unix", &Peer::Unknown));
        assert!("unixes".parse::<Clients>().is_err());
    }
}
