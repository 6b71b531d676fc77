//! Packets, read and written.

use std::fmt;

use serde_json::{Map, Value};

/// One packet.
#[derive(Debug, Clone, PartialEq)]
pub enum Packet {
    /// `{"id":N,"type":"request","request":{"op":OP,…}}`
    Request {
        /// What the response is to carry; null when there is none.
        id: Value,
        /// The operation.
        op: String,
        /// Everything else of the request.
        fields: Map<String, Value>,
    },
    /// `{"id":N,"response":{"op":OP,…},"type":"response"}`
    Response {
        /// Of the request that it answers.
        id: Value,
        /// The operation's name and what it gave.
        fields: Map<String, Value>,
    },
    /// `{"type":"event","event":{…,"_ts":seconds,"currentTime":seconds}}`
    Event(Map<String, Value>),
    /// `{"type":"missed","name":NAME,"count":N}`: events were lost. Not of the original.
    Missed {
        /// Of this event; none: of any.
        name: Option<String>,
        /// How many; none: nobody knows.
        count: Option<u64>,
    },
    /// Of a type that this version does not know.
    Other(String),
}

/// Why a line is no packet.
#[derive(Debug, Clone, PartialEq)]
pub enum BadPacket {
    /// It is no JSON object.
    NotJson,
    /// It has no type.
    NoType {
        /// What a response is to carry.
        id: Value,
    },
    /// A request without an operation, a response without its content, an event without its own.
    Incomplete {
        /// What a response is to carry.
        id: Value,
    },
}

impl BadPacket {
    /// What the response that says so is to carry.
    #[must_use]
    pub fn id(&self) -> &Value {
        match self {
            Self::NotJson => &Value::Null,
            Self::NoType { id } | Self::Incomplete { id } => id,
        }
    }
}

impl fmt::Display for BadPacket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NotJson => "the line is no JSON object",
            Self::NoType { .. } => "the packet has no type",
            Self::Incomplete { .. } => "the packet does not have what its type needs",
        })
    }
}

impl std::error::Error for BadPacket {}

/// Reads a line without its end.
///
/// # Errors
/// [`BadPacket`].
pub fn parse(line: &[u8]) -> Result<Packet, BadPacket> {
    let Ok(Value::Object(mut packet)) = serde_json::from_slice(line) else { return Err(BadPacket::NotJson) };
    let id = packet.remove("id").unwrap_or_default();
    let Some(Value::String(kind)) = packet.remove("type") else { return Err(BadPacket::NoType { id }) };
    if kind == "missed" {
        let name = packet.get("name").and_then(Value::as_str).map(str::to_owned);
        return Ok(Packet::Missed { name, count: packet.get("count").and_then(Value::as_u64) });
    }
    let content = match packet.remove(&kind) {
        Some(Value::Object(content)) => content,
        _ if matches!(kind.as_str(), "request" | "response" | "event") => return Err(BadPacket::Incomplete { id }),
        _ => return Ok(Packet::Other(kind)),
    };
    match kind.as_str() {
        "request" => {
            let Some(Value::String(op)) = content.get("op").cloned() else { return Err(BadPacket::Incomplete { id }) };
            let mut fields = content;
            fields.retain(|name, _| name != "op");
            Ok(Packet::Request { id, op, fields })
        }
        "response" => Ok(Packet::Response { id, fields: content }),
        "event" => Ok(Packet::Event(content)),
        _ => Ok(Packet::Other(kind)),
    }
}

/// Writes the JSON of something that cannot fail to be written.
pub(super) fn write(value: &impl serde::Serialize, out: &mut Vec<u8>) {
    // Maps with text for keys, numbers and texts into memory: nothing of it can fail.
    let _ = serde_json::to_writer(out, value);
}

fn write_fields(op: &str, fields: &Map<String, Value>, out: &mut Vec<u8>) {
    out.extend_from_slice(b"{\"op\":");
    write(&op, out);
    for (name, value) in fields.iter().filter(|(name, _)| *name != "op") {
        out.push(b',');
        write(name, out);
        out.push(b':');
        write(value, out);
    }
    out.push(b'}');
}

/// A response, with the end of its line.
#[must_use]
pub fn response_line(id: &Value, op: &str, fields: &Map<String, Value>) -> Vec<u8> {
    let mut line = b"{\"id\":".to_vec();
    write(id, &mut line);
    line.extend_from_slice(b",\"response\":");
    write_fields(op, fields, &mut line);
    line.extend_from_slice(b",\"type\":\"response\"}\n");
    line
}

/// A request, with the end of its line.
#[must_use]
pub fn request_line(id: u64, op: &str, fields: &Map<String, Value>) -> Vec<u8> {
    let mut line = format!("{{\"id\":{id},\"type\":\"request\",\"request\":").into_bytes();
    write_fields(op, fields, &mut line);
    line.extend_from_slice(b"}\n");
    line
}

/// The request that publishes, with the end of its line. `data` is a JSON text: an object becomes the event, with `name` for its name; anything
/// else is the event's member `data`.
#[must_use]
pub fn event_request_line(id: u64, name: &str, data: &[u8]) -> Vec<u8> {
    let event = super::event::members(data);
    let mut line = format!("{{\"id\":{id},\"type\":\"request\",\"request\":{{\"op\":\"event\",\"event\":{{\"name\":").into_bytes();
    write(&name, &mut line);
    for (name, value) in event {
        line.push(b',');
        write(&name, &mut line);
        line.push(b':');
        write(&value, &mut line);
    }
    line.extend_from_slice(b"}}}\n");
    line
}

/// Says that events were lost: so many, or (0) perhaps any number. Not of the original; who does not know the type passes over it.
#[must_use]
pub fn missed_line(name: Option<&str>, count: u64) -> Vec<u8> {
    let mut line = b"{\"type\":\"missed\"".to_vec();
    if let Some(name) = name {
        line.extend_from_slice(b",\"name\":");
        write(&name, &mut line);
    }
    if count > 0 {
        line.extend_from_slice(format!(",\"count\":{count}").as_bytes());
    }
    line.extend_from_slice(b"}\n");
    line
}
