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

fn history(count: u32, ttl: HumanDuration) -> HistoryLimit {
    HistoryLimit { count, ttl_ms: u64::try_from(ttl.get().as_millis()).unwrap_or(u64::MAX) }
}

impl Events {
    /// The limits of the core.
    #[must_use]
    pub fn limits(&self) -> Limits {
        let Self::Local(local) = self;
        Limits {
            history: history(local.history, local.history_ttl),
            most: history(local.max_history, local.max_history_ttl),
            memory: local.memory.length(),
            idle: local.idle.get(),
            grace: local.presence_grace.get(),
            members: local.max_members as usize,
            subscriptions: local.max_subscriptions as usize,
            ..Limits::default()
        }
    }
}

/// The kinds as they are written.
const KINDS: &[&str] = &["Local"];

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
        let (Kind::Local, content) = data.variant::<Kind>()?;
        let begun = Cell::new(false);
        match content.newtype_variant_seed(Content { begun: &begun, content: PhantomData }) {
            Ok(local) => Ok(Events::Local(local)),
            Err(_) if !begun.get() => Ok(Events::default()),
            Err(error) => Err(error),
        }
    }
}

/// The name of a kind.
#[derive(Deserialize)]
enum Kind {
    Local,
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::load_with;

    fn read(text: &str) -> Result<Events, String> {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("config.ron");
        std::fs::write(&file, text).unwrap();
        match load_with(Some(&file), &|_| None) {
            Ok(loaded) => Ok(loaded.settings.events),
            Err(errors) => Err(errors.to_string()),
        }
    }

    #[test]
    fn local_may_stand_alone() {
        assert_eq!(read("Config(events: Local)"), Ok(Events::default()));
        assert_eq!(read("Config(events: Local, data: \"d\")"), Ok(Events::default()));
        let Ok(Events::Local(local)) = read("Config(events: Local(history: 7, memory: \"1 MiB\"), data: \"d\")") else {
            panic!("it is read")
        };
        assert_eq!((local.history, local.memory, local.idle), (7, HumanSize::mib(1), LocalEvents::default().idle));
        assert!(read("Config(events: Local(histroy: 7))").unwrap_err().contains("did you mean `history`"));
        assert!(read("Config(events: Locl)").unwrap_err().contains("Local"));
        assert!(read("Config(events: Local(history: 0))").is_ok());
        let json = serde_json::to_string(&Events::default()).unwrap();
        assert_eq!(serde_json::from_str::<Events>(&json).unwrap(), Events::default());
    }
}
