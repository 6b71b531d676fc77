//! How long to wait before a process that ended by itself is started again.

use std::time::{Duration, Instant};

use crate::config::Backoff as Settings;

/// What was killed from outside after it had served is back within this time, however often it happens.
const KILLED_AT_MOST: Duration = Duration::from_millis(250);

/// How a process ended that was not asked to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct End {
    /// How long it had lived.
    pub lived: Duration,
    /// Whether it had become ready, and somebody then killed it (SIGKILL): more likely a person or the kernel than a fault in a loop.
    pub killed_in_service: bool,
}

/// The memory of one kind of process: how many of them ended early in a row.
#[derive(Clone, Copy, Debug, Default)]
pub struct Backoff {
    in_a_row: u32,
    until: Option<Instant>,
}

impl Backoff {
    /// Takes note of an end; returns how long to wait now.
    pub fn ended(&mut self, end: End, now: Instant, settings: &Settings) -> Duration {
        if end.lived >= *settings.reset {
            self.in_a_row = 0;
        }
        let doubled = settings.shortest.saturating_mul(1 << self.in_a_row.min(20));
        let mut wait = doubled.min(*settings.longest);
        if end.killed_in_service {
            wait = wait.min(KILLED_AT_MOST);
        }
        self.in_a_row = self.in_a_row.saturating_add(1);
        self.until = Some(self.until.map_or(now + wait, |until| until.max(now + wait)));
        wait
    }

    /// Whether starting has to wait, and until when.
    #[must_use]
    pub fn blocked(&self, now: Instant) -> Option<Instant> {
        self.until.filter(|until| *until > now)
    }

    /// How many ended early in a row.
    #[must_use]
    pub fn in_a_row(&self) -> u32 {
        self.in_a_row
    }

    /// One has lived long enough, or the configuration changed: the next end is the first again.
    pub fn forget(&mut self) {
        *self = Backoff::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const YOUNG: End = End { lived: Duration::from_millis(5), killed_in_service: false };

    #[test]
    fn the_wait_doubles_up_to_the_longest_and_starts_anew_after_a_long_life() {
        let settings = Settings::default();
        let (mut backoff, now) = (Backoff::default(), Instant::now());
        let waits: Vec<u128> = (0..11).map(|_| backoff.ended(YOUNG, now, &settings).as_millis()).collect();
        assert_eq!(waits, [100, 200, 400, 800, 1600, 3200, 6400, 12_800, 25_600, 30_000, 30_000]);
        let old = End { lived: Duration::from_secs(61), ..YOUNG };
        assert_eq!(backoff.ended(old, now, &settings).as_millis(), 100);
    }

    proptest! {
        #[test]
        fn never_longer_than_the_longest_and_killed_ones_are_back_within_a_second(ends in proptest::collection::vec((0u64..100, any::<bool>()), 1..60)) {
            let settings = Settings::default();
            let (mut backoff, now) = (Backoff::default(), Instant::now());
            for (seconds, killed_in_service) in ends {
                let end = End { lived: Duration::from_secs(seconds), killed_in_service };
                let wait = backoff.ended(end, now, &settings);
                prop_assert!(wait <= *settings.longest && (!killed_in_service || wait < Duration::from_secs(1)));
                prop_assert!(backoff.blocked(now).is_some());
            }
        }
    }
}
