//! Who is at the other end of a connection.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

use nix::sys::socket::{AddressFamily, SockaddrLike, SockaddrStorage};

/// An end of a connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Peer {
    /// Over IP. IPv4 in IPv6's clothes is shown as IPv4.
    Ip(SocketAddr),
    /// Over a unix socket; the path where it has one.
    Unix(Option<PathBuf>),
    /// The connection was gone before it could be asked.
    Unknown,
}

impl Peer {
    /// From what the kernel tells.
    #[must_use]
    pub fn from_storage(address: &SockaddrStorage) -> Self {
        if let Some(v4) = address.as_sockaddr_in() {
            return Self::Ip(SocketAddr::V4((*v4).into()));
        }
        if let Some(v6) = address.as_sockaddr_in6() {
            let v6 = std::net::SocketAddrV6::from(*v6);
            return Self::Ip(SocketAddr::new(v6.ip().to_canonical(), v6.port()));
        }
        if address.family() == Some(AddressFamily::Unix) {
            return Self::Unix(address.as_unix_addr().and_then(|unix| unix.path().map(Into::into)));
        }
        Self::Unknown
    }

    /// The IP address, of an IP connection.
    #[must_use]
    pub fn ip(&self) -> Option<IpAddr> {
        match self {
            Self::Ip(address) => Some(address.ip()),
            _ => None,
        }
    }

    /// The port, of an IP connection.
    #[must_use]
    pub fn port(&self) -> Option<u16> {
        match self {
            Self::Ip(address) => Some(address.port()),
            _ => None,
        }
    }
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ip(address) => address.fmt(f),
            Self::Unix(Some(path)) => write!(f, "unix:{}", path.display()),
            Self::Unix(None) => f.write_str("unix:"),
            Self::Unknown => f.write_str("-"),
        }
    }
}
