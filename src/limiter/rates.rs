//! How often something happened lately, by address. What is kept of each is when all of it will be forgiven (the generic cell rate algorithm, ITU-T I.371).

use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;

use super::Pace;

/// Places that a key may have: two cache lines.
const WAYS: usize = 8;
/// Words of a place: the key, then a part of it with the moment.
const PLACE: usize = 2;
/// The part of the second word that is the moment, in microseconds: nine years of them.
const MOMENT: u64 = (1 << 48) - 1;
/// How often a place is looked for while others take theirs.
const TRIES: usize = 8;

/// The table.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rates {
    words: &'static [AtomicU64],
}

impl Rates {
    pub(super) fn words(places: usize) -> usize {
        places * PLACE
    }

    pub(super) fn new(words: &'static [AtomicU64]) -> Self {
        Self { words }
    }

    /// The places of a key.
    fn set(self, key: u64) -> &'static [AtomicU64] {
        let sets = self.words.len() / (WAYS * PLACE);
        let set = (key >> 16) as usize & (sets - 1);
        &self.words[set * WAYS * PLACE..][..WAYS * PLACE]
    }

    /// Counts one time at the moment `now`; how many microseconds to wait if that is too often.
    ///
    /// A key that takes the place of another changes two words one after the other. Who still has the old moment in hand, or sees it, notices by the part of the key
    /// beside it, and what is then lost is one time at most.
    pub(super) fn charge(self, key: u64, pace: Pace, now: u64, forgotten: &AtomicU64) -> Result<(), u64> {
        let Some(word) = self.find(key).or_else(|| self.claim(key, now, forgotten)) else { return Ok(()) };
        let mark = key << 48;
        let mut before = word.load(Relaxed);
        loop {
            let forgiven_at = if before & !MOMENT == mark { before & MOMENT } else { 0 };
            let next = forgiven_at.max(now) + pace.price;
            if next - now > pace.most {
                return Err(next - now - pace.most);
            }
            match word.compare_exchange_weak(before, mark | next & MOMENT, Relaxed, Relaxed) {
                Ok(_) => return Ok(()),
                Err(other) => before = other,
            }
        }
    }

    fn find(self, key: u64) -> Option<&'static AtomicU64> {
        self.set(key).chunks_exact(PLACE).find(|place| place[0].load(Relaxed) == key).map(|place| &place[1])
    }

    /// Takes a place: a free one, or that of who will be forgiven first. `None`: others are always faster.
    fn claim(self, key: u64, now: u64, forgotten: &AtomicU64) -> Option<&'static AtomicU64> {
        for _ in 0..TRIES {
            let moment = |place: &&[AtomicU64]| if place[0].load(Relaxed) == 0 { 0 } else { place[1].load(Relaxed) & MOMENT };
            let place = self.set(key).chunks_exact(PLACE).min_by_key(moment)?;
            let (before, until) = (place[0].load(Relaxed), place[1].load(Relaxed) & MOMENT);
            match place[0].compare_exchange(before, key, Relaxed, Relaxed) {
                Ok(_) => {
                    if before != 0 && until > now {
                        forgotten.fetch_add(1, Relaxed);
                    }
                    return Some(&place[1]);
                }
                Err(other) if other == key => return Some(&place[1]),
                Err(_) => {}
            }
        }
        None
    }
}
