//! WebSocket connections in the hands of a script: taken by the application, or made by `@skep/websocket`.

use std::cell::{Cell, RefCell};
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::rc::{Rc, Weak};
use std::time::Duration;

use mlua::{Function, IntoLua, Lua, LuaString, Table, UserData, UserDataFields, UserDataMethods, Value};

use super::app::ScriptApp;
use super::arguments::{Options, kind};
use super::call::{Progress, RequestCall};
use super::context::AppContext;
use super::gauge::Permit;
use super::reply::{self, Reply};
use super::request::{self, ScriptRequest};
use super::step::StepKind;
use super::vm::Stepped;
use crate::codec::http::RequestHead;
use crate::codec::websocket::deflate::{self, Agreement};
use crate::codec::websocket::handshake::{self, Refusal};
use crate::codec::websocket::{Kind, Role, close};
use crate::reactor::timeout;
use crate::request::{Response, ResponseBody, ResponseFields, Upgraded};
use crate::websocket::config::Settings;
use crate::websocket::{Message, Session, Sessions};

/// What the application has decided about an upgrade.
#[derive(Default)]
struct Accepted {
    protocol: Option<String>,
    fields: ResponseFields,
}

/// The answer to a request that cannot become a WebSocket, whatever the application thinks of it.
pub(super) fn refused(head: &RequestHead, sessions: &Sessions) -> Option<Response> {
    if sessions.is_draining() {
        return Some(Response::error(503, "this worker is about to go; try again"));
    }
    let refusal = match handshake::check(head) {
        Ok(()) if handshake::may_connect(head, &sessions.settings().origins) => return None,
        Ok(()) => Refusal::Origin,
        Err(refusal) => refusal,
    };
    let mut response = Response::error(refusal.status(), &refusal.to_string());
    if refusal == Refusal::Version {
        response.fields.push_static("Sec-WebSocket-Version", handshake::VERSION);
        response.fields.push_static("Upgrade", "websocket");
    }
    Some(response)
}

/// Answers an upgrade for an application without `websocket_accept`.
pub(super) fn accept(app: &Rc<ScriptApp>, request: &Rc<ScriptRequest>, sessions: &Rc<Sessions>) -> Response {
    upgrade(app, request, sessions, Accepted::default())
}

/// Asks the application's `websocket_accept` first.
pub(super) async fn ask(app: Rc<ScriptApp>, request: Rc<ScriptRequest>, decide: Function, sessions: Rc<Sessions>) -> Response {
    let mut call = RequestCall::new(app.clone(), request.clone(), &decide);
    let progress = poll_fn(|cx| match call.advance(cx) {
        Progress::Waits => std::task::Poll::Pending,
        progress => std::task::Poll::Ready(progress),
    });
    let returned = match progress.await {
        Progress::Ended(Ok(returned)) => returned,
        Progress::Ended(Err(error)) => return call.failed(&error),
        _ => return Response::error(403, ""),
    };
    let is_accepted = returned.1.as_i64() == Some(101);
    if !is_accepted {
        return match reply::convert(returned, &request, &app.passage) {
            Ok(Reply::Response(response)) => response,
            Ok(reply) => super::call::finish(reply, call).await,
            Err(error) => call.failed(&error),
        };
    }
    match accepted(&returned.0, &returned.2, &request.head) {
        Ok(accepted) => {
            drop(call);
            upgrade(&app, &request, &sessions, accepted)
        }
        Err(error) => call.failed(&error),
    }
}

/// What `websocket_accept` gave, as far as it is allowed.
fn accepted(protocol: &Value, headers: &Value, head: &RequestHead) -> mlua::Result<Accepted> {
    let mut accepted = Accepted::default();
    match protocol {
        Value::Nil => {}
        Value::String(name) => {
            let name = name.to_str()?.to_owned();
            if !handshake::protocols(&head.fields).any(|offered| offered == name) {
                return Err(mlua::Error::runtime(format!("websocket_accept: the client does not offer the subprotocol {name}")));
            }
            accepted.protocol = Some(name);
        }
        other => return Err(mlua::Error::runtime(format!("websocket_accept: the subprotocol is a string, not a {}", kind(other)))),
    }
    match headers {
        Value::Nil => {}
        Value::Table(table) => {
            reply::headers(Some(table), &mut accepted.fields)?;
        }
        other => return Err(mlua::Error::runtime(format!("websocket_accept: the headers are a table, not a {}", kind(other)))),
    }
    Ok(accepted)
}

/// The answer 101, behind which the application goes on with the connection.
fn upgrade(app: &Rc<ScriptApp>, request: &Rc<ScriptRequest>, sessions: &Rc<Sessions>, accepted: Accepted) -> Response {
    let permit = match app.context.sockets.take() {
        Ok(permit) => permit,
        Err(exhausted) => return Response::error(503, &exhausted.to_string()),
    };
    let head = &request.head;
    let settings = sessions.settings();
    let mut response = Response { status: 101, fields: accepted.fields, ..Response::default() };
    let protocol = accepted.protocol.or_else(|| app.choose_protocol(handshake::protocols(&head.fields)));
    let compression = settings.compression.then(|| deflate::accept(head.fields.get_all("sec-websocket-extensions"))).flatten();
    response.fields.push_static("Upgrade", "websocket");
    let mut fields = vec![("Sec-WebSocket-Accept", handshake::accept(handshake::key(head)))];
    fields.extend(protocol.clone().map(|name| ("Sec-WebSocket-Protocol", name)));
    let (agreement, extension) = compression.unzip();
    fields.extend(extension.map(|text| ("Sec-WebSocket-Extensions", text)));
    for (name, value) in fields {
        if response.fields.push(name, value).is_err() {
            return Response::error(500, "a field of the upgrade cannot be sent");
        }
    }
    let connection =
        Taken { app: app.clone(), request: request.clone(), sessions: sessions.clone(), settings, agreement, protocol, permit };
    response.body = ResponseBody::Upgrade(Box::new(move |upgraded| Box::pin(connection.serve(upgraded))));
    response
}

/// An upgrade that is decided.
struct Taken {
    app: Rc<ScriptApp>,
    request: Rc<ScriptRequest>,
    sessions: Rc<Sessions>,
    settings: Rc<Settings>,
    agreement: Option<Agreement>,
    protocol: Option<String>,
    permit: Permit,
}

impl Taken {
    fn serve(self, upgraded: Upgraded) -> impl Future<Output = ()> {
        let Self { app, request, sessions, settings, agreement, protocol, permit } = self;
        let Upgraded { stream, early, place } = upgraded;
        let session = Session::new(stream, &early, Role::Server, agreement, settings);
        let member = sessions.enter(session.clone());
        let socket = Rc::new(Socket::new("websocket", session, protocol));
        socket.request.replace(Some((Rc::downgrade(&app), request)));
        async move {
            let _held = (member, permit, place);
            let app = app;
            run(&app, &socket).await;
        }
    }
}

/// Runs the application's handler on a connection until both have ended.
async fn run(app: &Rc<ScriptApp>, socket: &Rc<Socket>) {
    let Some(handler) = &app.websocket else { return };
    let ws = match app.vm.lua().create_userdata(WebSocketHandle(socket.clone())) {
        Ok(ws) => ws,
        Err(error) => return app.context.report("websocket", &app.context.fault(&error)),
    };
    let path = socket.path();
    let mut call = Stepped::new(&app.vm, StepKind::WebSocket, path.as_bytes(), handler.call_async::<()>(&ws));
    let handling = async {
        let result = poll_fn(|cx| {
            socket.tell_end(&app.context);
            std::pin::Pin::new(&mut call).poll(cx)
        })
        .await;
        if let Err(error) = result {
            let fault = app.context.fault(&error);
            app.context.report(&format!("websocket {path}"), &fault);
            app.remember(&fault);
            socket.session.close(close::INTERNAL, "the application failed");
        }
    };
    socket.session.serve(handling).await;
    socket.tell_end(&app.context);
    socket.forget(&app.active);
}

/// A connection as a script holds it.
pub(super) struct Socket {
    module: &'static str,
    pub(super) session: Rc<Session>,
    protocol: Option<String>,
    /// The request it came by, of a connection that the application has taken.
    request: RefCell<Option<(Weak<ScriptApp>, Rc<ScriptRequest>)>>,
    /// The same as the script sees it, and its number among the active ones.
    shown: RefCell<Option<(Table, f64)>>,
    onclose: RefCell<Option<Function>>,
    told: Cell<bool>,
    receiving: Cell<bool>,
}

impl Socket {
    pub(super) fn new(module: &'static str, session: Rc<Session>, protocol: Option<String>) -> Self {
        Self {
            module,
            session,
            protocol,
            request: RefCell::default(),
            shown: RefCell::default(),
            onclose: RefCell::default(),
            told: Cell::new(false),
            receiving: Cell::new(false),
        }
    }

    fn path(&self) -> String {
        self.request.borrow().as_ref().map(|(_, request)| request.head.path().to_owned()).unwrap_or_default()
    }

    fn fail(&self, what: impl std::fmt::Display) -> mlua::Error {
        mlua::Error::runtime(format!("{}: {what}", self.module))
    }

    /// Calls `onclose` when the connection has ended, once.
    pub(super) fn tell_end(&self, app: &AppContext) {
        if self.told.get() {
            return;
        }
        let Some(close) = self.session.ended() else { return };
        self.told.set(true);
        if let Some(function) = self.onclose.take() {
            app.spawn(StepKind::WebSocket, "onclose", function, (close.code, close.reason));
        }
    }

    /// Lets go of what belongs to the VM, so that an object kept by the script keeps nothing else.
    fn forget(&self, active: &request::ActiveRequests) {
        self.onclose.take();
        if let Some((_, number)) = self.shown.take() {
            active.remove(number);
        }
        self.request.take();
    }

    fn request(&self) -> mlua::Result<Value> {
        if let Some((table, _)) = &*self.shown.borrow() {
            return Ok(Value::Table(table.clone()));
        }
        let Some((app, request)) = self.request.borrow().clone() else { return Ok(Value::Nil) };
        let Some(app) = app.upgrade() else { return Ok(Value::Nil) };
        let (table, number) = app.show(&request)?;
        self.shown.replace(Some((table.clone(), number)));
        Ok(Value::Table(table))
    }

    /// The next message, within a time limit.
    async fn receive(&self, limit: Option<Duration>) -> mlua::Result<Result<Message, &'static str>> {
        if self.receiving.replace(true) {
            return Err(self.fail("another coroutine is receiving"));
        }
        let _receiving = Receiving(&self.receiving);
        let receiving = pin!(self.session.receive());
        let message = match limit {
            Some(limit) => match timeout(limit, receiving).await {
                Ok(message) => message,
                Err(_) => return Ok(Err("timeout")),
            },
            None => receiving.await,
        };
        Ok(message.ok_or("closed"))
    }

    fn send(&self, kind: Kind, data: &LuaString) -> mlua::Result<bool> {
        let data = data.as_bytes();
        if kind == Kind::Text && std::str::from_utf8(&data).is_err() {
            return Err(self.fail("a text message is UTF-8; send_binary takes any bytes"));
        }
        Ok(self.session.send(kind, &data).is_ok())
    }
}

/// One coroutine at a time.
struct Receiving<'a>(&'a Cell<bool>);

impl Drop for Receiving<'_> {
    fn drop(&mut self) {
        self.0.set(false);
    }
}

/// A message and what it is; or nil and why there is none.
fn given(lua: &Lua, received: Result<Message, &'static str>) -> mlua::Result<(Value, &'static str)> {
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
pub(super) struct WebSocketHandle(pub(super) Rc<Socket>);

impl UserData for WebSocketHandle {
    fn add_fields<F: UserDataFields<Self>>(fields: &mut F) {
        fields.add_field_method_get("request", |_, this| this.0.request());
        fields.add_field_method_get("protocol", |lua, this| this.0.protocol.as_ref().map(|name| lua.create_string(name)).transpose());
        fields.add_field_method_get("waiting", |_, this| Ok(this.0.session.waiting()));
        fields.add_field_method_get("closed", |lua, this| {
            let Some(close) = this.0.session.ended() else { return Ok(None) };
            let table = lua.create_table()?;
            table.raw_set("code", close.code)?;
            table.raw_set("reason", close.reason)?;
            Ok(Some(table))
        });
        fields.add_field_method_get("onclose", |_, this| Ok(this.0.onclose.borrow().clone()));
        fields.add_field_method_set("onclose", |_, this, function: Option<Function>| {
            this.0.onclose.replace(function);
            Ok(())
        });
    }

    fn add_methods<M: UserDataMethods<Self>>(methods: &mut M) {
        methods.add_async_method("receive", |lua, this, options: Options| {
            let socket = this.0.clone();
            async move {
                options.only(&["timeout"])?;
                let limit = options.get::<super::arguments::Span>("timeout")?.map(|span| span.0);
                given(&lua, socket.receive(limit).await?)
            }
        });
        methods.add_method("messages", |lua, this, ()| {
            let socket = this.0.clone();
            lua.create_async_function(move |lua, _: mlua::MultiValue| {
                let socket = socket.clone();
                async move { given(&lua, socket.receive(None).await?) }
            })
        });
        methods.add_method("send", |_, this, text: LuaString| this.0.send(Kind::Text, &text));
        methods.add_method("send_binary", |_, this, bytes: LuaString| this.0.send(Kind::Binary, &bytes));
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
