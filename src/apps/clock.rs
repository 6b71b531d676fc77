//! The time that something else has, which does not run while it waits for the client.

use std::cell::Cell;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use crate::reactor::{self, Alarm};

/// What is left of the time.
#[derive(Default)]
pub(super) struct Clock {
    left: Cell<Duration>,
    /// When it began to run; `None` while it stands still.
    since: Cell<Option<Instant>>,
    alarm: Alarm,
}

impl Clock {
    /// A clock that runs.
    pub(super) fn new(time: Duration) -> Self {
        let clock = Self { left: Cell::new(time), ..Self::default() };
        clock.run();
        clock
    }

    /// It stands still, with so much left.
    pub(super) fn reset(&self, time: Duration) {
        self.pause();
        self.left.set(time);
    }

    /// It runs from now on.
    pub(super) fn run(&self) {
        if self.since.get().is_none() {
            self.since.set(Some(reactor::now()));
            self.alarm.set(self.left.get());
        }
    }

    /// It stands still from now on.
    pub(super) fn pause(&self) {
        if let Some(since) = self.since.take() {
            self.left.set(self.left.get().saturating_sub(reactor::now().saturating_duration_since(since)));
            self.alarm.clear();
        }
    }

    /// Ready when the time is over.
    pub(super) fn poll(&self, cx: &mut Context<'_>) -> Poll<()> {
        self.alarm.poll(cx)
    }
}
