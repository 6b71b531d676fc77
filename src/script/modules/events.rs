//! `@skep/events`: topics that all workers share.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use mlua::{Function, IntoLua, Lua, Table, UserData, UserDataMethods, Value};

use super::{AppContext, json};
use crate::events::{Delivery, HistoryLimit, Member, Options as Subscribe, Overflow, PastEvent, Position, Subscription};
use crate::reactor::timeout;
use crate::script::arguments::{Options, Span};
use crate::script::feed::{Feed, call_with_each};
use crate::script::gauge::Permit;
use crate::script::iteration;

/// Events that `history` gives if nothing else is said.
const HISTORY: u32 = 100;
/// The most events that may wait for a reader.
const MOST_QUEUED: usize = 100_000;
/// The largest number that is exact in Luau.
const EXACT: f64 = 9_007_199_254_740_992.0;

pub(in crate::script) fn open(lua: &Lua, app: &Rc<AppContext>) -> mlua::Result<Table> {
    let module = lua.create_table()?;
    let context = app.clone();
    module.raw_set(
        "publish",
        lua.create_async_function(move |lua, (topic, value, options): (String, Value, Options)| {
            let context = context.clone();
            async move { publish(&lua, &context, &topic, &value, &options).await }
        })?,
    )?;
    let context = app.clone();
    module.raw_set(
        "subscribe",
        lua.create_function(move |lua, (pattern, function, options): (String, Option<Function>, Options)| {
            subscribe(lua, &context, &pattern, function, &options)
        })?,
    )?;
    let context = app.clone();
    module.raw_set(
        "history",
        lua.create_async_function(move |lua, (topic, options): (String, Options)| {
            let context = context.clone();
            async move { history(&lua, &context, &topic, &options).await }
        })?,
    )?;
    let context = app.clone();
    module.raw_set(
        "presence",
        lua.create_async_function(move |lua, topic: String| {
            let context = context.clone();
            async move {
                let members = context.services.events.presence(&topic).await.map_err(fail)?;
                let list = json_list(&lua)?;
                for one in members {
                    list.raw_push(member(&lua, &one)?)?;
                }
                Ok(list)
            }
        })?,
    )?;
    let context = app.clone();
    module.raw_set(
        "info",
        lua.create_async_function(move |lua, topic: String| {
            let context = context.clone();
            async move {
                let Some(info) = context.services.events.info(&topic).await.map_err(fail)? else { return Ok(None) };
                let table = position(&lua, info.position)?;
                table.raw_set("history", info.history as f64)?;
                table.raw_set("members", info.members as f64)?;
                table.raw_set("workers", info.workers as f64)?;
                Ok(Some(table))
            }
        })?,
    )?;
    let context = app.clone();
    module.raw_set("shared", lua.create_function(move |_, ()| Ok(context.services.events.is_shared()))?)?;
    Ok(module)
}

fn fail(what: impl std::fmt::Display) -> mlua::Error {
    mlua::Error::runtime(format!("events: {what}"))
}

fn json_list(lua: &Lua) -> mlua::Result<Table> {
    match json::decode(lua, b"[]")? {
        Value::Table(list) => Ok(list),
        _ => lua.create_table(),
    }
}

async fn publish(lua: &Lua, app: &AppContext, topic: &str, value: &Value, options: &Options) -> mlua::Result<Option<Table>> {
    options.only(&["history", "wait"])?;
    let history = match options.get::<Table>("history")? {
        Some(limit) => Some(history_limit(&limit)?),
        None => None,
    };
    let data = Bytes::from(json::encode(lua, value)?);
    if !options.or("wait", true)? {
        app.services.events.post(topic, data, history).map_err(fail)?;
        return Ok(None);
    }
    let published = app.services.events.publish(topic, data, history).map_err(fail)?;
    Ok(Some(position(lua, published.await.map_err(fail)?)?))
}

fn history_limit(limit: &Table) -> mlua::Result<HistoryLimit> {
    let count: Option<u32> = limit.get("count")?;
    let ttl: Option<Span> = limit.get("ttl")?;
    let Some(count) = count else { return Err(fail("history needs a count of events")) };
    let ttl_ms = ttl.map_or(u64::MAX, |span| u64::try_from(span.0.as_millis()).unwrap_or(u64::MAX));
    Ok(HistoryLimit { count, ttl_ms })
}

fn position(lua: &Lua, position: Position) -> mlua::Result<Table> {
    let table = lua.create_table_with_capacity(0, 2)?;
    table.raw_set("epoch", position.epoch as f64)?;
    table.raw_set("offset", position.offset as f64)?;
    Ok(table)
}

fn since(options: &Options) -> mlua::Result<Option<Position>> {
    let Some(table) = options.get::<Table>("since")? else { return Ok(None) };
    let number = |name: &str| -> mlua::Result<u64> {
        let number: f64 = table.get(name)?;
        if number.fract() == 0.0 && (0.0..=EXACT).contains(&number) {
            Ok(number as u64)
        } else {
            Err(fail(format_args!("since.{name} is a whole number")))
        }
    };
    Ok(Some(Position { epoch: number("epoch")?, offset: number("offset")? }))
}

fn member(lua: &Lua, member: &Member) -> mlua::Result<Table> {
    let table = lua.create_table_with_capacity(0, 2)?;
    table.raw_set("id", member.id.as_str())?;
    if !member.info.0.is_empty() {
        table.raw_set("info", json::decode(lua, &member.info.0)?)?;
    }
    Ok(table)
}

async fn history(lua: &Lua, app: &AppContext, topic: &str, options: &Options) -> mlua::Result<Table> {
    options.only(&["since", "limit"])?;
    let history = app.services.events.history(topic, since(options)?, options.or("limit", HISTORY)?).await.map_err(fail)?;
    let result = match history.position {
        Some(end) => position(lua, end)?,
        None => lua.create_table()?,
    };
    let list = json_list(lua)?;
    for past in &history.events {
        list.raw_push(past_event(lua, topic, history.position.map_or(0, |position| position.epoch), past)?)?;
    }
    result.raw_set("events", list)?;
    result.raw_set("complete", history.complete)?;
    Ok(result)
}

fn past_event(lua: &Lua, topic: &str, epoch: u64, past: &PastEvent) -> mlua::Result<Table> {
    event_table(lua, topic, Position { epoch, offset: past.offset }, past.at, &past.data.0)
}

fn event_table(lua: &Lua, topic: &str, position: Position, at: f64, data: &[u8]) -> mlua::Result<Table> {
    let table = lua.create_table_with_capacity(0, 6)?;
    table.raw_set("kind", "event")?;
    table.raw_set("topic", topic)?;
    table.raw_set("epoch", position.epoch as f64)?;
    table.raw_set("offset", position.offset as f64)?;
    table.raw_set("at", at)?;
    table.raw_set("data", json::decode(lua, data)?)?;
    Ok(table)
}

fn delivery(lua: &Lua, delivery: &Delivery) -> mlua::Result<Table> {
    let of = |kind: &str| -> mlua::Result<Table> {
        let table = lua.create_table()?;
        table.raw_set("kind", kind)?;
        Ok(table)
    };
    let placed = |table: Table, place: &Option<Position>| -> mlua::Result<Table> {
        if let Some(place) = place {
            table.raw_set("epoch", place.epoch as f64)?;
            table.raw_set("offset", place.offset as f64)?;
        }
        Ok(table)
    };
    match delivery {
        Delivery::Event(event) => event_table(lua, &event.topic, event.position, event.at, &event.data),
        Delivery::Ready { position, recovered } => {
            let table = placed(of("ready")?, position)?;
            table.raw_set("recovered", *recovered)?;
            Ok(table)
        }
        Delivery::Missed { topic, count } => {
            let table = of("missed")?;
            table.raw_set("topic", topic.as_deref())?;
            table.raw_set("count", *count as f64)?;
            Ok(table)
        }
        Delivery::Gap { topic, position } => {
            let table = placed(of("gap")?, position)?;
            table.raw_set("topic", topic.as_deref())?;
            Ok(table)
        }
        Delivery::Joined(presence) | Delivery::Left(presence) => {
            let table = of(if matches!(delivery, Delivery::Joined(_)) { "joined" } else { "left" })?;
            table.raw_set("topic", &*presence.topic)?;
            table.raw_set("member", member(lua, &presence.member)?)?;
            Ok(table)
        }
        Delivery::Closed(why) => {
            let table = of("closed")?;
            table.raw_set("reason", why.to_string())?;
            Ok(table)
        }
    }
}

/// A subscription of a script.
struct Held {
    subscription: RefCell<Option<Subscription>>,
    /// A reader that asked to recover wants to know how that went.
    tells_ready: bool,
    reading: Cell<bool>,
    _permit: Permit,
}

impl Held {
    async fn next(&self) -> Option<Delivery> {
        loop {
            let next = poll_fn(|cx| match self.subscription.borrow_mut().as_mut() {
                Some(subscription) => subscription.poll_delivery(cx),
                None => Poll::Ready(None),
            })
            .await;
            if self.tells_ready || !matches!(next, Some(Delivery::Ready { .. })) {
                return next;
            }
        }
    }

    fn close(&self) {
        if let Some(mut subscription) = self.subscription.take() {
            subscription.close();
        }
    }
}

fn options_of(lua: &Lua, options: &Options) -> mlua::Result<Subscribe> {
    options.only(&["since", "queue", "overflow", "presence", "watch"])?;
    let overflow = match options.get::<String>("overflow")?.as_deref() {
        None | Some("drop") => Overflow::DropOldest,
        Some("close") => Overflow::Close,
        Some(other) => return Err(fail(format_args!("overflow is \"drop\" or \"close\", not {other:?}"))),
    };
    let presence = match options.get::<Table>("presence")? {
        None => None,
        Some(table) => {
            let info: Value = table.get("info")?;
            let info = if info.is_nil() { Vec::new() } else { json::encode(lua, &info)? };
            Some(Member { id: table.get("id")?, info: info.into() })
        }
    };
    let queue = options.or("queue", 0_usize)?.min(MOST_QUEUED);
    Ok(Subscribe { recover: since(options)?, queue, overflow, presence, watch: options.or("watch", false)? })
}

fn subscribe(
    lua: &Lua,
    app: &Rc<AppContext>,
    pattern: &str,
    function: Option<Function>,
    options: &Options,
) -> mlua::Result<SubscriptionHandle> {
    let options = options_of(lua, options)?;
    let permit = app.subscriptions.take().map_err(fail)?;
    if !crate::reactor::is_running() {
        return Err(fail("nothing can be subscribed to while a configuration is checked"));
    }
    let tells_ready = options.recover.is_some();
    let subscription = app.services.events.subscribe(pattern, options).map_err(fail)?;
    let held = Rc::new(Held { subscription: RefCell::new(Some(subscription)), tells_ready, reading: Cell::new(false), _permit: permit });
    if let Some(function) = function {
        held.reading.set(true);
        call_with_each(lua, app, held.clone(), function)?;
    }
    Ok(SubscriptionHandle(held))
}

impl Feed for Rc<Held> {
    async fn next(&self, lua: &Lua) -> Option<mlua::Result<Table>> {
        Some(delivery(lua, &Held::next(self).await?))
    }

    fn close(&self) {
        Held::close(self);
    }
}

/// A subscription in the hands of a script.
#[derive(Clone)]
struct SubscriptionHandle(Rc<Held>);

impl UserData for SubscriptionHandle {
    fn add_methods<M: UserDataMethods<Self>>(methods: &mut M) {
        methods.add_method("close", |_, this, ()| {
            this.0.close();
            Ok(())
        });
        methods.add_method("position", |lua, this, ()| {
            let place = this.0.subscription.borrow().as_ref().and_then(Subscription::position);
            place.map(|place| position(lua, place)).transpose()
        });
        methods.add_async_method("next", |lua, this, limit: Option<Span>| {
            let held = this.0.clone();
            async move { next(&lua, &held, limit.map(|span| span.0)).await }
        });
        methods.add_method("events", |lua, this, ()| {
            let held = this.0.clone();
            iteration::function(lua, move |lua| {
                let held = held.clone();
                async move { next(&lua, &held, None).await }
            })
        });
    }
}

async fn next(lua: &Lua, held: &Held, limit: Option<Duration>) -> mlua::Result<Value> {
    struct Reading<'a>(&'a Cell<bool>);
    impl Drop for Reading<'_> {
        fn drop(&mut self) {
            self.0.set(false);
        }
    }
    if held.reading.replace(true) {
        return Err(fail("the subscription is read elsewhere already"));
    }
    let _reading = Reading(&held.reading);
    let next = match limit {
        Some(limit) => timeout(limit, held.next()).await.unwrap_or(None),
        None => held.next().await,
    };
    next.map_or(Ok(Value::Nil), |next| delivery(lua, &next)?.into_lua(lua))
}
