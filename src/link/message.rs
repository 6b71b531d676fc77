//! The messages.

use serde::{Deserialize, Serialize};

use super::events::{EventsFromHub, EventsToHub};
use super::locks::{Ask, Claim, Told};
use crate::store::{StoreAnswer, StoreCall};

/// From a worker to the hub.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum ToHub {
    /// The first message on a channel: every candidacy of this worker.
    Hello(Vec<Candidate>),
    /// Wants a [`FromHub::Reply`] of the same number.
    Call {
        /// Chosen by the worker.
        id: u64,
        /// What is asked.
        call: Call,
    },
    /// This worker would run the task of this name.
    Campaign(String),
    /// It would not any more; if it ran the task, it has stopped.
    Resign(String),
    /// What its parties ask about locks, in order.
    Locks(Vec<Ask>),
    /// What its parties believe of locks; before [`ToHub::Hello`], which then means that all is said.
    LockClaims(Vec<Claim>),
    /// About events.
    Events(EventsToHub),
}

/// A worker's candidacy for a task that runs once a machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Candidate {
    /// The task.
    pub name: String,
    /// The worker runs it now, by an election that this hub may not know of.
    pub elected: bool,
}

/// What a worker may ask.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Call {
    /// The shared cache.
    Cache(CacheCall),
    /// The store. → [`Reply::Store`].
    Store(StoreCall),
    /// What to show the authority that asks for this token (RFC 8555 §8.3) or this name (RFC 8737). → [`Reply::Challenge`].
    Challenge(String),
}

/// Operations on the shared cache. Keys of different applications are different keys.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum CacheCall {
    /// → [`Reply::Value`].
    Get {
        /// Application and key.
        key: (String, String),
    },
    /// → [`Reply::Done`]: whether it was stored.
    Set {
        /// Application and key.
        key: (String, String),
        /// What to keep.
        value: CacheValue,
        /// Milliseconds to live.
        ttl_ms: Option<u64>,
        /// Only when the key has no value.
        only_new: bool,
    },
    /// → [`Reply::Done`]: whether there was a value.
    Delete {
        /// Application and key.
        key: (String, String),
    },
    /// Adds to a counter; a key without a value counts from 0. → [`Reply::Count`].
    Add {
        /// Application and key.
        key: (String, String),
        /// What to add.
        by: i64,
        /// Milliseconds to live for a counter that begins here.
        ttl_ms: Option<u64>,
    },
    /// Sets the time to live anew. → [`Reply::Done`]: whether there is a value.
    Touch {
        /// Application and key.
        key: (String, String),
        /// Milliseconds to live; `None` is for ever.
        ttl_ms: Option<u64>,
    },
    /// → [`Reply::Ttl`].
    Ttl {
        /// Application and key.
        key: (String, String),
    },
}

/// What the cache keeps.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum CacheValue {
    /// Bytes that the worker understands.
    Bytes(Vec<u8>),
    /// A counter.
    Count(i64),
}

/// From the hub to a worker.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum FromHub {
    /// The answer to a call.
    Reply {
        /// The call's number.
        id: u64,
        /// The answer, or why there is none, in words.
        reply: Result<Reply, String>,
    },
    /// Run the task of this name from now on.
    Elected(String),
    /// Stop running it: another worker has shown an older right to it after a restart of the hub.
    Dismissed(String),
    /// What parties of this worker are told about locks, in order.
    Locks(Vec<Told>),
    /// About events.
    Events(EventsFromHub),
}

/// Answers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Reply {
    /// The value, if there is one.
    Value(Option<CacheValue>),
    /// Whether it had an effect.
    Done(bool),
    /// A counter's new value.
    Count(i64),
    /// `None`: no value; `Some(None)`: for ever; else milliseconds left.
    Ttl(Option<Option<u64>>),
    /// The store's.
    Store(StoreAnswer),
    /// The key authorization; `None` for a token that nobody was given.
    Challenge(Option<String>),
}
