//! Whether a server is well, by what it did and by what it answered when it was asked.

use std::cell::Cell;
use std::time::{Duration, Instant};

use super::config::Failures;

/// What is known of one server.
#[derive(Default)]
pub(super) struct Health {
    /// Failures since the last answer.
    failures: Cell<u32>,
    /// How often it went away since the last answer.
    rounds: Cell<u32>,
    /// Until when it is left alone.
    until: Cell<Option<Instant>>,
    /// It did not answer as it should when it was asked.
    unwell: Cell<bool>,
}

impl Health {
    /// Whether requests should go there.
    pub(super) fn is_well(&self, now: Instant) -> bool {
        !self.unwell.get() && self.until.get().is_none_or(|until| until <= now)
    }

    /// Which of those that are not well is the least bad: the smallest.
    pub(super) fn badness(&self) -> (bool, Option<Instant>) {
        (self.unwell.get(), self.until.get())
    }

    /// It has answered.
    pub(super) fn answered(&self) {
        self.failures.set(0);
        self.rounds.set(0);
        self.until.set(None);
    }

    /// It has failed. For how long it is left alone, if that begins now.
    pub(super) fn failed(&self, terms: &Failures, now: Instant) -> Option<Duration> {
        let failures = self.failures.get().saturating_add(1);
        self.failures.set(failures);
        // Who is away already has failed another request that was on its way, or was asked for want of a better one.
        if failures < terms.count || self.until.get().is_some_and(|until| until > now) {
            return None;
        }
        let rounds = self.rounds.get();
        self.rounds.set(rounds.saturating_add(1));
        let away = terms.away.get().saturating_mul(1 << rounds.min(20)).min(terms.longest.get());
        self.until.set(now.checked_add(away));
        Some(away)
    }

    /// What asking it came to; whether that is news.
    pub(super) fn asked(&self, well: bool) -> bool {
        self.unwell.replace(!well) == well
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_is_left_alone_for_longer_each_time() {
        let (health, terms, start) = (Health::default(), Failures::default(), Instant::now());
        assert_eq!((health.failed(&terms, start), health.failed(&terms, start)), (None, None));
        assert!(health.is_well(start));
        assert_eq!(health.failed(&terms, start), Some(Duration::from_secs(5)));
        assert!(!health.is_well(start));
        assert_eq!(health.failed(&terms, start), None, "it is away already");
        let back = start + Duration::from_secs(5);
        assert!(health.is_well(back));
        assert_eq!(health.failed(&terms, back), Some(Duration::from_secs(10)));
        let mut now = back;
        for _ in 0..40 {
            now += Duration::from_secs(61);
            health.failed(&terms, now);
        }
        assert_eq!(health.failed(&terms, now + Duration::from_secs(61)), Some(Duration::from_mins(1)));
        health.answered();
        assert!(health.is_well(now));
        assert_eq!(health.failed(&terms, now), None, "an answer wipes the slate");
    }

    #[test]
    fn who_answers_wrong_when_asked_is_not_well() {
        let (health, now) = (Health::default(), Instant::now());
        assert!(!health.asked(true));
        assert!(health.asked(false));
        assert!(!health.is_well(now));
        health.answered();
        assert!(!health.is_well(now), "only asking again makes it well");
        assert!(health.asked(true));
        assert!(health.is_well(now));
    }
}
