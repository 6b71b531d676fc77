//! An HTTP server of a worker: its connections, what it serves now, and how it ends.

use std::cell::RefCell;
use std::io;
use std::rc::Rc;
use std::time::Instant;

use slab::Slab;

use super::connection::Connection;
use super::leaving::Leaving;
use super::wire::Wire;
use crate::limiter::Held;
use crate::net::{Accepted, Peer, Stream, TlsServer};
use crate::reactor::{self, Scope};
use crate::request::limits::Admission;
use crate::request::{Origin, Takeover, Upgraded};
use crate::scoreboard::{Slot, add, subtract};
use crate::servers::host::{Host, RequestIds};
use crate::servers::live::Live;
use crate::servers::opening::Opening;
use crate::websocket::Sessions;
use crate::{log_debug, log_error};

/// One HTTP server of the configuration, in this process.
pub struct HttpServer {
    name: Rc<str>,
    live: RefCell<Rc<Live>>,
    /// For HTTPS.
    tls: RefCell<Option<TlsServer>>,
    /// `None` for one that has left HTTP.
    connections: RefCell<Slab<Option<Rc<Wire>>>>,
    scope: Scope,
    pub(super) sockets: Rc<Sessions>,
    /// HTTP/2 connections, which are told when the worker goes.
    pub(super) leaving: Leaving,
    pub(super) host: Rc<Host>,
}

impl HttpServer {
    /// A server that serves `live` and shows itself in `slot`.
    #[must_use]
    pub fn new(name: &str, live: Live, slot: Slot, ids: Rc<RequestIds>) -> Rc<Self> {
        let sockets = Sessions::new(live.websocket.clone());
        Rc::new(Self {
            name: name.into(),
            live: RefCell::new(Rc::new(live)),
            tls: RefCell::default(),
            connections: RefCell::default(),
            scope: Scope::new(),
            sockets,
            leaving: Leaving::default(),
            host: Rc::new(Host::new(name, slot, ids)),
        })
    }

    /// What it serves now.
    #[must_use]
    pub fn live(&self) -> Rc<Live> {
        self.live.borrow().clone()
    }

    /// Whether it is `live` that it serves now.
    pub(super) fn serves(&self, live: &Rc<Live>) -> bool {
        Rc::ptr_eq(&self.live.borrow(), live)
    }

    /// Serves something else from the next request on. Connections stay.
    pub fn replace(&self, live: Live) {
        self.sockets.replace(live.websocket.clone());
        self.live.replace(Rc::new(live));
    }

    /// Speaks TLS with new connections, or no longer does. Those that are open go on as they are.
    pub fn speak(&self, tls: Option<TlsServer>) {
        self.tls.replace(tls);
    }

    /// Whether it takes more connections than it has.
    #[must_use]
    pub fn has_room(&self) -> bool {
        (self.connections() as u64) < self.live.borrow().max_connections && self.tls.borrow().as_ref().is_none_or(TlsServer::has_room)
    }

    /// Connections open now.
    #[must_use]
    pub fn connections(&self) -> usize {
        self.connections.borrow().len()
    }

    /// Takes a connection and serves it in a task of its own.
    ///
    /// # Errors
    /// When the reactor cannot register it; the connection is closed then.
    pub fn serve(self: &Rc<Self>, accepted: Accepted, local: &Peer) -> io::Result<()> {
        let live = self.live();
        let opening = Opening::new(accepted, local, (&self.name, self.host.slot), self.tls.borrow().clone(), &live.proxies)?;
        let mut entry = Entry { key: self.connections.borrow_mut().insert(None), server: self.clone(), crowded: false, held: None };
        add(self.host.slot.accepts(), 1);
        add(self.host.slot.connections(), 1);
        // Before a handshake, which costs; of one that a proxy announces the client is not known yet.
        let known = !opening.is_announced();
        if known && !entry.admit(&live, opening.peer()) {
            return Ok(());
        }
        if opening.is_open() {
            let (stream, origin) = opening.at_once();
            self.serve_stream(entry, stream, origin);
            return Ok(());
        }
        let server = self.clone();
        self.scope.spawn(async move {
            match opening.opened().await {
                Ok((stream, origin)) => {
                    if known || entry.admit(&server.live(), &origin.peer) {
                        server.serve_stream(entry, stream, origin);
                    }
                }
                Err(why) => log_debug!("{}: {why}", server.name),
            }
        });
        Ok(())
    }

    fn serve_stream(self: &Rc<Self>, entry: Entry, stream: Stream, origin: Rc<Origin>) {
        let wire = Rc::new(Wire::new(stream));
        if let Some(place) = self.connections.borrow_mut().get_mut(entry.key) {
            *place = Some(wire.clone());
        }
        let connection = Connection { wire, origin, server: self.clone(), crowded: entry.crowded };
        self.scope.spawn(async move {
            let entry = entry;
            if let Some((wire, takeover)) = connection.serve().await {
                entry.hand_over(wire, takeover);
            }
        });
    }

    /// Since when the server takes nothing new.
    pub(super) fn draining_since(&self) -> Option<Instant> {
        self.host.draining.get()
    }

    /// Lets every exchange end, tells clients to go elsewhere with the next, closes idle connections after a moment.
    /// Returns when no connection is left; the caller bounds the time.
    pub async fn drain(&self) {
        if self.host.draining.get().is_none() {
            self.host.draining.set(Some(reactor::now()));
            for wire in self.connections.borrow().iter().filter_map(|(_, wire)| wire.as_ref()) {
                wire.stream.wake_reader();
            }
            self.sockets.drain();
            self.leaving.tell();
        }
        self.scope.wait().await;
    }

    /// Breaks every connection off.
    pub async fn stop(&self) {
        self.scope.cancel().await;
    }
}

/// A connection's entry in its server, taken out however the connection ends.
struct Entry {
    key: usize,
    server: Rc<HttpServer>,
    /// Its client has too many.
    crowded: bool,
    /// What counts it among those of its client.
    held: Option<Held>,
}

impl Entry {
    /// Counts the connection among those of its client. `false`: it is closed at once.
    fn admit(&mut self, live: &Live, peer: &Peer) -> bool {
        // A proxy that names its clients has connections for all of them: they are counted by their requests.
        let Some(limit) = live.limit.as_ref().filter(|_| !live.trusts(peer)) else { return true };
        (self.crowded, self.held) = match limit.connect(peer) {
            Admission::Served(held) => (false, held),
            Admission::Crowded(held) => (true, held),
            Admission::Closed => return false,
        };
        true
    }

    /// Gives the connection to another protocol, in a task of its own: what HTTP needed is gone with the present one.
    fn hand_over(self, wire: Rc<Wire>, takeover: Takeover) {
        let server = self.server.clone();
        let listed = server.connections.borrow_mut().get_mut(self.key).and_then(Option::take);
        self.count(&wire);
        drop(listed);
        let Some(wire) = Rc::into_inner(wire) else {
            log_error!("{}: a connection that is still in use cannot leave HTTP", server.name);
            return;
        };
        let (stream, early) = wire.into_parts();
        let future = takeover(Upgraded { stream, early, place: Box::new(self) });
        server.scope.spawn(future);
    }

    fn count(&self, wire: &Wire) {
        add(self.server.host.slot.bytes_in(), wire.received.get());
        add(self.server.host.slot.bytes_out(), wire.sent.get());
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        let wire = self.server.connections.borrow_mut().try_remove(self.key);
        subtract(self.server.host.slot.connections(), 1);
        if let Some(wire) = wire.flatten() {
            self.count(&wire);
        }
    }
}
