//! One topic: its end, what is kept of its past, who follows it.

use std::collections::VecDeque;
use std::rc::Rc;
use std::time::{Duration, Instant};

use smallvec::SmallVec;

use super::Worker;
use super::presence::Presence;
use crate::link::events::{HistoryLimit, PastEvent, Position};

/// What a topic costs besides its content, bytes, roughly.
pub(super) const TOPIC_BYTES: usize = 400;
/// What a kept event costs besides its data, bytes, roughly.
pub(super) const EVENT_BYTES: usize = 100;

/// Workers that want the same.
pub type Workers = SmallVec<[Worker; 4]>;

/// Adds a worker once; whether it is new.
pub(super) fn add(workers: &mut Workers, worker: Worker) -> bool {
    let new = !workers.contains(&worker);
    if new {
        workers.push(worker);
    }
    new
}

/// Takes a worker out; whether it was in.
pub(super) fn remove(workers: &mut Workers, worker: Worker) -> bool {
    let at = workers.iter().position(|other| *other == worker);
    at.map(|at| workers.swap_remove(at)).is_some()
}

struct Kept {
    event: PastEvent,
    born: Instant,
}

/// A topic in one life.
pub(super) struct Topic {
    pub(super) name: Rc<str>,
    pub(super) position: Position,
    pub(super) limit: HistoryLimit,
    kept: VecDeque<Kept>,
    kept_bytes: usize,
    /// Workers with subscribers of exactly this topic.
    pub(super) workers: Workers,
    /// Workers that want to know who comes and leaves.
    pub(super) watchers: Workers,
    pub(super) presence: Presence,
    /// Its place in the order of use.
    pub(super) tick: u64,
    pub(super) used: Instant,
    /// When it is next looked at; never later than [`Topic::next`].
    pub(super) due: Option<Instant>,
}

/// What a subscriber that was away gets.
pub(super) struct Recovery {
    pub(super) complete: bool,
    pub(super) events: Vec<PastEvent>,
}

impl Topic {
    pub(super) fn new(name: Rc<str>, epoch: u64, limit: HistoryLimit, tick: u64, now: Instant) -> Self {
        Self {
            name,
            position: Position { epoch, offset: 0 },
            limit,
            kept: VecDeque::new(),
            kept_bytes: 0,
            workers: Workers::new(),
            watchers: Workers::new(),
            presence: Presence::default(),
            tick,
            used: now,
            due: None,
        }
    }

    /// Bytes that it takes, roughly.
    pub(super) fn cost(&self) -> usize {
        TOPIC_BYTES + 2 * self.name.len() + self.kept_bytes + self.presence.cost()
    }

    /// Keeps an event that is the next one.
    pub(super) fn push(&mut self, event: PastEvent, now: Instant) {
        self.position.offset = event.offset;
        self.kept_bytes += EVENT_BYTES + event.data.0.len();
        self.kept.push_back(Kept { event, born: now });
        while self.kept.len() > self.limit.count as usize {
            self.forget_oldest();
        }
    }

    /// Takes over what another keeper knows: the topic's end, and events without holes up to it, each with its age.
    pub(super) fn adopt(&mut self, position: Position, events: Vec<(PastEvent, Duration)>, now: Instant) {
        self.forget();
        for (event, age) in events {
            self.push(event, now.checked_sub(age).unwrap_or(now));
        }
        self.position = position;
    }

    fn forget_oldest(&mut self) {
        if let Some(kept) = self.kept.pop_front() {
            self.kept_bytes -= EVENT_BYTES + kept.event.data.0.len();
        }
    }

    /// Forgets the past, but not where it ended.
    pub(super) fn forget(&mut self) {
        self.kept = VecDeque::new();
        self.kept_bytes = 0;
    }

    /// Forgets what is too old.
    pub(super) fn expire(&mut self, now: Instant) {
        let ttl = Duration::from_millis(self.limit.ttl_ms);
        while self.kept.front().is_some_and(|kept| now.saturating_duration_since(kept.born) >= ttl) {
            self.forget_oldest();
        }
        if self.kept.is_empty() {
            self.kept.shrink_to_fit();
        }
    }

    /// Whether somebody relies on its end being known.
    pub(super) fn is_used(&self) -> bool {
        !self.workers.is_empty() || !self.presence.is_empty()
    }

    pub(super) fn kept(&self) -> usize {
        self.kept.len()
    }

    /// When something of it ends by time; a topic that nobody uses is forgotten `idle` after its last use.
    pub(super) fn next(&self, idle: Duration) -> Option<Instant> {
        match self.kept.front() {
            Some(oldest) => oldest.born.checked_add(Duration::from_millis(self.limit.ttl_ms)),
            None if self.is_used() => None,
            None => self.used.checked_add(idle),
        }
    }

    /// What came after a position, if all of it is there and within `most_bytes`.
    pub(super) fn recover(&self, since: Position, most_bytes: usize) -> Recovery {
        let (events, complete) = self.after(since, usize::MAX);
        let bytes: usize = events.iter().map(|event| EVENT_BYTES + event.data.0.len()).sum();
        if complete && bytes <= most_bytes { Recovery { complete, events } } else { Recovery { complete: false, events: Vec::new() } }
    }

    /// The oldest events after a position, and whether none is missing before the first.
    pub(super) fn after(&self, since: Position, limit: usize) -> (Vec<PastEvent>, bool) {
        let first = self.position.offset + 1 - self.kept.len() as u64;
        let known = since.epoch == self.position.epoch && since.offset <= self.position.offset;
        let complete = known && since.offset + 1 >= first;
        let skip = if known { (since.offset + 1).saturating_sub(first) as usize } else { 0 };
        (self.kept.iter().skip(skip).take(limit).map(|kept| kept.event.clone()).collect(), complete)
    }

    /// The newest events, oldest first.
    pub(super) fn newest(&self, limit: usize) -> Vec<PastEvent> {
        let skip = self.kept.len().saturating_sub(limit);
        self.kept.iter().skip(skip).map(|kept| kept.event.clone()).collect()
    }
}
