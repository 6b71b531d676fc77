//! Connections kept for the next request.

use std::any::Any;
use std::cell::RefCell;
use std::io;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use bytes::BytesMut;

use super::{Connected, Url};
use crate::net::Stream;

/// Connections kept to one server.
const MAX_A_SERVER: usize = 8;
/// Connections kept in all.
const MAX: usize = 64;
/// How long a connection is kept: less than most servers do.
const LONGEST: Duration = Duration::from_secs(30);
/// How much is read at once.
const PIECE: usize = 16 << 10;

/// A connection with what was read and not used yet.
pub(super) struct Connection {
    pub stream: Stream,
    pub input: BytesMut,
    /// Whether it has served a request before.
    pub reused: bool,
    _kept: Box<dyn Any>,
}

impl Connection {
    pub(super) fn new(connected: Connected) -> Connection {
        Connection { stream: connected.stream, input: BytesMut::new(), reused: false, _kept: connected.kept }
    }

    /// Reads more into the buffer; 0 at the end. Nothing is held while nothing comes.
    pub(super) fn poll_fill(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let mut buffer = [0; PIECE];
        let read = ready!(self.stream.poll_read(cx, &mut buffer))?;
        self.input.extend_from_slice(&buffer[..read]);
        Poll::Ready(Ok(read))
    }
}

struct Kept {
    secure: bool,
    host: String,
    port: u16,
    since: Instant,
    connection: Connection,
}

/// The kept connections, the latest last.
#[derive(Default)]
pub(super) struct Pool {
    kept: RefCell<Vec<Kept>>,
}

impl Pool {
    /// The connection to this server that was used last.
    pub(super) fn take(&self, url: &Url) -> Option<Connection> {
        let mut kept = self.kept.borrow_mut();
        let now = Instant::now();
        kept.retain(|kept| now.duration_since(kept.since) < LONGEST && !kept.connection.stream.with_socket(crate::net::Socket::is_hung_up));
        let place = kept.iter().rposition(|kept| (kept.secure, kept.host.as_str(), kept.port) == url.origin())?;
        let mut connection = kept.remove(place).connection;
        connection.reused = true;
        Some(connection)
    }

    /// Keeps a connection whose answer has been read to its end.
    pub(super) fn put(&self, url: &Url, connection: Connection) {
        if !connection.input.is_empty() {
            // An answer that nobody asked for.
            return;
        }
        let (secure, host, port) = url.origin();
        let mut kept = self.kept.borrow_mut();
        let same = |kept: &Kept| (kept.secure, kept.host.as_str(), kept.port) == (secure, host, port);
        if kept.iter().filter(|kept| same(kept)).count() >= MAX_A_SERVER {
            let oldest = kept.iter().position(same).unwrap_or_default();
            kept.remove(oldest);
        }
        if kept.len() >= MAX {
            kept.remove(0);
        }
        kept.push(Kept { secure, host: host.to_owned(), port, since: Instant::now(), connection });
    }
}
