//! A range of IP addresses.

use std::borrow::Cow;
use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use super::Peer;

/// A network in CIDR notation (RFC 4632 section 3.1, RFC 4291 section 2.3): `"10.0.0.0/8"`, `"fe80::/10"`, or one address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Network {
    /// The first address of the range.
    address: IpAddr,
    /// How many leading bits are fixed.
    prefix: u8,
}

/// Why a text is no network.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NetworkError {
    /// The part before the slash is no IP address.
    BadAddress(String),
    /// The prefix is no number, or longer than the address.
    BadPrefix(String),
    /// Bits are set behind the prefix; the network that was probably meant.
    HostBits(Network),
}

impl fmt::Display for NetworkError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::BadAddress(text) => write!(f, "`{text}` is no network: write for example \"10.0.0.0/8\", \"::/0\" or one address"),
            Self::BadPrefix(prefix) => write!(f, "`/{prefix}` is no prefix length: 0 to 32 for IPv4, 0 to 128 for IPv6"),
            Self::HostBits(meant) => {
                write!(f, "the address has bits set behind the prefix: write \"{meant}\", or one address without a prefix")
            }
        }
    }
}

impl std::error::Error for NetworkError {}

/// An address as 128 bits, IPv4 at the top, so that prefixes are compared alike.
fn bits(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(address) => u128::from(address.to_bits()) << 96,
        IpAddr::V6(address) => address.to_bits(),
    }
}

/// The mask of the leading `prefix` bits.
fn mask(prefix: u8) -> u128 {
    u128::MAX.checked_shl(128 - u32::from(prefix)).unwrap_or(0)
}

impl Network {
    /// Whether a peer may connect where only `allowed` networks may: an empty list is everybody, and who comes by a unix socket has no address.
    #[must_use]
    pub fn admit(allowed: &[Network], peer: &Peer) -> bool {
        allowed.is_empty() || peer.ip().is_none_or(|ip| allowed.iter().any(|network| network.contains(ip)))
    }

    /// Whether an address lies in the network. An IPv4 address mapped into IPv6 (`::ffff:a.b.c.d`) counts as the IPv4 address.
    #[must_use]
    pub fn contains(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        address.is_ipv4() == self.address.is_ipv4() && (bits(address) ^ bits(self.address)) & mask(self.prefix) == 0
    }

    /// Every IPv4 address and every IPv6 address.
    #[must_use]
    pub fn everywhere() -> Vec<Self> {
        vec![
            Self { address: IpAddr::V4(std::net::Ipv4Addr::UNSPECIFIED), prefix: 0 },
            Self { address: IpAddr::V6(std::net::Ipv6Addr::UNSPECIFIED), prefix: 0 },
        ]
    }
}

/// One address.
impl From<IpAddr> for Network {
    fn from(address: IpAddr) -> Self {
        Self { address, prefix: if address.is_ipv4() { 32 } else { 128 } }
    }
}

impl FromStr for Network {
    type Err = NetworkError;

    fn from_str(text: &str) -> Result<Self, NetworkError> {
        let (address, prefix) = match text.split_once('/') {
            Some((address, prefix)) => (address, Some(prefix)),
            None => (text, None),
        };
        let address: IpAddr = address.parse().map_err(|_| NetworkError::BadAddress(text.to_owned()))?;
        let longest = if address.is_ipv4() { 32 } else { 128 };
        let prefix = match prefix {
            None => longest,
            Some(prefix) => prefix
                .parse()
                .ok()
                .filter(|bits| *bits <= longest && !prefix.starts_with('+'))
                .ok_or_else(|| NetworkError::BadPrefix(prefix.to_owned()))?,
        };
        let kept = bits(address) & mask(prefix);
        if kept == bits(address) {
            return Ok(Self { address, prefix });
        }
        let first = match address {
            // The shift leaves exactly the 32 bits that `bits` moved up.
            IpAddr::V4(_) => IpAddr::V4(u32::try_from(kept >> 96).unwrap_or(0).into()),
            IpAddr::V6(_) => IpAddr::V6(kept.into()),
        };
        Err(NetworkError::HostBits(Self { address: first, prefix }))
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.prefix)
    }
}

impl Serialize for Network {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Network {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = Cow::<'de, str>::deserialize(deserializer)?;
        text.parse().map_err(de::Error::custom)
    }
}

impl JsonSchema for Network {
    fn schema_name() -> Cow<'static, str> {
        "Network".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string",
            "description": "A network such as \"10.0.0.0/8\" or \"fe80::/10\", or one address.",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn network(text: &str) -> Network {
        text.parse().unwrap()
    }

    #[test]
    fn contains_its_addresses_only() {
        let inside = |net: &str, address: &str| network(net).contains(address.parse().unwrap());
        assert!(inside("10.0.0.0/8", "10.255.0.1"));
        assert!(!inside("10.0.0.0/8", "11.0.0.1"));
        assert!(inside("0.0.0.0/0", "203.0.113.1"));
        assert!(!inside("0.0.0.0/0", "::1"));
        assert!(inside("::/0", "2001:db8::1"));
        assert!(inside("127.0.0.1", "127.0.0.1"));
        assert!(!inside("127.0.0.1", "127.0.0.2"));
        assert!(inside("127.0.0.0/8", "::ffff:127.0.0.1"));
        assert!(inside("fe80::/10", "febf::1"));
        assert!(!inside("fe80::/10", "fec0::1"));
    }

    #[test]
    fn refuses_with_advice() {
        let said = |text: &str| text.parse::<Network>().unwrap_err();
        assert_eq!(said("local"), NetworkError::BadAddress("local".into()));
        assert_eq!(said("10.0.0.0/33"), NetworkError::BadPrefix("33".into()));
        assert_eq!(said("10.0.0.0/+8"), NetworkError::BadPrefix("+8".into()));
        assert_eq!(said("10.0.0.1/8"), NetworkError::HostBits(network("10.0.0.0/8")));
        assert_eq!(said("fe80::1/64"), NetworkError::HostBits(network("fe80::/64")));
    }
}
