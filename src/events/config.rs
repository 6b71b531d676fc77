//! The configuration of events.

use std::cell::Cell;
use std::fmt;
use std::marker::PhantomData;

use schemars::JsonSchema;
use serde::de::{self, DeserializeSeed, EnumAccess, VariantAccess};
use serde::{Deserialize, Deserializer, Serialize};

use super::core::Limits;
use crate::link::events::HistoryLimit;
use crate::units::{HumanDuration, HumanSize};

/// What carries events between workers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub enum Events {
    /// This machine only. `Local` alone, or with options: `Local(history: 50)`.
    Local(LocalEvents),
    /// All machines that share a Redis server: history and positions are kept there. Presence is of each machine.
    Redis(RedisEvents),
}

impl Default for Events {
    fn default() -> Self {
        Self::Local(LocalEvents::default())
    }
}

/// Events of this machine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct LocalEvents {
    /// Events that a topic keeps for who was away, when its publishers say nothing else.
    pub history: u32,
    /// How long it keeps them.
    pub history_ttl: HumanDuration,
    /// The most events that a publisher may have a topic keep.
    pub max_history: u32,
    /// The longest time that a publisher may have a topic keep them.
    pub max_history_ttl: HumanDuration,
    /// Memory of all topics. With more, the topics that were not used for longest forget their events; who recovers from them is told.
    pub memory: HumanSize,
    /// How long a topic without events, subscribers and members is remembered.
    pub idle: HumanDuration,
    /// How long somebody who was present may be gone before that is told: as long as a page takes to connect again.
    pub presence_grace: HumanDuration,
    /// Members of one topic.
    pub max_members: u32,
    /// Topics and prefixes that one worker may be subscribed to.
    pub max_subscriptions: u32,
}

impl Default for LocalEvents {
    fn default() -> Self {
        Self {
            history: 100,
            history_ttl: HumanDuration::seconds(5 * 60),
            max_history: 10_000,
            max_history_ttl: HumanDuration::seconds(7 * 24 * 3600),
            memory: HumanSize::mib(64),
            idle: HumanDuration::seconds(3600),
            presence_grace: HumanDuration::seconds(5),
            max_members: 10_000,
            max_subscriptions: 1_000_000,
        }
    }
}

/// Events of all machines that share a Redis server.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct RedisEvents {
    /// The name of a client of the kind `Redis`. Not for a cluster of several servers.
    pub client: String,
    /// What the names of keys and channels in Redis begin with: the same on all machines that belong together.
    pub prefix: String,
    /// Events that a topic keeps for who was away, when its publishers say nothing else.
    pub history: u32,
    /// How long it keeps them.
    pub history_ttl: HumanDuration,
    /// The most events that a publisher may have a topic keep.
    pub max_history: u32,
    /// The longest time that a publisher may have a topic keep them.
    pub max_history_ttl: HumanDuration,
    /// Memory for copies of the topics that workers of this machine are subscribed to.
    pub memory: HumanSize,
    /// How long somebody who was present may be gone before that is told.
    pub presence_grace: HumanDuration,
    /// Members of one topic.
    pub max_members: u32,
    /// Topics and prefixes that one worker may be subscribed to.
    pub max_subscriptions: u32,
}

impl Default for RedisEvents {
    fn default() -> Self {
        let local = LocalEvents::default();
        Self {
            client: String::new(),
            prefix: "skep:".to_owned(),
            history: local.history,
            history_ttl: local.history_ttl,
            max_history: local.max_history,
            max_history_ttl: local.max_history_ttl,
            memory: local.memory,
            presence_grace: local.presence_grace,
            max_members: local.max_members,
            max_subscriptions: local.max_subscriptions,
        }
    }
}

fn history(count: u32, ttl: HumanDuration) -> HistoryLimit {
    HistoryLimit { count, ttl_ms: u64::try_from(ttl.get().as_millis()).unwrap_or(u64::MAX) }
}

impl Events {
    /// The limits of the core.
    #[must_use]
    pub fn limits(&self) -> Limits {
        match self {
            Self::Local(local) => Limits {
                history: history(local.history, local.history_ttl),
                most: history(local.max_history, local.max_history_ttl),
                memory: local.memory.length(),
                idle: local.idle.get(),
                grace: local.presence_grace.get(),
                members: local.max_members as usize,
                subscriptions: local.max_subscriptions as usize,
                ..Limits::default()
            },
            Self::Redis(redis) => Limits {
                history: history(redis.history, redis.history_ttl),
                most: history(redis.max_history, redis.max_history_ttl),
                memory: redis.memory.length(),
                grace: redis.presence_grace.get(),
                members: redis.max_members as usize,
                subscriptions: redis.max_subscriptions as usize,
                ..Limits::default()
            },
        }
    }
}

/// The kinds as they are written.
const KINDS: &[&str] = &["Local", "Redis"];

/// Hand-written because `Local` may stand alone: then its content is not even begun to be read.
impl<'de> Deserialize<'de> for Events {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_enum("Events", KINDS, Visitor)
    }
}

struct Visitor;

impl<'de> de::Visitor<'de> for Visitor {
    type Value = Events;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("what carries events")
    }

    fn visit_enum<A: EnumAccess<'de>>(self, data: A) -> Result<Events, A::Error> {
        let (kind, content) = data.variant::<Kind>()?;
        if kind == Kind::Redis {
            return content.newtype_variant().map(Events::Redis);
        }
        let begun = Cell::new(false);
        match content.newtype_variant_seed(Content { begun: &begun, content: PhantomData }) {
            Ok(local) => Ok(Events::Local(local)),
            Err(_) if !begun.get() => Ok(Events::default()),
            Err(error) => Err(error),
        }
    }
}

/// The name of a kind.
#[derive(Deserialize, PartialEq)]
enum Kind {
    Local,
    Redis,
}

/// Notes that there is content.
struct Content<'a, T> {
    begun: &'a Cell<bool>,
    content: PhantomData<T>,
}

impl<'de, T: Deserialize<'de>> DeserializeSeed<'de> for Content<'_, T> {
    type Value = T;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<T, D::Error> {
        self.begun.set(true);
        T::deserialize(deserializer)
    }
}
