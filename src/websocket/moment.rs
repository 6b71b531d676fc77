//! Times that every connection keeps, in half the room of an [`Instant`].

use std::num::NonZeroU64;
use std::ops::Add;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use crate::reactor;

/// Nanoseconds since shortly before the first one of this process: enough for centuries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Moment(NonZeroU64);

impl Moment {
    /// The time of this turn of the reactor.
    pub(super) fn now() -> Self {
        reactor::now().into()
    }

    /// The time from `earlier` to this, or none.
    pub(super) fn since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.0.get().saturating_sub(earlier.0.get()))
    }

    fn at(offset: Duration) -> Self {
        let nanoseconds = u64::try_from(offset.as_nanos()).unwrap_or(u64::MAX);
        Self(NonZeroU64::MIN.saturating_add(nanoseconds))
    }
}

impl From<Instant> for Moment {
    fn from(instant: Instant) -> Self {
        static FIRST: OnceLock<Instant> = OnceLock::new();
        Self::at(instant.saturating_duration_since(*FIRST.get_or_init(|| instant)))
    }
}

impl Add<Duration> for Moment {
    type Output = Self;

    fn add(self, duration: Duration) -> Self {
        let nanoseconds = u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
        Self(self.0.saturating_add(nanoseconds))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_counts_as_an_instant_does() {
        let now = Instant::now();
        let (first, later) = (Moment::from(now), Moment::from(now + Duration::from_millis(1500)));
        assert_eq!(later.since(first), Duration::from_millis(1500));
        assert_eq!(first.since(later), Duration::ZERO);
        assert_eq!(first + Duration::from_millis(1500), later);
        assert!(first < later && later < first + Duration::MAX);
        assert_eq!(size_of::<Option<Moment>>(), 8);
    }
}
