//! One server that requests go to: its kept connections, the requests it has, and what is said of it in the log.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::{Rc, Weak};
use std::time::{Duration, Instant};

use event_listener::Event;

use super::config::{Connections, Failures};
use super::health::Health;
use crate::apps::complaints::Complaints;
use crate::clients::http::{Connection, Url};
use crate::reactor::{self, sleep_until, spawn};
use crate::scoreboard::{ShownUpstream, now_ms};

/// A connection and when it was made.
pub(super) struct Line {
    pub(super) connection: Connection,
    pub(super) born: Instant,
}

struct Idle {
    line: Line,
    since: Instant,
}

/// A server.
pub(super) struct Upstream {
    pub(super) url: Url,
    /// Host and port, or the socket: for logs.
    pub(super) name: String,
    /// Host and port as a Host field has them.
    pub(super) authority: String,
    pub(super) weight: u32,
    pub(super) health: Health,
    /// What it has over or under its share in the round.
    pub(super) share: Cell<i64>,
    terms: Connections,
    /// The latest last.
    idle: RefCell<VecDeque<Idle>>,
    active: Cell<u32>,
    swept: Cell<bool>,
    complaints: Complaints,
    shown: ShownUpstream,
}

impl Upstream {
    /// A server of the application `app`; `backup`: one that is asked while the others are away.
    pub(super) fn new(app: &str, url: Url, weight: u32, backup: bool, terms: Connections) -> Rc<Self> {
        let (name, authority) = (url.server(), url.authority());
        let shown = ShownUpstream::new(app, &name, backup);
        Rc::new(Self {
            url,
            name,
            authority,
            weight,
            health: Health::default(),
            share: Cell::new(0),
            terms,
            idle: RefCell::default(),
            active: Cell::new(0),
            swept: Cell::new(false),
            complaints: Complaints::default(),
            shown,
        })
    }

    /// The path that goes before every request's, without a slash at its end.
    pub(super) fn prefix(&self) -> &str {
        self.url.target().trim_end_matches('/')
    }

    fn set_active(&self, count: u32) {
        self.active.set(count);
        self.shown.set_active(count as usize);
    }

    /// Requests under way.
    pub(super) fn active(&self) -> u32 {
        self.active.get()
    }

    /// It has answered.
    pub(super) fn answered(&self) {
        self.health.answered();
        self.shown.set_away(0);
    }

    /// It has failed. For how long it is left alone, if that begins now.
    pub(super) fn failed(&self, terms: &Failures) -> Option<Duration> {
        let away = self.health.failed(terms, reactor::now());
        self.shown.add_failure();
        if let Some(away) = away {
            self.shown.set_away(now_ms().saturating_add(u64::try_from(away.as_millis()).unwrap_or(u64::MAX)));
        }
        away
    }

    /// What asking it whether it is well came to; whether that is news.
    pub(super) fn asked(&self, well: bool) -> bool {
        self.shown.set_unwell(!well);
        self.health.asked(well)
    }

    /// Whether it takes another request.
    pub(super) fn has_room(&self) -> bool {
        self.active.get() < self.terms.max
    }

    /// The connection that was used last. A `careful` caller has a request that may not be repeated: the kernel is asked whether the server has closed.
    pub(super) fn take(&self, careful: bool) -> Option<Line> {
        let now = reactor::now();
        loop {
            let idle = self.idle.borrow_mut().pop_back()?;
            self.shown.set_idle(self.idle.borrow().len());
            let Idle { mut line, since } = idle;
            let quiet = if careful { line.connection.is_quiet() } else { line.connection.seems_quiet() };
            if quiet && now < since + self.terms.idle_time.get() && !self.is_old(&line, now) {
                line.connection.reuse();
                return Some(line);
            }
        }
    }

    /// Keeps a connection for another request.
    pub(super) fn keep(self: &Rc<Self>, line: Line) {
        let now = reactor::now();
        if self.is_old(&line, now) || self.terms.idle == 0 {
            return;
        }
        let mut idle = self.idle.borrow_mut();
        if idle.len() >= self.terms.idle as usize {
            idle.pop_front();
        }
        idle.push_back(Idle { line, since: now });
        self.shown.set_idle(idle.len());
        if !self.swept.replace(true) {
            spawn(sweep(Rc::downgrade(self))).detach();
        }
    }

    fn is_old(&self, line: &Line, now: Instant) -> bool {
        self.terms.age.is_some_and(|age| now.duration_since(line.born) >= age.get())
    }

    /// Closes what was kept for long enough; when there is more to do, if there is.
    fn drop_old(&self, now: Instant) -> Option<Instant> {
        let limit = self.terms.idle_time.get();
        let mut idle = self.idle.borrow_mut();
        idle.retain(|idle| now.duration_since(idle.since) < limit && idle.line.connection.seems_quiet());
        self.shown.set_idle(idle.len());
        let next = idle.front().map(|idle| idle.since + limit);
        self.swept.set(next.is_some());
        next
    }

    /// Says in the log that the server has failed, not more often than once a second.
    pub(super) fn complain(&self, app: &str, why: &str) {
        self.complaints.tell(|held| crate::log_warn!(app = app; "upstream {}: {why}{held}", self.name));
    }
}

/// Closes connections that nobody has used for long, until none is left.
async fn sweep(upstream: Weak<Upstream>) {
    let next = |upstream: &Weak<Upstream>| upstream.upgrade().and_then(|upstream| upstream.drop_old(reactor::now()));
    while let Some(at) = next(&upstream) {
        sleep_until(at).await;
    }
}

/// A request's place among those of a server, for as long as the request lasts.
pub(super) struct Place {
    pub(super) upstream: Rc<Upstream>,
    freed: Rc<Event>,
}

impl Place {
    /// Takes a place; `freed` tells one of those who wait when it is given back.
    pub(super) fn take(upstream: &Rc<Upstream>, freed: &Rc<Event>) -> Self {
        upstream.set_active(upstream.active.get() + 1);
        upstream.shown.add_request();
        Self { upstream: upstream.clone(), freed: freed.clone() }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.upstream.set_active(self.upstream.active.get() - 1);
        self.freed.notify(1);
    }
}
