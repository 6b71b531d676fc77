//! An RTEP server in a worker.

use std::cell::{Cell, RefCell};
use std::io;
use std::rc::Rc;

use slab::Slab;

use super::config::RtepServer as Config;
use super::output::Bounds;
use super::session::{Limits, Session, Surroundings};
use crate::events::Events;
use crate::net::{Accepted, Network, Peer, Socket, Stream};
use crate::reactor::{Scope, sleep};
use crate::rtep::Registry;
use crate::scoreboard::{Slot, add, subtract};
use crate::units::HumanSize;

thread_local! {
    /// Connections of all RTEP servers of this worker so far.
    static NUMBER: Cell<u64> = const { Cell::new(1) };
}

/// What it serves now.
struct Live {
    config: Config,
    limits: Rc<Limits>,
}

/// Serves RTEP.
pub struct RtepServer {
    surroundings: Rc<Surroundings>,
    live: RefCell<Rc<Live>>,
    open: RefCell<Slab<Rc<Session>>>,
    draining: Cell<bool>,
    scope: Scope,
    slot: Slot,
}

impl RtepServer {
    /// A server of these events, shown in `slot`. Its groups and operations are those of `registry`.
    #[must_use]
    pub fn new(name: &str, config: Config, events: Rc<Events>, registry: Registry, slot: Slot) -> Rc<Self> {
        let surroundings = Rc::new(Surroundings { name: name.into(), events, registry });
        let live = RefCell::new(Rc::new(live(config)));
        Rc::new(Self { surroundings, live, open: RefCell::default(), draining: Cell::new(false), scope: Scope::new(), slot })
    }

    /// Serves new connections otherwise from now on. Those that are open stay with what they began with.
    pub fn replace(&self, config: Config) {
        self.live.replace(Rc::new(live(config)));
    }

    /// Whether it takes more connections than it has.
    #[must_use]
    pub fn has_room(&self) -> bool {
        self.open.borrow().len() < self.live.borrow().config.max_connections as usize
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
    pub fn serve(self: &Rc<Self>, accepted: Accepted, _local: &Peer) -> io::Result<()> {
        let live = self.live.borrow().clone();
        let config = &live.config;
        let name = &self.surroundings.name;
        if !Network::admit(&config.allow, &accepted.peer) {
            crate::log_info!("{name}: {} may not connect", accepted.peer);
            return Ok(());
        }
        if let Some(span) = config.keepalive
            && let Err(error) = accepted.keep_asking(*span)
        {
            crate::log_debug!("{name}: {} is not asked for signs of life: {error}", accepted.peer);
        }
        let stream = Stream::from(Socket::new(accepted.fd)?);
        let number = NUMBER.get();
        NUMBER.set(number + 1);
        let session = Session::new(number, stream, accepted.peer, self.surroundings.clone(), live.limits.clone());
        let key = self.open.borrow_mut().insert(session.clone());
        let entry = Entry::new(self.clone(), key);
        if self.draining.get() {
            session.leave();
        }
        let idle = config.idle.map(|idle| *idle);
        self.scope.spawn(async move {
            let _entry = entry;
            session.run(idle).await;
        });
        Ok(())
    }

    /// Closes the connections one after the other, each when its requests are answered; returns when every one has ended.
    pub async fn drain(&self) {
        self.draining.set(true);
        let open: Vec<_> = self.open.borrow().iter().map(|(_, session)| Rc::downgrade(session)).collect();
        let spread = *self.live.borrow().config.drain_spread;
        let count = u32::try_from(open.len()).unwrap_or(u32::MAX).max(1);
        for session in open {
            if let Some(session) = session.upgrade() {
                session.leave();
            }
            sleep(spread / count).await;
        }
        self.scope.wait().await;
    }

    /// Breaks every connection off.
    pub async fn stop(&self) {
        self.scope.cancel().await;
    }
}

fn live(config: Config) -> Live {
    let bytes = |size: HumanSize| usize::try_from(*size).unwrap_or(usize::MAX);
    let limits = Limits {
        origins: config.origins.clone(),
        max_line: bytes(config.max_line),
        max_subscriptions: config.max_subscriptions as usize,
        max_pending: config.max_pending as usize,
        bounds: Bounds { bytes: bytes(config.queue_bytes), lines: config.queue as usize, overflow: config.overflow },
        stalled: *config.stalled,
    };
    Live { config, limits: Rc::new(limits) }
}

/// Counts a connection for as long as it lives.
struct Entry(Rc<RtepServer>, usize);

impl Entry {
    fn new(server: Rc<RtepServer>, key: usize) -> Self {
        add(server.slot.accepts(), 1);
        add(server.slot.connections(), 1);
        Self(server, key)
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        self.0.open.borrow_mut().remove(self.1);
        subtract(self.0.slot.connections(), 1);
    }
}
