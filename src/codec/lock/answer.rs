//! What the server says.

use std::borrow::Cow;

use super::request::{SessionId, number, option, words};
use super::{read_name, write_name};

/// A line from the server. The first group is the original's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer<'a> {
    /// `RUN NAME`: the job is yours.
    Run(Cow<'a, [u8]>),
    /// `WAIT NAME`: somebody does it; the outcome follows.
    Wait(Cow<'a, [u8]>),
    /// `DONE NAME`
    Done(Cow<'a, [u8]>),
    /// `FAILED NAME`: somebody does it, or it has failed.
    Failed(Cow<'a, [u8]>),
    /// `PROTOCOL_ERROR`
    ProtocolError,

    /// `HELLO 2 …`
    Hello {
        /// The session, if one was asked for.
        session: Option<SessionId>,
        /// How many `HELD` lines follow.
        held: usize,
    },
    /// `HELD NAME token=… left=…`: the session holds this.
    Held(GrantedLease<'a>),
    /// `LOCKED NAME token=… left=…`
    Locked(GrantedLease<'a>),
    /// `QUEUED NAME`: `LOCKED` or `TIMEOUT` follows.
    Queued(Cow<'a, [u8]>),
    /// `BUSY NAME`
    Busy(Cow<'a, [u8]>),
    /// `TIMEOUT NAME`
    Timeout(Cow<'a, [u8]>),
    /// `RENEWED NAME token=… left=…`
    Renewed(GrantedLease<'a>),
    /// `UNLOCKED NAME`
    Unlocked(Cow<'a, [u8]>),
    /// `NOTHELD NAME`
    NotHeld(Cow<'a, [u8]>),
    /// `LOST NAME token=…`: the lease has run out.
    Lost {
        /// The lock.
        name: Cow<'a, [u8]>,
        /// Its token.
        token: u64,
    },
    /// `TOKEN NAME token=…`
    Token {
        /// The lock.
        name: Cow<'a, [u8]>,
        /// Its token.
        token: u64,
    },
    /// `LIMIT NAME`: as much is held or waited for as may be.
    Limit(Cow<'a, [u8]>),
    /// `UNAVAILABLE NAME`: no lock can be had for now.
    Unavailable(Cow<'a, [u8]>),
    /// `LIST COUNT`: so many `ENTRY` lines follow.
    List(usize),
    /// `ENTRY NAME mode=… holders=… waiting=… token=…`
    Entry(Entry<'a>),
    /// `PONG`
    Pong,
}

/// A lease.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GrantedLease<'a> {
    /// The lock.
    pub name: Cow<'a, [u8]>,
    /// The fencing token.
    pub token: u64,
    /// How long it lasted when the server wrote this, milliseconds.
    pub left_ms: u64,
}

/// A lock of a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry<'a> {
    /// The lock.
    pub name: Cow<'a, [u8]>,
    /// `job`, `exclusive`, `shared`, or the number of permits.
    pub mode: String,
    /// How many hold it.
    pub holders: u32,
    /// How many wait.
    pub waiting: u32,
    /// The largest token of its holders.
    pub token: u64,
}

/// Writes a line.
pub fn write_answer(answer: &Answer<'_>, out: &mut Vec<u8>) {
    let plain = |word: &str, name: &[u8], out: &mut Vec<u8>| {
        out.extend_from_slice(word.as_bytes());
        out.extend_from_slice(name);
    };
    let coded = |word: &str, name: &[u8], out: &mut Vec<u8>| {
        out.extend_from_slice(word.as_bytes());
        write_name(name, out);
    };
    let say = |out: &mut Vec<u8>, text: String| out.extend_from_slice(text.as_bytes());
    let lease = |word: &str, lease: &GrantedLease<'_>, out: &mut Vec<u8>| {
        coded(word, &lease.name, out);
        say(out, format!(" token={} left={}", lease.token, lease.left_ms));
    };
    match answer {
        Answer::Run(name) => plain("RUN ", name, out),
        Answer::Wait(name) => plain("WAIT ", name, out),
        Answer::Done(name) => plain("DONE ", name, out),
        Answer::Failed(name) => plain("FAILED ", name, out),
        Answer::ProtocolError => plain("PROTOCOL_ERROR", b"", out),
        Answer::Hello { session: None, .. } => plain("HELLO 2", b"", out),
        Answer::Hello { session: Some(id), held } => say(out, format!("HELLO 2 session={id:032x} held={held}")),
        Answer::Held(held) => lease("HELD ", held, out),
        Answer::Locked(locked) => lease("LOCKED ", locked, out),
        Answer::Renewed(renewed) => lease("RENEWED ", renewed, out),
        Answer::Queued(name) => coded("QUEUED ", name, out),
        Answer::Busy(name) => coded("BUSY ", name, out),
        Answer::Timeout(name) => coded("TIMEOUT ", name, out),
        Answer::Unlocked(name) => coded("UNLOCKED ", name, out),
        Answer::NotHeld(name) => coded("NOTHELD ", name, out),
        Answer::Limit(name) => coded("LIMIT ", name, out),
        Answer::Unavailable(name) => coded("UNAVAILABLE ", name, out),
        Answer::Lost { name, token } => {
            coded("LOST ", name, out);
            say(out, format!(" token={token}"));
        }
        Answer::Token { name, token } => {
            coded("TOKEN ", name, out);
            say(out, format!(" token={token}"));
        }
        Answer::List(count) => say(out, format!("LIST {count}")),
        Answer::Entry(Entry { name, mode, holders, waiting, token }) => {
            coded("ENTRY ", name, out);
            say(out, format!(" mode={mode} holders={holders} waiting={waiting} token={token}"));
        }
        Answer::Pong => plain("PONG", b"", out),
    }
    out.push(b'\n');
}

/// Reads a line of the server; `None` for what no server says. Options that are not known are passed over.
#[must_use]
pub fn parse_answer(line: &[u8]) -> Option<Answer<'_>> {
    let (word, rest) = match memchr::memchr(b' ', line) {
        Some(at) => (&line[..at], &line[at + 1..]),
        None => (line, &b""[..]),
    };
    match word {
        b"RUN" => return Some(Answer::Run(rest.into())),
        b"WAIT" => return Some(Answer::Wait(rest.into())),
        b"DONE" => return Some(Answer::Done(rest.into())),
        b"FAILED" => return Some(Answer::Failed(rest.into())),
        b"PROTOCOL_ERROR" => return Some(Answer::ProtocolError),
        b"PONG" => return Some(Answer::Pong),
        _ => {}
    }
    let first = words(rest).next()?;
    let value = |wanted: &[u8]| words(rest).skip(1).map(option).find(|(name, _)| *name == wanted).and_then(|(_, value)| value);
    let name = || read_name(first);
    let lease = || Some(GrantedLease { name: name()?, token: number(value(b"token")?)?, left_ms: number(value(b"left")?)? });
    match word {
        b"HELLO" if first == b"2" => {
            let session = value(b"session").and_then(|id| SessionId::from_str_radix(std::str::from_utf8(id).ok()?, 16).ok());
            Some(Answer::Hello { session, held: value(b"held").and_then(number).unwrap_or(0) })
        }
        b"HELD" => lease().map(Answer::Held),
        b"LOCKED" => lease().map(Answer::Locked),
        b"RENEWED" => lease().map(Answer::Renewed),
        b"QUEUED" => name().map(Answer::Queued),
        b"BUSY" => name().map(Answer::Busy),
        b"TIMEOUT" => name().map(Answer::Timeout),
        b"UNLOCKED" => name().map(Answer::Unlocked),
        b"NOTHELD" => name().map(Answer::NotHeld),
        b"LIMIT" => name().map(Answer::Limit),
        b"UNAVAILABLE" => name().map(Answer::Unavailable),
        b"LOST" => Some(Answer::Lost { name: name()?, token: number(value(b"token")?)? }),
        b"TOKEN" => Some(Answer::Token { name: name()?, token: number(value(b"token")?)? }),
        b"LIST" => number(first).map(Answer::List),
        b"ENTRY" => Some(Answer::Entry(Entry {
            name: name()?,
            mode: String::from_utf8(value(b"mode")?.to_vec()).ok()?,
            holders: number(value(b"holders")?)?,
            waiting: number(value(b"waiting")?)?,
            token: number(value(b"token")?)?,
        })),
        _ => None,
    }
}
