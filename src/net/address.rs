//! Where a listener listens.

use std::borrow::Cow;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::str::FromStr;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// The longest path of a unix socket, in bytes: `sun_path` of unix(7) without the closing zero.
pub const LONGEST_SOCKET_PATH: usize = 107;

/// An address to listen on: `"127.0.0.1:80"`, `"[::1]:80"`, `":80"` (every IPv4 address), `"localhost:80"`, `"unix:path"`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Address {
    /// A TCP address and port; port 0 lets the kernel choose.
    Tcp(SocketAddr),
    /// The path of a unix stream socket.
    Unix(PathBuf),
}

/// Why a text is no address to listen on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AddressError {
    /// There is nothing in it.
    Empty,
    /// There is no `:port`.
    NoPort(String),
    /// It is the path of a socket without `unix:`.
    NoUnix(String),
    /// It begins as a URL does; what follows the scheme.
    Scheme(String),
    /// The port is not a number from 0 to 65535.
    BadPort(String),
    /// An IPv6 address without brackets.
    NoBrackets(String),
    /// The part before the port is no IP address.
    BadHost(String),
    /// `unix:` without a path.
    NoPath,
    /// The socket path is longer than the kernel takes; its length.
    PathTooLong(usize),
}

impl fmt::Display for AddressError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => write!(f, "an address is empty: write for example \"127.0.0.1:8080\" or \"unix:run/web.sock\""),
            Self::NoPort(text) => {
                write!(f, "`{text}` has no port: write for example \"{text}:8080\", or \"unix:{text}\" for a socket file")
            }
            Self::NoUnix(text) => write!(f, "a socket file is written \"unix:{text}\""),
            Self::Scheme(rest) => write!(f, "an address has no scheme in front: write \"{rest}\""),
            Self::BadPort(port) => write!(f, "`{port}` is no port: it is a number from 0 to 65535"),
            Self::NoBrackets(text) => write!(f, "an IPv6 address needs brackets, as in \"[::1]:8080\", not `{text}`"),
            Self::BadHost(host) => {
                write!(
                    f,
                    "`{host}` is no IP address, and names are not looked up for listeners: write for example \"0.0.0.0:8080\" for every address"
                )
            }
            Self::NoPath => write!(f, "`unix:` needs the path of the socket, as in \"unix:run/web.sock\""),
            Self::PathTooLong(length) => {
                write!(f, "the path of a unix socket has at most {LONGEST_SOCKET_PATH} bytes, this one has {length}")
            }
        }
    }
}

impl std::error::Error for AddressError {}

impl Address {
    /// The same address with a relative socket path put under `base`.
    ///
    /// # Errors
    /// The path is then longer than a socket path may be.
    pub fn under(self, base: &Path) -> Result<Self, AddressError> {
        match self {
            Self::Tcp(_) => Ok(self),
            Self::Unix(path) => {
                let path: PathBuf = base.join(path).components().collect();
                let length = path.as_os_str().len();
                if length > LONGEST_SOCKET_PATH { Err(AddressError::PathTooLong(length)) } else { Ok(Self::Unix(path)) }
            }
        }
    }

    /// Whether both cannot be bound at the same time: equal, or the same port where one stands for every address.
    ///
    /// Port 0 clashes with nothing. An IPv6 listener takes IPv6 only, so `[::]` and `0.0.0.0` live side by side.
    #[must_use]
    pub fn clashes(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Unix(one), Self::Unix(two)) => one == two,
            (Self::Tcp(one), Self::Tcp(two)) => {
                one.port() != 0
                    && one.port() == two.port()
                    && one.is_ipv4() == two.is_ipv4()
                    && (one.ip() == two.ip() || one.ip().is_unspecified() || two.ip().is_unspecified())
            }
            _ => false,
        }
    }

    /// The port of a TCP address.
    #[must_use]
    pub fn port(&self) -> Option<u16> {
        match self {
            Self::Tcp(address) => Some(address.port()),
            Self::Unix(_) => None,
        }
    }
}

impl FromStr for Address {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        if text.is_empty() {
            return Err(AddressError::Empty);
        }
        if let Some(path) = text.strip_prefix("unix:") {
            return match path.len() {
                0 => Err(AddressError::NoPath),
                length if length > LONGEST_SOCKET_PATH => Err(AddressError::PathTooLong(length)),
                _ => Ok(Self::Unix(PathBuf::from(path))),
            };
        }
        if let Some((_, rest)) = text.split_once("://") {
            return Err(AddressError::Scheme(rest.trim_end_matches('/').to_owned()));
        }
        if text.starts_with(['/', '.']) {
            return Err(AddressError::NoUnix(text.to_owned()));
        }
        let (host, port) = text.rsplit_once(':').ok_or_else(|| AddressError::NoPort(text.to_owned()))?;
        let bracketed = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
        if bracketed.is_none() && (text.parse::<Ipv6Addr>().is_ok() || host.contains(':')) {
            return Err(if text.starts_with('[') {
                AddressError::NoPort(text.to_owned())
            } else {
                AddressError::NoBrackets(text.to_owned())
            });
        }
        if !port.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(AddressError::BadPort(port.to_owned()));
        }
        let port = port.parse::<u16>().map_err(|_| AddressError::BadPort(port.to_owned()))?;
        let ip = match (bracketed, host) {
            (Some(inside), _) => inside.parse::<Ipv6Addr>().ok().map(IpAddr::V6),
            (None, "" | "*") => Some(IpAddr::V4(Ipv4Addr::UNSPECIFIED)),
            (None, "localhost") => Some(IpAddr::V4(Ipv4Addr::LOCALHOST)),
            (None, host) => host.parse::<Ipv4Addr>().ok().map(IpAddr::V4),
        };
        let ip = ip.ok_or_else(|| AddressError::BadHost(host.to_owned()))?;
        Ok(Self::Tcp(SocketAddr::new(ip, port)))
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => address.fmt(f),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

impl Serialize for Address {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Address {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = Cow::<'de, str>::deserialize(deserializer)?;
        text.parse().map_err(de::Error::custom)
    }
}

impl JsonSchema for Address {
    fn schema_name() -> Cow<'static, str> {
        "Address".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string",
            "description": "An address to listen on: \"127.0.0.1:80\", \"[::1]:80\", \":80\" (every IPv4 address), \"localhost:80\" or \"unix:path\".",
            "pattern": r"^(unix:.+|.*:[0-9]{1,5})$",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_every_form() {
        for (text, shown) in [
            ("127.0.0.1:80", "127.0.0.1:80"),
            ("[::1]:80", "[::1]:80"),
            ("[::]:0", "[::]:0"),
            (":80", "0.0.0.0:80"),
            ("*:80", "0.0.0.0:80"),
            ("localhost:8047", "127.0.0.1:8047"),
            ("unix:run/a.sock", "unix:run/a.sock"),
        ] {
            assert_eq!(text.parse::<Address>().unwrap().to_string(), shown);
        }
    }

    #[test]
    fn refuses_with_advice() {
        let said = |text: &str| text.parse::<Address>().unwrap_err();
        assert_eq!(said(""), AddressError::Empty);
        assert_eq!(said("127.0.0.1"), AddressError::NoPort("127.0.0.1".into()));
        assert_eq!(said("[::1]"), AddressError::NoPort("[::1]".into()));
        assert_eq!(said("::1"), AddressError::NoBrackets("::1".into()));
        assert_eq!(said("fe80::1:80"), AddressError::NoBrackets("fe80::1:80".into()));
        assert_eq!(said("127.0.0.1:http"), AddressError::BadPort("http".into()));
        assert_eq!(said("127.0.0.1:+80"), AddressError::BadPort("+80".into()));
        assert_eq!(said("127.0.0.1:65536"), AddressError::BadPort("65536".into()));
        assert_eq!(said("127.0.0.1:"), AddressError::BadPort(String::new()));
        assert_eq!(said("/run/web.sock"), AddressError::NoUnix("/run/web.sock".into()));
        assert_eq!(said("http://127.0.0.1:80/"), AddressError::Scheme("127.0.0.1:80".into()));
        assert_eq!(said("example.org:80"), AddressError::BadHost("example.org".into()));
        assert_eq!(said("[127.0.0.1]:80"), AddressError::BadHost("[127.0.0.1]".into()));
        assert_eq!(said("unix:"), AddressError::NoPath);
        assert_eq!(said(&format!("unix:{}", "a".repeat(108))), AddressError::PathTooLong(108));
    }

    #[test]
    fn knows_what_clashes() {
        let clash = |one: &str, two: &str| one.parse::<Address>().unwrap().clashes(&two.parse().unwrap());
        assert!(clash("127.0.0.1:80", "127.0.0.1:80"));
        assert!(clash("0.0.0.0:80", "127.0.0.1:80"));
        assert!(clash("[::1]:80", "[::]:80"));
        assert!(clash("unix:a", "unix:a"));
        assert!(!clash("0.0.0.0:80", "[::]:80"));
        assert!(!clash("127.0.0.1:0", "127.0.0.1:0"));
        assert!(!clash("127.0.0.1:80", "127.0.0.2:80"));
        assert!(!clash("127.0.0.1:80", "127.0.0.1:81"));
        assert!(!clash("unix:a", "unix:b"));
    }
}
