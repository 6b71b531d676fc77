//! Connecting an application to others, within what it may.

use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::time::Duration;

use super::connection::reason;
use super::context::AppContext;
use super::gauge::{Exhausted, Permit};
use crate::clients::dns::DnsError;
use crate::net::{Address, Socket, connect_any};
use crate::reactor::timeout;

/// How long connecting takes at most if nothing else is said.
pub(super) const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// Why there is no connection. The message ends with the address.
#[derive(Debug)]
pub(super) enum DialError {
    /// The application may not.
    Forbidden(String),
    /// It has too many sockets already.
    Exhausted(Exhausted),
    /// The name cannot be looked up.
    Name(DnsError),
    /// The address is none.
    Address(String),
    /// The other side or the network refused; with the last address tried.
    Io(io::Error, String),
    /// No answer in time.
    TimedOut(String),
}

impl fmt::Display for DialError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            DialError::Forbidden(address) => write!(f, "this application may not connect to {address}"),
            DialError::Exhausted(exhausted) => exhausted.fmt(f),
            DialError::Name(error) => error.fmt(f),
            DialError::Address(how) => f.write_str(how),
            DialError::Io(error, address) => write!(f, "{} ({address})", reason(error)),
            DialError::TimedOut(address) => write!(f, "timed out ({address})"),
        }
    }
}

impl std::error::Error for DialError {}

/// `host:port`, with brackets around an IPv6 address.
pub(super) fn split_host(address: &str) -> Result<(&str, u16), DialError> {
    let wrong = || DialError::Address(format!("an address is host:port, [IPv6]:port or unix:path, not {address:?}"));
    let (host, port) = address.rsplit_once(':').ok_or_else(wrong)?;
    let port = port.parse().map_err(|_| wrong())?;
    let host = match host.strip_prefix('[') {
        Some(host) => host.strip_suffix(']').ok_or_else(wrong)?,
        None if host.contains(':') => return Err(wrong()),
        None => host,
    };
    if host.is_empty() { Err(wrong()) } else { Ok((host, port)) }
}

impl AppContext {
    /// Connects to `host:port` or `unix:path`. Gives the socket, the place it takes, and the host's name.
    pub(super) async fn dial(&self, address: &str, limit: Duration) -> Result<(Socket, Permit), DialError> {
        let permit = self.sockets.take().map_err(DialError::Exhausted)?;
        let connecting = async {
            match address.strip_prefix("unix:") {
                Some(path) => self.dial_unix(Path::new(path), address).await,
                None => {
                    let (host, port) = split_host(address)?;
                    self.dial_tcp(host, port).await
                }
            }
        };
        match timeout(limit, connecting).await {
            Ok(result) => result.map(|socket| (socket, permit)),
            Err(_) => Err(DialError::TimedOut(address.to_owned())),
        }
    }

    async fn dial_unix(&self, path: &Path, address: &str) -> Result<Socket, DialError> {
        let path = self.path(&path.to_string_lossy());
        if !self.may_use_socket(&path) {
            return Err(DialError::Forbidden(address.to_owned()));
        }
        Socket::connect_unix(&path).await.map_err(|error| DialError::Io(error, address.to_owned()))
    }

    /// Connects to the first address of a host that answers, of those that the application may reach.
    async fn dial_tcp(&self, host: &str, port: u16) -> Result<Socket, DialError> {
        let addresses: Vec<SocketAddr> = self.addresses(host).await?.into_iter().map(|ip| SocketAddr::new(ip, port)).collect();
        let Some(first) = addresses.first() else { return Err(DialError::Address(format!("{host} has no address"))) };
        let allowed: Vec<SocketAddr> = addresses.iter().filter(|address| self.limits.allow(address.ip())).copied().collect();
        if allowed.is_empty() {
            return Err(DialError::Forbidden(first.to_string()));
        }
        connect_any(&allowed).await.map_err(|(error, address)| {
            let address = address.map_or_else(|| host.to_owned(), |address| address.to_string());
            if error.kind() == io::ErrorKind::TimedOut { DialError::TimedOut(address) } else { DialError::Io(error, address) }
        })
    }

    /// The addresses of a host: itself when it is one.
    pub(super) async fn addresses(&self, host: &str) -> Result<Vec<IpAddr>, DialError> {
        match host.parse() {
            Ok(ip) => Ok(vec![ip]),
            Err(_) => self.resolver.lookup(host).await.map_err(DialError::Name),
        }
    }

    /// Checks an address to listen on or send from.
    pub(super) fn own_address(&self, address: &str) -> Result<Address, DialError> {
        let parsed: Address = address.parse().map_err(|error: crate::net::address::AddressError| DialError::Address(error.to_string()))?;
        match &parsed {
            Address::Tcp(tcp) if !self.limits.allow(tcp.ip()) => Err(DialError::Forbidden(address.to_owned())),
            Address::Unix(path) => match self.limits.writable(&self.path(&path.to_string_lossy())) {
                Some(path) => Ok(Address::Unix(path)),
                None => Err(DialError::Forbidden(address.to_owned())),
            },
            Address::Tcp(_) => Ok(parsed),
        }
    }
}
