//! All WebSocket connections of a server: who still lives, and how they end when the worker goes.

use std::cell::{Cell, RefCell};
use std::rc::{Rc, Weak};
use std::time::Duration;

use slab::Slab;

use super::config::Settings;
use super::moment::Moment;
use super::session::Session;
use crate::reactor;

/// How often it is looked whose time has come, at most and at least.
const LEAST_TICK: Duration = Duration::from_millis(10);
const MOST_TICK: Duration = Duration::from_secs(1);
/// And while they are closed one after the other.
const DRAIN_TICK: Duration = Duration::from_millis(20);

/// The connections. One look now and then at those whose time has come costs less than a timer for each.
pub struct Sessions {
    settings: RefCell<Rc<Settings>>,
    open: RefCell<Slab<Watched>>,
    draining: Cell<bool>,
    looks: Cell<bool>,
}

/// A connection, and when it must be looked at again: until then its memory is left alone.
struct Watched {
    due: Moment,
    session: Rc<Session>,
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
        let key = self.open.borrow_mut().insert(Watched { due: Moment::now(), session });
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
        let (now, spread) = (Moment::now(), self.settings().drain_spread);
        let mut open = self.open.borrow_mut();
        let count = open.len().max(1) as u32;
        for (place, (_, watched)) in open.iter_mut().enumerate() {
            let at = now + spread * place as u32 / count;
            watched.session.leave_at(at);
            watched.due = watched.due.min(at);
        }
        if !open.is_empty() {
            // The usual look may be a second away.
            reactor::spawn(look(Rc::downgrade(self), DRAIN_TICK)).detach();
        }
    }

    fn look(&self, now: Moment) {
        let is_due = |(key, watched): (usize, &Watched)| (watched.due <= now).then(|| (key, watched.session.clone()));
        let due: Vec<(usize, Rc<Session>)> = self.open.borrow().iter().filter_map(is_due).collect();
        for (key, session) in due {
            let next = session.look(now);
            // What a look ends may have left meanwhile.
            if let Some(watched) = self.open.borrow_mut().get_mut(key) {
                watched.due = next;
            }
        }
    }
}

/// Looks whose time has come, for as long as there are connections.
async fn look(sessions: Weak<Sessions>, tick: Duration) {
    loop {
        reactor::sleep(tick).await;
        let Some(sessions) = sessions.upgrade() else { return };
        if sessions.is_empty() {
            sessions.looks.set(false);
            return;
        }
        sessions.look(Moment::now());
    }
}

/// A connection's place among the others, however its task ends.
pub struct Membership {
    sessions: Rc<Sessions>,
    key: usize,
}

impl Drop for Membership {
    fn drop(&mut self) {
        let watched = self.sessions.open.borrow_mut().try_remove(self.key);
        if let Some(watched) = watched {
            watched.session.abandon();
        }
    }
}
