//! An HTTP server of a worker: its connections, what it serves now, and how it ends.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::io;
use std::rc::Rc;
use std::time::{Duration, Instant};

use slab::Slab;

use super::config::{Http, Uploads};
use super::connection::Connection;
use super::host::Host;
use super::wire::Wire;
use crate::codec::http::http1::HeadLimits;
use crate::log_error;
use crate::net::{Accepted, Peer, Socket, Stream};
use crate::reactor::{self, Scope};
use crate::request::form::{FormLimits, UploadLimits};
use crate::request::{Handler, Origin, RequestId, Site, Takeover, Upgraded};
use crate::scoreboard::{Slot, add, subtract};
use crate::telemetry::AccessLog;
use crate::units::HumanSize;
use crate::websocket::Sessions;
use crate::websocket::config::Settings;

/// What a server serves now. Replaced as a whole by an update; an exchange ends with the one it began with.
pub struct Live {
    pub(in crate::servers) site: Site,
    pub(in crate::servers) access: Option<Rc<AccessLog>>,
    pub(in crate::servers) head_limits: HeadLimits,
    pub(in crate::servers) max_body: u64,
    pub(in crate::servers) keep_alive_requests: u64,
    pub(in crate::servers) timeouts: Timeouts,
    pub(in crate::servers) server_tokens: bool,
    pub(in crate::servers) slow_request: Option<Duration>,
    pub(in crate::servers) max_connections: u64,
    pub(in crate::servers) uploads: Rc<UploadLimits>,
    pub(in crate::servers) websocket: Settings,
}

/// The times of [`super::config::HttpTimeouts`].
#[derive(Debug, Clone, Copy)]
pub(in crate::servers) struct Timeouts {
    pub(in crate::servers) header: Duration,
    pub(in crate::servers) body: Duration,
    pub(in crate::servers) idle: Duration,
    pub(in crate::servers) write: Duration,
}

impl Live {
    /// Puts together what a server serves; `access` is where exchanges are recorded, `slot` where applications are named.
    #[must_use]
    pub fn new(config: &Http, apps: &BTreeMap<String, Rc<dyn Handler>>, access: Option<Rc<AccessLog>>, slot: Slot) -> Self {
        let size = |size: HumanSize| usize::try_from(*size).unwrap_or(usize::MAX);
        let (line, fields) = (size(config.max_line), size(config.max_header_bytes));
        let timeouts = &config.timeouts;
        Self {
            site: Site::new(config.routes.clone(), apps, |name| slot.label(name)),
            access,
            head_limits: HeadLimits { line, field: fields, fields: config.max_headers as usize, total: fields + line },
            max_body: *config.max_body,
            keep_alive_requests: config.keep_alive_requests.into(),
            timeouts: Timeouts { header: *timeouts.header, body: *timeouts.body, idle: *timeouts.idle, write: *timeouts.write },
            server_tokens: config.server_tokens,
            slow_request: config.slow_request.map(|limit| *limit),
            max_connections: config.max_connections.into(),
            uploads: Rc::new(uploads(&config.uploads)),
            websocket: Settings::from(&*config.websocket),
        }
    }
}

fn uploads(config: &Uploads) -> UploadLimits {
    UploadLimits {
        // The checked configuration always has a directory.
        directory: config.dir.clone().unwrap_or_else(std::env::temp_dir),
        max_file: *config.max_file,
        max_files: config.max_files as usize,
        memory: usize::try_from(*config.memory).unwrap_or(usize::MAX),
        form: FormLimits { fields: config.max_fields as usize, ..FormLimits::default() },
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
    /// `None` for one that has left HTTP.
    connections: RefCell<Slab<Option<Rc<Wire>>>>,
    scope: Scope,
    pub(super) sockets: Rc<Sessions>,
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
            connections: RefCell::default(),
            scope: Scope::new(),
            sockets,
            host: Rc::new(Host::new(name, slot, ids)),
        })
    }

    /// What it serves now.
    #[must_use]
    pub fn live(&self) -> Rc<Live> {
        self.live.borrow().clone()
    }

    /// Serves something else from the next request on. Connections stay.
    pub fn replace(&self, live: Live) {
        self.sockets.replace(live.websocket.clone());
        self.live.replace(Rc::new(live));
    }

    /// Whether it takes more connections than it has.
    #[must_use]
    pub fn has_room(&self) -> bool {
        (self.connections() as u64) < self.live.borrow().max_connections
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
        let origin = Rc::new(Origin {
            peer: accepted.peer,
            local: local.clone(),
            secure: false,
            server: self.name.clone(),
            parameters: crate::request::Parameters::default(),
        });
        let wire = Rc::new(Wire::new(stream));
        let entry = Entry { key: self.connections.borrow_mut().insert(Some(wire.clone())), server: self.clone() };
        add(self.host.slot.accepts(), 1);
        add(self.host.slot.connections(), 1);
        let connection = Connection { wire, origin, server: self.clone() };
        self.scope.spawn(async move {
            let entry = entry;
            if let Some((wire, takeover)) = connection.serve().await {
                entry.hand_over(wire, takeover);
            }
        });
        Ok(())
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
                wire.stream.with_socket(Socket::wake_reader);
            }
            self.sockets.drain();
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
}

impl Entry {
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
