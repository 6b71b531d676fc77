//! Why there is no answer from a server, and what the client is told instead.

use crate::clients::http::{Failed, HttpError};
use crate::request::{BodyError, Response};

/// Why there is no answer.
#[derive(Debug)]
pub(super) enum Fault {
    /// No connection, or one that broke: 502.
    Unreachable(String),
    /// What came is no answer: 502.
    Nonsense(String),
    /// It took too long: 504.
    Slow(String),
    /// There is no room for the request: 503.
    Full(&'static str),
    /// The request itself is broken, or its client has left.
    Client(BodyError),
}

impl Fault {
    /// What happened on a connection.
    pub(super) fn of(failed: Failed) -> Self {
        match failed {
            Failed::Io(error) => Self::Unreachable(error.to_string()),
            Failed::TimedOut => Self::Slow("no answer in time".to_owned()),
            Failed::Http(error @ HttpError::Body(_)) => Self::Client(BodyError::Malformed(error.to_string())),
            Failed::Http(error) => Self::Nonsense(error.to_string()),
        }
    }

    /// Whether another server may do better.
    pub(super) fn is_of_server(&self) -> bool {
        matches!(self, Self::Unreachable(_) | Self::Nonsense(_) | Self::Slow(_))
    }

    /// What happened, in words for the log.
    pub(super) fn why(&self) -> String {
        match self {
            Self::Unreachable(why) | Self::Nonsense(why) | Self::Slow(why) => why.clone(),
            Self::Full(why) => (*why).to_owned(),
            Self::Client(error) => error.to_string(),
        }
    }

    /// What the client is told: nothing that the log alone should say.
    pub(super) fn response(&self, retry_after: u64) -> Response {
        match self {
            Self::Unreachable(_) => Response::error(502, "the server behind this one cannot be reached"),
            Self::Nonsense(_) => Response::error(502, "the server behind this one gave no valid answer"),
            Self::Slow(_) => Response::error(504, "the server behind this one did not answer in time"),
            Self::Full(_) => {
                let mut response = Response::error(503, "too many requests are under way");
                // A number is a valid field.
                let _ = response.fields.push("Retry-After", retry_after.to_string());
                response
            }
            Self::Client(error) => Response::error(error.status(), &error.to_string()),
        }
    }
}
