//! The head that nearly every request has, read in one pass: a known method, a path in plain ASCII, HTTP/1.1, fields of one line each.
//!
//! What is unusual, incomplete or wrong is left to the way through the lines, which knows the words for it. Whatever is read here is read the
//! same there: a property test says so.

use super::request::{Meaning, ParsedRequest};
use super::{BodyFraming, HeadLimits, MAX_FIELDS};
use crate::codec::http::fields::{Fields, Span, is_token_byte};
use crate::codec::http::head::{Placement, RequestHead, Version};
use crate::codec::http::method::Method;

/// What follows the target.
const VERSION: &[u8; 10] = b"HTTP/1.1\r\n";

/// A head that was looked at where it lies. Whoever needs no more than its path is spared the copy that [`Usual::into_request`] makes.
pub struct Usual<'a> {
    method: Method,
    target: Target<'a>,
    /// The lines of the fields.
    lines: &'a [u8],
    /// Where they stand in the lines.
    fields: Fields,
    host: Option<Span>,
    framing: BodyFraming,
    consumed: usize,
    keep_alive: bool,
    expect_continue: bool,
    upgrade: bool,
}

impl<'a> Usual<'a> {
    /// Looks for a head at the start of `buf`, whole and usual. `None` says nothing.
    #[inline]
    pub(super) fn read(buf: &'a [u8], limits: &HeadLimits) -> Option<Self> {
        let (method, start) = match buf {
            [b'G', b'E', b'T', b' ', ..] => (Method::Get, 4),
            [b'P', b'O', b'S', b'T', b' ', ..] => (Method::Post, 5),
            [b'H', b'E', b'A', b'D', b' ', ..] => (Method::Head, 5),
            [b'P', b'U', b'T', b' ', ..] => (Method::Put, 4),
            [b'D', b'E', b'L', b'E', b'T', b'E', b' ', ..] => (Method::Delete, 7),
            _ => return None,
        };
        let target = target(&buf[start..])?;
        let lines = start + target.bytes.len() + 1 + VERSION.len();
        if !buf[start + target.bytes.len() + 1..].starts_with(VERSION) || lines - 2 > limits.line {
            return None;
        }

        let mut fields = Fields::pooled();
        let mut meaning = Meaning::default();
        let mut at = lines;
        while *buf.get(at)? != b'\r' {
            let colon = at + name_length(&buf[at..])?;
            let end = colon + 1 + value_length(&buf[colon + 1..])?;
            if buf.get(end..end + 2)? != b"\r\n" || end - at > limits.field || fields.len() == limits.fields.min(MAX_FIELDS) {
                return None;
            }
            let (from, to) = trimmed(buf, colon + 1, end);
            let span = Span::new(from - lines, to - from);
            meaning.take(&buf[at..colon], &buf[from..to], span);
            fields.announce(Span::new(at - lines, colon - at), span);
            at = end + 2;
        }
        let consumed = at + 2;
        if buf.get(at + 1)? != &b'\n' || consumed > limits.total {
            return None;
        }
        let (framing, expect_continue) = meaning.conclude(&method, Version::Http11).ok()?;
        let keep_alive = meaning.persistence.keep_alive(Version::Http11);
        let (host, upgrade, lines) = (meaning.host, meaning.upgrade, &buf[lines..at]);
        Some(Self { method, target, lines, fields, host, framing, consumed, keep_alive, expect_continue, upgrade })
    }

    /// The path, of a GET or HEAD with nothing in it that asks for more than an answer: no body, no end of the connection, no other
    /// protocol; nor anything in the path that could be read in more than one way. `None` says nothing.
    pub fn plain_path(&self) -> Option<&'a [u8]> {
        let plain = matches!(self.method, Method::Get | Method::Head)
            && self.target.plain
            && matches!(self.framing, BodyFraming::None | BodyFraming::Length(0))
            && self.keep_alive
            && !self.expect_continue
            && !self.upgrade;
        plain.then(|| self.target.query.map_or(self.target.bytes, |at| &self.target.bytes[..at - 1]))
    }

    /// Whether only the head of an answer is asked.
    pub fn is_head(&self) -> bool {
        self.method == Method::Head
    }

    /// Bytes of the input that belong to the head.
    pub fn consumed(&self) -> usize {
        self.consumed
    }

    /// The request, in memory of its own. Never `None`: the target is ASCII.
    #[inline]
    pub fn into_request(self) -> Option<ParsedRequest> {
        let Self { method, target, mut fields, framing, consumed, keep_alive, expect_continue, upgrade, .. } = self;
        fields.fill(self.lines);
        let placement = Placement::of_path(target.bytes.len(), target.query, target.plain).with_host(self.host);
        let target = std::str::from_utf8(target.bytes).ok()?;
        let head = RequestHead::from_parts(method, Version::Http11, target, fields, placement);
        Some(ParsedRequest { head, consumed, framing, keep_alive, expect_continue, upgrade })
    }
}

struct Target<'a> {
    /// Printable ASCII.
    bytes: &'a [u8],
    /// Where the query begins.
    query: Option<usize>,
    /// See [`RequestHead::has_plain_path`].
    plain: bool,
}

/// The target that ends at a space.
fn target(buf: &[u8]) -> Option<Target<'_>> {
    if buf.first() != Some(&b'/') {
        return None;
    }
    let (mut query, mut plain) = (None, true);
    for (at, &byte) in buf.iter().enumerate() {
        match TARGET[usize::from(byte)] {
            Kind::Plain => {}
            Kind::Dot => plain &= query.is_some() || buf[at - 1] != b'/',
            Kind::Percent => plain &= query.is_some(),
            Kind::Mark => query = query.or(Some(at + 1)),
            Kind::End => return Some(Target { bytes: &buf[..at], query, plain }),
            Kind::Odd => return None,
        }
    }
    None
}

#[derive(Clone, Copy)]
enum Kind {
    Plain,
    Dot,
    Percent,
    Mark,
    End,
    Odd,
}

const TARGET: [Kind; 256] = {
    let mut table = [Kind::Odd; 256];
    let mut byte = 0x21;
    while byte < 0x7f {
        table[byte] = Kind::Plain;
        byte += 1;
    }
    table[b'#' as usize] = Kind::Odd;
    table[b'.' as usize] = Kind::Dot;
    table[b'%' as usize] = Kind::Percent;
    table[b'?' as usize] = Kind::Mark;
    table[b' ' as usize] = Kind::End;
    table
};

/// The length of a name that a colon follows.
fn name_length(buf: &[u8]) -> Option<usize> {
    let length = buf.iter().position(|&byte| !is_token_byte(byte))?;
    (length > 0 && buf[length] == b':').then_some(length)
}

/// How far a value goes: up to the first control character other than a tab, which should be the CR of the line's end.
fn value_length(buf: &[u8]) -> Option<usize> {
    const ONES: u64 = 0x0101_0101_0101_0101;
    const TOPS: u64 = ONES * 0x80;
    let mut at = 0;
    // Eight bytes at a time: a borrow or a carry marks the first control character, and none before it.
    while let Some(eight) = buf.get(at..).and_then(|rest| rest.first_chunk::<8>()) {
        let word = u64::from_le_bytes(*eight);
        let delete = word ^ (ONES * 0x7f);
        let controls = (word.wrapping_sub(ONES * 0x20) & !word | delete.wrapping_sub(ONES) & !delete) & TOPS;
        if controls == 0 {
            at += 8;
            continue;
        }
        at += controls.trailing_zeros() as usize / 8;
        if buf[at] != b'\t' {
            return Some(at);
        }
        at += 1;
    }
    let is_control = |byte: &u8| (*byte < b' ' && *byte != b'\t') || *byte == 0x7f;
    buf[at..].iter().position(is_control).map(|more| at + more)
}

/// Without the white space at both ends.
fn trimmed(buf: &[u8], mut from: usize, mut to: usize) -> (usize, usize) {
    let is_space = |byte: u8| byte == b' ' || byte == b'\t';
    while from < to && is_space(buf[from]) {
        from += 1;
    }
    while from < to && is_space(buf[to - 1]) {
        to -= 1;
    }
    (from, to)
}
