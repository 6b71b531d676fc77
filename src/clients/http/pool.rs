//! Connections kept for the next request.

use std::any::Any;
use std::cell::{Cell, RefCell};
use std::io;
use std::rc::{Rc, Weak};
use std::task::{Context, Poll, Waker, ready};
use std::time::{Duration, Instant};

use bytes::BytesMut;

use super::{Connected, Url};
use crate::net::Stream;
use crate::reactor::{sleep_until, spawn};

/// Connections kept to one server.
const MAX_A_SERVER: usize = 8;
/// Connections kept in all.
const MAX: usize = 32;
/// How long a connection is kept.
const LONGEST: Duration = Duration::from_mins(1);
/// How much is read at once.
const PIECE: usize = 64 << 10;

thread_local! {
    static SCRATCH: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// A connection with what was read and not used yet.
pub struct Connection {
    /// Shared with the sending of a request, which may last longer than the head of its answer.
    pub(super) stream: Rc<Stream>,
    pub(super) input: BytesMut,
    /// Whether it has served a request before.
    pub(super) reused: bool,
    /// What is dropped with it.
    kept: Box<dyn Any>,
}

impl Connection {
    /// A connection that nothing was sent over.
    #[must_use]
    pub fn new(connected: Connected) -> Connection {
        Connection { stream: Rc::new(connected.stream), input: BytesMut::new(), reused: false, kept: connected.kept }
    }

    /// Reads more into the buffer; 0 at the end. Nothing is held while nothing comes.
    pub(super) fn poll_fill(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        SCRATCH.with_borrow_mut(|scratch| {
            scratch.resize(PIECE, 0);
            let read = ready!(self.stream.poll_read(cx, scratch))?;
            self.input.extend_from_slice(&scratch[..read]);
            Poll::Ready(Ok(read))
        })
    }

    /// Says that it has served a request, and is about to serve another.
    pub fn reuse(&mut self) {
        self.reused = true;
    }

    /// The stream, and what has come and is not used: the connection speaks another protocol from here on.
    #[must_use]
    pub fn into_parts(self) -> (Rc<Stream>, BytesMut, Box<dyn Any>) {
        (self.stream, self.input, self.kept)
    }

    /// Whether nothing is known to have come that nobody asked for, nor the end. Over a bare socket that costs no call to the kernel, and what came
    /// just now is missed.
    #[must_use]
    pub fn seems_quiet(&self) -> bool {
        let Stream::Plain(socket) = &*self.stream else { return self.is_quiet() };
        let mut cx = Context::from_waker(Waker::noop());
        self.input.is_empty() && !socket.is_hung_up() && socket.poll_readable(&mut cx).is_pending()
    }

    /// Whether the server has neither closed it nor said what nobody asked for, which would pass for the next answer. Asks the kernel: a
    /// request that may not be repeated must not go to who has closed already.
    #[must_use]
    pub fn is_quiet(&self) -> bool {
        self.stream.recheck();
        self.stream.poll_read(&mut Context::from_waker(Waker::noop()), &mut [0; 1]).is_pending()
    }
}

/// What must be the same for a connection to serve another request: TLS or not, host, port, and whom the certificate was checked against.
type Server = (bool, String, u16, Option<Rc<str>>);

fn server(url: &Url, authorities: Option<&Rc<str>>) -> Server {
    let (secure, host, port) = url.origin();
    (secure, host.to_owned(), port, authorities.cloned())
}

struct Kept {
    server: Server,
    since: Instant,
    connection: Connection,
}

/// The kept connections, the latest last.
#[derive(Default)]
pub(super) struct Pool {
    kept: RefCell<Vec<Kept>>,
    swept: Cell<bool>,
}

impl Pool {
    /// The connection to this server that was used last.
    pub(super) fn take(&self, url: &Url, authorities: Option<&Rc<str>>) -> Option<Connection> {
        let wanted = server(url, authorities);
        self.drop_old(Instant::now());
        let mut kept = self.kept.borrow_mut();
        while let Some(place) = kept.iter().rposition(|kept| kept.server == wanted) {
            let mut connection = kept.remove(place).connection;
            if connection.is_quiet() {
                connection.reused = true;
                return Some(connection);
            }
        }
        None
    }

    /// Keeps a connection whose answer has been read to its end.
    pub(super) fn put(self: &Rc<Self>, url: &Url, authorities: Option<&Rc<str>>, connection: Connection) {
        if !connection.input.is_empty() {
            // An answer that nobody asked for.
            return;
        }
        let server = server(url, authorities);
        let mut kept = self.kept.borrow_mut();
        if kept.iter().filter(|kept| kept.server == server).count() >= MAX_A_SERVER {
            let oldest = kept.iter().position(|kept| kept.server == server).unwrap_or_default();
            kept.remove(oldest);
        }
        if kept.len() >= MAX {
            kept.remove(0);
        }
        kept.push(Kept { server, since: Instant::now(), connection });
        if !self.swept.replace(true) {
            spawn(sweep(Rc::downgrade(self))).detach();
        }
    }

    /// Closes the connection that was kept first; whether there was one.
    pub(super) fn close_oldest(&self) -> bool {
        let mut kept = self.kept.borrow_mut();
        let oldest = if kept.is_empty() { None } else { Some(kept.remove(0)) };
        drop(kept);
        oldest.is_some()
    }

    fn drop_old(&self, now: Instant) {
        self.kept.borrow_mut().retain(|kept| now.duration_since(kept.since) < LONGEST);
    }

    /// When the oldest has been kept long enough; `None` when there is none.
    fn next_end(&self) -> Option<Instant> {
        let next = self.kept.borrow().first().map(|kept| kept.since + LONGEST);
        self.swept.set(next.is_some());
        next
    }
}

/// Closes connections that nobody has used for long, until none is left: they take the application's sockets.
async fn sweep(pool: Weak<Pool>) {
    while let Some(end) = pool.upgrade().and_then(|pool| pool.next_end()) {
        sleep_until(end).await;
        if let Some(pool) = pool.upgrade() {
            pool.drop_old(Instant::now());
        }
    }
}
