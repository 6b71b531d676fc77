//! The request as a script sees it: a table whose parts are made when they are first looked at.

use std::cell::{Cell, OnceCell, RefCell};
use std::rc::Rc;
use std::task::Waker;

use bytes::{Bytes, BytesMut};
use event_listener::Event;
use mlua::thread::{ThreadEvent, ThreadTriggers};
use mlua::{Function, Lua, LuaString, Table, Thread, Value};
use serde_json::error::Category;
use slab::Slab;

use super::context::AppContext;
use super::form::{self, FormState};
use super::iteration;
use super::modules::json;
use super::passage::{METHODS, Passage};
use crate::codec::http::RequestHead;
use crate::codec::percent;
use crate::net::{ClientCertificate, ClientName, Peer};
use crate::request::cookies::Cookies;
use crate::request::form::{FormLimits, FormMap, FormValue, UploadLimits, parse_urlencoded};
use crate::request::{Body, BodyError, Origin, Request, RequestId, ResponseFields};

/// Bytes that a script may write before it waits for the client to take some.
const HIGH_WATER: usize = 64 << 10;

thread_local! {
    static CURRENT: Cell<Option<RequestId>> = const { Cell::new(None) };
    /// The coroutine that a request's handler was suspended in just now.
    static SUSPENDED: RefCell<Option<Thread>> = const { RefCell::new(None) };
}

/// The coroutine that a request's handler was suspended in just now, for who looks where it waits.
pub(super) fn take_suspended() -> Option<Thread> {
    SUSPENDED.take()
}

/// The number of the request whose handler runs now, for log lines.
#[must_use]
pub fn current_id() -> Option<String> {
    CURRENT.get().map(|id| id.to_string())
}

/// Says which request's handler runs until the guard is dropped.
pub(super) fn enter(id: RequestId) -> impl Drop {
    struct Leave(Option<RequestId>);
    impl Drop for Leave {
        fn drop(&mut self) {
            CURRENT.set(self.0);
        }
    }
    Leave(CURRENT.replace(Some(id)))
}

/// What a handler has written itself, instead of returning it.
#[derive(Default)]
pub(super) struct Written {
    /// Whether the reply is written piece by piece.
    pub started: bool,
    pub status: u16,
    pub fields: ResponseFields,
    pub bytes: BytesMut,
    /// Somebody waits until `bytes` is empty.
    pub flushing: bool,
    /// The head names a file that is sent in the place of `bytes`.
    pub names_file: bool,
}

/// One request in the hands of a script.
pub struct ScriptRequest {
    pub(super) id: RequestId,
    pub(super) head: RequestHead,
    body: RefCell<Body>,
    pub(super) origin: Rc<Origin>,
    base_length: usize,
    user: Option<Rc<str>>,
    pub(super) uploads: Rc<UploadLimits>,
    pub(super) head_sent: Cell<bool>,
    woken: Cell<bool>,
    pub(super) terminated: Cell<bool>,
    rare: OnceCell<Box<Rare>>,
}

/// What a handler needs that reads a form, writes, waits or wants to be told: most do nothing of this, and a request is copied some times.
#[derive(Default)]
pub(super) struct Rare {
    pub(super) form: RefCell<FormState>,
    pub(super) written: RefCell<Written>,
    drained: Event,
    wakeup: Event,
    /// The task that polls the handler.
    pub(super) waker: RefCell<Option<Waker>>,
    /// The coroutine, while its handler waits.
    pub(super) suspended: RefCell<Option<Thread>>,
    pub(super) hooks: RefCell<Option<Hooks>>,
}

/// What a handler wants to be told.
#[derive(Clone)]
pub(super) struct Hooks {
    pub request: Table,
    pub onabort: Option<Function>,
    pub onfinish: Option<Function>,
}

impl ScriptRequest {
    pub(super) fn new(request: Request) -> ScriptRequest {
        ScriptRequest {
            id: request.id,
            head: request.head,
            body: RefCell::new(request.body),
            origin: request.origin,
            base_length: request.base_length,
            user: request.user,
            uploads: request.uploads,
            head_sent: Cell::new(false),
            woken: Cell::new(false),
            terminated: Cell::new(false),
            rare: OnceCell::new(),
        }
    }

    /// What few requests need, made when first asked for.
    pub(super) fn rare(&self) -> &Rare {
        self.rare.get_or_init(Box::default)
    }

    /// The same, if it was made.
    pub(super) fn used(&self) -> Option<&Rare> {
        self.rare.get().map(|rare| &**rare)
    }

    /// The body, or what is left of it.
    pub(super) fn body(&self) -> Body {
        self.body.borrow().clone()
    }

    /// Replaces what is left of the body.
    pub(super) fn set_body(&self, body: Body) {
        self.body.replace(body);
    }

    /// The path below the route, still percent-encoded.
    pub(super) fn raw_path(&self) -> &str {
        match self.head.path().get(self.base_length..) {
            Some("") | None => "/",
            Some(path) => path,
        }
    }

    fn base(&self) -> &str {
        self.head.path().get(..self.base_length).unwrap_or_default()
    }

    /// Wakes the task that polls the handler.
    pub(super) fn wake(&self) {
        if let Some(waker) = self.used().and_then(|rare| rare.waker.take()) {
            waker.wake();
        }
    }

    /// What was written since last asked; tells who waited for room.
    pub(super) fn take_written(&self) -> Option<Bytes> {
        let rare = self.used()?;
        let mut written = rare.written.borrow_mut();
        if written.bytes.is_empty() {
            return None;
        }
        let bytes = written.bytes.split().freeze();
        drop(written);
        rare.drained.notify(usize::MAX);
        Some(bytes)
    }

    /// Whether the head of what is written names a file, to be sent in its place.
    pub(super) fn names_file(&self) -> bool {
        self.used().is_some_and(|rare| rare.written.borrow().names_file)
    }

    async fn wait_below(&self, bytes: usize) {
        let rare = self.rare();
        loop {
            let drained = rare.drained.listen();
            if rare.written.borrow().bytes.len() <= bytes {
                return;
            }
            self.wake();
            drained.await;
        }
    }
}

/// The requests that an application is working on, by the number that their tables carry.
#[derive(Default)]
pub(super) struct ActiveRequests {
    slots: RefCell<Slab<(u32, Rc<ScriptRequest>)>>,
    generation: Cell<u32>,
    /// The name of the field that holds a table's number, made once.
    key: OnceCell<LuaString>,
}

/// Places in the slab; the number above it is the generation.
const PLACES: u64 = 1 << 20;

impl ActiveRequests {
    pub(super) fn insert(&self, request: Rc<ScriptRequest>) -> f64 {
        let generation = self.generation.get().wrapping_add(1);
        self.generation.set(generation);
        let place = self.slots.borrow_mut().insert((generation, request));
        (u64::from(generation) * PLACES + place as u64) as f64
    }

    fn split(number: f64) -> (usize, u32) {
        let number = number as u64;
        ((number % PLACES) as usize, (number / PLACES) as u32)
    }

    pub(super) fn get(&self, number: f64) -> Option<Rc<ScriptRequest>> {
        let (place, generation) = Self::split(number);
        let slots = self.slots.borrow();
        slots.get(place).filter(|(found, _)| *found == generation).map(|(_, request)| request.clone())
    }

    pub(super) fn remove(&self, number: f64) {
        let (place, generation) = Self::split(number);
        let mut slots = self.slots.borrow_mut();
        if slots.get(place).is_some_and(|(found, _)| *found == generation) {
            slots.remove(place);
        }
    }

    pub(super) fn len(&self) -> usize {
        self.slots.borrow().len()
    }

    pub(super) fn with_id(&self, id: RequestId) -> Option<Rc<ScriptRequest>> {
        self.slots.borrow().iter().find(|(_, (_, request))| request.id == id).map(|(_, (_, request))| request.clone())
    }

    fn of(&self, number: f64) -> mlua::Result<Rc<ScriptRequest>> {
        self.get(number).ok_or_else(|| mlua::Error::runtime("this request is over"))
    }

    fn of_table(&self, table: &Table) -> mlua::Result<Rc<ScriptRequest>> {
        self.of(table
            .raw_get::<Option<f64>>(self.key.get())?
            .ok_or_else(|| mlua::Error::runtime("call it with a colon on the request: req:method()"))?)
    }
}

/// Functions of `request.luau`, each called with what [`Passage::put`] says.
pub(super) struct Wrappers {
    /// Turns a request handler into one that gives body, status, headers and file.
    pub handler: Function,
    /// Turns a function that decides on an upgrade into one that gives the same, and 101 with a subprotocol as the body.
    pub decider: Function,
    /// Gives the request as scripts see it.
    pub object: Function,
}

/// Makes the function that turns a handler of the script into one called as [`Passage::put`] says, and giving body, status, headers and file;
/// and the way that path and body go.
///
/// # Errors
/// When memory is short.
pub(super) fn install(lua: &Lua, app: &Rc<AppContext>, active: &Rc<ActiveRequests>) -> mlua::Result<(Wrappers, Passage)> {
    let key = lua.create_string("_number")?;
    active.key.get_or_init(|| key);
    lua.set_thread_event_callback(ThreadTriggers::ON_YIELD, |_, event| {
        if CURRENT.get().is_some()
            && let ThreadEvent::Yield(thread) = event
        {
            SUSPENDED.replace(Some(thread));
        }
        Ok(())
    });
    let encode = lua.create_function(|lua, value: Value| lua.create_string(json::encode(lua, &value)?))?;
    let own = format!("={}", super::fault::OWN_CHUNK);
    let event_stream: Function = lua.load(include_str!("events.luau")).set_name(&own).call(encode)?;
    let fields = active.clone();
    let field = lua.create_function(move |lua, (number, key): (f64, Value)| match key.as_string() {
        Some(key) => field(lua, &*fields.of(number)?, &key.to_string_lossy()),
        None => Ok(Value::Nil),
    })?;
    let hooks = active.clone();
    let hook = lua.create_function(move |_, (number, table, name, function): (f64, Table, String, Option<Function>)| {
        let request = hooks.of(number)?;
        let mut hooks = request.rare().hooks.borrow_mut();
        let hooks = hooks.get_or_insert_with(|| Hooks { request: table, onabort: None, onfinish: None });
        match name.as_str() {
            "onabort" => hooks.onabort = function,
            _ => hooks.onfinish = function,
        }
        Ok(())
    })?;
    let methods = methods(lua, app, active)?;
    let (passage, inward) = Passage::new(lua)?;
    let (handler, decider, object) =
        lua.load(include_str!("request.luau")).set_name(&own).call((methods, field, hook, event_stream, inward, METHODS.to_vec()))?;
    Ok((Wrappers { handler, decider, object }, passage))
}

/// The names of the parts that [`field`] makes, and of those set at once; for the test of the descriptions.
#[cfg(test)]
pub(super) const FIELDS: &[&str] = &[
    "method",
    "path",
    "id",
    "url",
    "base",
    "query",
    "get",
    "post",
    "form",
    "files",
    "cookies",
    "headers",
    "server",
    "remote",
    "client_certificate",
    "user",
    "onabort",
    "onfinish",
];

fn field(lua: &Lua, request: &ScriptRequest, key: &str) -> mlua::Result<Value> {
    let text = |text: &str| lua.create_string(text).map(Value::String);
    match key {
        "id" => text(&request.id.to_string()),
        "url" => text(request.head.target()),
        "base" => text(request.base()),
        "query" => text(request.head.query().unwrap_or_default()),
        "get" => query(lua, request),
        "post" | "form" => form::fields_table(lua, request),
        "files" => form::files_table(lua, request),
        "cookies" => cookies(lua, request),
        "headers" => headers(lua, &request.head),
        "server" => server(lua, request),
        "user" => request.user.as_deref().map_or(Ok(Value::Nil), text),
        "remote" => peer(lua, &request.origin.peer),
        "client_certificate" => request.origin.certificate.as_deref().map_or(Ok(Value::Nil), |shown| certificate(lua, shown)),
        _ => Ok(Value::Nil),
    }
}

fn query(lua: &Lua, request: &ScriptRequest) -> mlua::Result<Value> {
    let mut map = FormMap::new();
    if let Some(query) = request.head.query() {
        parse_urlencoded(query.as_bytes(), &FormLimits::default(), &mut map)
            .map_err(|error| mlua::Error::runtime(format!("the query: {error}")))?;
    }
    form_map(lua, &map)
}

pub(super) fn form_map(lua: &Lua, map: &FormMap) -> mlua::Result<Value> {
    let table = lua.create_table_with_capacity(0, map.len())?;
    for (name, value) in map.iter() {
        table.raw_set(lua.create_string(name)?, form_value(lua, value)?)?;
    }
    Ok(Value::Table(table))
}

fn form_value(lua: &Lua, value: &FormValue) -> mlua::Result<Value> {
    match value {
        FormValue::Text(text) => lua.create_string(text).map(Value::String),
        FormValue::Map(map) => form_map(lua, map),
        FormValue::List(items) => {
            let table = lua.create_table_with_capacity(items.len(), 0)?;
            for (index, item) in items.iter().enumerate() {
                table.raw_set(index + 1, form_value(lua, item)?)?;
            }
            Ok(Value::Table(table))
        }
    }
}

fn cookies(lua: &Lua, request: &ScriptRequest) -> mlua::Result<Value> {
    let table = lua.create_table()?;
    for (name, value) in Cookies::parse(request.head.fields.get_all("cookie")).iter() {
        let name = lua.create_string(name)?;
        if !table.contains_key(&name)? {
            table.raw_set(name, lua.create_string(value)?)?;
        }
    }
    Ok(Value::Table(table))
}

/// Names and values, a line each; `request.luau` makes the table and joins values of one name as RFC 9110 section 5.3 says.
fn headers(lua: &Lua, head: &RequestHead) -> mlua::Result<Value> {
    let mut text = Vec::with_capacity(512);
    for (name, value) in head.fields.iter() {
        text.extend_from_slice(name.as_bytes());
        text.push(b'\n');
        text.extend_from_slice(value);
        text.push(b'\n');
    }
    lua.create_string(text).map(Value::String)
}

fn server(lua: &Lua, request: &ScriptRequest) -> mlua::Result<Value> {
    let table = lua.create_table()?;
    table.raw_set("name", &*request.origin.server)?;
    let host = request.head.host().or_else(|| request.head.fields.get_str("host").and_then(|host| host.split(':').next()));
    table.raw_set("host", host)?;
    table.raw_set("authority", request.head.authority())?;
    table.raw_set("protocol", request.head.version.as_str())?;
    table.raw_set("secure", request.origin.secure)?;
    table.raw_set("scheme", if request.origin.secure { "https" } else { "http" })?;
    table.raw_set("address", request.origin.local.ip().map(|ip| ip.to_string()))?;
    table.raw_set("port", request.origin.local.port())?;
    let parameters = lua.create_table()?;
    for (name, value) in request.origin.parameters.iter() {
        parameters.raw_set(name, lua.create_string(value)?)?;
    }
    table.raw_set("parameters", parameters)?;
    Ok(Value::Table(table))
}

/// An end of a connection: `address`, `port`, or `path` of a unix socket.
pub(super) fn peer(lua: &Lua, peer: &Peer) -> mlua::Result<Value> {
    let table = lua.create_table()?;
    match peer {
        Peer::Ip(address) => {
            table.raw_set("address", address.ip().to_string())?;
            table.raw_set("port", address.port())?;
        }
        Peer::Unix(path) => {
            table.raw_set("address", "unix:")?;
            table.raw_set("path", path.as_ref().map(|path| path.to_string_lossy().into_owned()))?;
        }
        Peer::Unknown => table.raw_set("address", "")?,
    }
    Ok(Value::Table(table))
}

/// The certificate that a client has shown.
pub(super) fn certificate(lua: &Lua, shown: &ClientCertificate) -> mlua::Result<Value> {
    let table = lua.create_table()?;
    for (name, text) in [
        ("subject", &shown.subject),
        ("common_name", &shown.common_name),
        ("issuer", &shown.issuer),
        ("serial", &shown.serial),
        ("fingerprint", &shown.fingerprint),
        ("pem", &shown.pem()),
    ] {
        table.raw_set(name, &**text)?;
    }
    table.raw_set("names", lua.create_sequence_from(shown.names.iter().map(ClientName::as_str))?)?;
    table.raw_set("begins", shown.begins)?;
    table.raw_set("ends", shown.ends)?;
    Ok(Value::Table(table))
}

/// The path as scripts get it: decoded, or as it was sent when it cannot be.
pub(super) fn decoded_path(path: &str) -> std::borrow::Cow<'_, str> {
    percent::decode_path(path).unwrap_or(std::borrow::Cow::Borrowed(path))
}

pub(super) fn methods(lua: &Lua, app: &Rc<AppContext>, active: &Rc<ActiveRequests>) -> mlua::Result<Table> {
    let table = lua.create_table()?;
    reading(lua, &table, app, active)?;
    writing(lua, &table, app, active)?;
    waiting(lua, &table, active)?;
    table.set_readonly(true);
    Ok(table)
}

fn reading(lua: &Lua, table: &Table, app: &Rc<AppContext>, active: &Rc<ActiveRequests>) -> mlua::Result<()> {
    let (requests, limit) = (active.clone(), app.limits.body as u64);
    let whole = move |req: Table| {
        let request = requests.of_table(&req);
        async move { request?.body().bytes(limit).await.map_err(mlua::Error::external) }
    };
    let body = whole.clone();
    table.raw_set(
        "body",
        lua.create_async_function(move |lua, req: Table| {
            let bytes = body(req);
            async move { lua.create_string(bytes.await?) }
        })?,
    )?;
    table.raw_set(
        "json",
        lua.create_async_function(move |lua, req: Table| {
            let bytes = whole(req);
            async move {
                json::read(&lua, &bytes.await?).map_err(|error| match error.classify() {
                    // The client's mistake.
                    Category::Syntax | Category::Eof => mlua::Error::external(BodyError::Malformed(format!("no JSON: {error}"))),
                    Category::Data | Category::Io => mlua::Error::runtime(format!("json: {error}")),
                })
            }
        })?,
    )?;
    let requests = active.clone();
    table.raw_set(
        "chunks",
        lua.create_function(move |lua, req: Table| {
            let request = requests.of_table(&req)?;
            iteration::function(lua, move |lua| {
                let request = request.clone();
                async move {
                    let chunk = request.body().chunk().await.map_err(mlua::Error::external)?;
                    chunk.map(|chunk| lua.create_string(chunk)).transpose()
                }
            })
        })?,
    )?;
    form::install(lua, table, app, active)
}

/// The requests of an application, for `form.rs`.
pub(super) fn find(active: &ActiveRequests, req: &Table) -> mlua::Result<Rc<ScriptRequest>> {
    active.of_table(req)
}

fn writing(lua: &Lua, table: &Table, app: &Rc<AppContext>, active: &Rc<ActiveRequests>) -> mlua::Result<()> {
    let (requests, follows) = (active.clone(), app.services.sent.is_on());
    table.raw_set(
        "head",
        lua.create_function(move |_, (req, status, headers): (Table, u16, Option<Table>)| {
            let request = requests.of_table(&req)?;
            if request.head_sent.get() {
                return Err(mlua::Error::runtime("the head of the reply has been sent already"));
            }
            let mut fields = ResponseFields::default();
            let said = super::reply::headers(headers.as_ref(), &mut fields)?;
            let mut written = request.rare().written.borrow_mut();
            written.status = super::reply::checked_status(f64::from(status))?;
            written.fields = fields;
            written.names_file = said.names_file && follows;
            Ok(())
        })?,
    )?;
    let requests = active.clone();
    table.raw_set(
        "write",
        lua.create_async_function(move |_, (req, parts): (Table, mlua::Variadic<mlua::LuaString>)| {
            let request = requests.of_table(&req);
            async move {
                let request = request?;
                {
                    let mut written = request.rare().written.borrow_mut();
                    written.started = true;
                    parts.iter().for_each(|part| written.bytes.extend_from_slice(&part.as_bytes()));
                }
                request.wait_below(HIGH_WATER).await;
                Ok(())
            }
        })?,
    )?;
    let requests = active.clone();
    table.raw_set(
        "flush",
        lua.create_async_function(move |_, req: Table| {
            let request = requests.of_table(&req);
            async move {
                let request = request?;
                {
                    let mut written = request.rare().written.borrow_mut();
                    written.started = true;
                    written.flushing = true;
                }
                futures_lite::future::yield_now().await;
                request.wait_below(0).await;
                Ok(())
            }
        })?,
    )
}

fn waiting(lua: &Lua, table: &Table, active: &Rc<ActiveRequests>) -> mlua::Result<()> {
    let requests = active.clone();
    table.raw_set(
        "sleep",
        lua.create_async_function(move |_, (req, span): (Table, super::arguments::Span)| {
            let request = requests.of_table(&req);
            async move {
                let request = request?;
                let woken = async {
                    loop {
                        let wakeup = request.rare().wakeup.listen();
                        if request.woken.take() {
                            return;
                        }
                        wakeup.await;
                    }
                };
                Ok(if crate::reactor::timeout(span.0, woken).await.is_ok() { "woken" } else { "timeout" })
            }
        })?,
    )?;
    let requests = active.clone();
    table.raw_set(
        "wakeup",
        lua.create_function(move |_, req: Table| {
            let request = requests.of_table(&req)?;
            request.woken.set(true);
            request.rare().wakeup.notify(usize::MAX);
            Ok(())
        })?,
    )?;
    let requests = active.clone();
    table.raw_set(
        "terminate",
        lua.create_async_function(move |_, req: Table| {
            let request = requests.of_table(&req);
            async move {
                let request = request?;
                request.terminated.set(true);
                request.wake();
                if CURRENT.get() == Some(request.id) {
                    std::future::pending::<()>().await;
                }
                Ok(())
            }
        })?,
    )
}
