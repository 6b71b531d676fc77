//! Connecting to a server: names, TLS, and the PROXY protocol in front of everything.

use std::path::Path;
use std::time::Duration;

use super::config::ProxyProtocol;
use super::fault::Fault;
use super::upstream::{Line, Upstream};
use crate::clients::dns::Resolver;
use crate::clients::http::{Connected, Connection, Url};
use crate::codec::proxy_protocol;
use crate::net::{Peer, Socket, Stream, TlsSettings, connect_tls_with};
use crate::reactor::{self, timeout};
use crate::request::Origin;

/// How connections are made.
pub(super) struct Dialer {
    /// For `https`; made once, for it takes a while.
    pub(super) tls: Option<TlsSettings>,
    pub(super) proxy_protocol: Option<ProxyProtocol>,
    pub(super) limit: Duration,
}

impl Dialer {
    /// Connects. `origin` is the client's connection, where there is a client.
    ///
    /// # Errors
    /// [`Fault::Unreachable`] and [`Fault::Slow`].
    pub(super) async fn dial(&self, upstream: &Upstream, origin: Option<&Origin>) -> Result<Line, Fault> {
        let connection = match timeout(self.limit, self.connect(&upstream.url, origin)).await {
            Ok(connected) => connected.map_err(Fault::Unreachable)?,
            Err(_) => return Err(Fault::Slow("no connection in time".to_owned())),
        };
        Ok(Line { connection, born: reactor::now() })
    }

    async fn connect(&self, url: &Url, origin: Option<&Origin>) -> Result<Connection, String> {
        let socket = match url.socket() {
            Some(path) => Socket::connect_unix(Path::new(path)).await.map_err(|error| error.to_string())?,
            None => Resolver::of_thread().connect(url.host(), url.port()).await.map_err(|error| error.to_string())?,
        };
        let stream = match self.proxy_protocol {
            None => socket.into(),
            Some(version) => {
                let stream = Stream::from(socket);
                stream.write_all(&introduction(version, origin)).await.map_err(|error| error.to_string())?;
                stream
            }
        };
        let stream = match (stream, url.is_secure()) {
            (Stream::Plain(socket), true) => {
                let tls = self.tls.clone().ok_or("TLS is not set up")?;
                connect_tls_with(socket, url.host(), tls).await.map_err(|error| error.to_string())?
            }
            (stream, _) => stream,
        };
        Ok(Connection::new(Connected { stream, kept: Box::new(()) }))
    }
}

/// What is said of the client before the first byte.
fn introduction(version: ProxyProtocol, origin: Option<&Origin>) -> Vec<u8> {
    let ends = origin.and_then(|origin| match (&origin.peer, &origin.local) {
        (Peer::Ip(client), Peer::Ip(local)) => Some((*client, *local)),
        _ => None,
    });
    let mut out = Vec::new();
    match version {
        ProxyProtocol::V1 => proxy_protocol::write_v1(ends, &mut out),
        ProxyProtocol::V2 => proxy_protocol::write_v2(ends, &mut out),
    }
    out
}
