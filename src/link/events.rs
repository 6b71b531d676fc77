//! What workers and the hub say to each other about events: topics, publications, presence.
//!
//! A worker subscribes at the hub once a topic or prefix, however many subscribers it has. The hub sends a publication once to each
//! such worker, the same bytes to all. Everything on one channel is in order, so an answer to [`EventsToHub::Subscribe`] stands
//! exactly between what it recovers and what is live.

use std::fmt;

use bytes::Bytes;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// The longest name of a topic, bytes.
pub const MAX_TOPIC: usize = 255;
/// The longest text of a publication, bytes.
pub const MAX_DATA: usize = 1 << 20;
/// The longest id of a member, bytes.
pub const MAX_MEMBER_ID: usize = 255;
/// The longest information about a member, bytes of JSON.
pub const MAX_MEMBER_INFO: usize = 16 << 10;

/// A place in a topic: the event of this offset in this life of the topic. Offset 0 is before the first event.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Position {
    /// The topic's life: random, below 2^53 so that every language can hold it. It is another one when the topic's history was lost.
    pub epoch: u64,
    /// Counts publications of this life from 1, without holes.
    pub offset: u64,
}

/// What is subscribed to.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Pattern {
    /// One topic.
    Exact(String),
    /// Every topic whose name begins so; empty: every topic.
    Prefix(String),
}

impl Pattern {
    /// Reads a pattern as people write it: the name of a topic, or its beginning and a `*`.
    ///
    /// # Errors
    /// [`BadName`].
    pub fn parse(text: &str) -> Result<Self, BadName> {
        match text.strip_suffix('*') {
            Some("") => Ok(Self::Prefix(String::new())),
            Some(prefix) => check_topic(prefix).map(|()| Self::Prefix(prefix.to_owned())),
            None => check_topic(text).map(|()| Self::Exact(text.to_owned())),
        }
    }

    /// Whether a topic is meant.
    #[must_use]
    pub fn matches(&self, topic: &str) -> bool {
        match self {
            Self::Exact(name) => name == topic,
            Self::Prefix(prefix) => topic.starts_with(prefix.as_str()),
        }
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exact(name) => f.write_str(name),
            Self::Prefix(prefix) => write!(f, "{prefix}*"),
        }
    }
}

/// Why a text names no topic.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BadName {
    /// It has no or too many bytes.
    Length,
    /// It has a NUL or a line end.
    Character,
    /// It has a `*`, which stands only at the end of a pattern.
    Star,
}

impl fmt::Display for BadName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Length => write!(f, "the name of a topic has 1 to {MAX_TOPIC} bytes"),
            Self::Character => f.write_str("the name of a topic has no NUL and no line end"),
            Self::Star => f.write_str("the name of a topic has no `*`; a pattern has one at its end"),
        }
    }
}

impl std::error::Error for BadName {}

/// Checks the name of a topic: 1 to 255 bytes of UTF-8 without NUL, line ends and `*`.
///
/// # Errors
/// [`BadName`].
pub fn check_topic(name: &str) -> Result<(), BadName> {
    if name.is_empty() || name.len() > MAX_TOPIC {
        return Err(BadName::Length);
    }
    match name.bytes().find(|byte| matches!(byte, 0 | b'\n' | b'\r' | b'*')) {
        None => Ok(()),
        Some(b'*') => Err(BadName::Star),
        Some(_) => Err(BadName::Character),
    }
}

/// How much of a topic's past is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct HistoryLimit {
    /// Events at most.
    pub count: u32,
    /// Milliseconds that an event is kept at most.
    pub ttl_ms: u64,
}

/// Somebody who is present at a topic.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Member {
    /// Who; several subscribers with one id are one member.
    pub id: String,
    /// What is known of them, JSON.
    pub info: Blob,
}

/// An event of a topic's history.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PastEvent {
    /// Its place.
    pub offset: u64,
    /// When it was published, seconds since the Unix epoch.
    pub at: f64,
    /// What was published, JSON.
    pub data: Blob,
}

/// From a worker to the hub.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum EventsToHub {
    /// Publishes. → [`EventsFromHub::Published`] for one that has a ticket.
    Publish {
        /// Chosen by the worker; none when it does not wait.
        ticket: Option<u64>,
        /// Where.
        topic: String,
        /// What: JSON.
        data: Blob,
        /// How much of the topic's past is kept from now on; none: as it was.
        history: Option<HistoryLimit>,
    },
    /// From now on this worker gets what the pattern matches. Without `since` and while subscribed already it changes nothing.
    /// → [`EventsFromHub::Subscribed`].
    Subscribe {
        /// Chosen by the worker.
        ticket: u64,
        /// Which topics.
        pattern: Pattern,
        /// Of a single topic, what came after this is wanted too.
        since: Option<Position>,
    },
    /// This worker has no subscriber of the pattern any more.
    Unsubscribe(Pattern),
    /// Whether this worker wants to know who comes to and leaves a topic.
    Watch {
        /// Which.
        topic: String,
        /// From now on, or no more.
        on: bool,
    },
    /// A subscriber is present as a member. → [`EventsFromHub::Answer`] when it cannot be.
    Enter {
        /// Chosen by the worker.
        ticket: u64,
        /// Where.
        topic: String,
        /// The subscriber, as this worker numbers them.
        client: u64,
        /// As whom.
        member: Member,
        /// It was told to the hub that ended: nobody needs to hear of it.
        again: bool,
    },
    /// It is not any more.
    Leave {
        /// Where.
        topic: String,
        /// The subscriber.
        client: u64,
        /// It may come back: wait a moment before telling.
        softly: bool,
    },
    /// → [`EventsFromHub::Answer`].
    Ask {
        /// Chosen by the worker.
        ticket: u64,
        /// What is asked.
        question: Question,
    },
}

/// What a worker may ask about a topic.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Question {
    /// → [`EventsAnswer::History`].
    History {
        /// Which topic.
        topic: String,
        /// Only what came after this.
        since: Option<Position>,
        /// At most so many: the newest, or with `since` the oldest after it.
        limit: u32,
    },
    /// → [`EventsAnswer::Members`].
    Members(String),
    /// → [`EventsAnswer::Info`].
    Info(String),
}

/// Answers to [`Question`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum EventsAnswer {
    /// A part of a topic's history, oldest first.
    History {
        /// The topic's end; none when there is no such topic.
        position: Option<Position>,
        /// The events.
        events: Vec<PastEvent>,
        /// With `since`: whether nothing is missing between it and the first event given.
        complete: bool,
    },
    /// Who is present.
    Members(Vec<Member>),
    /// A topic's state; none when there is no such topic.
    Info(Option<TopicInfo>),
}

/// The state of a topic.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct TopicInfo {
    /// Its end.
    pub position: Position,
    /// Events kept.
    pub history: u64,
    /// Members present.
    pub members: u64,
    /// Workers that have subscribers of it, by name or by prefix.
    pub workers: u64,
}

/// From the hub to a worker.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum EventsFromHub {
    /// A publication.
    Event {
        /// Where.
        topic: String,
        /// The topic's life.
        epoch: u64,
        /// The event.
        event: PastEvent,
    },
    /// Answer to [`EventsToHub::Subscribe`].
    Subscribed {
        /// The number of the request.
        ticket: u64,
        /// Of a single topic: what is live comes after this.
        position: Option<Position>,
        /// With `since`: `events` is everything between it and `position`.
        recovered: bool,
        /// What came after `since`, oldest first; empty unless `recovered`.
        events: Vec<PastEvent>,
        /// Why the subscription was refused.
        refused: Option<String>,
    },
    /// Answer to [`EventsToHub::Publish`].
    Published {
        /// The number of the request.
        ticket: u64,
        /// The place of the event, or why it was not published.
        result: Result<Position, String>,
    },
    /// This worker did not read, and events were dropped.
    Missed {
        /// Where.
        topic: String,
        /// The place of the last one dropped.
        position: Position,
        /// How many.
        count: u64,
    },
    /// What was there may have been missed: the connection to other machines was broken and history does not close the hole.
    Gap {
        /// Where.
        topic: String,
        /// Live events come after this.
        position: Position,
    },
    /// The same for every topic that begins so.
    PrefixGap(String),
    /// Somebody came.
    Joined {
        /// Where.
        topic: String,
        /// Who.
        member: Member,
    },
    /// Somebody left.
    Left {
        /// Where.
        topic: String,
        /// Who.
        member: Member,
    },
    /// Answer to [`EventsToHub::Ask`].
    Answer {
        /// The number of the request.
        ticket: u64,
        /// The answer, or why there is none.
        result: Result<EventsAnswer, String>,
    },
}

/// Bytes that travel as they are.
#[derive(Clone, Default, PartialEq, Eq, Hash)]
pub struct Blob(pub Bytes);

impl fmt::Debug for Blob {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

impl<T: Into<Bytes>> From<T> for Blob {
    fn from(bytes: T) -> Self {
        Self(bytes.into())
    }
}

impl Serialize for Blob {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(&self.0)
    }
}

impl<'de> Deserialize<'de> for Blob {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl de::Visitor<'_> for Visitor {
            type Value = Blob;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("bytes")
            }
            fn visit_bytes<E: de::Error>(self, bytes: &[u8]) -> Result<Blob, E> {
                Ok(Blob(Bytes::copy_from_slice(bytes)))
            }
            fn visit_byte_buf<E: de::Error>(self, bytes: Vec<u8>) -> Result<Blob, E> {
                Ok(Blob(bytes.into()))
            }
        }
        deserializer.deserialize_byte_buf(Visitor)
    }
}
