//! The browser's way to events: one address that answers Server-Sent Events, long polling, publications and questions, and the same over
//! WebSocket. Who may do what is decided in `gateway.luau`; what happens for every event is native.
//!
//! | file | what it is |
//! |---|---|
//! | `gateway.luau` | what a page asks for, what it may, and what it is answered |
//! | `envelope` | what a page is told, as JSON and as lines of an event stream |
//! | `positions` | how far a page has come, as text |
//! | `feed` | several subscriptions of one page, read as one |
//! | `stream` | Server-Sent Events |
//! | `poll` | long polling |
//! | `skep.js` | the client for pages |

mod envelope;
mod feed;
mod poll;
mod positions;
mod stream;

use std::rc::Rc;
use std::time::Duration;

use mlua::{Lua, Table, UserData, Value};

use super::arguments::Options;
use super::context::AppContext;
use super::fault::OWN_CHUNK;
use super::modules::{events, json};
use crate::events::{Member, Overflow, Position};
use crate::request::ResponseBody;
use feed::{Feed, How, Wanted};

/// The client for pages.
const CLIENT: &str = include_str!("skep.js");
/// Events that may wait for a slow page, each topic for itself, if nothing else is said.
const QUEUE: usize = 1024;
/// The most that may be asked for.
const MOST_QUEUED: usize = 100_000;
/// After so long without an event a comment shows that the connection lives.
const QUIET: Duration = Duration::from_secs(15);
/// How long a poll waits.
const WAIT: Duration = Duration::from_secs(25);
/// The longest that it may be made to wait: proxies give up after a minute.
const MOST_WAIT: Duration = Duration::from_secs(55);

/// A body that native code writes, in the hands of a script that returns it.
pub(super) struct BodyReply(pub(super) ResponseBody);

impl UserData for BodyReply {}

/// Makes the functions of `@skep/live`.
///
/// # Errors
/// When memory is short.
pub(super) fn open(lua: &Lua, app: &Rc<AppContext>) -> mlua::Result<Table> {
    let native = lua.create_table()?;
    let context = app.clone();
    native.raw_set(
        "stream",
        lua.create_function(move |lua, (topics, refused, options): (Vec<Table>, Vec<String>, Options)| {
            let quiet = options.span("keep_alive", QUIET)?.max(Duration::from_secs(1));
            let body = stream::EventBody::new(&context, feed(lua, &context, topics, &options)?, &refused, quiet);
            lua.create_userdata(BodyReply(ResponseBody::Stream(Box::pin(body))))
        })?,
    )?;
    let context = app.clone();
    native.raw_set(
        "poll",
        lua.create_async_function(move |lua, (topics, refused, options): (Vec<Table>, Vec<String>, Options)| {
            let context = context.clone();
            async move {
                let wait = options.span("wait", WAIT)?.min(MOST_WAIT);
                let feed = feed(&lua, &context, topics, &options)?;
                lua.create_string(poll::answer(&context, feed, &refused, wait).await)
            }
        })?,
    )?;
    native.raw_set("positions", lua.create_function(|lua, text: String| places(lua, &text))?)?;
    native.raw_set("names", lua.create_function(|_, text: String| Ok(positions::names(&text).collect::<Vec<_>>()))?)?;
    native.raw_set("encode", lua.create_function(|lua, value: Value| lua.create_string(json::encode(lua, &value)?))?)?;
    native.raw_set("decode", lua.create_function(|lua, text: mlua::LuaString| json::decode(lua, &text.as_bytes()))?)?;
    native.raw_set("client", CLIENT)?;
    native.raw_set("version", version())?;
    let own = format!("={OWN_CHUNK}");
    lua.load(include_str!("gateway.luau")).set_name(&own).call((native, events::open(lua, app)?))
}

/// What tells one client script from another.
fn version() -> String {
    use sha2::{Digest, Sha256};
    super::modules::hex(&Sha256::digest(CLIENT)[..8])
}

fn fail(what: impl std::fmt::Display) -> mlua::Error {
    mlua::Error::runtime(format!("live: {what}"))
}

fn places(lua: &Lua, text: &str) -> mlua::Result<Table> {
    let table = lua.create_table()?;
    for (name, position) in positions::parse(text) {
        let place = lua.create_table_with_capacity(0, 2)?;
        place.raw_set("epoch", position.epoch as f64)?;
        place.raw_set("offset", position.offset as f64)?;
        table.raw_set(name, place)?;
    }
    Ok(table)
}

fn wanted(lua: &Lua, table: &Table) -> mlua::Result<Wanted> {
    let since = table.raw_get::<Option<Table>>("since")?;
    let since = since
        .map(|place| Ok::<_, mlua::Error>(Position { epoch: whole(&place, "epoch")?, offset: whole(&place, "offset")? }))
        .transpose()?;
    let presence = match table.raw_get::<Option<Table>>("presence")? {
        None => None,
        Some(member) => {
            let info: Value = member.get("info")?;
            let info = if info.is_nil() { Vec::new() } else { json::encode(lua, &info)? };
            Some(Member { id: member.get("id")?, info: info.into() })
        }
    };
    Ok(Wanted { topic: table.raw_get("topic")?, since, presence })
}

fn whole(place: &Table, name: &str) -> mlua::Result<u64> {
    let number: f64 = place.get(name)?;
    if number.fract() == 0.0 && (0.0..9_007_199_254_740_992.0).contains(&number) {
        Ok(number as u64)
    } else {
        Err(fail(format_args!("{name} of a place is a whole number")))
    }
}

fn feed(lua: &Lua, app: &Rc<AppContext>, topics: Vec<Table>, options: &Options) -> mlua::Result<Feed> {
    let overflow = match options.get::<String>("overflow")?.as_deref() {
        None | Some("drop") => Overflow::DropOldest,
        Some("close") => Overflow::Close,
        Some(other) => return Err(fail(format_args!("overflow is \"drop\" or \"close\", not {other:?}"))),
    };
    let how = How { queue: options.or("queue", QUEUE)?.clamp(1, MOST_QUEUED), overflow, watch: options.or("watch", false)? };
    let wanted = topics.iter().map(|table| wanted(lua, table)).collect::<mlua::Result<Vec<_>>>()?;
    if !crate::reactor::is_running() {
        return Err(fail("nothing can be subscribed to while a configuration is checked"));
    }
    Feed::open(&app.services.events, &app.subscriptions, wanted, how).map_err(fail)
}
