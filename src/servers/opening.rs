//! How a connection begins, before its protocol does: what a proxy announces of it, then TLS.

use std::io;
use std::rc::Rc;
use std::time::Duration;

use crate::codec::proxy_protocol::{self, MOST};
use crate::net::tls_server::Handshake;
use crate::net::{Accepted, ClientCertificate, Network, Peer, Socket, Stream, TlsServer};
use crate::reactor::timeout;
use crate::request::Origin;
use crate::scoreboard::Slot;

/// How long a proxy may take to announce a connection.
const LIMIT: Duration = Duration::from_secs(10);

/// A connection that was accepted.
pub(in crate::servers) struct Opening {
    socket: Socket,
    origin: Origin,
    tls: Option<Handshake>,
    is_announced: bool,
}

impl Opening {
    /// Of a connection to the server of that name, which shows its handshakes in `slot`; `proxies` announce theirs.
    ///
    /// # Errors
    /// When the reactor cannot register it.
    pub(in crate::servers) fn new(
        accepted: Accepted,
        local: &Peer,
        (server, slot): (&Rc<str>, Slot),
        tls: Option<TlsServer>,
        proxies: &[Network],
    ) -> io::Result<Self> {
        let origin = Origin { secure: tls.is_some(), ..Origin::new(accepted.peer, local.clone(), server.clone()) };
        let is_announced = !proxies.is_empty() && Network::admit(proxies, &origin.peer);
        let socket = Socket::new(accepted.fd)?;
        Ok(Self { socket, origin, tls: tls.map(|tls| tls.begin(slot)), is_announced })
    }

    /// Whether nothing comes before its protocol.
    pub(in crate::servers) fn is_open(&self) -> bool {
        self.tls.is_none() && !self.is_announced
    }

    /// Whether a proxy tells whose it is.
    pub(in crate::servers) fn is_announced(&self) -> bool {
        self.is_announced
    }

    /// Who is at the other end.
    pub(in crate::servers) fn peer(&self) -> &Peer {
        &self.origin.peer
    }

    /// The connection as it is.
    pub(in crate::servers) fn at_once(self) -> (Stream, Rc<Origin>) {
        (Stream::from(self.socket), Rc::new(self.origin))
    }

    /// The connection once its protocol begins. Why there is none, in words for the log, if that does not come to pass.
    pub(in crate::servers) async fn opened(self) -> Result<(Stream, Rc<Origin>), String> {
        let Self { socket, mut origin, tls, is_announced } = self;
        if is_announced {
            let ends = timeout(LIMIT, announcement(&socket)).await.map_err(io::Error::from).and_then(|announced| announced);
            let ends = ends.map_err(|error| format!("the proxy {} announces no connection: {error}", origin.peer))?;
            if let Some((client, local)) = ends {
                (origin.peer, origin.local) = (Peer::Ip(client), Peer::Ip(local));
            }
        }
        let stream = match tls {
            None => Stream::from(socket),
            Some(tls) => tls.accept(socket).await.map_err(|error| format!("no TLS with {}: {error}", origin.peer))?,
        };
        if let Some(der) = stream.client_certificate() {
            let read = ClientCertificate::read(&der);
            let unread = || format!("the certificate that {} shows cannot be read", origin.peer);
            origin.certificate = Some(Rc::new(read.ok_or_else(unread)?));
        }
        Ok((stream, Rc::new(origin)))
    }
}

/// Reads what a proxy announces, and nothing behind it.
async fn announcement(socket: &Socket) -> io::Result<Option<(std::net::SocketAddr, std::net::SocketAddr)>> {
    let mut buffer = vec![0; MOST];
    let mut seen = 0;
    loop {
        let there = socket.peek(&mut buffer, seen).await?;
        if there <= seen {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        seen = there;
        let malformed = |_| io::Error::new(io::ErrorKind::InvalidData, "what comes first is no PROXY line");
        if let Some(announced) = proxy_protocol::read(&buffer[..seen]).map_err(malformed)? {
            // It is there, so these reads do not wait.
            let mut left = announced.length;
            while left > 0 {
                let read = std::future::poll_fn(|cx| socket.poll_read(cx, &mut buffer[..left])).await?;
                if read == 0 {
                    return Err(io::ErrorKind::UnexpectedEof.into());
                }
                left -= read;
            }
            // A short read says that nothing is left; here it was short because no more was asked for.
            socket.recheck();
            return Ok(announced.ends);
        }
    }
}
