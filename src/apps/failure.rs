//! What keeps a program's answer from being whole.

use std::fmt;
use std::io;
use std::time::Duration;

use nix::sys::signal::Signal;

use super::work::Work;
use crate::codec::cgi::BlockError;
use crate::codec::fastcgi::{ProtocolStatus, RecordError};
use crate::request::{BodyError, Response};

/// What ended a program's work before its time.
#[derive(Debug)]
pub(super) enum Failure {
    /// It took longer than it may.
    TimedOut(Duration),
    /// It wrote more than it may.
    TooMuch(u64),
    /// Its header block is none.
    Block(BlockError),
    /// It was ended by a signal.
    Killed(i32),
    /// It closed the connection in the middle.
    Gone,
    /// It does not speak FastCGI.
    Record(RecordError),
    /// It refused the request by FastCGI's own means.
    Refused(ProtocolStatus),
    /// The request's body did not come whole.
    Body(BodyError),
    /// The kernel.
    Io(io::Error),
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TimedOut(limit) => write!(f, "it took longer than {limit:?} and was killed"),
            Self::TooMuch(limit) => write!(f, "it wrote more than {limit} bytes and was killed"),
            Self::Block(error) => write!(f, "its answer cannot be used: {error}"),
            Self::Killed(signal) => match Signal::try_from(*signal) {
                Ok(signal) => write!(f, "it was ended by {signal}"),
                Err(_) => write!(f, "it was ended by signal {signal}"),
            },
            Self::Gone => f.write_str("it closed the connection before its answer was whole"),
            Self::Record(error) => error.fmt(f),
            Self::Refused(ProtocolStatus::Overloaded) => f.write_str("it has no room for the request"),
            Self::Refused(status) => write!(f, "it does not take the request: {status:?}"),
            Self::Body(error) => error.fmt(f),
            Self::Io(error) => error.fmt(f),
        }
    }
}

impl Failure {
    /// The answer for a program that failed before it had one, after a line for the log.
    pub(super) fn response(&self, work: &Work) -> Response {
        match self {
            // The client's doing, and no news for the log.
            Self::Body(error) => return Response::error(error.status(), &error.to_string()),
            _ => work.error(&self.to_string()),
        }
        match self {
            Self::TimedOut(_) => Response::error(504, "the program took too long"),
            Self::Refused(ProtocolStatus::Overloaded) => Response::error(503, "the program has no room for the request"),
            _ => Response::error(502, "the program failed; the log says how"),
        }
    }
}
