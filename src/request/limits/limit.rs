//! Whether an address may ask for more.

use std::cell::Cell;
use std::fmt;
use std::rc::Rc;
use std::time::{Duration, Instant};

use super::Limits;
use crate::limiter::{Held, Key, Limiter, Pace, Zone};
use crate::log_warn;
use crate::net::{Clients, Peer};
use crate::reactor;
use crate::request::{Response, Takeover};

/// How often a limit speaks up in the log, at most.
const SILENCE: Duration = Duration::from_secs(1);
/// When who has too much under way should come again.
const SOON: Duration = Duration::from_secs(1);
/// Connections beyond the limit that are answered at the same time at least; yet more are closed without a word.
const ANSWERED: u32 = 8;

/// The limits of a server or a route, in a worker.
pub struct Limit {
    limiter: Rc<Limiter>,
    /// What it is for, in reports: `server web, route /login`.
    subject: String,
    config: Limits,
    pace: Option<Pace>,
    rate: Zone,
    concurrent: Zone,
    connections: Zone,
    quiet_until: Cell<Option<Instant>>,
    unsaid: Cell<u64>,
}

/// What becomes of a request.
pub enum Pass {
    /// It may go on. It is under way as long as what this has lives.
    Through(Option<Held>),
    /// It is one too many: this is the answer.
    Refused(Response),
}

/// What becomes of a connection.
pub enum Admission {
    /// It is served. It is counted as long as what this has lives.
    Served(Option<Held>),
    /// It is one too many: it is to be told so and closed.
    Crowded(Option<Held>),
    /// It is far too many: it is closed.
    Closed,
}

impl Limit {
    /// Limits under a name that is the same in every process and configuration.
    #[must_use]
    pub fn new(config: Limits, limiter: &Rc<Limiter>, subject: String) -> Rc<Self> {
        let zone = |what: &str| limiter.zone(&format!("{what} of {subject}"));
        Rc::new(Self {
            pace: config.rate.map(|rate| Pace::new(rate, config.at_once())),
            rate: zone("rate"),
            concurrent: zone("concurrent"),
            connections: zone("connections"),
            limiter: limiter.clone(),
            subject,
            config,
            quiet_until: Cell::new(None),
            unsaid: Cell::new(0),
        })
    }

    /// Who is counted; `None`: nobody.
    fn key(&self, zone: Zone, peer: &Peer) -> Option<Key> {
        let address = peer.ip()?;
        let exempt = self.config.exempt.iter().any(|clients| Clients::contain(clients, peer));
        (!exempt).then(|| self.limiter.key(zone, address, self.config.ipv6_prefix))
    }

    /// Counts a request of a client.
    #[must_use]
    pub fn admit(&self, peer: &Peer) -> Pass {
        if let Some(pace) = self.pace
            && let Some(key) = self.key(self.rate, peer)
            && let Err(wait) = self.limiter.charge(key, pace, reactor::now())
        {
            let rate = self.config.rate.map(|rate| rate.to_string()).unwrap_or_default();
            self.refuse(peer, format_args!("asks more often than {rate}"), Limiter::refused_request);
            if !self.config.dry_run {
                return Pass::Refused(Response::later(429, "too many requests from this address; try again later", wait));
            }
        }
        let Some(most) = self.config.concurrent else { return Pass::Through(None) };
        let Some((count, held)) = self.key(self.concurrent, peer).and_then(|key| self.limiter.enter(key)) else {
            return Pass::Through(None);
        };
        if count > most {
            self.refuse(peer, format_args!("has more than {most} requests under way"), Limiter::refused_request);
            if !self.config.dry_run {
                return Pass::Refused(Response::later(429, "too many requests from this address are under way; try again later", SOON));
            }
        }
        Pass::Through(Some(held))
    }

    /// Counts a connection of a client.
    #[must_use]
    pub fn connect(&self, peer: &Peer) -> Admission {
        let Some(most) = self.config.connections else { return Admission::Served(None) };
        let Some((count, held)) = self.key(self.connections, peer).and_then(|key| self.limiter.enter(key)) else {
            return Admission::Served(None);
        };
        if count <= most {
            return Admission::Served(Some(held));
        }
        self.refuse(peer, format_args!("has more than {most} connections"), Limiter::refused_connection);
        if self.config.dry_run {
            Admission::Served(Some(held))
        } else if count - most <= most.max(ANSWERED) {
            Admission::Crowded(Some(held))
        } else {
            Admission::Closed
        }
    }

    /// The answer on a connection that is one too many.
    #[must_use]
    pub fn crowded() -> Response {
        Response::later(429, "too many connections from this address; try again later", SOON)
    }

    /// Counts what was refused, and says so, not too often.
    fn refuse(&self, peer: &Peer, what: fmt::Arguments<'_>, count: fn(&Limiter)) {
        let refused = !self.config.dry_run;
        if refused {
            count(&self.limiter);
        }
        let now = reactor::now();
        if self.quiet_until.get().is_some_and(|until| now < until) {
            self.unsaid.set(self.unsaid.get() + 1);
            return;
        }
        self.quiet_until.set(now.checked_add(SILENCE));
        let more = match self.unsaid.replace(0) {
            0 => String::new(),
            count => format!(" ({count} more since this was last said)"),
        };
        let verdict = if refused { "refused" } else { "would be refused, were this no dry run" };
        let address = peer.ip().map(|ip| ip.to_string()).unwrap_or_default();
        log_warn!("{}: {address} {what}: {verdict}{more}", self.subject);
    }
}

/// A takeover of a connection that is counted for as long as the connection goes on.
#[must_use]
pub fn holding(takeover: Takeover, held: Vec<Held>) -> Takeover {
    if held.is_empty() {
        return takeover;
    }
    Box::new(move |upgraded| {
        let going_on = takeover(upgraded);
        Box::pin(async move {
            let _held = held;
            going_on.await;
        })
    })
}
