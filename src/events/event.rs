//! A publication as the subscribers of this worker share it.

use std::cell::RefCell;
use std::fmt;
use std::rc::Rc;

use bytes::Bytes;
use smallvec::SmallVec;

use crate::link::events::{Member, Position};

/// A publication: made once a worker, shared by all subscribers.
pub struct Event {
    /// Where it was published.
    pub topic: Rc<str>,
    /// The topic's life, and its place in it.
    pub position: Position,
    /// When it was published, seconds since the Unix epoch.
    pub at: f64,
    /// What was published: a JSON text.
    pub data: Bytes,
    /// It comes from the history, to who missed it. The history's own limits bound how many there are, so queues keep room for all of them:
    /// a recovery that was called complete is.
    pub recovered: bool,
    /// What it looks like on the wire, by kind.
    encodings: RefCell<SmallVec<[(&'static str, Bytes); 1]>>,
}

impl Event {
    /// An event without encodings.
    #[must_use]
    pub fn new(topic: Rc<str>, position: Position, at: f64, data: Bytes) -> Self {
        Self { topic, position, at, data, recovered: false, encodings: RefCell::default() }
    }

    /// An event out of the history.
    #[must_use]
    pub fn past(topic: Rc<str>, position: Position, at: f64, data: Bytes) -> Self {
        Self { recovered: true, ..Self::new(topic, position, at, data) }
    }

    /// The event's form of a kind (`"websocket"`, `"sse"`): made by the first who asks, shared by all others.
    ///
    /// `encode` must not ask for an encoding of the same kind. What depends on the subscriber is no encoding of the event.
    pub fn encoded(&self, kind: &'static str, encode: impl FnOnce(&Self) -> Bytes) -> Bytes {
        if let Some((_, bytes)) = self.encodings.borrow().iter().find(|(known, _)| *known == kind) {
            return bytes.clone();
        }
        let bytes = encode(self);
        self.encodings.borrow_mut().push((kind, bytes.clone()));
        bytes
    }
}

impl fmt::Debug for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}/{}: {:?}", self.topic, self.position.epoch, self.position.offset, self.data)
    }
}

/// What a subscriber gets, in this order: [`Delivery::Ready`], then everything else as it happens. After [`Delivery::Closed`] nothing comes.
#[derive(Clone, Debug)]
pub enum Delivery {
    /// The subscription holds. What was recovered comes next, then what is live.
    Ready {
        /// Of a single topic: live events come after this.
        position: Option<Position>,
        /// Of one that asked to recover: whether everything missed follows now (`true`), or something is missing and nothing of it comes.
        recovered: Option<bool>,
    },
    /// A publication.
    Event(Rc<Event>),
    /// Events were dropped because somebody on the way was too slow: this subscriber, or the whole worker.
    Missed {
        /// The topic, when they were all of one.
        topic: Option<Rc<str>>,
        /// How many.
        count: u64,
    },
    /// Events may have been lost, and nobody knows how many: history was lost with the hub, or with the connection between machines.
    Gap {
        /// The topic; none: any that the prefix matches.
        topic: Option<Rc<str>>,
        /// Of one topic: live events come after this.
        position: Option<Position>,
    },
    /// Somebody came to the topic; only to who asked.
    Joined(Rc<Presence>),
    /// Somebody left the topic; only to who asked.
    Left(Rc<Presence>),
    /// The subscription has ended by itself.
    Closed(Closed),
}

/// Somebody who came or left.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Presence {
    /// Where.
    pub topic: Rc<str>,
    /// Who.
    pub member: Member,
}

/// Why a subscription ended by itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Closed {
    /// Its queue was full, and it was to be closed then.
    Slow,
    /// The hub refused it.
    Refused(Rc<str>),
}

impl fmt::Display for Closed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Slow => f.write_str("the subscriber was too slow"),
            Self::Refused(why) => f.write_str(why),
        }
    }
}
