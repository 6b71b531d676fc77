//! What every process shows of itself, in shared memory: a slot of atomics a process. The status, the MPM and the watchdog read it;
//! nobody asks a process anything to know how it is.
//!
//! A process writes its own slot only; the master writes a slot's identity before it forks and clears it afterwards. Counters are
//! relaxed: each is true by itself, a snapshot of several may be a moment apart.

mod histogram;
mod status;
mod step;
mod upstreams;

pub use histogram::{BUCKETS, bucket_of, bucket_start};
pub use status::{EventsStatus, SlotStatus, StateCounts, StoredStatus, TlsStatus};
pub use step::{LABEL_BYTES, LABELS, Label, STEP_BYTES, StepShown, VERB_BYTES};
pub use upstreams::{ShownUpstream, UPSTREAMS, UpstreamStatus};

use std::io;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};

use serde::{Deserialize, Serialize};

use crate::sys::shared;

/// What a process is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[repr(u64)]
pub enum Role {
    /// Nobody uses the slot.
    Free = 0,
    /// A worker.
    Worker = 1,
    /// The hub.
    Hub = 2,
}

/// The states of a process, the original's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[repr(u64)]
pub enum State {
    /// Forked, not yet itself.
    PreInit = 0,
    /// Itself; waits for something (the hub) before it can start.
    WaitInit = 1,
    /// Loads its applications.
    Init = 2,
    /// Serves, and has nothing to do.
    Idle = 3,
    /// Serves, and has something to do.
    Busy = 4,
    /// Finishes what it has, takes nothing new.
    Shutdown = 5,
}

impl State {
    fn from_word(word: u64) -> State {
        match word {
            1 => State::WaitInit,
            2 => State::Init,
            3 => State::Idle,
            4 => State::Busy,
            5 => State::Shutdown,
            _ => State::PreInit,
        }
    }

    /// Its name in `fullstatus`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            State::PreInit => "pre-init",
            State::WaitInit => "wait-init",
            State::Init => "init",
            State::Idle => "idle",
            State::Busy => "busy",
            State::Shutdown => "shutdown",
        }
    }
}

/// Names the words of a slot, each with an accessor to its atomic.
macro_rules! words {
    ($($(#[$doc:meta])* $name:ident = $index:literal;)*) => {
        impl Slot {
            $($(#[$doc])* #[inline] #[must_use] pub fn $name(self) -> &'static AtomicU64 { &self.words[$index] })*
        }
    };
}

/// One process's part of the board: a handle to copy around. It costs one shared word to touch.
#[derive(Clone, Copy)]
pub struct Slot {
    words: &'static [AtomicU64; SLOT_WORDS],
    upstreams: &'static [AtomicU64; upstreams::TABLE_WORDS],
}

words! {
    /// Process id; 0 in a free slot.
    pid = 0;
    /// The generation of workers it belongs to.
    generation = 1;
    /// A [`Role`].
    role_word = 2;
    /// A [`State`].
    state_word = 3;
    /// When it was forked, milliseconds since the Unix epoch.
    started_ms = 4;
    /// When it last showed that its loop turns, milliseconds of [`now_ms`].
    heartbeat_ms = 5;
    /// 1 while the process sleeps in the kernel for want of work: then the heartbeat may be old.
    waiting = 6;
    /// The step that runs: see [`Slot::begin_step`].
    step_word = 7;
    /// Requests answered, whatever the protocol.
    requests = 8;
    /// Of those, the ones that failed by our fault (5xx, an error in an application).
    errors = 9;
    /// Connections accepted since the start.
    accepts = 10;
    /// Connections open now.
    connections = 11;
    /// Requests being worked on now.
    active = 12;
    /// Microseconds that the loop has spent on work, not asleep.
    busy_us = 13;
    /// Bytes received.
    bytes_in = 14;
    /// Bytes sent.
    bytes_out = 15;
    /// Resident memory, bytes, as last measured by the process itself.
    rss = 16;
    /// Lines of the log that had to be dropped because the reader was too slow.
    dropped_lines = 18;
    /// Applications loaded.
    applications = 19;
    /// Tasks alive in the reactor.
    tasks = 20;
    /// Events published: by this worker, or through the hub.
    events_published = 21;
    /// Events given to subscribers of this worker, or sent by the hub to workers.
    events_delivered = 22;
    /// Events dropped for want of room, or because there was no hub.
    events_dropped = 23;
    /// Subscribers of this worker, or subscriptions of workers at the hub.
    subscriptions = 24;
    /// Until when lasting leases on locks may run that a worker's parties were told of, milliseconds of [`now_ms`]; 0 when there are none.
    leases_until = 25;
    /// TLS handshakes under way.
    handshakes = 26;
    /// TLS handshakes that came to a good end.
    handshakes_done = 27;
    /// Of those, the ones that went on with a session of before.
    handshakes_resumed = 28;
    /// TLS handshakes that failed or took too long.
    handshakes_failed = 29;
    /// How often there were as many handshakes at once as a server may have.
    handshakes_full = 30;
    /// Servers that requests are passed on to and that have no entry for want of room.
    upstreams_left_out = 31;
    /// Answers that lie in files for the front.
    stored_files = 32;
    /// Bytes of those.
    stored_bytes = 33;
    /// Answers that went to the front as files.
    stored_answers = 34;
    /// Answers that were to go as files and went as they are, for want of room or because a file could not be written.
    stored_not = 35;
    /// Files that workers before have left and that were removed.
    stored_abandoned = 36;
}

const NAMED_WORDS: usize = 40;
const HISTOGRAM_AT: usize = NAMED_WORDS;
const STEP_AT: usize = HISTOGRAM_AT + BUCKETS;
const LABELS_AT: usize = STEP_AT + step::STEP_WORDS;
/// A slot in words: a multiple of a cache line, so that neighbours do not slow each other down.
const SLOT_WORDS: usize = (LABELS_AT + step::LABELS_WORDS).next_multiple_of(16);

impl Slot {
    /// What the slot's process is for.
    #[must_use]
    pub fn role(self) -> Role {
        match self.role_word().load(Acquire) {
            1 => Role::Worker,
            2 => Role::Hub,
            _ => Role::Free,
        }
    }

    /// The state it last said it was in.
    #[must_use]
    pub fn state(self) -> State {
        State::from_word(self.state_word().load(Relaxed))
    }

    /// Says which state the process is in now.
    #[inline]
    pub fn set_state(self, state: State) {
        self.state_word().store(state as u64, Relaxed);
    }

    /// Says that the loop turns.
    #[inline]
    pub fn beat(self, now_ms: u64) {
        self.heartbeat_ms().store(now_ms, Relaxed);
    }

    /// Counts one answer that took `micros` microseconds.
    #[inline]
    pub fn record_latency(self, micros: u64) {
        self.words[HISTOGRAM_AT + bucket_of(micros)].fetch_add(1, Relaxed);
    }

    /// The latency histogram: how many answers fell in each bucket (see [`bucket_start`]).
    #[must_use]
    pub fn latencies(self) -> [u64; BUCKETS] {
        std::array::from_fn(|i| self.words[HISTOGRAM_AT + i].load(Relaxed))
    }

    /// Takes the slot for a process about to be forked; everything of the one before is cleared. Master only.
    pub fn claim(self, role: Role, generation: u64) {
        self.clear();
        self.generation().store(generation, Relaxed);
        self.started_ms().store(epoch_ms(), Relaxed);
        self.beat(now_ms());
        self.role_word().store(role as u64, Release);
    }

    /// Frees the slot. Master only, after the process has ended.
    pub fn clear(self) {
        self.role_word().store(Role::Free as u64, Release);
        for word in self.words {
            word.store(0, Relaxed);
        }
        self.clear_upstreams();
    }
}

impl std::fmt::Debug for Slot {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Slot").field("pid", &self.pid()).field("role", &self.role()).field("state", &self.state()).finish_non_exhaustive()
    }
}

/// All slots of an instance. Made by the master before the first fork; a handle in every process.
#[derive(Clone, Copy, Debug)]
pub struct Scoreboard {
    words: &'static [AtomicU64],
    /// A table for each slot, on pages that are touched by who passes requests on.
    upstreams: &'static [AtomicU64],
}

impl Scoreboard {
    /// A board of `slots` free slots.
    ///
    /// # Errors
    /// The kernel has no memory for it, or `slots` is 0.
    pub fn new(slots: usize) -> io::Result<Scoreboard> {
        Ok(Scoreboard { words: shared::words(slots * SLOT_WORDS)?, upstreams: shared::words(slots * upstreams::TABLE_WORDS)? })
    }

    /// How many slots there are.
    #[must_use]
    #[expect(clippy::len_without_is_empty, reason = "a board without slots cannot be made")]
    pub fn len(self) -> usize {
        self.words.len() / SLOT_WORDS
    }

    /// One slot.
    ///
    /// # Panics
    /// There is no slot of that number.
    #[must_use]
    pub fn slot(self, number: usize) -> Slot {
        let (slots, _) = self.words.as_chunks::<SLOT_WORDS>();
        let (tables, _) = self.upstreams.as_chunks::<{ upstreams::TABLE_WORDS }>();
        Slot { words: &slots[number], upstreams: &tables[number] }
    }

    /// All slots, by number.
    pub fn slots(self) -> impl Iterator<Item = (usize, Slot)> {
        (0..self.len()).map(move |number| (number, self.slot(number)))
    }

    /// The slots of workers, by number.
    pub fn workers(self) -> impl Iterator<Item = (usize, Slot)> {
        self.slots().filter(|(_, slot)| slot.role() == Role::Worker)
    }
}

/// Adds to a counter that only this process writes: a plain store, without the cost of a locked instruction.
#[inline]
pub fn add(counter: &AtomicU64, count: u64) {
    counter.store(counter.load(Relaxed).wrapping_add(count), Relaxed);
}

/// Takes from a counter that only this process writes; it stays at 0 then.
#[inline]
pub fn subtract(counter: &AtomicU64, count: u64) {
    counter.store(counter.load(Relaxed).saturating_sub(count), Relaxed);
}

/// Milliseconds of the monotonic clock, the same in every process of this machine.
#[must_use]
pub fn now_ms() -> u64 {
    use nix::time::{ClockId, clock_gettime};
    // CLOCK_MONOTONIC cannot fail on Linux; 0 only makes everything look old.
    clock_gettime(ClockId::CLOCK_MONOTONIC).map_or(0, |t| t.tv_sec().unsigned_abs() * 1000 + t.tv_nsec().unsigned_abs() / 1_000_000)
}

/// Milliseconds since the Unix epoch.
#[must_use]
pub fn epoch_ms() -> u64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slot_is_taken_written_and_freed() {
        let board = Scoreboard::new(3).expect("memory");
        assert_eq!(board.len(), 3);
        let slot = board.slot(1);
        slot.claim(Role::Worker, 4);
        slot.requests().fetch_add(2, Relaxed);
        slot.set_state(State::Busy);
        slot.record_latency(100);
        assert_eq!(board.workers().map(|(i, _)| i).collect::<Vec<_>>(), [1]);
        assert_eq!((board.slot(1).state(), board.slot(1).requests().load(Relaxed)), (State::Busy, 2));
        assert_eq!(board.slot(1).latencies().iter().sum::<u64>(), 1);
        assert!([0, 2].iter().all(|&i| board.slot(i).words.iter().all(|w| w.load(Relaxed) == 0)), "neighbours are untouched");
        slot.clear();
        assert_eq!((board.workers().count(), slot.latencies().iter().sum::<u64>()), (0, 0));
    }

    #[test]
    fn a_slot_fills_whole_cache_lines() {
        assert_eq!(SLOT_WORDS * 8 % 128, 0);
        const { assert!(SLOT_WORDS * 8 <= 4096, "a slot stays within a page") };
    }
}
