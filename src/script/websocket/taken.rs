//! Upgrades of the application's clients, and running its handler on them.

use std::any::Any;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use mlua::function::AsyncCallFuture;
use mlua::{BString, Function, Value};

use super::handle::{Socket, WebSocketHandle};
use crate::codec::http::RequestHead;
use crate::codec::websocket::deflate::{self, Agreement};
use crate::codec::websocket::handshake::{self, Refusal};
use crate::codec::websocket::{Role, close};
use crate::request::{Response, ResponseBody, ResponseFields, Upgraded};
use crate::script::app::ScriptApp;
use crate::script::arguments::kind;
use crate::script::call::{self, Progress, RequestCall};
use crate::script::gauge::Permit;
use crate::script::lifetime::Lifetime;
use crate::script::reply::{self, Reply};
use crate::script::request::ScriptRequest;
use crate::script::step::StepKind;
use crate::websocket::config::Settings;
use crate::websocket::sessions::Membership;
use crate::websocket::{Session, Sessions};

/// What the application has decided about an upgrade.
#[derive(Default)]
struct Accepted {
    protocol: Option<String>,
    fields: ResponseFields,
}

/// The answer to a request that cannot become a WebSocket, whatever the application thinks of it.
pub(in crate::script) fn refused(head: &RequestHead, sessions: &Sessions) -> Option<Response> {
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
pub(in crate::script) fn accept(app: &Rc<ScriptApp>, request: Rc<ScriptRequest>, sessions: &Rc<Sessions>) -> Response {
    upgrade(app, request, sessions, Accepted::default())
}

/// Asks the application's `websocket_accept` first.
pub(in crate::script) async fn ask(app: Rc<ScriptApp>, request: Rc<ScriptRequest>, decide: Function, sessions: Rc<Sessions>) -> Response {
    let mut asked = RequestCall::new(app.clone(), request.clone(), &decide);
    let progress = poll_fn(|cx| match asked.advance(cx) {
        Progress::Waits => Poll::Pending,
        progress => Poll::Ready(progress),
    });
    let returned = match progress.await {
        Progress::Ended(Ok(returned)) => returned,
        Progress::Ended(Err(error)) => return asked.failed(&error),
        _ => return Response::error(403, ""),
    };
    let is_accepted = returned.1.as_i64() == Some(101);
    if !is_accepted {
        return match reply::convert(returned, &request) {
            Ok(Reply::Response(response)) => response,
            Ok(reply) => call::finish(reply, asked).await,
            Err(error) => asked.failed(&error),
        };
    }
    match accepted(returned.0, &returned.2, &request.head) {
        Ok(accepted) => {
            drop(asked);
            upgrade(&app, request, &sessions, accepted)
        }
        Err(error) => asked.failed(&error),
    }
}

/// What `websocket_accept` gave, as far as it is allowed.
fn accepted(protocol: Option<BString>, headers: &Value, head: &RequestHead) -> mlua::Result<Accepted> {
    let mut accepted = Accepted::default();
    if let Some(name) = protocol {
        let name = String::from_utf8_lossy(&name).into_owned();
        if !handshake::protocols(&head.fields).any(|offered| offered == name) {
            return Err(mlua::Error::runtime(format!("websocket_accept: the client does not offer the subprotocol {name}")));
        }
        accepted.protocol = Some(name);
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
fn upgrade(app: &Rc<ScriptApp>, request: Rc<ScriptRequest>, sessions: &Rc<Sessions>, accepted: Accepted) -> Response {
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
    let connection = Taken { app: app.clone(), request, sessions: sessions.clone(), settings, agreement, protocol, permit };
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
    fn serve(self, upgraded: Upgraded) -> Serving {
        let Self { app, request, sessions, settings, agreement, protocol, permit } = self;
        let Upgraded { stream, early, place } = upgraded;
        let session = Session::new(stream, &early, Role::Server, agreement, settings);
        let member = sessions.enter(session.clone());
        let socket = Rc::new(Socket::taken(&app, request.clone(), session, protocol));
        Serving { handler: Handler::NotBegun, app, request, socket, _held: (member, permit, place) }
    }
}

/// A connection, what it holds until its end, and its handler. Every connection waits in one of these, however silent: an `async` block would be
/// twice as large.
struct Serving {
    // Dropped before `app`: it holds values of its VM.
    handler: Handler,
    app: Rc<ScriptApp>,
    request: Rc<ScriptRequest>,
    socket: Rc<Socket>,
    _held: (Membership, Permit, Box<dyn Any>),
}

/// How far the application's handler has come.
enum Handler {
    NotBegun,
    Runs(AsyncCallFuture<()>, Lifetime),
    Ended,
}

impl Future for Serving {
    type Output = ();

    /// Runs the handler until it and the connection have ended.
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let Self { app, request, socket, handler, .. } = self.get_mut();
        if matches!(handler, Handler::NotBegun) {
            match begin(app, socket) {
                Ok(begun) => *handler = begun,
                Err(error) => {
                    app.context.report("websocket", &app.context.fault(&error));
                    return Poll::Ready(());
                }
            }
        }
        let served = socket.session.poll_serve(cx, |cx| {
            let Handler::Runs(call, lifetime) = handler else { return Poll::Ready(()) };
            socket.tell_end(&app.context);
            let text = request.head.path().as_bytes();
            let result = ready!(app.vm.poll_step(StepKind::WebSocket, text, Some(lifetime), call, cx));
            *handler = Handler::Ended;
            if let Err(error) = result {
                fail(app, request, socket, &error);
            }
            Poll::Ready(())
        });
        ready!(served);
        socket.tell_end(&app.context);
        socket.forget(&app.active);
        Poll::Ready(())
    }
}

/// Calls the application's handler.
fn begin(app: &ScriptApp, socket: &Rc<Socket>) -> mlua::Result<Handler> {
    let Some(handler) = &app.websocket else { return Ok(Handler::Ended) };
    let ws = app.vm.lua().create_userdata(WebSocketHandle(socket.clone()))?;
    app.vm.count_call();
    Ok(Handler::Runs(handler.call_async::<()>(ws), Lifetime::new()))
}

fn fail(app: &ScriptApp, request: &ScriptRequest, socket: &Socket, error: &mlua::Error) {
    let fault = app.context.fault(error);
    app.context.report(&format!("websocket {}", request.head.path()), &fault);
    app.remember(&fault);
    socket.session.close(close::INTERNAL, "the application failed");
}
