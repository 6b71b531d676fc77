//! When a worker has served long enough: by requests, memory, idle time or age, each a little earlier for one than for another, so
//! that workers started together do not leave together.

use std::time::Duration;

use crate::config::Workers;

/// What one worker has done so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Record {
    /// Requests answered.
    pub requests: u64,
    /// Resident memory, bytes.
    pub memory: u64,
    /// How long it has had nothing to do.
    pub idle: Duration,
    /// How long ago it was forked.
    pub age: Duration,
}

/// Why a worker should be replaced, in words; `None` while it may go on. `early` (0 to 1) is the worker's own share of the jitter:
/// limits of requests, idle time and age are up to a tenth lower for it. The memory limit is exact.
#[must_use]
pub fn due(record: &Record, early: f64, limits: &Workers) -> Option<String> {
    let factor = 1.0 - early.clamp(0.0, 1.0) / 10.0;
    if let Some(most) = limits.max_requests
        && record.requests as f64 >= most as f64 * factor
    {
        return Some(format!("it has answered {} requests (max_requests: {most})", record.requests));
    }
    if let Some(most) = limits.max_memory
        && record.memory >= most.get()
    {
        return Some(format!("it uses {} MiB (max_memory: {most})", record.memory >> 20));
    }
    if let Some(most) = limits.max_idle
        && record.idle >= most.mul_f64(factor)
    {
        return Some(format!("it had nothing to do for {} s (max_idle: {most})", record.idle.as_secs()));
    }
    if let Some(most) = limits.max_age
        && record.age >= most.mul_f64(factor)
    {
        return Some(format!("it is {} s old (max_age: {most})", record.age.as_secs()));
    }
    None
}

/// A worker's share of the jitter, spread evenly over process ids.
#[must_use]
pub fn early(pid: i32) -> f64 {
    let mixed = u64::from(pid.unsigned_abs()).wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 40;
    mixed as f64 / f64::from(1 << 24)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::units::{HumanDuration, HumanSize};

    fn limits() -> Workers {
        Workers {
            max_requests: Some(1000),
            max_memory: Some(HumanSize::mib(100)),
            max_idle: Some(HumanDuration::seconds(60)),
            max_age: Some(HumanDuration::seconds(3600)),
            ..Workers::default()
        }
    }

    #[test]
    fn each_limit_by_itself() {
        let fresh = Record::default();
        assert_eq!(due(&fresh, 0.0, &limits()), None);
        let cases = [
            (Record { requests: 1000, ..fresh }, "max_requests: 1000"),
            (Record { memory: 100 << 20, ..fresh }, "max_memory"),
            (Record { idle: Duration::from_mins(1), ..fresh }, "max_idle"),
            (Record { age: Duration::from_hours(1), ..fresh }, "max_age"),
        ];
        for (record, why) in cases {
            assert!(due(&record, 0.0, &limits()).expect("due").contains(why), "{why}");
            let none = Workers { max_requests: None, max_memory: None, max_idle: None, max_age: None, ..limits() };
            assert_eq!(due(&record, 1.0, &none), None);
        }
    }

    #[test]
    fn jitter_is_a_tenth_at_most_and_spread() {
        let record = Record { requests: 900, ..Record::default() };
        assert_eq!(due(&record, 0.9, &limits()), None);
        assert!(due(&record, 1.0, &limits()).is_some());
        let shares: Vec<f64> = (1000..1100).map(early).collect();
        assert!(shares.iter().all(|s| (0.0..1.0).contains(s)));
        let low = shares.iter().filter(|s| **s < 0.5).count();
        assert!((30..70).contains(&low), "{low}");
    }
}
