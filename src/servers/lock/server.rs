//! A lock server in a worker.

use std::cell::{Cell, RefCell};
use std::io;
use std::rc::Rc;

use slab::Slab;

use super::config::LockServer as Config;
use super::connection::Connection;
use crate::link::locks::Parties;
use crate::net::{Accepted, Network, Peer, Socket, Stream};
use crate::reactor::Scope;
use crate::scoreboard::{Slot, add, subtract};

/// Serves the lock protocol.
pub struct LockServer {
    name: Rc<str>,
    config: RefCell<Rc<Config>>,
    parties: Rc<Parties>,
    open: RefCell<Slab<Rc<Connection>>>,
    draining: Cell<bool>,
    scope: Scope,
    slot: Slot,
}

impl LockServer {
    /// A server whose clients are parties among `parties`, shown in `slot`.
    #[must_use]
    pub fn new(name: &str, config: Config, parties: Rc<Parties>, slot: Slot) -> Rc<Self> {
        Rc::new(Self {
            name: name.into(),
            config: RefCell::new(Rc::new(config)),
            parties,
            open: RefCell::default(),
            draining: Cell::new(false),
            scope: Scope::new(),
            slot,
        })
    }

    /// Serves new connections otherwise from now on. Those that are open stay with what they began with.
    pub fn replace(&self, config: Config) {
        self.config.replace(Rc::new(config));
    }

    /// Whether it takes more connections than it has.
    #[must_use]
    pub fn has_room(&self) -> bool {
        self.open.borrow().len() < self.config.borrow().max_connections as usize
    }

    /// Connections open now.
    #[must_use]
    pub fn connections(&self) -> usize {
        self.open.borrow().len()
    }

    /// Breaks every connection off: what they hold has failed, but for leases that outlast them.
    pub async fn stop(&self) {
        self.scope.cancel().await;
    }

    /// Takes a connection. One from outside the allowed networks is closed without a word.
    ///
    /// # Errors
    /// When the reactor cannot register it; the connection is closed then.
    pub fn serve(self: &Rc<Self>, accepted: Accepted, _local: &Peer) -> io::Result<()> {
        let config = self.config.borrow().clone();
        if !Network::admit(&config.allow, &accepted.peer) {
            crate::log_info!("{}: {} may not connect", self.name, accepted.peer);
            return Ok(());
        }
        if let Some(span) = config.keepalive
            && let Err(error) = accepted.keep_asking(*span)
        {
            crate::log_debug!("{}: {} is not asked for signs of life: {error}", self.name, accepted.peer);
        }
        let stream = Stream::from(Socket::new(accepted.fd)?);
        let backlog = usize::try_from(config.backlog.get()).unwrap_or(usize::MAX);
        let connection = Connection::new(stream, self.parties.clone(), backlog);
        let key = self.open.borrow_mut().insert(connection.clone());
        let entry = Entry::new(self.clone(), key);
        if self.draining.get() {
            connection.drain();
        }
        let idle = config.idle;
        self.scope.spawn(async move {
            let _entry = entry;
            let served = connection.run();
            match idle {
                Some(idle) => connection.stream().until_idle(*idle, served).await,
                None => served.await,
            }
        });
        Ok(())
    }

    /// Returns when every connection has ended. A connection that holds and waits for nothing, or whose leases outlast it, ends now; others
    /// have time to end what they do.
    pub async fn drain(&self) {
        self.draining.set(true);
        let open: Vec<_> = self.open.borrow().iter().map(|(_, connection)| connection.clone()).collect();
        // None is kept: a connection is closed when its last owner is gone.
        open.into_iter().for_each(|connection| connection.drain());
        self.scope.wait().await;
    }
}

/// Counts a connection for as long as it lives.
struct Entry(Rc<LockServer>, usize);

impl Entry {
    fn new(server: Rc<LockServer>, key: usize) -> Self {
        add(server.slot.accepts(), 1);
        add(server.slot.connections(), 1);
        Self(server, key)
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        self.0.open.borrow_mut().remove(self.1).close();
        subtract(self.0.slot.connections(), 1);
    }
}
