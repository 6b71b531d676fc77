//! Jobs that nobody else asks about, begun and ended by the worker alone: a few words of memory that all processes share.
//!
//! Names fall into buckets. A bucket is a word, which says who decides about every name in it:
//! - **the hub**: as at the start of everything, and whenever anybody has asked the hub about a name in it, until nobody has anything to
//!   do with one any more;
//! - **nobody**: no name in it is held or waited for. A worker may take one of them for one of its parties;
//! - **a worker**, one of whose parties does one job in it. Which, and by which token, is in a record that only this worker writes.
//!
//! Every change of a word is one compare-and-swap, so nobody ever waits for anybody: of a worker and the hub that want the same at the
//! same time one is first, and the other one does as is right then. The hub takes over a bucket from a worker, record and all, without
//! asking it, and before it gives anything in it to anybody; the worker finds that out when it would end the job, and asks the hub to.
//! What ends with a worker is given free by the hub, which hears of it from the master. What a worker has taken stands while there is
//! no hub, and a new hub finds it here; but nothing is taken then, because the right to grant is the hub's.
//!
//! **Tokens grow for every name**: they are drawn from one counter, and a free bucket's word has the last token of the bucket. A worker reads
//! the word, draws, and changes the word if it is still the same; so nothing in the bucket was granted since before it drew.

use std::hash::{DefaultHasher, Hasher};
use std::io;
use std::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed, Release, SeqCst};
use std::sync::atomic::{AtomicU64, fence};

use super::message::{Name, PartyId};
use super::table::Worker;
use crate::scoreboard::Scoreboard;
use crate::sys::shared;

/// How many buckets there are: so many jobs at most are done without the hub.
pub const BUCKETS: usize = 1 << 16;
/// Tokens that are left for the hub: a worker that finds so few asks it instead, and it takes care of more.
const RESERVE: u64 = 1 << 18;
/// The most records of one worker.
const MOST_RECORDS: usize = 2048;
/// The longest name, bytes: a longer one goes to the hub.
const LONGEST_NAME: usize = (RECORD_WORDS - NAME_AT) * 8;

/// Words of a record: two cache lines.
const RECORD_WORDS: usize = 16;
/// Odd while the record is written.
const VERSION: usize = 0;
const PARTY_AT: usize = 1;
const TOKEN: usize = 3;
/// The process id, and below it the length of the name.
const OWNER: usize = 4;
const NAME_AT: usize = 5;

/// Words at the front, in different cache lines: the next number, the first that may not be used, how many names a party may have.
const NEXT: usize = 0;
const CEILING: usize = 8;
const EACH: usize = 9;
const FRONT: usize = 16;

/// What a bucket's word says in its lowest bits.
const HUB: u64 = 0;
const FREE: u64 = 1;
const HELD: u64 = 2;
const TAG: u64 = 3;

/// The words. A handle to copy around.
#[derive(Clone, Copy, Debug)]
pub struct FastPath {
    front: &'static [AtomicU64],
    buckets: &'static [AtomicU64],
    records: &'static [AtomicU64],
    /// Records of one process.
    records_each: usize,
    board: Option<Scoreboard>,
}

/// A job as its worker wrote it down.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Found {
    pub worker: Worker,
    pub party: PartyId,
    pub token: u64,
    pub name: Name,
}

impl FastPath {
    /// For all processes of `board` that are forked from now on. Nothing is free until a hub says so.
    ///
    /// # Errors
    /// The kernel has no memory for it.
    pub fn shared(board: Scoreboard) -> io::Result<Self> {
        Self::with(board, BUCKETS)
    }

    pub(super) fn with(board: Scoreboard, buckets: usize) -> io::Result<Self> {
        let records_each = (BUCKETS / board.len()).clamp(64, MOST_RECORDS);
        let words = shared::words(FRONT + buckets + board.len() * records_each * RECORD_WORDS)?;
        let (front, rest) = words.split_at(FRONT);
        let (buckets, records) = rest.split_at(buckets);
        Ok(Self { front, buckets, records, records_each, board: Some(board) })
    }

    /// None: for a table that has its process for itself, and as long as that. It has the numbers only.
    pub(super) fn none() -> Self {
        let front = Box::leak((0..FRONT).map(|_| AtomicU64::new(0)).collect());
        Self { front, buckets: &[], records: &[], records_each: 0, board: None }
    }

    /// The next token or ticket.
    pub(super) fn next(self) -> u64 {
        self.front[NEXT].load(Acquire)
    }

    /// Takes the next token or ticket.
    pub(super) fn draw(self) -> u64 {
        self.front[NEXT].fetch_add(1, AcqRel)
    }

    /// The first number that may not be used.
    pub(super) fn ceiling(self) -> u64 {
        self.front[CEILING].load(Acquire)
    }

    /// Numbers from `first` on, and below `ceiling`; neither goes back.
    pub(super) fn extend(self, first: u64, ceiling: u64) {
        self.front[NEXT].fetch_max(first, AcqRel);
        self.front[CEILING].fetch_max(ceiling, AcqRel);
    }

    /// In which bucket a name is. The same in every process: they run the same program.
    pub(super) fn bucket(self, name: &[u8]) -> Option<usize> {
        if self.buckets.is_empty() {
            return None;
        }
        let mut hasher = DefaultHasher::new();
        hasher.write(name);
        Some(hasher.finish() as usize % self.buckets.len())
    }

    /// The hub decides about a bucket from now on. Gives the job that a worker had taken in it.
    pub(super) fn rule(self, bucket: usize) -> Option<Found> {
        let word = &self.buckets[bucket];
        loop {
            let before = word.load(Acquire);
            if before == HUB {
                return None;
            }
            if word.compare_exchange(before, HUB, AcqRel, Acquire).is_ok() {
                return if before & TAG == HELD {
                    self.read(before).filter(|found| self.bucket(&found.name) == Some(bucket))
                } else {
                    None
                };
            }
        }
    }

    /// Nobody has anything to do with a name of this bucket. Without effect when the hub does not decide about it: it may have been let go already, and a worker
    /// have taken it since.
    pub(super) fn let_go(self, bucket: usize) {
        let _ = self.buckets[bucket].compare_exchange(HUB, self.free_word(), AcqRel, Relaxed);
    }

    /// Buckets in which a worker has taken a job.
    pub(super) fn taken(self) -> impl Iterator<Item = usize> {
        self.buckets.iter().enumerate().filter(|(_, word)| word.load(Relaxed) & TAG == HELD).map(|(bucket, _)| bucket)
    }

    /// How many names a party may have, or 0: workers take nothing by themselves.
    pub(super) fn limit(self, each: u64) {
        self.front[EACH].store(each, SeqCst);
    }

    /// Gives free what the hub decides about and does not `need`, and what processes had that have ended.
    pub(super) fn open(self, needs: impl Fn(usize) -> bool) {
        for (bucket, word) in self.buckets.iter().enumerate() {
            let before = word.load(Acquire);
            let is_over = before == HUB && !needs(bucket) || before & TAG == HELD && !self.lives(worker_of(before));
            if is_over {
                // It fails when a worker has changed it, which it does with its own only.
                let _ = word.compare_exchange(before, self.free_word(), AcqRel, Acquire);
            }
        }
    }

    /// A worker has ended, as the master says.
    pub(super) fn gone(self, worker: Worker) {
        for word in self.buckets {
            let before = word.load(Acquire);
            if before & TAG == HELD && worker_of(before) == worker {
                // Nobody but the hub changes it now.
                let _ = word.compare_exchange(before, self.free_word(), AcqRel, Acquire);
            }
        }
    }

    /// Nothing is taken any more until a hub opens it again: the right to grant has ended with the hub. What is taken stands.
    pub fn close(self) {
        self.front[EACH].store(0, SeqCst);
    }

    /// Whether a process still is what it was, as the master shows.
    pub(super) fn lives(self, worker: Worker) -> bool {
        self.board.is_none_or(|board| i32::try_from(board.slot(worker.0).pid().load(Acquire)) == Ok(worker.1))
    }

    /// No grant in a bucket that is free by this word was by this number or a later one.
    fn free_word(self) -> u64 {
        self.next() << 2 | FREE
    }

    fn record(self, slot: usize, number: usize) -> &'static [AtomicU64; RECORD_WORDS] {
        &self.records.as_chunks::<RECORD_WORDS>().0[slot * self.records_each + number]
    }

    /// What a worker wrote down; nothing when it has ended that meanwhile, or has ended itself.
    fn read(self, word: u64) -> Option<Found> {
        let worker = worker_of(word);
        let record = self.record(worker.0, number_of(word));
        let version = record[VERSION].load(Acquire);
        let words: [u64; RECORD_WORDS] = std::array::from_fn(|at| record[at].load(Relaxed));
        fence(Acquire);
        if version % 2 == 1 || record[VERSION].load(Relaxed) != version || i32::try_from(words[OWNER] >> 32) != Ok(worker.1) {
            return None;
        }
        let mut name = [0; LONGEST_NAME];
        for (eight, word) in name.as_chunks_mut::<8>().0.iter_mut().zip(&words[NAME_AT..]) {
            *eight = word.to_le_bytes();
        }
        let length = (words[OWNER] & 0xffff_ffff) as usize;
        let party = u128::from(words[PARTY_AT + 1]) << 64 | u128::from(words[PARTY_AT]);
        Some(Found { worker, party, token: words[TOKEN], name: name.get(..length)?.into() })
    }
}

fn held_word((slot, pid): Worker, number: u16) -> u64 {
    u64::from(pid.unsigned_abs()) << 34 | (slot as u64 & 0xffff) << 18 | u64::from(number) << 2 | HELD
}

fn worker_of(word: u64) -> Worker {
    ((word >> 18 & 0xffff) as usize, (word >> 34) as i32)
}

fn number_of(word: u64) -> usize {
    (word >> 2 & 0xffff) as usize
}

/// A worker's place: what it takes by itself.
pub(super) struct Seat {
    path: FastPath,
    worker: Worker,
    /// Records that are not in use.
    free: Vec<u16>,
}

/// A job that was taken: the number of its record.
pub(super) type Place = u16;

impl Seat {
    /// The place of a process that has just begun.
    pub fn new(path: FastPath, worker: Worker) -> Self {
        if let Some(board) = path.board {
            // The master shows it too, but maybe not yet.
            board.slot(worker.0).pid().store(u64::from(worker.1.unsigned_abs()), Release);
        }
        let count = u16::try_from(path.records_each).unwrap_or(u16::MAX);
        Self { path, worker, free: (0..count).rev().collect() }
    }

    /// How many names a party may have; 0 while nothing is taken here.
    pub fn each(&self) -> usize {
        usize::try_from(self.path.front[EACH].load(SeqCst)).unwrap_or(usize::MAX)
    }

    /// Takes a name for the job of a party. Gives the place and the token; nothing when the hub must be asked.
    pub fn take(&mut self, party: PartyId, name: &[u8]) -> Option<(Place, u64)> {
        let word = &self.path.buckets[self.path.bucket(name)?];
        let before = word.load(Acquire);
        if before & TAG != FREE || name.len() > LONGEST_NAME {
            return None;
        }
        let place = self.free.pop()?;
        let token = self.path.draw();
        self.write(place, party, token, name);
        let held = held_word(self.worker, place);
        let is_first = token < self.path.ceiling().saturating_sub(RESERVE) && word.compare_exchange(before, held, SeqCst, Acquire).is_ok();
        // Closed meanwhile, by whom does not know of this yet: it was too late, unless a hub has found it and so allowed it.
        let is_late = is_first && self.each() == 0 && word.compare_exchange(held, before, AcqRel, Acquire).is_ok();
        if !is_first || is_late {
            self.free.push(place);
            return None;
        }
        Some((place, token))
    }

    fn write(&self, place: Place, party: PartyId, token: u64, name: &[u8]) {
        let record = self.path.record(self.worker.0, usize::from(place));
        let version = record[VERSION].load(Relaxed);
        // A process that was killed may have left it odd.
        record[VERSION].store(version | 1, Relaxed);
        fence(Release);
        record[PARTY_AT].store(party as u64, Relaxed);
        record[PARTY_AT + 1].store((party >> 64) as u64, Relaxed);
        record[TOKEN].store(token, Relaxed);
        record[OWNER].store(u64::from(self.worker.1.unsigned_abs()) << 32 | name.len() as u64, Relaxed);
        for (word, piece) in record[NAME_AT..].iter().zip(name.chunks(8)) {
            let mut eight = [0; 8];
            eight[..piece.len()].copy_from_slice(piece);
            word.store(u64::from_le_bytes(eight), Relaxed);
        }
        record[VERSION].store((version | 1).wrapping_add(1), Release);
    }

    /// Gives back what was taken. False: the hub decides about it by now.
    pub fn give_back(&mut self, name: &[u8], place: Place, token: u64) -> bool {
        let Some(bucket) = self.path.bucket(name) else { return false };
        let free = token << 2 | FREE;
        let is_given = self.path.buckets[bucket].compare_exchange(held_word(self.worker, place), free, AcqRel, Acquire).is_ok();
        if is_given {
            self.free.push(place);
        }
        is_given
    }

    /// What was taken here has ended elsewhere: the hub decided about it.
    pub fn forget(&mut self, place: Place) {
        self.free.push(place);
    }

    /// Whether this worker still decides about what it took.
    pub fn has(&self, name: &[u8], place: Place) -> bool {
        self.path.bucket(name).is_some_and(|bucket| self.path.buckets[bucket].load(Acquire) == held_word(self.worker, place))
    }
}

#[cfg(test)]
mod tests;
