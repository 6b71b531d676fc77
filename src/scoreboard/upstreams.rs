//! The servers that applications of a process pass requests on to, and how they are: a table of fixed size beside each slot.
//!
//! An entry is written by its process alone. Who reads adds up those of all workers; numbers of one entry may be a moment apart.

use std::collections::BTreeMap;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};

use serde::{Deserialize, Serialize};

use super::step::{Label, load_text, store_text, trimmed};
use super::{Role, Scoreboard, Slot, add, now_ms, subtract};

/// How many a process can show; further ones are only counted.
pub const UPSTREAMS: usize = 64;
/// The longest name kept, bytes.
pub const UPSTREAM_BYTES: usize = 64;

/// Words of an entry.
const USED: usize = 0;
const APP: usize = 1;
const BACKUP: usize = 2;
const UNWELL: usize = 3;
const AWAY_UNTIL: usize = 4;
const ACTIVE: usize = 5;
const IDLE: usize = 6;
const REQUESTS: usize = 7;
const FAILURES: usize = 8;
const NAME: usize = 9;
const ENTRY_WORDS: usize = (NAME + UPSTREAM_BYTES / 8).next_multiple_of(16);
/// The table of one process.
pub(super) const TABLE_WORDS: usize = UPSTREAMS * ENTRY_WORDS;

/// A server's entry in the table of this process, free again when this is dropped. Without a scoreboard, or without room, nothing is shown.
#[derive(Debug, Default)]
pub struct ShownUpstream {
    entry: Option<&'static [AtomicU64]>,
    /// Where it is counted that there is no room for it.
    left_out: Option<Slot>,
}

impl ShownUpstream {
    /// The server `name` of an application, in the table of the process that this thread belongs to.
    #[must_use]
    pub fn new(app: &str, name: &str, backup: bool) -> Self {
        Slot::own().map_or_else(Self::default, |slot| slot.show_upstream(app, name, backup))
    }

    fn set(&self, word: usize, value: u64) {
        if let Some(entry) = self.entry {
            entry[word].store(value, Relaxed);
        }
    }

    /// Requests under way.
    pub fn set_active(&self, count: usize) {
        self.set(ACTIVE, count as u64);
    }

    /// Connections that are kept without a request.
    pub fn set_idle(&self, count: usize) {
        self.set(IDLE, count as u64);
    }

    /// It was given a request.
    pub fn add_request(&self) {
        if let Some(entry) = self.entry {
            add(&entry[REQUESTS], 1);
        }
    }

    /// It has failed.
    pub fn add_failure(&self) {
        if let Some(entry) = self.entry {
            add(&entry[FAILURES], 1);
        }
    }

    /// Until when it is left alone, milliseconds of [`now_ms`]; 0: it is not.
    pub fn set_away(&self, until_ms: u64) {
        self.set(AWAY_UNTIL, until_ms);
    }

    /// Whether it has answered wrongly when it was asked whether it is well.
    pub fn set_unwell(&self, unwell: bool) {
        self.set(UNWELL, unwell.into());
    }
}

impl Drop for ShownUpstream {
    fn drop(&mut self) {
        self.set(USED, 0);
        if let Some(slot) = self.left_out {
            subtract(slot.upstreams_left_out(), 1);
        }
    }
}

/// How a server is to which requests are passed on, in all workers together.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct UpstreamStatus {
    /// The application.
    pub app: String,
    /// The server: host and port, or its socket.
    pub upstream: String,
    /// Whether it is one of those that are asked while all others are away.
    pub backup: bool,
    /// Workers that know it.
    pub workers: u64,
    /// Of those, the ones that pass requests on to it: they do not take it for failed.
    pub well: u64,
    /// Requests under way, each on a connection of its own.
    pub active: u64,
    /// Connections that are kept without a request.
    pub idle: u64,
    /// Requests that it was given, by the workers there are.
    pub requests: u64,
    /// How often it has failed: no connection, no answer in time, an answer that is none.
    pub failures: u64,
}

impl Slot {
    fn show_upstream(self, app: &str, name: &str, backup: bool) -> ShownUpstream {
        let (entries, _) = self.upstreams.as_chunks::<ENTRY_WORDS>();
        let Some(entry) = entries.iter().find(|entry| entry[USED].load(Relaxed) == 0) else {
            add(self.upstreams_left_out(), 1);
            return ShownUpstream { entry: None, left_out: Some(self) };
        };
        entry.iter().for_each(|word| word.store(0, Relaxed));
        let name = &name.as_bytes()[..name.floor_char_boundary(UPSTREAM_BYTES)];
        store_text(&entry[NAME..NAME + UPSTREAM_BYTES / 8], name);
        entry[APP].store(self.label(app).number(), Relaxed);
        entry[BACKUP].store(backup.into(), Relaxed);
        entry[USED].store(1, Release);
        ShownUpstream { entry: Some(entry), left_out: None }
    }

    /// What this process shows, several entries of one server as one: those of an application that was replaced and has not ended yet.
    fn upstream_statuses(self, now_ms: u64) -> BTreeMap<(String, String), UpstreamStatus> {
        let mut all: BTreeMap<_, UpstreamStatus> = BTreeMap::new();
        let (entries, _) = self.upstreams.as_chunks::<ENTRY_WORDS>();
        for entry in entries.iter().filter(|entry| entry[USED].load(Acquire) != 0) {
            let word = |at: usize| entry[at].load(Relaxed);
            let app = self.label_text(Label::from_number(word(APP)));
            let name = trimmed(load_text(&entry[NAME..NAME + UPSTREAM_BYTES / 8]));
            let upstream = String::from_utf8_lossy(&name).into_owned();
            let well = word(UNWELL) == 0 && word(AWAY_UNTIL) <= now_ms;
            let status = all.entry((app.clone(), upstream.clone())).or_default();
            *status = UpstreamStatus {
                app,
                upstream,
                backup: word(BACKUP) != 0,
                workers: 1,
                well: well.into(),
                active: status.active + word(ACTIVE),
                idle: status.idle + word(IDLE),
                requests: status.requests + word(REQUESTS),
                failures: status.failures + word(FAILURES),
            };
        }
        all
    }

    pub(super) fn clear_upstreams(self) {
        self.upstreams.iter().for_each(|word| word.store(0, Relaxed));
    }
}

impl Scoreboard {
    /// The servers that requests are passed on to, by application and name, and how many are shown by no worker for want of room.
    #[must_use]
    pub fn upstream_statuses(self) -> (Vec<UpstreamStatus>, u64) {
        let now = now_ms();
        let mut all: BTreeMap<_, UpstreamStatus> = BTreeMap::new();
        let mut left_out = 0;
        for (_, slot) in self.slots().filter(|(_, slot)| slot.role() == Role::Worker) {
            left_out = left_out.max(slot.upstreams_left_out().load(Relaxed));
            for (key, one) in slot.upstream_statuses(now) {
                let sum = all.entry(key).or_default();
                *sum = UpstreamStatus {
                    workers: sum.workers + one.workers,
                    well: sum.well + one.well,
                    active: sum.active + one.active,
                    idle: sum.idle + one.idle,
                    requests: sum.requests + one.requests,
                    failures: sum.failures + one.failures,
                    ..one
                };
            }
        }
        (all.into_values().collect(), left_out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn workers_are_added_up_and_entries_are_given_back() {
        let board = Scoreboard::new(3).expect("memory");
        for number in [1, 2] {
            board.slot(number).claim(Role::Worker, 1);
        }
        let name = format!("{}:1", "h".repeat(100));
        let show = |slot: usize, name: &str| board.slot(slot).show_upstream("shop", name, name != "b:1");
        let (one, two, long) = (show(1, "b:1"), show(2, "b:1"), show(2, &name));
        one.add_request();
        two.add_request();
        two.add_failure();
        two.set_away(now_ms() + 60_000);
        one.set_active(3);
        two.set_idle(2);
        let (all, left_out) = board.upstream_statuses();
        let shared = UpstreamStatus {
            app: "shop".into(),
            upstream: "b:1".into(),
            backup: false,
            workers: 2,
            well: 1,
            active: 3,
            idle: 2,
            requests: 2,
            failures: 1,
        };
        assert_eq!((all.len(), left_out, &all[0]), (2, 0, &shared));
        assert!(all[1].backup && all[1].upstream == name[..UPSTREAM_BYTES]);
        two.set_away(0);
        two.set_unwell(true);
        assert_eq!(board.upstream_statuses().0[0].well, 1);
        let again = show(1, "b:1");
        again.add_request();
        let (all, _) = board.upstream_statuses();
        assert_eq!((all[0].workers, all[0].requests), (2, 3));
        drop((two, long));
        assert_eq!(board.upstream_statuses().0[0].workers, 1);
        board.slot(1).clear();
        assert_eq!(board.upstream_statuses().0, []);
    }

    #[test]
    fn what_has_no_room_is_counted() {
        let board = Scoreboard::new(1).expect("memory");
        board.slot(0).claim(Role::Worker, 1);
        let shown: Vec<_> = (0..=UPSTREAMS).map(|number| board.slot(0).show_upstream("shop", &format!("h:{number}"), false)).collect();
        let (all, left_out) = board.upstream_statuses();
        assert_eq!((all.len(), left_out), (UPSTREAMS, 1));
        shown[UPSTREAMS].add_request();
        drop(shown);
        assert_eq!(board.upstream_statuses(), (Vec::new(), 0));
        assert!(ShownUpstream::new("shop", "h:1", false).entry.is_none(), "this thread has no slot");
    }
}
