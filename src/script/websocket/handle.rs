//! A connection as scripts hold it.

use std::cell::{Cell, OnceCell, RefCell};
use std::future::Future;
use std::pin::Pin;
use std::rc::{Rc, Weak};
use std::task::{Context, Poll};
use std::time::Duration;

use mlua::{Function, IntoLua, IntoLuaMulti, Lua, LuaString, MultiValue, Table, UserData, UserDataFields, UserDataMethods, Value};

use smallvec::SmallVec;

use super::feed::Feed;
use crate::codec::websocket::{Kind, close};
use crate::reactor::timeout;
use crate::script::app::ScriptApp;
use crate::script::arguments::{Options, Span};
use crate::script::context::AppContext;
use crate::script::iteration;
use crate::script::request::{ActiveRequests, ScriptRequest};
use crate::script::step::StepKind;
use crate::websocket::{Message, Session};

/// Subscriptions of one connection.
const MOST_FEEDS: usize = 128;

/// A connection as a script holds it.
pub(in crate::script) struct Socket {
    module: &'static str,
    pub(in crate::script) session: Rc<Session>,
    /// The request it came by, of a connection that the application has taken.
    request: RefCell<Option<(Weak<ScriptApp>, Rc<ScriptRequest>)>>,
    rare: OnceCell<Box<Rare>>,
    told: Cell<bool>,
    receiving: Cell<bool>,
    feeds: RefCell<SmallVec<[Feed; 1]>>,
}

/// What many connections do without.
#[derive(Default)]
struct Rare {
    protocol: Option<String>,
    /// The request as the script sees it, once it has looked, and its number among the active ones.
    shown: RefCell<Option<(Table, f64)>>,
    onclose: RefCell<Option<Function>>,
}

impl Socket {
    /// A connection that the application has taken.
    pub(super) fn taken(app: &Rc<ScriptApp>, request: Rc<ScriptRequest>, session: Rc<Session>, protocol: Option<String>) -> Self {
        let socket = Self::new("websocket", session, protocol);
        socket.request.replace(Some((Rc::downgrade(app), request)));
        socket
    }

    pub(in crate::script) fn new(module: &'static str, session: Rc<Session>, protocol: Option<String>) -> Self {
        let rare = protocol.map(|protocol| Box::new(Rare { protocol: Some(protocol), ..Rare::default() }));
        Self {
            module,
            session,
            request: RefCell::default(),
            rare: rare.map(OnceCell::from).unwrap_or_default(),
            told: Cell::new(false),
            receiving: Cell::new(false),
            feeds: RefCell::default(),
        }
    }

    fn fail(&self, what: impl std::fmt::Display) -> mlua::Error {
        mlua::Error::runtime(format!("{}: {what}", self.module))
    }

    /// Calls `onclose` when the connection has ended, once.
    pub(in crate::script) fn tell_end(&self, app: &AppContext) {
        if self.told.get() {
            return;
        }
        let Some(close) = self.session.ended() else { return };
        self.told.set(true);
        self.feeds.take();
        if let Some(function) = self.rare.get().and_then(|rare| rare.onclose.take()) {
            app.spawn(StepKind::WebSocket, "onclose", function, (close.code, close.reason));
        }
    }

    /// Lets go of what belongs to the VM, so that an object kept by the script keeps nothing else.
    pub(super) fn forget(&self, active: &ActiveRequests) {
        if let Some(rare) = self.rare.get() {
            rare.onclose.take();
            if let Some((_, number)) = rare.shown.take() {
                active.remove(number);
            }
        }
        self.request.take();
    }

    fn rare(&self) -> &Rare {
        self.rare.get_or_init(Box::default)
    }

    fn request(&self) -> mlua::Result<Value> {
        if let Some(rare) = self.rare.get()
            && let Some((table, _)) = &*rare.shown.borrow()
        {
            return Ok(Value::Table(table.clone()));
        }
        let Some((app, request)) = self.request.borrow().clone() else { return Ok(Value::Nil) };
        let Some(app) = app.upgrade() else { return Ok(Value::Nil) };
        let (table, number) = app.show(&request)?;
        self.rare().shown.replace(Some((table.clone(), number)));
        Ok(Value::Table(table))
    }

    /// The next message, within a time limit.
    async fn receive(self: Rc<Self>, limit: Option<Duration>) -> mlua::Result<Received> {
        match limit {
            // Every silent connection waits in a future of this kind: what is rare must not make it larger.
            Some(limit) => match Box::pin(timeout(limit, self.receive_without_limit()?)).await {
                Ok(received) => Ok(received),
                Err(_) => Ok(Err("timeout")),
            },
            None => Ok(self.receive_without_limit()?.await),
        }
    }

    fn receive_without_limit(self: Rc<Self>) -> mlua::Result<Receiving> {
        if self.receiving.replace(true) {
            return Err(self.fail("another coroutine is receiving"));
        }
        Ok(Receiving(self))
    }

    fn send(&self, kind: Kind, data: &LuaString) -> mlua::Result<bool> {
        let data = data.as_bytes();
        if kind == Kind::Text && std::str::from_utf8(&data).is_err() {
            return Err(self.fail("a text message is UTF-8; send_binary takes any bytes"));
        }
        Ok(self.session.send(kind, &data).is_ok())
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        // Nobody can receive or send any more.
        self.session.close(close::GOING_AWAY, "");
    }
}

/// A message, or why there is none.
type Received = Result<Message, &'static str>;

/// Waits for a message. One coroutine at a time.
struct Receiving(Rc<Socket>);

impl Future for Receiving {
    type Output = Received;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Received> {
        self.0.session.poll_receive(cx).map(|message| message.ok_or("closed"))
    }
}

impl Drop for Receiving {
    fn drop(&mut self) {
        self.0.receiving.set(false);
    }
}

/// Waits for a message and gives it to the script. Every silent connection is in one of these, so it is no larger than it must be.
struct Giving(Result<Receiving, Box<mlua::Error>>);

impl Future for Giving {
    type Output = mlua::Result<Given>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match &mut self.0 {
            Ok(receiving) => Pin::new(receiving).poll(cx).map(|received| Ok(Given(received))),
            Err(error) => Poll::Ready(Err((**error).clone())),
        }
    }
}

/// What the script gets of it.
struct Given(Received);

impl IntoLuaMulti for Given {
    fn into_lua_multi(self, lua: &Lua) -> mlua::Result<MultiValue> {
        given(lua, self.0)?.into_lua_multi(lua)
    }
}

/// A message and what it is; or nil and why there is none.
fn given(lua: &Lua, received: Received) -> mlua::Result<(Value, &'static str)> {
    match received {
        Ok(Message { kind, data }) => {
            let name = match kind {
                Kind::Text => "text",
                Kind::Binary => "binary",
            };
            Ok((lua.create_string(data)?.into_lua(lua)?, name))
        }
        Err(why) => Ok((Value::Nil, why)),
    }
}

/// The connection in the hands of a script.
pub(in crate::script) struct WebSocketHandle(pub(in crate::script) Rc<Socket>);

impl UserData for WebSocketHandle {
    fn add_fields<F: UserDataFields<Self>>(fields: &mut F) {
        fields.add_field_method_get("request", |_, this| this.0.request());
        fields.add_field_method_get("protocol", |lua, this| {
            let protocol = this.0.rare.get().and_then(|rare| rare.protocol.as_deref());
            protocol.map(|name| lua.create_string(name)).transpose()
        });
        fields.add_field_method_get("waiting", |_, this| Ok(this.0.session.waiting()));
        fields.add_field_method_get("closed", |lua, this| {
            let Some(close) = this.0.session.ended() else { return Ok(None) };
            let table = lua.create_table()?;
            table.raw_set("code", close.code)?;
            table.raw_set("reason", close.reason)?;
            Ok(Some(table))
        });
        fields.add_field_method_get("onclose", |_, this| Ok(this.0.rare.get().and_then(|rare| rare.onclose.borrow().clone())));
        fields.add_field_method_set("onclose", |_, this, function: Option<Function>| {
            if function.is_some() || this.0.rare.get().is_some() {
                this.0.rare().onclose.replace(function);
            }
            Ok(())
        });
    }

    fn add_methods<M: UserDataMethods<Self>>(methods: &mut M) {
        methods.add_async_method("receive", |lua, this, options: Options| {
            let socket = this.0.clone();
            async move {
                options.only(&["timeout"])?;
                let limit = options.get::<Span>("timeout")?.map(|span| span.0);
                given(&lua, socket.receive(limit).await?)
            }
        });
        methods.add_method("messages", |lua, this, ()| {
            let socket = this.0.clone();
            iteration::function(lua, move |_| Giving(socket.clone().receive_without_limit().map_err(Box::new)))
        });
        methods.add_method("send", |_, this, text: LuaString| this.0.send(Kind::Text, &text));
        methods.add_method("send_binary", |_, this, bytes: LuaString| this.0.send(Kind::Binary, &bytes));
        methods.add_method("subscribe", |lua, this, (topic, options): (String, Options)| {
            let feed = Feed::new(lua, &this.0.session, &topic, &options).map_err(|error| this.0.fail(error))?;
            let mut feeds = this.0.feeds.borrow_mut();
            // The same topic again takes the place of the one before.
            feeds.retain(|feed| !feed.is_of(&topic));
            if feeds.len() >= MOST_FEEDS {
                return Err(this.0.fail(format_args!("a connection has at most {MOST_FEEDS} subscriptions")));
            }
            feeds.push(feed);
            Ok(())
        });
        methods.add_method("unsubscribe", |_, this, topic: String| {
            let before = this.0.feeds.borrow().len();
            this.0.feeds.borrow_mut().retain(|feed| !feed.is_of(&topic));
            Ok(this.0.feeds.borrow().len() < before)
        });
        methods.add_method("ping", |_, this, payload: Option<LuaString>| {
            let payload = payload.map(|payload| payload.as_bytes().to_vec()).unwrap_or_default();
            if payload.len() > 125 {
                return Err(this.0.fail("a ping has at most 125 bytes"));
            }
            this.0.session.ping(&payload);
            Ok(())
        });
        methods.add_method("close", |_, this, (code, reason): (Option<u16>, Option<String>)| {
            let code = code.unwrap_or(close::NORMAL);
            if !close::may_be_sent(code) {
                return Err(this.0.fail(format_args!("{code} is no close code that may be sent: 1000, 3000 to 4999, and a few more")));
            }
            this.0.session.close(code, &reason.unwrap_or_default());
            Ok(())
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// There is one of each for every connection that is open.
    #[test]
    fn what_a_silent_connection_holds_is_small() {
        assert!(size_of::<Giving>() <= 16, "{}", size_of::<Giving>());
        assert!(size_of::<Socket>() <= 104, "{}", size_of::<Socket>());
        assert!(size_of::<Session>() <= 352, "{}", size_of::<Session>());
        assert!(size_of::<Feed>() <= 8, "{}", size_of::<Feed>());
    }
}
