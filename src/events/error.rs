//! Why something about events did not happen.

use std::fmt;

use crate::link::LinkError;
use crate::link::events::{BadName, MAX_DATA, MAX_MEMBER_ID, MAX_MEMBER_INFO};

/// Why something about events did not happen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EventsError {
    /// The name is none.
    Name(BadName),
    /// What is published is too long.
    TooLong,
    /// The member's id or information is empty or too long.
    Member,
    /// Only a single topic has a position and members.
    NotOne,
    /// Too many subscribers, or too much waits for the hub.
    Full,
    /// The hub ended meanwhile: whether the event was published is unknown.
    Lost,
    /// The hub did not answer in time: whether the event was published is unknown.
    TimedOut,
    /// The hub refused; says why.
    Refused(String),
}

impl fmt::Display for EventsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(bad) => bad.fmt(f),
            Self::TooLong => write!(f, "an event has at most {MAX_DATA} bytes"),
            Self::Member => {
                write!(f, "a member has an id of 1 to {MAX_MEMBER_ID} bytes and at most {MAX_MEMBER_INFO} bytes of information")
            }
            Self::NotOne => f.write_str("a prefix has no position and no members: name one topic"),
            Self::Full => f.write_str("too much waits for the hub"),
            Self::Lost => f.write_str("the hub was restarted meanwhile: whether it took effect is unknown"),
            Self::TimedOut => f.write_str("the hub did not answer in time: whether it took effect is unknown"),
            Self::Refused(why) => f.write_str(why),
        }
    }
}

impl std::error::Error for EventsError {}

impl From<LinkError> for EventsError {
    fn from(error: LinkError) -> Self {
        match error {
            LinkError::Lost => Self::Lost,
            LinkError::TimedOut => Self::TimedOut,
            LinkError::Full => Self::Full,
            LinkError::Refused(why) => Self::Refused(why),
        }
    }
}
