//! Whether an application that writes its answer bit by bit goes on doing so.

use std::cell::Cell;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use super::live::Live;
use super::record::Exchange;
use crate::reactor::{self, Alarm};
use crate::request::{Handler, Response};

/// Looks at how long each piece of a body takes to come. The time in which a slow client takes a piece is not the application's.
pub(in crate::servers) struct Watch<'a> {
    exchange: &'a Exchange,
    handler: Option<Rc<dyn Handler>>,
    /// The longest that a piece may take without a report; `None`: any time.
    limit: Option<Duration>,
    asked: Cell<Instant>,
    alarm: Alarm,
    told: Cell<bool>,
}

impl<'a> Watch<'a> {
    /// A stream of events waits by its nature, and is not slow when nothing happens.
    pub(in crate::servers) fn new(live: &Live, exchange: &'a Exchange, handler: Option<Rc<dyn Handler>>, response: &Response) -> Self {
        let is_events = response.fields.get("content-type").is_some_and(|kind| kind.starts_with(b"text/event-stream"));
        let limit = live.slow_request.filter(|_| !is_events);
        Self { exchange, handler, limit, asked: Cell::new(reactor::now()), alarm: Alarm::new(), told: Cell::new(false) }
    }

    /// The next piece is asked for.
    pub(in crate::servers) fn begin(&self) {
        self.asked.set(reactor::now());
        self.alarm.clear();
    }

    /// Asks the application for a piece with `poll`, and reports the exchange when that has taken too long.
    pub(in crate::servers) fn poll<T>(&self, cx: &mut Context<'_>, poll: impl FnOnce(&mut Context<'_>) -> Poll<T>) -> Poll<T> {
        let polled = {
            let _shown = self.exchange.show();
            poll(cx)
        };
        let Some(limit) = self.limit else { return polled };
        if polled.is_ready() {
            self.exchange.heard_after(self.asked.get().elapsed());
            return polled;
        }
        if self.told.get() {
            return polled;
        }
        // A limit beyond what the clock can say is none.
        if !self.alarm.is_set()
            && let Some(at) = self.asked.get().checked_add(limit)
        {
            self.alarm.set_at(at);
        }
        if self.alarm.poll(cx).is_ready() {
            self.alarm.clear();
            self.told.set(true);
            let trace = self.handler.as_ref().and_then(|handler| handler.trace(self.exchange.id()));
            self.exchange.report_pause(self.asked.get(), trace.as_deref());
        }
        polled
    }
}
