//! What clients say.

use std::borrow::Cow;
use std::fmt;
use std::time::Duration;

use super::{read_name, write_name};
use crate::units::HumanDuration;

/// The identity of a session over several connections: 32 hexadecimal digits.
pub type SessionId = u128;

/// The options of `lock`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Lease {
    /// `lease=30s`: how long it lasts.
    pub lease: Option<Duration>,
    /// `wait=5s`: how long to wait for it.
    pub wait: Duration,
    /// `shared`: others may share it.
    pub shared: bool,
    /// `permits=3`: as one of so many.
    pub permits: Option<u32>,
}

/// A line from a client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Request<'a> {
    /// `acquire NAME`, `acquireWait NAME`
    Acquire {
        /// The job.
        name: Cow<'a, [u8]>,
        /// The second form.
        wait: bool,
    },
    /// `done NAME`, `failed NAME`
    End {
        /// The job.
        name: Cow<'a, [u8]>,
        /// The first form.
        done: bool,
    },
    /// `quit`
    Quit,
    /// `hello 2`, `hello 2 session`, `hello 2 session=ID`
    Hello {
        /// Whether leases shall outlast the connection.
        lasting: bool,
        /// The session to take up.
        session: Option<SessionId>,
    },
    /// `lock NAME …`
    Lock {
        /// The lock.
        name: Cow<'a, [u8]>,
        /// How.
        lease: Lease,
    },
    /// `renew NAME [lease=30s]`
    Renew {
        /// The lock.
        name: Cow<'a, [u8]>,
        /// Another length than before.
        lease: Option<Duration>,
    },
    /// `unlock NAME`
    Unlock {
        /// The lock.
        name: Cow<'a, [u8]>,
    },
    /// `token NAME`
    Token {
        /// The lock.
        name: Cow<'a, [u8]>,
    },
    /// `list [PREFIX] [limit=100]`
    List {
        /// What names begin with.
        prefix: Cow<'a, [u8]>,
        /// The most names.
        limit: u32,
    },
    /// `ping`
    Ping,
}

/// Why a line is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RequestError {
    /// No such command, in this version.
    Unknown,
    /// A name, an option or its value is wrong or missing.
    Malformed,
}

impl fmt::Display for RequestError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Unknown => "unknown command",
            Self::Malformed => "malformed command",
        })
    }
}

impl std::error::Error for RequestError {}

/// How many locks are listed if nothing else is said.
const LISTED: u32 = 100;

/// Reads a line. `extended`: the client has said `hello 2`.
///
/// # Errors
/// [`RequestError`]; the answer is `PROTOCOL_ERROR`.
pub fn parse_request(line: &[u8], extended: bool) -> Result<Request<'_>, RequestError> {
    let (word, rest) = match memchr::memchr(b' ', line) {
        Some(at) => (&line[..at], Some(&line[at + 1..])),
        None => (line, None),
    };
    // In version 1 all that follows the first space is the name, as in the original.
    let plain = || rest.filter(|name| !name.is_empty()).map(Cow::Borrowed).ok_or(RequestError::Malformed);
    match word {
        b"acquire" => Ok(Request::Acquire { name: plain()?, wait: false }),
        b"acquireWait" => Ok(Request::Acquire { name: plain()?, wait: true }),
        b"done" => Ok(Request::End { name: plain()?, done: true }),
        b"failed" => Ok(Request::End { name: plain()?, done: false }),
        b"quit" => Ok(Request::Quit),
        b"hello" => hello(rest.unwrap_or_default()),
        _ if extended => extension(word, rest.unwrap_or_default()),
        _ => Err(RequestError::Unknown),
    }
}

fn hello(rest: &[u8]) -> Result<Request<'static>, RequestError> {
    let mut words = words(rest);
    if words.next() != Some(b"2") {
        return Err(RequestError::Malformed);
    }
    let (mut lasting, mut session) = (false, None);
    for word in words {
        lasting = true;
        if word != b"session" {
            let digits = word.strip_prefix(b"session=").filter(|digits| digits.len() == 32).ok_or(RequestError::Malformed)?;
            let digits = std::str::from_utf8(digits).map_err(|_| RequestError::Malformed)?;
            session = Some(SessionId::from_str_radix(digits, 16).map_err(|_| RequestError::Malformed)?);
        }
    }
    Ok(Request::Hello { lasting, session })
}

fn extension<'a>(word: &[u8], rest: &'a [u8]) -> Result<Request<'a>, RequestError> {
    let mut words = words(rest);
    let mut name = || words.next().and_then(read_name).ok_or(RequestError::Malformed);
    match word {
        b"lock" => {
            let name = name()?;
            let mut lease = Lease::default();
            for word in words {
                match option(word) {
                    (b"lease", Some(value)) => lease.lease = Some(span(value)?),
                    (b"wait", Some(value)) => lease.wait = span(value)?,
                    (b"shared", None) => lease.shared = true,
                    (b"permits", Some(value)) => {
                        lease.permits = Some(number(value).filter(|&count| count > 0).ok_or(RequestError::Malformed)?);
                    }
                    _ => return Err(RequestError::Malformed),
                }
            }
            if lease.shared && lease.permits.is_some() {
                return Err(RequestError::Malformed);
            }
            Ok(Request::Lock { name, lease })
        }
        b"renew" => {
            let name = name()?;
            let mut lease = None;
            for word in words {
                match option(word) {
                    (b"lease", Some(value)) => lease = Some(span(value)?),
                    _ => return Err(RequestError::Malformed),
                }
            }
            Ok(Request::Renew { name, lease })
        }
        b"unlock" => Ok(Request::Unlock { name: name()? }),
        b"token" => Ok(Request::Token { name: name()? }),
        b"list" => {
            let (mut prefix, mut limit) = (None, LISTED);
            for word in words {
                match option(word) {
                    (b"limit", Some(value)) => limit = number(value).ok_or(RequestError::Malformed)?,
                    _ if prefix.is_none() => prefix = Some(read_name(word).ok_or(RequestError::Malformed)?),
                    _ => return Err(RequestError::Malformed),
                }
            }
            Ok(Request::List { prefix: prefix.unwrap_or_default(), limit })
        }
        b"ping" => Ok(Request::Ping),
        _ => Err(RequestError::Unknown),
    }
}

pub(super) fn words(line: &[u8]) -> impl Iterator<Item = &[u8]> {
    line.split(|&byte| byte == b' ').filter(|word| !word.is_empty())
}

pub(super) fn option(word: &[u8]) -> (&[u8], Option<&[u8]>) {
    match memchr::memchr(b'=', word) {
        Some(at) => (&word[..at], Some(&word[at + 1..])),
        None => (word, None),
    }
}

pub(super) fn number<T: std::str::FromStr>(value: &[u8]) -> Option<T> {
    std::str::from_utf8(value).ok()?.parse().ok()
}

/// A span of time with its unit, in whole milliseconds; a bare number is milliseconds.
fn span(value: &[u8]) -> Result<Duration, RequestError> {
    let text = std::str::from_utf8(value).map_err(|_| RequestError::Malformed)?;
    if let Ok(millis) = text.parse::<u32>() {
        return Ok(Duration::from_millis(u64::from(millis)));
    }
    let span = text.parse::<HumanDuration>().map_err(|_| RequestError::Malformed)?;
    Ok(Duration::from_millis(u64::try_from(span.as_millis()).unwrap_or(u64::MAX)))
}

/// Writes a line. Version 1 names must not have an end of line in them.
pub fn write_request(request: &Request<'_>, out: &mut Vec<u8>) {
    let plain = |word: &str, name: &[u8], out: &mut Vec<u8>| {
        out.extend_from_slice(word.as_bytes());
        out.extend_from_slice(name);
    };
    let coded = |word: &str, name: &[u8], out: &mut Vec<u8>| {
        out.extend_from_slice(word.as_bytes());
        write_name(name, out);
    };
    let say = |out: &mut Vec<u8>, text: String| out.extend_from_slice(text.as_bytes());
    match request {
        Request::Acquire { name, wait } => plain(if *wait { "acquireWait " } else { "acquire " }, name, out),
        Request::End { name, done } => plain(if *done { "done " } else { "failed " }, name, out),
        Request::Quit => plain("quit", b"", out),
        Request::Ping => plain("ping", b"", out),
        Request::Hello { lasting: false, .. } => plain("hello 2", b"", out),
        Request::Hello { session: None, .. } => plain("hello 2 session", b"", out),
        Request::Hello { session: Some(id), .. } => say(out, format!("hello 2 session={id:032x}")),
        Request::Lock { name, lease } => {
            coded("lock ", name, out);
            if let Some(span) = lease.lease {
                say(out, format!(" lease={}ms", span.as_millis()));
            }
            if !lease.wait.is_zero() {
                say(out, format!(" wait={}ms", lease.wait.as_millis()));
            }
            if lease.shared {
                plain(" shared", b"", out);
            }
            if let Some(count) = lease.permits {
                say(out, format!(" permits={count}"));
            }
        }
        Request::Renew { name, lease } => {
            coded("renew ", name, out);
            if let Some(span) = lease {
                say(out, format!(" lease={}ms", span.as_millis()));
            }
        }
        Request::Unlock { name } => coded("unlock ", name, out),
        Request::Token { name } => coded("token ", name, out),
        Request::List { prefix, limit } => {
            coded("list ", prefix, out);
            say(out, format!(" limit={limit}"));
        }
    }
    out.push(b'\n');
}
