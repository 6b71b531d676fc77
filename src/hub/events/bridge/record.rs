//! What Redis says of a topic: events as the channel brings them, and the topic as a whole.

use std::time::Duration;

use bytes::Bytes;

use crate::codec::resp::Value;
use crate::events::core::{Notice, Workers};
use crate::link::events::{EventsFromHub, HistoryLimit, PastEvent, Position};
use crate::scoreboard::epoch_ms;

/// An event from a channel.
#[derive(Clone, Debug)]
pub(super) struct Heard {
    pub(super) position: Position,
    at: f64,
    data: Bytes,
}

impl Heard {
    /// Reads what the script publishes: epoch, offset, time, data.
    pub(super) fn of(bytes: Option<&Bytes>) -> Option<Self> {
        let bytes = bytes?;
        let mut spaces = memchr::memchr_iter(b' ', bytes);
        let (first, second, third) = (spaces.next()?, spaces.next()?, spaces.next()?);
        let text = |from: usize, to: usize| std::str::from_utf8(&bytes[from..to]).ok();
        let position = Position { epoch: text(0, first)?.parse().ok()?, offset: text(first + 1, second)?.parse().ok()? };
        Some(Self { position, at: text(second + 1, third)?.parse().ok()?, data: bytes.slice(third + 1..) })
    }

    pub(super) fn past(&self) -> PastEvent {
        PastEvent { offset: self.position.offset, at: self.at, data: self.data.clone().into() }
    }

    pub(super) fn notice(&self, topic: &str, to: Workers) -> Notice {
        Notice { to, message: EventsFromHub::Event { topic: topic.to_owned(), epoch: self.position.epoch, event: self.past() } }
    }
}

/// A topic as Redis has it.
pub(super) struct Read {
    pub(super) position: Position,
    pub(super) limit: HistoryLimit,
    /// Without holes up to the position, oldest first, each with its age.
    pub(super) events: Vec<(PastEvent, Duration)>,
}

impl Read {
    /// `None`: no such topic, or no answer of the script.
    pub(super) fn of(value: &Value, default: HistoryLimit) -> Option<Self> {
        let [epoch, offset, count, ttl, entries] = value.elements()? else { return None };
        let position = Position { epoch: epoch.number()?, offset: offset.number()? };
        let limit = HistoryLimit {
            count: count.number().and_then(|count| u32::try_from(count).ok()).unwrap_or(default.count),
            ttl_ms: ttl.number().unwrap_or(default.ttl_ms),
        };
        let now = epoch_ms() as f64 / 1000.0;
        let mut events = Vec::new();
        let mut expected = position.offset;
        for entry in entries.elements()? {
            let [id, fields] = entry.elements()? else { return None };
            let [_, at, _, data] = fields.elements()? else { return None };
            let offset: u64 = id.text()?.split('-').next()?.parse().ok()?;
            let at: f64 = at.text()?.parse().ok()?;
            let age = Duration::try_from_secs_f64(now - at).unwrap_or_default();
            if offset != expected || age >= Duration::from_millis(limit.ttl_ms) {
                break;
            }
            expected -= 1;
            events.push((PastEvent { offset, at, data: data.bytes()?.clone().into() }, age));
        }
        events.reverse();
        Some(Self { position, limit, events })
    }
}

/// What workers that knew a topic up to a place are to be told of it now.
pub(super) fn missed(topic: &str, to: &Workers, known: Position, read: &Read) -> Vec<Notice> {
    let position = read.position;
    let behind = position.offset.checked_sub(known.offset).filter(|_| position.epoch == known.epoch);
    match behind {
        Some(count) if count <= read.events.len() as u64 => {
            let missing = read.events.iter().skip(read.events.len() - count as usize);
            let message = |event: &PastEvent| EventsFromHub::Event { topic: topic.to_owned(), epoch: position.epoch, event: event.clone() };
            missing.map(|(event, _)| Notice { to: to.clone(), message: message(event) }).collect()
        }
        _ => vec![Notice { to: to.clone(), message: EventsFromHub::Gap { topic: topic.to_owned(), position } }],
    }
}

/// The place that a publication got.
pub(super) fn published(value: &Value) -> Option<Position> {
    let [epoch, offset] = value.elements()? else { return None };
    Some(Position { epoch: epoch.number()?, offset: offset.number()? })
}
