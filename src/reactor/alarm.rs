//! Deadlines that move at every request without touching the timer queue.

use std::cell::Cell;
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use super::timers::Key;
use super::{current, is_running, now, sleep};

/// A deadline of one task. Setting it writes a cell; only when it is waited for, and the timer already queued would come too late,
/// is the queue touched. A timer that fires early just makes the task look again. An alarm is polled by one task only.
#[derive(Default)]
pub struct Alarm {
    deadline: Cell<Option<Instant>>,
    queued: Cell<Option<Key>>,
}

impl Alarm {
    /// An alarm that is off.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Rings `after` from this turn of the loop.
    pub fn set(&self, after: Duration) {
        self.deadline.set(now().checked_add(after));
    }

    /// Rings at `at`.
    pub fn set_at(&self, at: Instant) {
        self.deadline.set(Some(at));
    }

    /// Whether the alarm is on.
    #[must_use]
    pub fn is_set(&self) -> bool {
        self.deadline.get().is_some()
    }

    /// Turns the alarm off.
    pub fn clear(&self) {
        self.deadline.set(None);
    }

    /// Ready when the deadline has passed. Off, it is never ready.
    pub fn poll(&self, cx: &mut Context<'_>) -> Poll<()> {
        let Some(deadline) = self.deadline.get() else { return Poll::Pending };
        current(|reactor| {
            let now = reactor.now.get();
            if now >= deadline {
                return Poll::Ready(());
            }
            let queued = self.queued.get();
            // A queued timer that is past has fired; one that comes no later than the deadline serves.
            if queued.is_none_or(|(at, _)| at <= now || at > deadline) {
                let mut timers = reactor.timers.borrow_mut();
                if let Some(key) = queued {
                    timers.remove(&key);
                }
                self.queued.set(Some(timers.insert(deadline, cx.waker().clone())));
            }
            Poll::Pending
        })
    }

    /// Runs `future` until it ends or the alarm rings.
    ///
    /// # Errors
    /// [`TimedOut`] when the alarm rings first.
    pub async fn guard<F: Future>(&self, future: F) -> Result<F::Output, TimedOut> {
        let mut future = pin!(future);
        poll_fn(|cx| {
            if let Poll::Ready(value) = future.as_mut().poll(cx) {
                return Poll::Ready(Ok(value));
            }
            self.poll(cx).map(|()| Err(TimedOut))
        })
        .await
    }
}

impl Drop for Alarm {
    fn drop(&mut self) {
        if let Some(key) = self.queued.take()
            && is_running()
        {
            current(|reactor| reactor.timers.borrow_mut().remove(&key));
        }
    }
}

/// A wait reached its time limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TimedOut;

impl std::fmt::Display for TimedOut {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("timed out")
    }
}

impl std::error::Error for TimedOut {}

impl From<TimedOut> for std::io::Error {
    fn from(_: TimedOut) -> Self {
        std::io::ErrorKind::TimedOut.into()
    }
}

/// Runs `future` for at most `limit`.
///
/// # Errors
/// [`TimedOut`] when it has not ended by then; the future is dropped.
pub async fn timeout<F: Future>(limit: Duration, future: F) -> Result<F::Output, TimedOut> {
    let mut future = pin!(future);
    let mut sleep = pin!(sleep(limit));
    poll_fn(|cx| {
        if let Poll::Ready(value) = future.as_mut().poll(cx) {
            return Poll::Ready(Ok(value));
        }
        sleep.as_mut().poll(cx).map(|()| Err(TimedOut))
    })
    .await
}
