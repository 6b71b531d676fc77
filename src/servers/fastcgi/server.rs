//! A FastCGI server in a worker.

use std::cell::RefCell;
use std::io;
use std::rc::Rc;

use slab::Slab;

use super::config::FastCgi;
use super::connection::Connection;
use super::spool::Spool;
use crate::log_error;
use crate::net::{Accepted, Network, Peer, Socket, Stream};
use crate::reactor::{self, Scope};
use crate::request::file::Roots;
use crate::scoreboard::{Slot, add, subtract};
use crate::servers::host::{Host, RequestIds};
use crate::servers::live::{Given, Live, Terms};

/// What a server serves now.
pub(super) struct Serving {
    pub(super) config: FastCgi,
    pub(super) live: Live,
    /// Where bodies may lie that the front has stored.
    pub(super) body_files: Roots,
    pub(super) spool: Option<Rc<Spool>>,
}

impl Serving {
    /// `before`: what was served until now.
    fn new(config: FastCgi, live: Live, before: Option<&Self>, slot: Slot) -> Rc<Self> {
        let body_files = Roots::open(&config.body_files).unwrap_or_else(|(path, error)| {
            log_error!("no body is read from a file: {} cannot be opened: {error}", path.display());
            Roots::default()
        });
        let spool = config.sendfile.as_ref().map(|wanted| {
            let same = before.and_then(|before| before.spool.as_ref()).filter(|spool| spool.config() == wanted);
            same.map_or_else(|| Spool::new(wanted.clone(), slot), Rc::clone)
        });
        Rc::new(Self { config, live, body_files, spool })
    }
}

fn live(name: &str, config: &FastCgi, given: Given<'_>, slot: Slot) -> Live {
    let terms = Terms { limiter: given.limiter.map(|limiter| (limiter, name)), ..config.terms(given.files) };
    Live::new(terms, given.apps, given.access.cloned(), slot)
}

/// Serves FastCGI.
pub struct FastCgiServer {
    pub(super) name: Rc<str>,
    pub(super) host: Rc<Host>,
    serving: RefCell<Rc<Serving>>,
    open: RefCell<Slab<Rc<Connection>>>,
    scope: Scope,
}

impl FastCgiServer {
    /// A server for the applications it is given, shown in `slot`.
    #[must_use]
    pub fn new(name: &str, config: FastCgi, given: Given<'_>, slot: Slot, ids: Rc<RequestIds>) -> Rc<Self> {
        let live = live(name, &config, given, slot);
        Rc::new(Self {
            name: name.into(),
            host: Rc::new(Host::new(name, slot, ids)),
            serving: RefCell::new(Serving::new(config, live, None, slot)),
            open: RefCell::default(),
            scope: Scope::new(),
        })
    }

    /// Serves something else from the next request on. Connections stay.
    pub fn replace(&self, config: FastCgi, given: Given<'_>) {
        let live = live(&self.name, &config, given, self.host.slot);
        let serving = Serving::new(config, live, Some(&*self.serving()), self.host.slot);
        self.serving.replace(serving);
    }

    /// What it serves now.
    pub(super) fn serving(&self) -> Rc<Serving> {
        self.serving.borrow().clone()
    }

    /// Whether it takes more connections than it has.
    #[must_use]
    pub fn has_room(&self) -> bool {
        self.connections() < self.serving.borrow().config.max_connections as usize
    }

    /// Connections open now.
    #[must_use]
    pub fn connections(&self) -> usize {
        self.open.borrow().len()
    }

    /// Takes a connection. One from outside the allowed networks is closed without a word.
    ///
    /// # Errors
    /// When the reactor cannot register it; the connection is closed then.
    pub fn serve(self: &Rc<Self>, accepted: Accepted, local: &Peer) -> io::Result<()> {
        if !Network::admit(&self.serving.borrow().config.allow, &accepted.peer) {
            crate::log_info!("{}: {} may not connect", self.name, accepted.peer);
            return Ok(());
        }
        let stream = Stream::from(Socket::new(accepted.fd)?);
        let connection = Rc::new(Connection::new(stream, self.clone(), accepted.peer, local.clone()));
        let key = self.open.borrow_mut().insert(connection.clone());
        add(self.host.slot.accepts(), 1);
        add(self.host.slot.connections(), 1);
        let entry = Entry(self.clone(), key);
        self.scope.spawn(async move {
            let _entry = entry;
            connection.run().await;
        });
        Ok(())
    }

    /// Lets every request end, and closes each connection behind its last; idle ones stay a moment for a request that is on its way.
    /// Returns when no connection is left; the caller bounds the time.
    pub async fn drain(&self) {
        if self.host.draining.get().is_none() {
            self.host.draining.set(Some(reactor::now()));
            self.open.borrow().iter().for_each(|(_, connection)| connection.wake());
        }
        self.scope.wait().await;
    }

    /// Breaks every connection off.
    pub async fn stop(&self) {
        self.scope.cancel().await;
    }
}

/// Counts a connection for as long as it lives.
struct Entry(Rc<FastCgiServer>, usize);

impl Drop for Entry {
    fn drop(&mut self) {
        let connection = self.0.open.borrow_mut().remove(self.1);
        let slot = self.0.host.slot;
        subtract(slot.connections(), 1);
        add(slot.bytes_in(), connection.received.get());
        add(slot.bytes_out(), connection.sent.get());
    }
}
