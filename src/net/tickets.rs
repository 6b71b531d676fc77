//! Session tickets (RFC 5077, RFC 8446 §4.6.1) that every worker can open, whichever gave them out.
//!
//! The keys lie in memory that the master shares with its children. It makes a new one in time, which then seals new tickets; the one before opens
//! those that were given out, until their time is over, and is overwritten. All are random and none is kept anywhere else: who takes the machine over
//! tomorrow cannot read what was recorded today. An upgrade hands them on.

use std::fmt;
use std::io;
use std::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed, Release};
use std::sync::atomic::{AtomicU64, fence};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use futures_rustls::rustls::server::ProducesTickets;
use ring::aead::{Aad, CHACHA20_POLY1305, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use serde::{Deserialize, Serialize};

use crate::scoreboard::now_ms;
use crate::sys::shared;

/// How long a key seals new tickets, until it is said how long.
const USUAL: Duration = Duration::from_hours(12);
/// Bytes of the key's name in front of a ticket.
const NAME: usize = size_of::<u64>();
/// The most tries to read while the master writes, which takes less time than one of them.
const TRIES: usize = 10_000;

/// A key, its name and its time. `name` is 0 where there is none.
#[derive(Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Key {
    name: u64,
    /// When it was made, milliseconds of the monotonic clock, which is the same for an instance that takes over.
    born_ms: u64,
    secret: [u64; 4],
}

impl Key {
    const WORDS: usize = 6;

    fn new(now_ms: u64) -> io::Result<Self> {
        let mut random = [0; 40];
        getrandom::fill(&mut random).map_err(io::Error::other)?;
        let (words, _) = random.as_chunks::<8>();
        let word = |at: usize| u64::from_ne_bytes(words[at]);
        Ok(Self { name: word(0) | 1, born_ms: now_ms, secret: [word(1), word(2), word(3), word(4)] })
    }

    fn cipher(&self) -> Option<LessSafeKey> {
        let mut bytes = [0; 32];
        for (to, word) in bytes.as_chunks_mut::<8>().0.iter_mut().zip(self.secret) {
            *to = word.to_ne_bytes();
        }
        UnboundKey::new(&CHACHA20_POLY1305, &bytes).ok().map(LessSafeKey::new)
    }

    fn words(&self) -> [u64; Self::WORDS] {
        let [one, two, three, four] = self.secret;
        [self.name, self.born_ms, one, two, three, four]
    }
}

/// The key for new tickets, and the one before it.
#[derive(Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Keys {
    /// How long a key is used for new tickets, which is how long tickets live.
    period_ms: u64,
    present: Key,
    before: Key,
}

impl fmt::Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

impl Keys {
    fn begin(now_ms: u64) -> io::Result<Self> {
        Ok(Self { period_ms: millis(USUAL), present: Key::new(now_ms)?, before: Key::default() })
    }

    /// Makes a new key when it is time for it, and forgets what no ticket needs any more. `false`: nothing is to be done.
    fn turn(&mut self, period_ms: u64, now_ms: u64) -> io::Result<bool> {
        let was = *self;
        self.period_ms = period_ms;
        if now_ms.saturating_sub(self.before.born_ms) >= period_ms.saturating_mul(2) {
            self.before = Key::default();
        }
        if now_ms.saturating_sub(self.present.born_ms) >= period_ms {
            let new = Key::new(now_ms)?;
            // One that was used for twice its time, because this process stood still, opens nothing any more.
            let is_over = now_ms.saturating_sub(self.present.born_ms) >= period_ms.saturating_mul(2);
            self.before = if is_over { Key::default() } else { self.present };
            self.present = new;
        }
        Ok(*self != was)
    }

    fn seal(&self, plain: &[u8]) -> Option<Vec<u8>> {
        let mut nonce = [0; NONCE_LEN];
        getrandom::fill(&mut nonce).ok()?;
        let name = self.present.name.to_be_bytes();
        let mut sealed = plain.to_vec();
        let cipher = self.present.cipher()?;
        cipher.seal_in_place_append_tag(Nonce::assume_unique_for_key(nonce), Aad::from(name), &mut sealed).ok()?;
        Some([&name[..], &nonce, &sealed].concat())
    }

    fn open(&self, ticket: &[u8], now_ms: u64) -> Option<Vec<u8>> {
        let (name, rest) = ticket.split_first_chunk::<NAME>()?;
        let (nonce, sealed) = rest.split_first_chunk::<NONCE_LEN>()?;
        let known = |key: &&Key| key.name != 0 && key.name.to_be_bytes() == *name;
        let key = [&self.present, &self.before].into_iter().find(known)?;
        if now_ms.saturating_sub(key.born_ms) >= self.period_ms.saturating_mul(2) {
            return None;
        }
        let mut opened = sealed.to_vec();
        let length = key.cipher()?.open_in_place(Nonce::assume_unique_for_key(*nonce), Aad::from(*name), &mut opened).ok()?.len();
        opened.truncate(length);
        Some(opened)
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

/// The keys in shared memory. The master alone writes; the first word is odd while it does, so that who reads takes the old or the new.
#[derive(Clone, Copy, Debug)]
struct Board {
    words: &'static [AtomicU64],
}

impl Board {
    const WORDS: usize = 2 + 2 * Key::WORDS;

    fn new(keys: &Keys) -> io::Result<Self> {
        let board = Self { words: shared::words(Self::WORDS)? };
        board.write(keys);
        Ok(board)
    }

    fn write(self, keys: &Keys) {
        let (turn, rest) = (&self.words[0], &self.words[1..]);
        turn.fetch_add(1, AcqRel);
        fence(Release);
        let words = std::iter::once(keys.period_ms).chain(keys.present.words()).chain(keys.before.words());
        for (to, word) in rest.iter().zip(words) {
            to.store(word, Relaxed);
        }
        turn.fetch_add(1, Release);
    }

    fn read(self) -> Option<Keys> {
        for _ in 0..TRIES {
            let turn = self.words[0].load(Acquire);
            let word = |at: usize| self.words[at].load(Relaxed);
            let key =
                |at: usize| Key { name: word(at), born_ms: word(at + 1), secret: [word(at + 2), word(at + 3), word(at + 4), word(at + 5)] };
            let keys = Keys { period_ms: word(1), present: key(2), before: key(2 + Key::WORDS) };
            fence(Acquire);
            if turn.is_multiple_of(2) && self.words[0].load(Relaxed) == turn {
                return Some(keys);
            }
            std::hint::spin_loop();
        }
        None
    }
}

static BOARD: OnceLock<Board> = OnceLock::new();

/// The board of this instance: made at the first call, which the master does before it forks.
fn board() -> io::Result<Board> {
    if let Some(board) = BOARD.get() {
        return Ok(*board);
    }
    let made = Board::new(&Keys::begin(now_ms())?)?;
    Ok(*BOARD.get_or_init(|| made))
}

/// Makes the first key, unless one was handed on. Before the first fork, for all workers open each other's tickets.
///
/// # Errors
/// When the kernel gives no random bytes or no memory.
pub fn begin() -> io::Result<()> {
    board().map(drop)
}

/// The keys, for the instance after this one.
///
/// # Errors
/// As [`begin`].
pub fn keys() -> io::Result<Keys> {
    board()?.read().ok_or_else(|| io::Error::other("the keys of session tickets are being written"))
}

/// Goes on with the keys of the instance before this one. Without effect once there are some.
///
/// # Errors
/// When the kernel gives no memory.
pub fn adopt(keys: &Keys) -> io::Result<()> {
    let board = Board::new(keys)?;
    // Whoever was first stays: tickets made meanwhile must open.
    let _ = BOARD.set(board);
    Ok(())
}

/// Makes a new key when the present one was used for `period`, and overwrites the one that no ticket needs any more. Master only, again and again.
///
/// # Errors
/// As [`begin`]; the keys stay then.
pub fn turn(period: Duration) -> io::Result<()> {
    let mut keys = keys()?;
    if keys.turn(millis(period), now_ms())? {
        board()?.write(&keys);
    }
    Ok(())
}

/// Seals and opens tickets.
#[derive(Debug)]
struct Tickets(Board);

/// Tickets with the keys of this instance.
///
/// # Errors
/// As [`begin`].
pub(super) fn tickets() -> io::Result<Arc<dyn ProducesTickets>> {
    Ok(Arc::new(Tickets(board()?)))
}

impl ProducesTickets for Tickets {
    fn enabled(&self) -> bool {
        true
    }

    fn lifetime(&self) -> u32 {
        self.0.read().map_or(0, |keys| u32::try_from(keys.period_ms / 1000).unwrap_or(u32::MAX))
    }

    fn encrypt(&self, plain: &[u8]) -> Option<Vec<u8>> {
        self.0.read()?.seal(plain)
    }

    fn decrypt(&self, cipher: &[u8]) -> Option<Vec<u8>> {
        self.0.read()?.open(cipher, now_ms())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PERIOD: u64 = 1000;

    fn keys(now: u64) -> Keys {
        Keys { period_ms: PERIOD, ..Keys::begin(now).unwrap() }
    }

    #[test]
    fn a_ticket_opens_for_two_periods_and_for_who_has_the_key() {
        let (mut one, other) = (keys(5000), keys(5000));
        let ticket = one.seal(b"state").unwrap();
        let plain = Some(b"state".to_vec());
        assert_eq!(other.open(&ticket, 5000), None);
        assert_ne!(one.seal(b"state"), Some(ticket.clone()), "no two are the same");
        for at in 0..ticket.len() {
            let mut damaged = ticket.clone();
            damaged[at] ^= 1;
            assert_eq!(one.open(&damaged, 5000), None, "{at}");
            assert_eq!(one.open(&ticket[..at], 5000), None, "{at}");
        }
        assert_eq!(one.open(&ticket, 6999), plain, "though nobody turns the keys");
        assert_eq!(one.open(&ticket, 7000), None);
        let first = one.present;
        assert!(!one.turn(PERIOD, 5999).unwrap() && one.turn(PERIOD, 6000).unwrap() && !one.turn(PERIOD, 6000).unwrap());
        assert!(one.present != first && one.before == first);
        assert_eq!((one.open(&ticket, 6999), one.open(&ticket, 7000)), (plain, None));
        let second = one.present;
        assert!(one.turn(PERIOD, 7000).unwrap());
        assert!(one.before == second && one.present != second, "the first is gone");
        assert_eq!(one.open(&ticket, 6000), None);
    }

    #[test]
    fn what_is_not_needed_any_more_is_gone() {
        let mut keys = keys(0);
        assert!(keys.turn(PERIOD, 1500).unwrap());
        assert!(keys.before.name != 0);
        assert!(keys.turn(PERIOD, 2000).unwrap(), "before the next is due");
        assert!(keys.before == Key::default());
        // After a long sleep neither opens anything.
        assert!(keys.turn(PERIOD, 9000).unwrap());
        assert!(keys.before == Key::default());
        assert_eq!(format!("{keys:?}"), "***");
    }

    #[test]
    fn who_reads_while_keys_are_written_takes_the_old_or_the_new() {
        let all = [keys(1), keys(2)];
        let board = Board::new(&all[0]).unwrap();
        std::thread::scope(|scope| {
            let readers: Vec<_> = (0..2)
                .map(|_| scope.spawn(|| (0..20_000).filter_map(|_| board.read()).filter(|read| !all.contains(read)).count()))
                .collect();
            for turn in 0..20_000 {
                board.write(&all[turn % 2]);
            }
            for reader in readers {
                assert_eq!(reader.join().unwrap(), 0, "reads that are neither");
            }
        });
        assert_eq!(board.read().map(|read| read == all[1]), Some(true));
    }
}
