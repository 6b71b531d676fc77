//! What a page is told, as JSON: the same over every way.

use std::fmt::Write as _;

use bytes::Bytes;

use super::positions;
use crate::events::{Delivery, Event, Member, Position};

/// The envelope of an event: made once a worker, shared by all who poll.
pub(super) fn event(event: &Event) -> Bytes {
    event.encoded("json", |event| {
        let mut out = String::with_capacity(event.data.len() + event.topic.len() + 96);
        out.push_str("{\"type\":\"event\",\"topic\":");
        text(&mut out, &event.topic);
        place(&mut out, Some(event.position));
        let _ = write!(out, ",\"at\":{:.3},\"data\":", event.at);
        let mut out = out.into_bytes();
        // Line ends can only stand between the parts of a JSON text, where a space says the same; in an event stream they would end the line.
        out.extend(event.data.iter().map(|byte| if matches!(byte, b'\r' | b'\n') { b' ' } else { *byte }));
        out.push(b'}');
        out.into()
    })
}

/// The lines of an event in an event stream but its id.
pub(super) fn sse_data(event: &Event) -> Bytes {
    event.encoded("sse-data", |event| line(&self::event(event)).into())
}

/// The whole of an event in an event stream of one topic.
pub(super) fn sse(event: &Event) -> Bytes {
    event.encoded("sse", |event| [b"id: ", positions::of_event(event).as_bytes(), b"\n", &sse_data(event)].concat().into())
}

/// A text without line ends as the data of an event.
pub(super) fn line(envelope: &[u8]) -> Vec<u8> {
    [b"data: ", envelope, b"\n\n"].concat()
}

/// The envelope of anything but an event; nothing when there is nothing to tell. `topic` is what was subscribed to.
pub(super) fn notice(topic: &str, delivery: &Delivery) -> Option<String> {
    let begin = |kind: &str, topic: &str| {
        let mut out = format!("{{\"type\":\"{kind}\",\"topic\":");
        text(&mut out, topic);
        out
    };
    let mut out;
    match delivery {
        Delivery::Event(_) => return None,
        Delivery::Ready { position, recovered } => {
            out = begin("ready", topic);
            place(&mut out, *position);
            if let Some(recovered) = recovered {
                let _ = write!(out, ",\"recovered\":{recovered}");
            }
        }
        Delivery::Missed { topic: which, count } => {
            out = begin("missed", which.as_deref().unwrap_or(topic));
            let _ = write!(out, ",\"count\":{count}");
        }
        Delivery::Gap { topic: which, position } => {
            out = begin("gap", which.as_deref().unwrap_or(topic));
            place(&mut out, *position);
        }
        Delivery::Joined(presence) => {
            out = begin("joined", &presence.topic);
            member(&mut out, &presence.member);
        }
        Delivery::Left(presence) => {
            out = begin("left", &presence.topic);
            member(&mut out, &presence.member);
        }
        Delivery::Closed(why) => {
            out = begin("closed", topic);
            out.push_str(",\"reason\":");
            text(&mut out, &why.to_string());
        }
    }
    out.push('}');
    Some(out)
}

/// What a page is told when its worker goes, or newer code takes over: come back, to another.
pub(super) const GOODBYE: &str = "{\"type\":\"goodbye\",\"reason\":\"restart\"}";

fn text(out: &mut String, value: &str) {
    // A text always has a form in JSON.
    out.push_str(&serde_json::to_string(value).unwrap_or_default());
}

fn place(out: &mut String, position: Option<Position>) {
    if let Some(Position { epoch, offset }) = position {
        let _ = write!(out, ",\"offset\":{offset},\"epoch\":\"{epoch}\"");
    }
}

fn member(out: &mut String, member: &Member) {
    out.push_str(",\"member\":{\"id\":");
    text(out, &member.id);
    if !member.info.0.is_empty() {
        out.push_str(",\"info\":");
        // It is JSON that was made from a value of a script; a line end in it could only be a space.
        out.push_str(&String::from_utf8_lossy(&member.info.0).replace(['\r', '\n'], " "));
    }
    out.push('}');
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::events::Closed;

    #[test]
    fn an_event_is_one_line_and_made_once() {
        let made = Event::new("a\"b".into(), Position { epoch: 7, offset: 3 }, 1.5, Bytes::from_static(b"{\n\"x\": [1,\r\n2]}"));
        let json: serde_json::Value = serde_json::from_slice(&event(&made)).expect("JSON");
        let expected = serde_json::json!({"type": "event", "topic": "a\"b", "epoch": "7", "offset": 3, "at": 1.5, "data": {"x": [1, 2]}});
        assert_eq!(json, expected);
        let stream = sse(&made);
        assert!(stream.starts_with(b"id: a%22b@7:3\ndata: {") && stream.ends_with(b"}\n\n"));
        assert_eq!(stream.iter().filter(|byte| **byte == b'\n').count(), 3);
        assert_eq!(sse(&made).as_ptr(), stream.as_ptr(), "the second asks for what the first has made");
    }

    #[test]
    fn notices_say_what_happened() {
        let position = Some(Position { epoch: 7, offset: 3 });
        let cases = [
            (
                Delivery::Ready { position, recovered: Some(false) },
                r#"{"type":"ready","topic":"t","offset":3,"epoch":"7","recovered":false}"#,
            ),
            (Delivery::Ready { position: None, recovered: None }, r#"{"type":"ready","topic":"t"}"#),
            (Delivery::Missed { topic: None, count: 4 }, r#"{"type":"missed","topic":"t","count":4}"#),
            (Delivery::Gap { topic: Some("u".into()), position }, r#"{"type":"gap","topic":"u","offset":3,"epoch":"7"}"#),
            (Delivery::Closed(Closed::Slow), r#"{"type":"closed","topic":"t","reason":"the subscriber was too slow"}"#),
        ];
        for (delivery, expected) in cases {
            assert_eq!(notice("t", &delivery).as_deref(), Some(expected));
        }
    }
}
