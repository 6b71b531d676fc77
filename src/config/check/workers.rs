//! How many workers there may be, and how long they may take.

use std::collections::BTreeMap;

use super::Checker;
use crate::config::tree::Place;
use crate::config::written::{App, Mpm, Workers};
use crate::units::{HumanDuration, HumanSize};

/// More processes than this are a mistake.
const MOST_PROCESSES: u32 = 1024;

impl Checker<'_> {
    /// Limits that contradict each other or make no sense.
    pub(super) fn workers(&mut self, workers: Workers, apps: &BTreeMap<String, App>) -> Workers {
        let place = Place::top().name("workers");
        self.within(&place.name("min"), workers.min, 1, MOST_PROCESSES);
        self.within(&place.name("max"), workers.max, 1, MOST_PROCESSES);
        self.within(&place.name("max_total"), workers.max_total, 1, MOST_PROCESSES);
        if workers.min > workers.max {
            self.error(&place.name("min"), format!("`min` ({}) is more than `max` ({})", workers.min, workers.max));
        } else if workers.start < workers.min {
            self.error(&place.name("start"), format!("`start` ({}) is less than `min` ({})", workers.start, workers.min));
        } else if workers.start > workers.max {
            self.error(&place.name("start"), format!("`start` ({}) is more than `max` ({})", workers.start, workers.max));
        }
        if workers.min_spare > workers.max_spare {
            self.error(
                &place.name("min_spare"),
                format!("`min_spare` ({}) is more than `max_spare` ({})", workers.min_spare, workers.max_spare),
            );
        }
        if workers.max_total <= workers.max {
            let message = format!(
                "`max_total` ({}) must be more than `max` ({}), so that a new worker can start while an old one ends",
                workers.max_total, workers.max
            );
            self.error_with(
                &place.name("max_total"),
                message,
                Some(format!("twice `max` leaves room for a whole new generation: {}", workers.max.saturating_mul(2))),
            );
        }
        if let Some(requests) = workers.max_requests {
            self.at_least(&place.name("max_requests"), requests, 1);
        }
        if let Some(memory) = workers.max_memory {
            self.at_least(&place.name("max_memory"), memory, HumanSize::mib(16));
        }
        for (name, span, least) in [
            ("max_idle", workers.max_idle, 1_000),
            ("max_age", workers.max_age, 1_000),
            ("mpm_delay", Some(workers.mpm_delay), 50),
            ("heartbeat", Some(workers.heartbeat), 1_000),
            ("drain", Some(workers.drain), 1),
        ] {
            if let Some(span) = span {
                self.at_least(&place.name(name), span, HumanDuration::milliseconds(least));
            }
        }
        self.backoff(&place.name("backoff"), &workers);
        self.steps(&place, &workers, apps);
        let mpm = match workers.mpm {
            Mpm::Default => Mpm::Default,
            Mpm::Script(path) => {
                let path = self.file_to_read(&place.name("mpm").index(0), &path, false);
                self.compiles(&path);
                Mpm::Script(path)
            }
        };
        Workers { mpm, ..workers }
    }

    fn backoff(&mut self, place: &Place, workers: &Workers) {
        let backoff = &workers.backoff;
        self.at_least(&place.name("shortest"), backoff.shortest, HumanDuration::milliseconds(10));
        if backoff.shortest > backoff.longest {
            self.error(&place.name("shortest"), format!("`shortest` ({}) is more than `longest` ({})", backoff.shortest, backoff.longest));
        }
    }

    /// An application that runs as long as it may must not look like a worker that is stuck.
    fn steps(&mut self, place: &Place, workers: &Workers, apps: &BTreeMap<String, App>) {
        for (name, app) in apps {
            if let App::Script(script) = app
                && script.limits.step >= workers.heartbeat
            {
                let message = format!(
                    "a step of `{name}` may take {}, but after {} (`workers.heartbeat`) its worker counts as stuck and is killed",
                    script.limits.step, workers.heartbeat
                );
                let step = Place::top().name("apps").name(name).name("limits").name("step");
                let written = self.sources.value(&step);
                if written.is_some() { self.error(&step, message) } else { self.error(&place.name("heartbeat"), message) }
            }
        }
    }
}
