//! Waiting for a condition, with a limit.

use std::time::{Duration, Instant};

use nix::poll::{PollTimeout, poll};

/// Looks every millisecond until `done` says so; `false` when `limit` passed first.
pub fn until(limit: Duration, mut done: impl FnMut() -> bool) -> bool {
    let end = Instant::now() + limit;
    while !done() {
        if Instant::now() > end {
            return false;
        }
        // An interrupted pause is only a shorter one.
        let _interrupted = poll(&mut [], PollTimeout::from(1u8));
    }
    true
}
