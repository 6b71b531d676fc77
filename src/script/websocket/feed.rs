//! Events that go straight to a connection: from the events' core into its output, as one frame for all, without a call into the VM.

use std::cell::OnceCell;
use std::fmt::Write as _;
use std::rc::{Rc, Weak};

use bytes::Bytes;
use mlua::{Lua, Table, Value};

use crate::codec::websocket::deflate::{self, MOST_WINDOW};
use crate::codec::websocket::frame::{Head, encode};
use crate::codec::websocket::{Kind, Opcode};
use crate::events::{Delivery, Event, Member, Options as Subscribe, Position, Presence, Registration, Subscriber};
use crate::script::arguments::Options;
use crate::script::context::AppContext;
use crate::script::modules::json;
use crate::sys::prefetch;
use crate::websocket::Session;

/// A subscription of a connection. Dropping it ends the subscription.
pub(super) struct Feed(Rc<Sink>);

/// What takes the events.
struct Sink {
    session: Weak<Session>,
    /// There from before the first delivery.
    registration: OnceCell<Registration>,
    /// Only the data is sent, and what is no event not at all.
    raw: bool,
}

impl Feed {
    /// Subscribes `session` to a topic, or with `name*` to all that begin so.
    ///
    /// # Errors
    /// Options of the wrong kind, a name that is none, too many subscriptions.
    pub(super) fn new(lua: &Lua, session: &Rc<Session>, topic: &str, options: &Options) -> mlua::Result<Feed> {
        let app = lua.app_data_ref::<Rc<AppContext>>().map(|app| app.clone());
        let app = app.ok_or_else(|| mlua::Error::runtime("no application"))?;
        options.only(&["since", "presence", "watch", "raw"])?;
        let presence = options.get::<Table>("presence")?.map(|table| member(lua, &table)).transpose()?;
        let since = options.get::<Table>("since")?.map(|table| position(&table)).transpose()?;
        let subscribe = Subscribe { recover: since, presence, watch: options.or("watch", false)?, ..Subscribe::default() };
        let sink = Rc::new(Sink { session: Rc::downgrade(session), registration: OnceCell::new(), raw: options.or("raw", false)? });
        let weak = Rc::downgrade(&sink);
        let subscriber: Weak<dyn Subscriber> = weak;
        let registration = app.services.events.attach(topic, subscriber, subscribe).map_err(mlua::Error::runtime)?;
        sink.registration.get_or_init(|| registration);
        Ok(Feed(sink))
    }

    /// Whether this was subscribed to.
    pub(super) fn is_of(&self, topic: &str) -> bool {
        self.0.topic() == topic
    }
}

fn member(lua: &Lua, table: &Table) -> mlua::Result<Member> {
    let info: Value = table.get("info")?;
    let info = if info.is_nil() { Vec::new() } else { json::encode(lua, &info)? };
    Ok(Member { id: table.get("id")?, info: info.into() })
}

/// A place as a client of an envelope has it: its epoch may be text.
fn position(table: &Table) -> mlua::Result<Position> {
    let number = |name: &str| -> mlua::Result<u64> {
        let value: Value = table.get(name)?;
        let number = match &value {
            Value::String(text) => text.to_str().ok().and_then(|text| text.parse().ok()),
            Value::Integer(number) => u64::try_from(*number).ok(),
            Value::Number(number) if number.fract() == 0.0 && *number >= 0.0 => Some(*number as u64),
            _ => None,
        };
        number.ok_or_else(|| mlua::Error::runtime(format!("since.{name} is a whole number")))
    };
    Ok(Position { epoch: number("epoch")?, offset: number("offset")? })
}

impl Subscriber for Sink {
    fn prefetch(&self) {
        prefetch::value(self.session.as_ptr());
    }

    fn deliver(&self, delivery: &Delivery) {
        let Some(session) = self.session.upgrade() else { return };
        let Delivery::Event(event) = delivery else {
            if !self.raw
                && let Some(text) = self.envelope(delivery)
            {
                // A connection that has ended needs to be told nothing.
                let _ = session.send(Kind::Text, text.as_bytes());
            }
            return;
        };
        let frame = match (self.raw, session.compresses(event.data.len())) {
            (false, false) => event.encoded("websocket", |event| frame(&envelope_of(event), false)),
            (false, true) => event.encoded("websocket-deflate", |event| frame(&envelope_of(event), true)),
            (true, false) => event.encoded("websocket-raw", |event| frame(&event.data, false)),
            (true, true) => event.encoded("websocket-raw-deflate", |event| frame(&event.data, true)),
        };
        if event.recovered {
            // A connection that has ended needs no more.
            let _ = session.recover_frame(frame);
            return;
        }
        if let Ok(dropped) = session.publish_frame(frame)
            && dropped > 0
            && let Some(registration) = self.registration.get()
        {
            registration.count_dropped(dropped);
        }
    }
}

impl Sink {
    /// What was subscribed to, as it was written.
    fn topic(&self) -> String {
        self.registration.get().map(|registration| registration.pattern().to_string()).unwrap_or_default()
    }

    /// What is told besides events.
    fn envelope(&self, delivery: &Delivery) -> Option<String> {
        let of = |kind: &str, topic: &Option<Rc<str>>| {
            let topic = topic.as_deref().map_or_else(|| quoted(&self.topic()), quoted);
            format!("{{\"type\":\"{kind}\",\"topic\":{topic}")
        };
        let place = |text: &mut String, position: &Option<Position>| {
            if let Some(Position { epoch, offset }) = position {
                // Writing to a text cannot fail.
                let _ = write!(text, ",\"offset\":{offset},\"epoch\":\"{epoch}\"");
            }
        };
        let mut text = match delivery {
            Delivery::Ready { position, recovered } => {
                let mut text = of("ready", &None);
                place(&mut text, position);
                if let Some(recovered) = recovered {
                    let _ = write!(text, ",\"recovered\":{recovered}");
                }
                text
            }
            Delivery::Missed { topic, count } => format!("{},\"count\":{count}", of("missed", topic)),
            Delivery::Gap { topic, position } => {
                let mut text = of("gap", topic);
                place(&mut text, position);
                text
            }
            Delivery::Joined(presence) => joined("joined", presence),
            Delivery::Left(presence) => joined("left", presence),
            Delivery::Closed(why) => format!("{},\"reason\":{}", of("closed", &None), quoted(&why.to_string())),
            Delivery::Event(_) => return None,
        };
        text.push('}');
        Some(text)
    }
}

fn joined(kind: &str, presence: &Presence) -> String {
    let Presence { topic, member } = presence;
    let info = if member.info.0.is_empty() { "null".into() } else { String::from_utf8_lossy(&member.info.0) };
    format!("{{\"type\":\"{kind}\",\"topic\":{},\"member\":{{\"id\":{},\"info\":{info}}}", quoted(topic), quoted(&member.id))
}

/// The envelope of an event, as every client gets it.
fn envelope_of(event: &Event) -> Vec<u8> {
    let Position { epoch, offset } = event.position;
    let head = format!(
        "{{\"type\":\"event\",\"topic\":{},\"offset\":{offset},\"epoch\":\"{epoch}\",\"at\":{},\"data\":",
        quoted(&event.topic),
        event.at
    );
    let mut text = Vec::with_capacity(head.len() + event.data.len() + 1);
    text.extend_from_slice(head.as_bytes());
    text.extend_from_slice(&event.data);
    text.push(b'}');
    text
}

fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

fn frame(payload: &[u8], compressed: bool) -> Bytes {
    if compressed {
        let deflated = deflate::deflate(payload, MOST_WINDOW);
        if deflated.len() < payload.len() {
            return encode(Head { opcode: Opcode::Text, last: true, compressed: true }, &deflated, None);
        }
    }
    encode(Head::whole(Opcode::Text), payload, None)
}
