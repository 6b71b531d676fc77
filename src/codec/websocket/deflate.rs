//! permessage-deflate (RFC 7692).
//!
//! Both directions are agreed on without context takeover: a compressor that remembers earlier messages costs each connection some
//! 300 KB, and a message that is compressed alone can be compressed once for all its receivers. What compresses and decompresses
//! belongs to the thread, so an idle connection holds nothing.

use std::cell::RefCell;

use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress, Status};

use crate::codec::http::fields::list_items;

/// The extension's name.
pub const NAME: &str = "permessage-deflate";
/// The largest window, in bits: 32 KiB.
pub const MOST_WINDOW: u8 = 15;
/// The smallest window that the compressor can keep to; the RFC knows 8 too.
const LEAST_WINDOW: u8 = 9;
/// What ends every message and is left out on the wire (RFC 7692 §7.2.1).
const TAIL: [u8; 4] = [0, 0, 0xff, 0xff];
/// Room made at once for what is decompressed.
const PIECE: usize = 16 << 10;

/// What was agreed on with a peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Agreement {
    /// The window that we may use to compress, in bits.
    pub window: u8,
}

/// Why a message cannot be decompressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InflateError {
    /// It is not what deflate makes.
    Malformed,
    /// It is larger than the limit.
    TooLarge,
}

impl std::fmt::Display for InflateError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Malformed => "a message cannot be decompressed",
            Self::TooLarge => "a decompressed message is too large",
        })
    }
}

impl std::error::Error for InflateError {}

/// The parameters of one offer or answer (RFC 7692 §7.1).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Parameters {
    server_alone: bool,
    client_alone: bool,
    server_window: Option<u8>,
    /// `Some(None)`: named without a value, which says that any is fine.
    client_window: Option<Option<u8>>,
}

impl Parameters {
    /// Reads one item of `Sec-WebSocket-Extensions`; `None` for another extension and for parameters that make it void.
    fn read(item: &[u8]) -> Option<Self> {
        let text = std::str::from_utf8(item).ok()?;
        let mut parts = text.split(';').map(str::trim);
        if !parts.next()?.eq_ignore_ascii_case(NAME) {
            return None;
        }
        let mut parameters = Self::default();
        let mut seen: Vec<&str> = Vec::new();
        for part in parts {
            let (name, value) = match part.split_once('=') {
                Some((name, value)) => (name.trim(), Some(unquoted(value.trim()))),
                None => (part, None),
            };
            if seen.contains(&name) {
                return None;
            }
            seen.push(name);
            match (name, value) {
                ("server_no_context_takeover", None) => parameters.server_alone = true,
                ("client_no_context_takeover", None) => parameters.client_alone = true,
                ("server_max_window_bits", Some(bits)) => parameters.server_window = Some(window(bits)?),
                ("client_max_window_bits", None) => parameters.client_window = Some(None),
                ("client_max_window_bits", Some(bits)) => parameters.client_window = Some(Some(window(bits)?)),
                _ => return None,
            }
        }
        Some(parameters)
    }
}

fn unquoted(value: &str) -> &str {
    value.strip_prefix('"').and_then(|value| value.strip_suffix('"')).unwrap_or(value)
}

/// 8 to 15 without leading zeros (RFC 7692 §7.1.2).
fn window(bits: &str) -> Option<u8> {
    match bits {
        "8" => Some(8),
        "9" => Some(9),
        "10" => Some(10),
        "11" => Some(11),
        "12" => Some(12),
        "13" => Some(13),
        "14" => Some(14),
        "15" => Some(15),
        _ => None,
    }
}

/// Chooses the first offer of a client that we can keep to, and what to answer it; `None`: messages go uncompressed.
pub fn accept<'a>(offers: impl Iterator<Item = &'a [u8]>) -> Option<(Agreement, String)> {
    let offer =
        offers.flat_map(list_items).filter_map(Parameters::read).find(|offer| offer.server_window.is_none_or(|w| w >= LEAST_WINDOW))?;
    // Both may be asked for unasked (RFC 7692 §7.1.1).
    let window = offer.server_window.map(|window| format!("; server_max_window_bits={window}")).unwrap_or_default();
    let answer = format!("{NAME}; server_no_context_takeover; client_no_context_takeover{window}");
    Some((Agreement { window: offer.server_window.unwrap_or(MOST_WINDOW) }, answer))
}

/// What a client of ours offers.
#[must_use]
pub fn offer() -> String {
    format!("{NAME}; server_no_context_takeover; client_no_context_takeover")
}

/// What a server answered to [`offer`]: `Ok(None)` when it compresses nothing.
///
/// # Errors
/// An answer to something else than was offered; the connection must be failed (RFC 7692 §7.1).
pub fn accepted<'a>(answers: impl Iterator<Item = &'a [u8]>) -> Result<Option<Agreement>, NotOffered> {
    let mut agreement = None;
    for item in answers.flat_map(list_items) {
        let parameters = Parameters::read(item).ok_or(NotOffered)?;
        // A window of the client's was not offered, so none may be asked for.
        if agreement.is_some() || !parameters.server_alone || parameters.client_window.is_some() {
            return Err(NotOffered);
        }
        agreement = Some(Agreement { window: MOST_WINDOW });
    }
    Ok(agreement)
}

/// The server answered with an extension that was not offered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotOffered;

impl std::fmt::Display for NotOffered {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("the server answered with an extension that was not offered")
    }
}

impl std::error::Error for NotOffered {}

thread_local! {
    static INFLATE: RefCell<Decompress> = RefCell::new(Decompress::new(false));
    /// By window, which hardly ever is another than the largest.
    static DEFLATE: RefCell<Vec<(u8, Compress)>> = const { RefCell::new(Vec::new()) };
}

/// Decompresses a message, at most `most` bytes of it.
///
/// # Errors
/// [`InflateError`].
pub fn inflate(data: &[u8], most: usize) -> Result<Vec<u8>, InflateError> {
    INFLATE.with_borrow_mut(|inflate| {
        inflate.reset(false);
        let mut out = Vec::with_capacity(data.len().saturating_mul(3).clamp(64, PIECE).min(most.max(1)));
        for piece in [data, &TAIL[..]] {
            if feed(inflate, piece, &mut out, most)? {
                // A final block ends the message (RFC 7692 §7.2.3.4); nothing may follow it but the tail.
                break;
            }
        }
        Ok(out)
    })
}

/// Decompresses all of `piece`. Whether the stream has ended.
fn feed(inflate: &mut Decompress, piece: &[u8], out: &mut Vec<u8>, most: usize) -> Result<bool, InflateError> {
    let mut rest = piece;
    loop {
        if out.len() == out.capacity() {
            // One more than allowed, so that too much is seen.
            let room = out.capacity().clamp(PIECE / 4, 1 << 20).min((most + 1).saturating_sub(out.len()).max(1));
            out.reserve_exact(room);
        }
        let (taken, made) = (inflate.total_in(), inflate.total_out());
        let status = inflate.decompress_vec(rest, out, FlushDecompress::Sync).map_err(|_| InflateError::Malformed)?;
        let (taken, made) = ((inflate.total_in() - taken) as usize, inflate.total_out() - made);
        rest = &rest[taken..];
        if out.len() > most {
            return Err(InflateError::TooLarge);
        }
        if status == Status::StreamEnd {
            return Ok(true);
        }
        let full = out.len() == out.capacity();
        if rest.is_empty() && !full {
            return Ok(false);
        }
        if taken == 0 && made == 0 && !full {
            return Err(InflateError::Malformed);
        }
    }
}

/// Compresses a message with a window of so many bits.
#[must_use]
pub fn deflate(data: &[u8], window: u8) -> Vec<u8> {
    let window = window.clamp(LEAST_WINDOW, MOST_WINDOW);
    DEFLATE.with_borrow_mut(|pool| {
        let at = pool.iter().position(|(bits, _)| *bits == window).unwrap_or_else(|| {
            // Level 6 is what everybody uses; a message is small.
            pool.push((window, Compress::new_with_window_bits(Compression::new(6), false, window)));
            pool.len() - 1
        });
        let compress = &mut pool[at].1;
        compress.reset();
        let mut out = Vec::with_capacity(data.len() / 2 + 64);
        let mut rest = data;
        loop {
            let before = compress.total_in();
            // Compressing fails only when it is called wrongly; a message that would come out wrong is found by the peer.
            let status = compress.compress_vec(rest, &mut out, FlushCompress::Sync);
            rest = &rest[(compress.total_in() - before) as usize..];
            if status.is_err() || (rest.is_empty() && out.len() < out.capacity()) {
                break;
            }
            out.reserve(out.capacity().max(64));
        }
        if out.ends_with(&TAIL) {
            out.truncate(out.len() - TAIL.len());
        }
        out
    })
}
