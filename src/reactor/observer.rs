//! What is told of the loop's turns.

use std::time::Instant;

/// Told when the loop is about to wait and when it woke: heartbeat, watchdog, buffered logs.
pub trait Observer {
    /// The loop is about to wait; `sleeps` says whether it may really sleep (no task is ready). `turn` is when this turn began.
    fn before_wait(&self, turn: Instant, sleeps: bool);
    /// The loop woke at `now`.
    fn after_wait(&self, now: Instant);
}
