//! The request as a script sees it: a table whose parts are made when they are first looked at.

mod active;
mod field;
mod method;

use std::cell::{Cell, OnceCell, RefCell};
use std::rc::Rc;
use std::task::Waker;

use bytes::{Bytes, BytesMut};
use event_listener::Event;
use mlua::thread::{ThreadEvent, ThreadTriggers};
use mlua::{Function, Lua, Table, Thread, Value};

pub(super) use self::active::ActiveRequests;
#[cfg(test)]
pub(super) use self::field::FIELDS;
use self::field::field;
pub(super) use self::field::{certificate, form_map, peer};
pub(super) use self::method::{find, methods};
use super::context::AppContext;
use super::form::FormState;
use super::modules::json;
use super::passage::{METHODS, Passage};
use crate::codec::http::RequestHead;
use crate::codec::percent;
use crate::request::form::UploadLimits;
use crate::request::{Body, Origin, Request, RequestId, ResponseFields};

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

/// The path as scripts get it: decoded, or as it was sent when it cannot be.
pub(super) fn decoded_path(path: &str) -> std::borrow::Cow<'_, str> {
    percent::decode_path(path).unwrap_or(std::borrow::Cow::Borrowed(path))
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
