//! Time: a queue of wakers ordered by when they are due.

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use super::{current, is_running};

/// When a timer is due, with a number that tells timers of the same instant apart.
pub(super) type Key = (Instant, u64);

/// The timers of one reactor.
#[derive(Default)]
pub(super) struct Timers {
    queue: BTreeMap<Key, Waker>,
    number: u64,
}

impl Timers {
    pub(super) fn insert(&mut self, at: Instant, waker: Waker) -> Key {
        self.number += 1;
        let key = (at, self.number);
        self.queue.insert(key, waker);
        key
    }

    pub(super) fn remove(&mut self, key: &Key) {
        self.queue.remove(key);
    }

    /// When the next timer is due.
    pub(super) fn next(&self) -> Option<Instant> {
        self.queue.first_key_value().map(|((at, _), _)| *at)
    }

    /// Takes out what is due at `now`, in order.
    pub(super) fn due(&mut self, now: Instant) -> Vec<Waker> {
        if self.next().is_none_or(|at| at > now) {
            return Vec::new();
        }
        let later = self.queue.split_off(&(now, u64::MAX));
        std::mem::replace(&mut self.queue, later).into_values().collect()
    }
}

/// Ends at a point in time. Made by [`sleep`] and [`sleep_until`].
pub struct Sleep {
    at: Instant,
    key: Option<Key>,
}

/// Waits for a while.
#[must_use]
pub fn sleep(duration: Duration) -> Sleep {
    // The clock is read anew: a sleep counts from the call, not from the beginning of the turn.
    let now = Instant::now();
    sleep_until(now.checked_add(duration).unwrap_or_else(|| now + Duration::from_hours(8760)))
}

/// Waits until `at`.
#[must_use]
pub fn sleep_until(at: Instant) -> Sleep {
    Sleep { at, key: None }
}

impl Future for Sleep {
    type Output = ();
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        current(|reactor| {
            let mut timers = reactor.timers.borrow_mut();
            if let Some(key) = self.key.take() {
                timers.remove(&key);
            }
            if reactor.now.get() >= self.at {
                return Poll::Ready(());
            }
            self.key = Some(timers.insert(self.at, cx.waker().clone()));
            Poll::Pending
        })
    }
}

impl Drop for Sleep {
    fn drop(&mut self) {
        if let Some(key) = self.key.take()
            && is_running()
        {
            current(|reactor| reactor.timers.borrow_mut().remove(&key));
        }
    }
}
