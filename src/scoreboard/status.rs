//! Slots as values: what `status`, `fullstatus` and the panel show.

use std::sync::atomic::Ordering::Relaxed;

use serde::{Deserialize, Serialize};

use super::{Role, Scoreboard, Slot, State, epoch_ms, histogram, now_ms};
use crate::sys::limits;

/// One process at one moment.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SlotStatus {
    /// The slot's number.
    pub slot: usize,
    /// Process id.
    pub pid: i32,
    /// Worker or hub.
    pub role: Role,
    /// Its generation.
    pub generation: u64,
    /// The state it says it is in.
    pub state: State,
    /// Seconds since it was forked.
    pub uptime_s: u64,
    /// Requests answered.
    pub requests: u64,
    /// Requests failed by our fault.
    pub errors: u64,
    /// Connections accepted.
    pub accepts: u64,
    /// Connections open.
    pub connections: u64,
    /// Requests being worked on.
    pub active: u64,
    /// Bytes received.
    pub bytes_in: u64,
    /// Bytes sent.
    pub bytes_out: u64,
    /// Resident memory, bytes.
    pub rss: u64,
    /// CPU time used, milliseconds.
    pub cpu_ms: u64,
    /// Milliseconds that its loop was busy.
    pub busy_ms: u64,
    /// Half of the answers were faster, microseconds.
    pub p50_us: u64,
    /// 99 of 100 answers were faster, microseconds.
    pub p99_us: u64,
    /// Milliseconds since its loop last turned; 0 while it waits for work.
    pub silent_ms: u64,
    /// What it runs at this moment.
    pub step: Option<String>,
    /// Lines of the log it had to drop.
    pub dropped_lines: u64,
    /// Its events.
    #[serde(default)]
    pub events: EventsStatus,
    /// Its TLS handshakes.
    #[serde(default)]
    pub tls: TlsStatus,
    /// Its answers that go to a front as files (`sendfile` of a FastCGI server).
    #[serde(default)]
    pub stored: StoredStatus,
}

/// The answers of a worker that go to a front as files.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoredStatus {
    /// Files there are now; each is removed `keep` after it was written.
    pub files: u64,
    /// Bytes in those.
    pub bytes: u64,
    /// Answers that went so.
    pub answers: u64,
    /// Answers that were to go so and went as they are: `max_file` or `max_total` reached, or a file could not be written.
    pub as_they_are: u64,
    /// Files that workers before have left, those that were killed too, and that this one has removed.
    pub abandoned: u64,
}

/// The TLS handshakes of a worker.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TlsStatus {
    /// Under way.
    pub under_way: u64,
    /// Come to a good end.
    pub done: u64,
    /// Of those, the ones that went on with a session of before.
    pub resumed: u64,
    /// Failed, or taking too long.
    pub failed: u64,
    /// How often there were as many at once as a server may have (`max_handshakes`).
    pub full: u64,
}

/// The events of a process.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct EventsStatus {
    /// Published: by this worker, or through the hub.
    pub published: u64,
    /// Given to subscribers of this worker, or sent by the hub to workers.
    pub delivered: u64,
    /// Dropped for want of room, or because there was no hub.
    pub dropped: u64,
    /// Subscribers of this worker, or subscriptions of workers at the hub.
    pub subscriptions: u64,
}

/// How many workers are in which state; the rows of the original's `fullstatus`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct StateCounts {
    /// All workers.
    pub total: usize,
    /// Serving, nothing to do.
    pub idle: usize,
    /// Serving, something to do.
    pub busy: usize,
    /// Finishing.
    pub shutdown: usize,
    /// Forked, not yet itself.
    pub pre_init: usize,
    /// Waiting for something before it can start.
    pub wait_init: usize,
    /// Loading applications.
    pub init: usize,
}

impl Slot {
    /// The slot as a value. Memory is read from `/proc` when the process has not measured itself yet.
    #[must_use]
    pub fn status(self, number: usize) -> SlotStatus {
        let load = |word: &std::sync::atomic::AtomicU64| word.load(Relaxed);
        let pid = i32::try_from(load(self.pid())).unwrap_or(0);
        let latencies = self.latencies();
        let waits = load(self.waiting()) == 1;
        let rss = match load(self.rss()) {
            0 => limits::rss_of_pid(pid),
            own => own,
        };
        SlotStatus {
            slot: number,
            pid,
            role: self.role(),
            generation: load(self.generation()),
            state: self.state(),
            uptime_s: epoch_ms().saturating_sub(load(self.started_ms())) / 1000,
            requests: load(self.requests()),
            errors: load(self.errors()),
            accepts: load(self.accepts()),
            connections: load(self.connections()),
            active: load(self.active()),
            bytes_in: load(self.bytes_in()),
            bytes_out: load(self.bytes_out()),
            rss,
            cpu_ms: limits::cpu_ms(pid),
            busy_ms: load(self.busy_us()) / 1000,
            p50_us: histogram::percentile(&latencies, 0.50),
            p99_us: histogram::percentile(&latencies, 0.99),
            silent_ms: if waits { 0 } else { now_ms().saturating_sub(load(self.heartbeat_ms())) },
            step: self.step(),
            dropped_lines: load(self.dropped_lines()),
            events: EventsStatus {
                published: load(self.events_published()),
                delivered: load(self.events_delivered()),
                dropped: load(self.events_dropped()),
                subscriptions: load(self.subscriptions()),
            },
            tls: TlsStatus {
                under_way: load(self.handshakes()),
                done: load(self.handshakes_done()),
                resumed: load(self.handshakes_resumed()),
                failed: load(self.handshakes_failed()),
                full: load(self.handshakes_full()),
            },
            stored: StoredStatus {
                files: load(self.stored_files()),
                bytes: load(self.stored_bytes()),
                answers: load(self.stored_answers()),
                as_they_are: load(self.stored_not()),
                abandoned: load(self.stored_abandoned()),
            },
        }
    }
}

impl Scoreboard {
    /// The workers as values, by slot.
    #[must_use]
    pub fn worker_statuses(self) -> Vec<SlotStatus> {
        self.workers().map(|(number, slot)| slot.status(number)).collect()
    }

    /// The hub as a value, while there is one.
    #[must_use]
    pub fn hub_status(self) -> Option<SlotStatus> {
        self.slots().find(|(_, slot)| slot.role() == Role::Hub).map(|(number, slot)| slot.status(number))
    }

    /// Workers by state.
    #[must_use]
    pub fn counts(self) -> StateCounts {
        let mut counts = StateCounts::default();
        for (_, slot) in self.workers() {
            counts.total += 1;
            let row = match slot.state() {
                State::PreInit => &mut counts.pre_init,
                State::WaitInit => &mut counts.wait_init,
                State::Init => &mut counts.init,
                State::Idle => &mut counts.idle,
                State::Busy => &mut counts.busy,
                State::Shutdown => &mut counts.shutdown,
            };
            *row += 1;
        }
        counts
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_are_of_workers_only() {
        let board = Scoreboard::new(4).expect("memory");
        board.slot(0).claim(Role::Hub, 0);
        for (number, state) in [(1, State::Idle), (2, State::Busy), (3, State::Busy)] {
            board.slot(number).claim(Role::Worker, 1);
            board.slot(number).set_state(state);
        }
        assert_eq!(board.counts(), StateCounts { total: 3, idle: 1, busy: 2, ..StateCounts::default() });
        assert_eq!(board.hub_status().map(|hub| hub.slot), Some(0));
    }

    #[test]
    fn a_status_is_json_and_back() {
        let board = Scoreboard::new(1).expect("memory");
        board.slot(0).claim(Role::Worker, 7);
        board.slot(0).pid().store(u64::from(std::process::id()), Relaxed);
        let status = board.slot(0).status(0);
        assert!(status.rss > 0 && status.generation == 7);
        let json = serde_json::to_string(&status).expect("plain values");
        assert!(json.contains("\"state\":\"pre-init\"") && json.contains("\"role\":\"worker\""), "{json}");
        assert_eq!(serde_json::from_str::<SlotStatus>(&json).expect("the same"), status);
    }
}
