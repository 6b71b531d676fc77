//! The line protocol of lock servers, both sides: docs/locks.md.
//!
//! Version 1 is the original's and knows jobs; version 2, spoken to who says `hello 2`, adds leases. A line ends with LF, a CR before it is
//! not part of it. In version 2 a name is one word, in which `%20` stands for a space, as in an address on the web.

mod answer;
mod request;

pub use answer::{Answer, Entry, GrantedLease, parse_answer, write_answer};
pub use request::{Lease, Request, RequestError, SessionId, parse_request, write_request};

use std::borrow::Cow;

use memchr::{memchr, memmem};

/// What telnet clients send for an interrupt: IAC IP, IAC DO TIMING-MARK (RFC 854, RFC 860).
const INTERRUPT: &[u8] = b"\xff\xf4\xff\xfd\x06";
/// What telnet clients send to end a file: IAC EOF (RFC 1184, section 2.1).
const END_OF_FILE: &[u8] = b"\xff\xec";
/// The longest line, its LF not counted. Names have 255 bytes at most, each at most three characters when written in version 2.
pub const MAX_LINE: usize = 1024;

/// A piece of what a peer sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Line<'a> {
    /// A line without its end, in the order of arrival; empty ones are left out.
    Text(&'a [u8]),
    /// A line longer than [`MAX_LINE`], which is skipped.
    TooLong,
    /// The telnet sequences that ask for the end of the connection.
    Interrupt,
}

/// Bytes to lines.
#[derive(Debug, Default)]
pub struct Lines {
    buffer: Vec<u8>,
    /// What comes before was taken.
    start: usize,
    /// From `start` to here no end of a line is.
    seen: usize,
    /// Inside a line that is too long: what comes up to its end belongs to it.
    skipping: bool,
}

impl Lines {
    /// Takes bytes as they come.
    pub fn push(&mut self, bytes: &[u8]) {
        self.buffer.drain(..self.start);
        self.seen -= self.start;
        self.start = 0;
        self.buffer.extend_from_slice(bytes);
    }

    /// The next line; `None` when it is not whole yet. What stays is never longer than a line may be.
    pub fn pull(&mut self) -> Option<Line<'_>> {
        let line = loop {
            let Some(end) = memchr(b'\n', &self.buffer[self.seen..]).map(|at| self.seen + at) else {
                return self.rest();
            };
            let start = std::mem::replace(&mut self.start, end + 1);
            self.seen = self.start;
            let skipped = std::mem::take(&mut self.skipping);
            let line = &self.buffer[start..end];
            if is_interrupt(line) {
                return Some(Line::Interrupt);
            }
            if skipped {
                continue;
            }
            if line.len() > MAX_LINE {
                return Some(Line::TooLong);
            }
            let length = line.iter().rposition(|&byte| byte != b'\r').map_or(0, |last| last + 1);
            if length > 0 {
                break start..start + length;
            }
        };
        Some(Line::Text(&self.buffer[line]))
    }

    /// What is to be said of a line that has no end yet.
    fn rest(&mut self) -> Option<Line<'static>> {
        let line = &self.buffer[self.start..];
        let length = line.len();
        if is_interrupt(line) {
            self.start = self.buffer.len();
            self.seen = self.start;
            return Some(Line::Interrupt);
        }
        self.seen = self.buffer.len();
        if length > MAX_LINE {
            // The last bytes may be the beginning of an interrupt.
            self.start = self.seen - (INTERRUPT.len() - 1);
            if !std::mem::replace(&mut self.skipping, true) {
                return Some(Line::TooLong);
            }
        }
        None
    }
}

fn is_interrupt(bytes: &[u8]) -> bool {
    // Without the byte that both begin with there is nothing to look for, which is the rule.
    memchr(0xff, bytes).is_some() && (memmem::find(bytes, INTERRUPT).is_some() || memmem::find(bytes, END_OF_FILE).is_some())
}

/// Writes a name as one word.
fn write_name(name: &[u8], out: &mut Vec<u8>) {
    const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
    for &byte in name {
        if byte.is_ascii_graphic() && byte != b'%' {
            out.push(byte);
        } else {
            out.extend_from_slice(&[b'%', DIGITS[usize::from(byte >> 4)], DIGITS[usize::from(byte & 15)]]);
        }
    }
}

/// Reads a name that is one word; `None` for a `%` without two digits.
fn read_name(word: &[u8]) -> Option<Cow<'_, [u8]>> {
    if memchr(b'%', word).is_none() {
        return Some(Cow::Borrowed(word));
    }
    let mut name = Vec::with_capacity(word.len());
    let mut rest = word;
    while let Some((&byte, after)) = rest.split_first() {
        if byte == b'%' {
            let (digits, after) = after.split_at_checked(2)?;
            let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
            name.push(digit(digits[0])? << 4 | digit(digits[1])?);
            rest = after;
        } else {
            name.push(byte);
            rest = after;
        }
    }
    Some(Cow::Owned(name))
}

#[cfg(test)]
mod tests;
