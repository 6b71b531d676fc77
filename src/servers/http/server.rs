//! An HTTP server of a worker: its connections, what it serves now, and how it ends.

use std::cell::{Cell, RefCell};
use std::io;
use std::rc::Rc;
use std::time::Instant;

use slab::Slab;

use super::connection::Connection;
use super::settings::HttpSettings;
use super::wire::Wire;
use crate::codec::http::RequestHead;
use crate::codec::http::http1::HeadLimits;
use crate::net::{Accepted, Peer, Socket, Stream};
use crate::reactor::{self, Scope};
use crate::request::{Handler, Origin, RequestId, Response};
use crate::scoreboard::{Slot, State, add, subtract};
use crate::telemetry::AccessLog;

/// Where a request goes.
pub enum Routed {
    /// To an application; `base_length` bytes of the path are the route's own.
    App {
        /// What answers.
        handler: Rc<dyn Handler>,
        /// See [`crate::request::Request::base_length`].
        base_length: usize,
    },
    /// Nowhere: this is the answer.
    Response(Response),
}

/// Finds who answers a request. A rewrite changes the head's target on the way.
pub trait Site {
    /// The answer's source; always there, if only a 404.
    fn find(&self, head: &mut RequestHead) -> Routed;
}

/// What a server serves now. Replaced as a whole by an update; an exchange ends with the one it began with.
pub struct Live {
    /// Limits and switches.
    pub settings: HttpSettings,
    /// Routes and applications.
    pub site: Rc<dyn Site>,
    /// Where exchanges are recorded.
    pub access: Option<Rc<AccessLog>>,
    pub(super) head_limits: HeadLimits,
}

impl Live {
    /// Puts together what a server serves.
    #[must_use]
    pub fn new(settings: HttpSettings, site: Rc<dyn Site>, access: Option<Rc<AccessLog>>) -> Self {
        let head_limits = HeadLimits {
            line: settings.max_line,
            field: settings.max_header_bytes,
            fields: settings.max_headers,
            total: settings.max_header_bytes + settings.max_line,
        };
        Self { settings, site, access, head_limits }
    }
}

/// Numbers the requests of one process: slot and process in the high bits, so that no two processes give the same.
pub struct RequestIds {
    next: Cell<u64>,
}

impl RequestIds {
    /// Numbers of the process in this slot.
    #[must_use]
    pub fn new(slot: usize, pid: u32) -> Self {
        let process = (slot as u64 & 0xff) << 40 | (u64::from(pid) & 0xffff) << 24;
        Self { next: Cell::new(process) }
    }

    /// The next number.
    pub fn next(&self) -> RequestId {
        let id = self.next.get();
        self.next.set(id & !0xff_ffff | (id + 1) & 0xff_ffff);
        RequestId(id)
    }
}

/// One HTTP server of the configuration, in this process.
pub struct HttpServer {
    name: Rc<str>,
    live: RefCell<Rc<Live>>,
    connections: RefCell<Slab<Rc<Wire>>>,
    scope: Scope,
    draining: Cell<Option<Instant>>,
    pub(super) slot: Slot,
    pub(super) label: usize,
    pub(super) ids: Rc<RequestIds>,
}

impl HttpServer {
    /// A server that serves `live` and shows itself in `slot`; its steps go under `label` there.
    #[must_use]
    pub fn new(name: &str, live: Live, slot: Slot, label: usize, ids: Rc<RequestIds>) -> Rc<Self> {
        Rc::new(Self {
            name: name.into(),
            live: RefCell::new(Rc::new(live)),
            connections: RefCell::default(),
            scope: Scope::new(),
            draining: Cell::new(None),
            slot,
            label,
            ids,
        })
    }

    /// What it serves now.
    #[must_use]
    pub fn live(&self) -> Rc<Live> {
        self.live.borrow().clone()
    }

    /// Serves something else from the next request on. Connections stay.
    pub fn replace(&self, live: Live) {
        self.live.replace(Rc::new(live));
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
        let stream = Stream::from(Socket::new(accepted.fd)?);
        let origin = Rc::new(Origin { peer: accepted.peer, local: local.clone(), secure: false, server: self.name.clone() });
        let wire = Rc::new(Wire::new(stream));
        let entry = Entry { key: self.connections.borrow_mut().insert(wire.clone()), server: self.clone() };
        add(self.slot.accepts(), 1);
        add(self.slot.connections(), 1);
        let connection = Connection { wire, origin, server: self.clone() };
        self.scope.spawn(async move {
            let entry = entry;
            connection.serve().await;
            drop(entry);
        });
        Ok(())
    }

    /// Since when the server takes nothing new.
    pub(super) fn draining_since(&self) -> Option<Instant> {
        self.draining.get()
    }

    /// Lets every exchange end, tells clients to go elsewhere with the next, closes idle connections after a moment.
    /// Returns when no connection is left; the caller bounds the time.
    pub async fn drain(&self) {
        if self.draining.get().is_none() {
            self.draining.set(Some(reactor::now()));
            for (_, wire) in &*self.connections.borrow() {
                wire.stream.with_socket(Socket::wake_reader);
            }
        }
        self.scope.wait().await;
    }

    /// Breaks every connection off.
    pub async fn stop(&self) {
        self.scope.cancel().await;
    }

    pub(super) fn enter(&self) {
        add(self.slot.active(), 1);
        self.slot.set_state(State::Busy);
    }

    pub(super) fn leave(&self) {
        subtract(self.slot.active(), 1);
        if self.slot.active().load(std::sync::atomic::Ordering::Relaxed) == 0 {
            self.slot.set_state(if self.draining.get().is_some() { State::Shutdown } else { State::Idle });
        }
    }
}

/// A connection's entry in its server, taken out however the connection ends.
struct Entry {
    key: usize,
    server: Rc<HttpServer>,
}

impl Drop for Entry {
    fn drop(&mut self) {
        let wire = self.server.connections.borrow_mut().try_remove(self.key);
        subtract(self.server.slot.connections(), 1);
        if let Some(wire) = wire {
            add(self.server.slot.bytes_in(), wire.received.get());
            add(self.server.slot.bytes_out(), wire.sent.get());
        }
    }
}
