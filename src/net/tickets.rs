//! Session tickets (RFC 5077, RFC 8446 §4.6.1) that every worker can open, whichever gave them out.
//!
//! The master has one secret, which its workers inherit and an upgrade hands on. The key of a ticket is made from it and the time, so that all
//! change it at the same moment without a word. A ticket opens with the present key and the one before.

use std::fmt;
use std::sync::{Arc, OnceLock};
use std::time::{SystemTime, UNIX_EPOCH};

use futures_rustls::rustls::server::ProducesTickets;
use hmac::{Hmac, KeyInit, Mac};
use ring::aead::{Aad, CHACHA20_POLY1305, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use serde::{Deserialize, Serialize};
use sha2::Sha256;

/// How long a key is used for new tickets, in seconds.
const PERIOD: u64 = 12 * 60 * 60;
/// Bytes of the number of the period in front of a ticket.
const NUMBER: usize = size_of::<u64>();

/// What the keys are made from.
#[derive(Clone, Copy, Serialize, Deserialize)]
pub struct Secret([u8; 32]);

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

static SECRET: OnceLock<Secret> = OnceLock::new();

/// The secret of this instance: made at the first call, which the master does before it forks.
///
/// # Errors
/// When the kernel gives no random bytes.
pub fn secret() -> std::io::Result<Secret> {
    if let Some(secret) = SECRET.get() {
        return Ok(*secret);
    }
    let mut made = [0; 32];
    getrandom::fill(&mut made).map_err(std::io::Error::other)?;
    Ok(*SECRET.get_or_init(|| Secret(made)))
}

/// Goes on with the secret of the instance before this one. Without effect once there is one.
pub fn adopt(secret: Secret) {
    // Whoever was first stays: tickets made meanwhile must open.
    let _ = SECRET.set(secret);
}

/// Seals and opens tickets.
#[derive(Debug)]
struct Tickets(Secret);

/// Tickets with the secret of this instance.
///
/// # Errors
/// As [`secret`].
pub(super) fn tickets() -> std::io::Result<Arc<dyn ProducesTickets>> {
    Ok(Arc::new(Tickets(secret()?)))
}

impl Tickets {
    fn key(&self, period: u64) -> Option<LessSafeKey> {
        let mut mac = Hmac::<Sha256>::new_from_slice(&self.0.0).ok()?;
        mac.update(b"session ticket");
        mac.update(&period.to_be_bytes());
        UnboundKey::new(&CHACHA20_POLY1305, &mac.finalize().into_bytes()).ok().map(LessSafeKey::new)
    }

    fn seal(&self, plain: &[u8], period: u64) -> Option<Vec<u8>> {
        let mut nonce = [0; NONCE_LEN];
        getrandom::fill(&mut nonce).ok()?;
        let mut sealed = plain.to_vec();
        self.key(period)?.seal_in_place_append_tag(Nonce::assume_unique_for_key(nonce), Aad::empty(), &mut sealed).ok()?;
        Some([&period.to_be_bytes()[..], &nonce, &sealed].concat())
    }

    fn open(&self, ticket: &[u8], now: u64) -> Option<Vec<u8>> {
        let (number, rest) = ticket.split_first_chunk::<NUMBER>()?;
        let (nonce, sealed) = rest.split_first_chunk::<NONCE_LEN>()?;
        let period = u64::from_be_bytes(*number);
        if period != now && period.checked_add(1) != Some(now) {
            return None;
        }
        let mut opened = sealed.to_vec();
        let length = self.key(period)?.open_in_place(Nonce::assume_unique_for_key(*nonce), Aad::empty(), &mut opened).ok()?.len();
        opened.truncate(length);
        Some(opened)
    }
}

fn period() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs() / PERIOD)
}

impl ProducesTickets for Tickets {
    fn enabled(&self) -> bool {
        true
    }

    fn lifetime(&self) -> u32 {
        PERIOD as u32
    }

    fn encrypt(&self, plain: &[u8]) -> Option<Vec<u8>> {
        self.seal(plain, period())
    }

    fn decrypt(&self, cipher: &[u8]) -> Option<Vec<u8>> {
        self.open(cipher, period())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ticket_opens_for_two_periods_and_for_who_has_the_secret() {
        let (one, other) = (Tickets(Secret([1; 32])), Tickets(Secret([2; 32])));
        let ticket = one.seal(b"state", 7).unwrap();
        for (now, opened) in [(6, None), (7, Some(b"state".to_vec())), (8, Some(b"state".to_vec())), (9, None)] {
            assert_eq!(one.open(&ticket, now), opened, "{now}");
        }
        assert_eq!(other.open(&ticket, 7), None);
        assert_ne!(one.seal(b"state", 7), Some(ticket.clone()), "no two are the same");
        for at in 0..ticket.len() {
            let mut damaged = ticket.clone();
            damaged[at] ^= 1;
            assert_eq!(one.open(&damaged, 7), None, "{at}");
            assert_eq!(one.open(&ticket[..at], 7), None, "{at}");
        }
    }
}
