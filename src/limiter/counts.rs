//! How much goes on at the same time, by address. A place is free when nothing does, so nobody is ever forgotten; who finds no place is not counted.

use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;

use crate::scoreboard::{add, subtract};

/// Places that a key may have: a cache line.
const WAYS: usize = 8;
/// The part of a word that is the count; the rest is of the key.
const COUNT: u64 = (1 << 20) - 1;
/// How often a place is looked for while others change theirs.
const TRIES: usize = 64;

/// The table: a word a place, then for each process how much of each place is its own, so that this can be taken back when it was killed.
#[derive(Clone, Copy, Debug)]
pub(super) struct Counts {
    places: &'static [AtomicU64],
    /// Of all processes; each writes only its own.
    shares: &'static [AtomicU64],
    /// How much each process has in all.
    totals: &'static [AtomicU64],
    process: usize,
}

impl Counts {
    pub(super) fn words(places: usize, processes: usize) -> usize {
        (places + 1) * processes.max(1) + places
    }

    pub(super) fn new(words: &'static [AtomicU64], places: usize, process: usize) -> Self {
        let (places, rest) = words.split_at(places);
        let (shares, totals) = rest.split_at(rest.len() / (places.len() + 1) * places.len());
        Self { places, shares, totals, process }
    }

    pub(super) fn of_process(self, process: usize) -> Self {
        Self { process, ..self }
    }

    fn own(self) -> &'static [AtomicU64] {
        &self.shares[self.process * self.places.len()..][..self.places.len()]
    }

    /// One more: its place, and how many there are now.
    pub(super) fn enter(self, key: u64) -> Option<(usize, u32)> {
        let mark = key & !COUNT | 1 << 63;
        let first = (key as usize & (self.places.len() / WAYS - 1)) * WAYS;
        for _ in 0..TRIES {
            let set = self.places[first..][..WAYS].iter().map(|place| place.load(Relaxed)).enumerate();
            let (mut found, mut free) = (None, None);
            for (way, word) in set {
                if word & !COUNT == mark {
                    found = Some((way, word));
                } else if word == 0 {
                    free = free.or(Some((way, mark)));
                }
            }
            let (way, before) = found.or(free)?;
            if before & COUNT == COUNT {
                return None;
            }
            let place = first + way;
            // Ours first: who is killed in between has one too many taken back, and nothing stays counted for ever.
            add(&self.totals[self.process], 1);
            add(&self.own()[place], 1);
            let expected = if found.is_some() { before } else { 0 };
            if self.places[place].compare_exchange(expected, before + 1, Relaxed, Relaxed).is_ok() {
                return Some((place, ((before + 1) & COUNT) as u32));
            }
            self.give_up(place);
        }
        None
    }

    /// One less.
    pub(super) fn leave(self, place: usize) {
        self.take_back(place, 1);
        self.give_up(place);
    }

    fn give_up(self, place: usize) {
        subtract(&self.own()[place], 1);
        subtract(&self.totals[self.process], 1);
    }

    fn take_back(self, place: usize, count: u64) {
        let less = |word: u64| Some(if word & COUNT <= count { 0 } else { word - count });
        // It always gives something.
        let _ = self.places[place].fetch_update(Relaxed, Relaxed, less);
    }

    /// Takes back all that the process has.
    pub(super) fn forget(self) {
        // Most have nothing, and their part of the memory was never touched.
        if self.totals[self.process].swap(0, Relaxed) == 0 {
            return;
        }
        for (place, own) in self.own().iter().enumerate() {
            let count = own.load(Relaxed);
            if count > 0 {
                self.take_back(place, count);
                own.store(0, Relaxed);
            }
        }
    }
}
