//! Events: their names, and their form on the wire.

use std::fmt;

use memchr::{memchr2, memmem};
use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value};

use super::packet::write;

/// Members that the server sets.
const OWN: [&str; 3] = ["name", "_ts", "currentTime"];

/// `name:arg:arg`: what comes before the first `:` names the event, the rest are the arguments of its group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EventName<'a> {
    /// The event.
    pub name: &'a str,
    /// What comes behind the first `:`; none without one.
    rest: Option<&'a str>,
}

impl<'a> EventName<'a> {
    /// Takes a name apart.
    #[must_use]
    pub fn new(text: &'a str) -> Self {
        match text.split_once(':') {
            Some((name, rest)) => Self { name, rest: Some(rest) },
            None => Self { name: text, rest: None },
        }
    }

    /// The arguments.
    pub fn arguments(&self) -> impl Iterator<Item = &'a str> + use<'a> {
        self.rest.into_iter().flat_map(|rest| rest.split(':'))
    }
}

/// The members of an event from a JSON text, without those that the server sets: an object's own, or the text as the member `data`.
pub(super) fn members(data: &[u8]) -> Map<String, Value> {
    match serde_json::from_slice(data) {
        Ok(Value::Object(mut members)) => {
            members.retain(|name, _| !OWN.contains(&name.as_str()));
            members
        }
        other => {
            let mut members = Map::new();
            members.insert("data".to_owned(), other.unwrap_or_default());
            members
        }
    }
}

/// What is published for an event of a client: its name, and its members but those that the server sets. `None` when it has no name.
#[must_use]
pub fn publication(event: &Map<String, Value>) -> Option<(&str, Vec<u8>)> {
    let name = event.get("name")?.as_str()?;
    let mut data = b"{".to_vec();
    for (name, value) in event.iter().filter(|(name, _)| !OWN.contains(&name.as_str())) {
        if data.len() > 1 {
            data.push(b',');
        }
        write(name, &mut data);
        data.push(b':');
        write(value, &mut data);
    }
    data.push(b'}');
    Some((EventName::new(name).name, data))
}

/// An event for its subscribers, with the end of its line. `data` is what was published, a JSON text; `ts` when, `now` the time, both seconds since
/// the Unix epoch.
#[must_use]
pub fn event_line(name: &str, data: &[u8], ts: f64, now: f64) -> Vec<u8> {
    let mut line = Vec::with_capacity(data.len() + name.len() + 96);
    line.extend_from_slice(b"{\"type\":\"event\",\"event\":{\"name\":");
    write(&name, &mut line);
    if let Some(inside) = plain_members(data) {
        if !inside.is_empty() {
            line.push(b',');
            line.extend_from_slice(inside);
        }
    } else {
        for (name, value) in members(data) {
            line.push(b',');
            write(&name, &mut line);
            line.push(b':');
            write(&value, &mut line);
        }
    }
    line.extend_from_slice(b",\"_ts\":");
    write(&ts, &mut line);
    line.extend_from_slice(b",\"currentTime\":");
    write(&now, &mut line);
    line.extend_from_slice(b"}}\n");
    line
}

/// What stands between the braces of an object that can be taken as it is: on one line, and certainly without a member that the server sets.
fn plain_members(data: &[u8]) -> Option<&[u8]> {
    let data = data.trim_ascii();
    let inside = data.strip_prefix(b"{")?.strip_suffix(b"}")?;
    // A member's name may be written with escapes, so those are not looked at closer.
    let plain = memchr2(b'\n', b'\r', inside).is_none()
        && memmem::find(inside, b"\\u").is_none()
        && [&b"\"name\""[..], b"\"_ts\"", b"\"currentTime\""].iter().all(|own| memmem::find(inside, own).is_none())
        && serde_json::from_slice::<Readable>(data).is_ok();
    plain.then(|| inside.trim_ascii())
}

/// Any JSON value that [`Value`] would take, of which nothing is kept. What serde passes over unread may have strings that are no text and numbers
/// that are too large, and would make the whole line one that nobody can read.
struct Readable;

impl<'de> Deserialize<'de> for Readable {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Self)
    }
}

impl<'de> Visitor<'de> for Readable {
    type Value = Self;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E>(self) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_bool<E>(self, _: bool) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_i64<E>(self, _: i64) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_u64<E>(self, _: u64) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_f64<E>(self, _: f64) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_str<E>(self, _: &str) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<Self, A::Error> {
        while elements.next_element::<Self>()?.is_some() {}
        Ok(self)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Self, A::Error> {
        while members.next_entry::<Self, Self>()?.is_some() {}
        Ok(self)
    }
}
