//! Shows in the scoreboard that the loop turns, and lets the log out before it sleeps.

use std::cell::Cell;
use std::rc::Rc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use crate::reactor::{self, Observer};
use crate::scoreboard::{Slot, add, now_ms};
use crate::sys::limits;
use crate::telemetry;

/// How often a process measures what it cannot count.
const MEASURE: Duration = Duration::from_secs(1);

/// The heartbeat of a process that runs a reactor.
pub struct Pulse {
    slot: Slot,
    /// A moment on both clocks, so that a turn costs no further look at one.
    epoch: (Instant, u64),
    woke: Cell<Instant>,
}

impl Pulse {
    /// Starts to show the reactor of this thread in `slot`.
    pub fn start(slot: Slot) {
        let now = Instant::now();
        reactor::observe(Rc::new(Self { slot, epoch: (now, now_ms()), woke: Cell::new(now) }));
        reactor::spawn(async move {
            loop {
                measure(slot);
                reactor::sleep(MEASURE).await;
            }
        })
        .detach();
    }

    fn millis(&self, at: Instant) -> u64 {
        self.epoch.1 + u64::try_from(at.saturating_duration_since(self.epoch.0).as_millis()).unwrap_or(0)
    }
}

fn measure(slot: Slot) {
    slot.rss().store(limits::rss(), Relaxed);
    slot.dropped_lines().store(telemetry::dropped_lines(), Relaxed);
}

impl Observer for Pulse {
    fn before_wait(&self, _: Instant, sleeps: bool) {
        if sleeps {
            telemetry::flush();
            let worked = self.woke.get().elapsed();
            add(self.slot.busy_us(), u64::try_from(worked.as_micros()).unwrap_or(0));
            self.slot.waiting().store(1, Relaxed);
        }
    }

    fn after_wait(&self, now: Instant) {
        self.woke.set(now);
        self.slot.waiting().store(0, Relaxed);
        self.slot.beat(self.millis(now));
    }
}
