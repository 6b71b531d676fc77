//! Where a FastCGI server listens: what we would listen on ourselves, or the name of a machine and a port.

use std::borrow::Cow;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::clients::dns::Resolver;
use crate::codec::http::authority;
use crate::net::{Address, AddressError, Socket};

/// An address to connect to: `"127.0.0.1:9000"`, `"unix:path"`, `"php:9000"`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ServerAddress {
    /// Known as it stands.
    At(Address),
    /// A name that is looked up for each connection, and a port.
    Named(String, u16),
}

impl ServerAddress {
    /// The same with a relative path of a socket put under `base`.
    ///
    /// # Errors
    /// The path is then longer than that of a socket may be.
    pub fn under(self, base: &Path) -> Result<Self, AddressError> {
        match self {
            Self::At(address) => address.under(base).map(Self::At),
            Self::Named(..) => Ok(self),
        }
    }

    /// The path of a unix socket.
    pub fn socket_mut(&mut self) -> Option<&mut PathBuf> {
        match self {
            Self::At(Address::Unix(path)) => Some(path),
            _ => None,
        }
    }

    /// A new connection. The caller bounds its time.
    pub(super) async fn connect(&self) -> io::Result<Socket> {
        match self {
            Self::At(Address::Tcp(address)) => Socket::connect_tcp(*address).await,
            Self::At(Address::Unix(path)) => Socket::connect_unix(path).await,
            Self::Named(name, port) => Resolver::of_thread().connect(name, *port).await,
        }
    }
}

impl FromStr for ServerAddress {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        match text.parse() {
            Err(AddressError::BadHost(host)) => match authority::parse(text.as_bytes()).and_then(|parsed| parsed.port) {
                Some(port @ 1..) if !is_number(&host) && !host.starts_with('[') => Ok(Self::Named(host, port)),
                _ => Err(AddressError::BadHost(host)),
            },
            other => other.map(Self::At),
        }
    }
}

/// Whether it was meant for an IPv4 address.
fn is_number(host: &str) -> bool {
    host.rsplit('.').next().is_some_and(|last| last.bytes().all(|byte| byte.is_ascii_digit()))
}

impl fmt::Display for ServerAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::At(address) => address.fmt(f),
            Self::Named(name, port) => write!(f, "{name}:{port}"),
        }
    }
}

impl Serialize for ServerAddress {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for ServerAddress {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = Cow::<'de, str>::deserialize(deserializer)?;
        text.parse().map_err(de::Error::custom)
    }
}

impl JsonSchema for ServerAddress {
    fn schema_name() -> Cow<'static, str> {
        "ServerAddress".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string",
            "description": "An address to connect to: \"127.0.0.1:9000\", \"[::1]:9000\", \"php:9000\" or \"unix:path\".",
            "pattern": r"^(unix:.+|.*:[0-9]{1,5})$",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_taken_where_they_are_no_slips() {
        let read = |text: &str| text.parse::<ServerAddress>();
        assert_eq!(read("php:9000"), Ok(ServerAddress::Named("php".into(), 9000)));
        assert_eq!(read("fpm-1.site.internal:9000").unwrap().to_string(), "fpm-1.site.internal:9000");
        assert_eq!(read("127.0.0.1:9000").unwrap(), ServerAddress::At("127.0.0.1:9000".parse().unwrap()));
        assert_eq!(read("unix:run/php.sock").unwrap(), ServerAddress::At(Address::Unix("run/php.sock".into())));
        for wrong in ["300.0.0.1:9000", "127.0.0:9000", "php:0", "php", "a b:9000", "a/b:9000", "[127.0.0.1]:9000", "php:http"] {
            assert!(read(wrong).is_err(), "{wrong}");
        }
    }
}
