//! Connections to the server, kept for the next request.

use std::cell::{Cell, RefCell};
use std::io;
use std::rc::{Rc, Weak};
use std::task::{Context, Waker};
use std::time::{Duration, Instant};

use super::address::ServerAddress;
use crate::net::Socket;
use crate::reactor::{sleep_until, spawn, timeout};
use crate::scoreboard::ShownUpstream;

struct Kept {
    socket: Socket,
    since: Instant,
}

/// The kept connections, the latest last.
pub(super) struct Pool {
    address: ServerAddress,
    kept: RefCell<Vec<Kept>>,
    most: usize,
    longest: Duration,
    swept: Cell<bool>,
    active: Cell<usize>,
    shown: ShownUpstream,
}

/// A request that the server works on, for as long as this lives.
pub(super) struct Active(Rc<Pool>);

impl Drop for Active {
    fn drop(&mut self) {
        self.0.set_active(self.0.active.get() - 1);
    }
}

impl Pool {
    /// Keeps `most` connections of the application `app`, each for `longest`.
    pub(super) fn new(app: &str, address: ServerAddress, most: usize, longest: Duration) -> Rc<Self> {
        let shown = ShownUpstream::new(app, &address.to_string(), false);
        Rc::new(Self { address, kept: RefCell::default(), most, longest, swept: Cell::new(false), active: Cell::new(0), shown })
    }

    /// A request begins.
    pub(super) fn begin(self: &Rc<Self>) -> Active {
        self.set_active(self.active.get() + 1);
        self.shown.add_request();
        Active(self.clone())
    }

    /// The server has failed.
    pub(super) fn failed(&self) {
        self.shown.add_failure();
    }

    fn set_active(&self, count: usize) {
        self.active.set(count);
        self.shown.set_active(count);
    }

    /// The connection that was used last and is still there.
    pub(super) fn take(&self) -> Option<Socket> {
        self.drop_old(Instant::now());
        let mut kept = self.kept.borrow_mut();
        while let Some(Kept { socket, .. }) = kept.pop() {
            self.shown.set_idle(kept.len());
            if is_quiet(&socket) {
                return Some(socket);
            }
        }
        None
    }

    /// A new connection.
    pub(super) async fn connect(&self, limit: Duration) -> io::Result<Socket> {
        timeout(limit, self.address.connect()).await.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
    }

    /// Keeps a connection whose request has ended.
    pub(super) fn put(self: &Rc<Self>, socket: Socket) {
        if self.most == 0 {
            return;
        }
        let mut kept = self.kept.borrow_mut();
        if kept.len() >= self.most {
            kept.remove(0);
        }
        kept.push(Kept { socket, since: Instant::now() });
        self.shown.set_idle(kept.len());
        drop(kept);
        if !self.swept.replace(true) {
            spawn(sweep(Rc::downgrade(self))).detach();
        }
    }

    fn drop_old(&self, now: Instant) {
        let mut all = self.kept.borrow_mut();
        all.retain(|kept| now.duration_since(kept.since) < self.longest);
        self.shown.set_idle(all.len());
    }

    /// When the oldest has been kept long enough; `None` when there is none.
    fn next_end(&self) -> Option<Instant> {
        let next = self.kept.borrow().first().map(|kept| kept.since + self.longest);
        self.swept.set(next.is_some());
        next
    }
}

/// Whether the server has neither closed it nor said what nobody asked for. Asks the kernel.
fn is_quiet(socket: &Socket) -> bool {
    socket.recheck();
    socket.poll_read(&mut Context::from_waker(Waker::noop()), &mut [0; 1]).is_pending()
}

/// Closes connections that nobody has used for long, until none is left: each holds a process of the server.
async fn sweep(pool: Weak<Pool>) {
    while let Some(end) = pool.upgrade().and_then(|pool| pool.next_end()) {
        sleep_until(end).await;
        if let Some(pool) = pool.upgrade() {
            pool.drop_old(Instant::now());
        }
    }
}
