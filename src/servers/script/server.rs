//! A server of raw connections in a worker.

use std::cell::{Cell, RefCell};
use std::io;
use std::rc::Rc;

use super::config::ScriptServer;
use crate::log_debug;
use crate::net::{Accepted, Network, Peer, TlsServer};
use crate::reactor::Scope;
use crate::request::{Connection, Handler};
use crate::scoreboard::{Slot, add, subtract};
use crate::servers::opening::Opening;

/// Gives each connection to its application as it is.
pub struct RawServer {
    name: Rc<str>,
    live: RefCell<Rc<Live>>,
    tls: RefCell<Option<TlsServer>>,
    open: Cell<u64>,
    scope: Scope,
    slot: Slot,
}

/// What it serves now.
struct Live {
    config: ScriptServer,
    app: Rc<dyn Handler>,
}

impl RawServer {
    /// A server whose connections go to `app`, shown in `slot`.
    #[must_use]
    pub fn new(name: &str, config: ScriptServer, app: Rc<dyn Handler>, slot: Slot) -> Rc<Self> {
        let live = RefCell::new(Rc::new(Live { config, app }));
        Rc::new(Self { name: name.into(), live, tls: RefCell::default(), open: Cell::new(0), scope: Scope::new(), slot })
    }

    /// Serves new connections otherwise from now on. Those that are open stay with what they began with.
    pub fn replace(&self, config: ScriptServer, app: Rc<dyn Handler>) {
        self.live.replace(Rc::new(Live { config, app }));
    }

    /// Speaks TLS with new connections, or no longer does. Those that are open go on as they are.
    pub fn speak(&self, tls: Option<TlsServer>) {
        self.tls.replace(tls);
    }

    /// Whether it takes more connections than it has.
    #[must_use]
    pub fn has_room(&self) -> bool {
        self.open.get() < u64::from(self.live.borrow().config.max_connections) && self.tls.borrow().as_ref().is_none_or(TlsServer::has_room)
    }

    /// Connections open now.
    #[must_use]
    pub fn connections(&self) -> u64 {
        self.open.get()
    }

    /// Takes a connection. One from outside the allowed networks is closed without a word.
    ///
    /// # Errors
    /// When the reactor cannot register it; the connection is closed then.
    pub fn serve(self: &Rc<Self>, accepted: Accepted, local: &Peer) -> io::Result<()> {
        let live = self.live.borrow().clone();
        if !Network::admit(&live.config.allow, &accepted.peer) {
            crate::log_info!("{}: {} may not connect", self.name, accepted.peer);
            return Ok(());
        }
        let opening = Opening::new(accepted, local, (&self.name, self.slot), self.tls.borrow().clone(), &live.config.proxy_protocol)?;
        let entry = Entry::new(self.clone());
        let idle = live.config.idle.map(|idle| *idle);
        let app = live.app.clone();
        self.scope.spawn(async move {
            let entry = entry;
            let (stream, origin) = match opening.opened().await {
                Ok(opened) => opened,
                Err(why) => return log_debug!("{}: {why}", entry.0.name),
            };
            let stream = Rc::new(stream);
            let watched = stream.clone();
            let served = app.connection(Connection { stream, origin });
            match idle {
                Some(idle) => watched.until_idle(idle, served).await,
                None => served.await,
            }
        });
        Ok(())
    }

    /// Returns when every connection has ended. An application learns of the drain by its own hook.
    pub async fn drain(&self) {
        self.scope.wait().await;
    }

    /// Breaks every connection off.
    pub async fn stop(&self) {
        self.scope.cancel().await;
    }
}

/// Counts a connection for as long as it lives.
struct Entry(Rc<RawServer>);

impl Entry {
    fn new(server: Rc<RawServer>) -> Self {
        server.open.set(server.open.get() + 1);
        add(server.slot.accepts(), 1);
        add(server.slot.connections(), 1);
        Self(server)
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        self.0.open.set(self.0.open.get() - 1);
        subtract(self.0.slot.connections(), 1);
    }
}
