//! Waiting for a condition, never for a time.

use std::fmt::Display;
use std::thread::park_timeout;
use std::time::{Duration, Instant};

/// Between two looks.
const PAUSE: Duration = Duration::from_millis(2);

/// Longest time that any condition may take to come about, on the slowest machine.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// Looks until `condition` holds.
///
/// # Panics
/// With `what` when it does not hold within [`PATIENCE`].
pub fn until(what: impl Display, condition: impl FnMut() -> bool) {
    within(PATIENCE, what, condition);
}

/// Looks until `condition` holds, and says how long that took.
///
/// # Panics
/// With `what` when it does not hold within `limit`.
pub fn within(limit: Duration, what: impl Display, mut condition: impl FnMut() -> bool) -> Duration {
    let start = Instant::now();
    while !condition() {
        assert!(start.elapsed() < limit, "{what}: not within {limit:?}");
        pause(PAUSE);
    }
    start.elapsed()
}

/// Looks for some seconds whether `condition` holds, and goes on either way.
pub fn briefly(mut condition: impl FnMut() -> bool) {
    let end = Instant::now() + Duration::from_secs(5);
    while !condition() && Instant::now() < end {
        pause(PAUSE);
    }
}

/// Lets others work between two looks, or between two requests of a load that is meant to be steady. May be shorter than asked.
pub fn pause(time: Duration) {
    park_timeout(time);
}
