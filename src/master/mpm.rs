//! How many workers there should be. A pure function of what is and what may be.

use serde::Serialize;

use crate::config::Workers;

/// What the workers are doing, over the last `mpm_delay`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Load {
    /// Workers that serve or are starting.
    pub workers: usize,
    /// How many of them were busy: the sum of the shares of time their loops worked. 1.5 is one all the time and one half of it.
    pub busy: f64,
    /// Connections open in all of them.
    pub connections: u64,
    /// Requests being worked on.
    pub active: u64,
    /// Requests answered a second.
    pub requests_a_second: f64,
    /// The number wanted until now.
    pub wanted: usize,
}

/// The limits as a script sees them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Limits {
    /// `workers.min`.
    pub min: usize,
    /// `workers.max`.
    pub max: usize,
    /// `workers.min_spare`.
    pub min_spare: usize,
    /// `workers.max_spare`.
    pub max_spare: usize,
}

impl Limits {
    /// From the configuration, put in order where it contradicts itself.
    #[must_use]
    pub fn of(workers: &Workers) -> Limits {
        let max = (workers.max as usize).max(1);
        let min_spare = workers.min_spare as usize;
        Limits { min: (workers.min as usize).clamp(1, max), max, min_spare, max_spare: (workers.max_spare as usize).max(min_spare) }
    }

    /// A number brought between min and max.
    #[must_use]
    pub fn clamp(&self, wanted: usize) -> usize {
        wanted.clamp(self.min, self.max)
    }
}

/// The number wanted by the built-in algorithm, the original's: enough that `min_spare` are idle, at once; when more than
/// `max_spare` are idle, one fewer each time, so that a lull does not empty the house.
#[must_use]
pub fn wanted(load: &Load, limits: &Limits) -> usize {
    // A worker that was busy for a twentieth of the time is still an idle one.
    let busy = (load.busy.max(0.0) - 0.05).ceil().max(0.0) as usize;
    let idle = load.workers.saturating_sub(busy);
    let wanted = if idle < limits.min_spare {
        load.workers + (limits.min_spare - idle)
    } else if idle > limits.max_spare {
        load.workers - 1
    } else {
        load.wanted
    };
    limits.clamp(wanted)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const LIMITS: Limits = Limits { min: 1, max: 8, min_spare: 1, max_spare: 4 };

    fn load(workers: usize, busy: f64) -> Load {
        Load { workers, busy, wanted: workers, ..Load::default() }
    }

    #[test]
    fn grows_when_spare_ones_are_missing_and_shrinks_by_one() {
        assert_eq!(wanted(&load(2, 0.0), &LIMITS), 2);
        assert_eq!(wanted(&load(2, 1.9), &LIMITS), 3);
        assert_eq!(wanted(&load(8, 8.0), &LIMITS), 8);
        assert_eq!(wanted(&load(8, 0.3), &LIMITS), 7);
        assert_eq!(wanted(&load(4, 0.04), &LIMITS), 4);
    }

    #[test]
    fn a_configuration_that_contradicts_itself_is_put_in_order() {
        let workers = Workers { min: 9, max: 3, min_spare: 5, max_spare: 2, ..Workers::default() };
        assert_eq!(Limits::of(&workers), Limits { min: 3, max: 3, min_spare: 5, max_spare: 5 });
    }

    proptest! {
        #[test]
        fn always_within_the_limits(workers in 0usize..50, busy in 0.0f64..60.0, before in 0usize..50, min in 0u32..10, max in 0u32..20, min_spare in 0u32..10, max_spare in 0u32..10) {
            let settings = Workers { min, max, min_spare, max_spare, ..Workers::default() };
            let limits = Limits::of(&settings);
            let wanted = wanted(&Load { workers, busy, wanted: before, ..Load::default() }, &limits);
            prop_assert!(wanted >= limits.min && wanted <= limits.max);
        }

        #[test]
        fn settles_under_constant_load(start in 1usize..8, busy in 0.0f64..8.0) {
            let mut number = start;
            let mut seen = Vec::new();
            for _ in 0..20 {
                number = wanted(&load(number, busy.min(number as f64)), &LIMITS);
                seen.push(number);
            }
            prop_assert!(seen[18] == seen[19], "still moving: {:?}", seen);
        }

        #[test]
        fn more_load_never_means_fewer(workers in 1usize..8, one in 0.0f64..8.0, two in 0.0f64..8.0) {
            let (low, high) = (one.min(two), one.max(two));
            prop_assert!(wanted(&load(workers, low), &LIMITS) <= wanted(&load(workers, high), &LIMITS));
        }
    }
}
