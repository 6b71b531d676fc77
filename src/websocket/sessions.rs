//! All WebSocket connections of a server: who still lives, and how they end when the worker goes.

use std::cell::{Cell, RefCell};
use std::rc::{Rc, Weak};
use std::time::{Duration, Instant};

use slab::Slab;

use super::config::Settings;
use super::session::Session;
use crate::reactor;

/// How often all connections are looked at, at most and at least.
const LEAST_TICK: Duration = Duration::from_millis(10);
const MOST_TICK: Duration = Duration::from_secs(1);
/// And while they are closed one after the other.
const DRAIN_TICK: Duration = Duration::from_millis(20);

/// The connections. One look at all of them now and then costs less than a timer for each.
pub struct Sessions {
    settings: RefCell<Rc<Settings>>,
    open: RefCell<Slab<Rc<Session>>>,
    draining: Cell<bool>,
    looks: Cell<bool>,
}

impl Sessions {
    /// No connections yet.
    #[must_use]
    pub fn new(settings: Settings) -> Rc<Self> {
        Rc::new(Self {
            settings: RefCell::new(Rc::new(settings)),
            open: RefCell::default(),
            draining: Cell::new(false),
            looks: Cell::new(false),
        })
    }

    /// The settings for the next connection.
    #[must_use]
    pub fn settings(&self) -> Rc<Settings> {
        self.settings.borrow().clone()
    }

    /// Other settings from the next connection on.
    pub fn replace(&self, settings: Settings) {
        self.settings.replace(Rc::new(settings));
    }

    /// Connections that have not ended.
    #[must_use]
    pub fn len(&self) -> usize {
        self.open.borrow().len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether the worker goes: nothing new is taken.
    #[must_use]
    pub fn is_draining(&self) -> bool {
        self.draining.get()
    }

    /// Watches over a connection until the guard is dropped.
    #[must_use]
    pub fn enter(self: &Rc<Self>, session: Rc<Session>) -> Membership {
        let key = self.open.borrow_mut().insert(session);
        if !self.looks.replace(true) {
            let sessions = Rc::downgrade(self);
            let settings = self.settings();
            let shortest = settings.ping.min(settings.pong_timeout).min(settings.close_timeout);
            reactor::spawn(look(sessions, (shortest / 4).clamp(LEAST_TICK, MOST_TICK))).detach();
        }
        Membership { sessions: self.clone(), key }
    }

    /// Closes the connections one after the other, over the time that the settings say.
    pub fn drain(self: &Rc<Self>) {
        if self.draining.replace(true) {
            return;
        }
        let (now, spread) = (reactor::now(), self.settings().drain_spread);
        let open = self.open.borrow();
        let count = open.len().max(1) as u32;
        for (place, (_, session)) in open.iter().enumerate() {
            session.leave_at(now + spread * place as u32 / count);
        }
        if !open.is_empty() {
            // The usual look may be a second away.
            reactor::spawn(look(Rc::downgrade(self), DRAIN_TICK)).detach();
        }
    }

    fn look(&self, now: Instant) {
        let sessions: Vec<Rc<Session>> = self.open.borrow().iter().map(|(_, session)| session.clone()).collect();
        for session in sessions {
            session.look(now);
        }
    }
}

/// Looks at all connections for as long as there are any.
async fn look(sessions: Weak<Sessions>, tick: Duration) {
    loop {
        reactor::sleep(tick).await;
        let Some(sessions) = sessions.upgrade() else { return };
        if sessions.is_empty() {
            sessions.looks.set(false);
            return;
        }
        sessions.look(reactor::now());
    }
}

/// A connection's place among the others, however its task ends.
pub struct Membership {
    sessions: Rc<Sessions>,
    key: usize,
}

impl Drop for Membership {
    fn drop(&mut self) {
        let session = self.sessions.open.borrow_mut().try_remove(self.key);
        if let Some(session) = session {
            session.abandon();
        }
    }
}
