//! A Luau application: loaded once a worker, answering requests and connections.

use std::cell::RefCell;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::task::{Context, Waker};
use std::time::Duration;

use mlua::{Function, Table, Value};

use super::arguments::kind;
use super::call::{self, RequestCall};
use super::context::{self, AppContext, Mode};
use super::fault::{Fault, waiting_trace};
use super::form;
use super::limits::Limits;
use super::modules::{self, json};
use super::passage::Passage;
use super::reply::Reply;
use super::request::{self, ActiveRequests, ScriptRequest, Wrappers};
use super::require;
use super::services::Services;
use super::source::{Source, SourceError};
use super::step::StepKind;
use super::vm::{Stepped, Vm};
use super::websocket::taken;
use crate::reactor::timeout;
use crate::request::{Answer, Connection, Handler, Request, RequestId, Response};
use crate::telemetry::Level;
use crate::websocket::Sessions;

/// How long loading an application, its `init` included, may wait.
const LOAD_TIMEOUT: Duration = Duration::from_secs(30);

/// Why an application cannot be loaded.
#[derive(Debug)]
pub enum ScriptError {
    /// There is no `main.luau` (or `init.luau`), or not the file.
    NoEntry,
    /// A file cannot be read.
    Source(SourceError),
    /// The code does not compile or raised an error.
    Fault(Box<Fault>),
    /// The application is not what an application is; says how.
    Shape(String),
    /// Loading waited too long.
    TimedOut,
}

impl fmt::Display for ScriptError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ScriptError::NoEntry => f.write_str("there is no main.luau"),
            ScriptError::Source(error) => error.fmt(f),
            ScriptError::Fault(fault) => fault.fmt(f),
            ScriptError::Shape(how) => f.write_str(how),
            ScriptError::TimedOut => write!(f, "loading waited for longer than {} seconds", LOAD_TIMEOUT.as_secs()),
        }
    }
}

impl std::error::Error for ScriptError {}

/// A loaded application. It lives until its last request has ended.
pub struct ScriptApp {
    pub(super) context: Rc<AppContext>,
    pub(super) active: Rc<ActiveRequests>,
    request: Option<Function>,
    connection: Option<Function>,
    pub(super) websocket: Option<Function>,
    websocket_accept: Option<Function>,
    protocols: Vec<String>,
    /// Makes the object of a request.
    object: Function,
    drain: Option<Function>,
    /// `debug.traceback`.
    traceback: Function,
    streamed: Streamed,
    pub(super) passage: Passage,
    last_fault: RefCell<Option<Fault>>,
    // Last: the values above belong to it.
    pub(super) vm: Rc<Vm>,
}

/// The paths whose forms the application reads itself.
enum Streamed {
    None,
    All,
    Below(Vec<String>),
}

impl Streamed {
    fn of(value: &Value) -> Result<Streamed, ScriptError> {
        match value {
            Value::Nil | Value::Boolean(false) => Ok(Streamed::None),
            Value::Boolean(true) => Ok(Streamed::All),
            Value::Table(paths) => {
                let paths: mlua::Result<Vec<String>> = paths.sequence_values().collect();
                paths.map(Streamed::Below).map_err(|_| ScriptError::Shape("app.stream is true or a list of paths".to_owned()))
            }
            other => Err(ScriptError::Shape(format!("app.stream is true or a list of paths, not a {}", kind(other)))),
        }
    }

    fn contains(&self, path: &str) -> bool {
        match self {
            Streamed::None => false,
            Streamed::All => true,
            Streamed::Below(paths) => paths.iter().any(|below| {
                path.strip_prefix(below.as_str()).is_some_and(|rest| rest.is_empty() || rest.starts_with('/') || below.ends_with('/'))
            }),
        }
    }
}

impl ScriptApp {
    /// Loads an application: compiles and runs its files, then its `init` with `config`. In a reactor's task.
    ///
    /// # Errors
    /// [`ScriptError`].
    pub async fn load(
        name: &str,
        source: Source,
        config: &serde_json::Value,
        limits: Limits,
        services: Services,
        mode: Mode,
    ) -> Result<Rc<ScriptApp>, ScriptError> {
        let context = AppContext::new(name, mode, limits, Arc::new(source), services);
        match timeout(LOAD_TIMEOUT, Self::load_into(&context, config)).await {
            Ok(result) => result,
            Err(_) => Err(ScriptError::TimedOut),
        }
    }

    async fn load_into(context: &Rc<AppContext>, config: &serde_json::Value) -> Result<Rc<ScriptApp>, ScriptError> {
        let (entry, text) = context.source.entry().map_err(ScriptError::Source)?.ok_or(ScriptError::NoEntry)?;
        let fault = |error: mlua::Error| ScriptError::Fault(Box::new(context.fault(&error)));
        let vm = Rc::new(Vm::new(&context.name, &context.limits, context.mode == Mode::Production).map_err(fault)?);
        context.set_vm(&vm);
        let active = Rc::new(ActiveRequests::default());
        let (modules, wrap, passage) = prepare(&vm, context, &active).map_err(fault)?;
        let lua = vm.lua().clone();
        let load = Box::pin(async { modules.file(&lua, &entry, &text, "").await });
        let value = Stepped::new(&vm, StepKind::Load, entry.as_bytes(), load).await.map_err(fault)?;
        let Value::Table(table) = value else {
            return Err(ScriptError::Shape(format!("{entry} returns a {}, where it should return its table of handlers", kind(&value))));
        };
        if let Some(init) = handler(&table, "init")? {
            let config = json::from_config(&lua, config).map_err(fault)?;
            let config = if config.is_null() { Value::Table(lua.create_table().map_err(fault)?) } else { config };
            Stepped::new(&vm, StepKind::Load, b"init", init.call_async::<()>(config)).await.map_err(fault)?;
        }
        let wrapped =
            |name: &str, wrap: &Function| handler(&table, name)?.map(|handle| wrap.call::<Function>(handle)).transpose().map_err(fault);
        let request = wrapped("request", &wrap.handler)?;
        let websocket_accept = wrapped("websocket_accept", &wrap.decider)?;
        let app = Rc::new(ScriptApp {
            context: context.clone(),
            active,
            request,
            connection: handler(&table, "connection")?,
            websocket: handler(&table, "websocket")?,
            websocket_accept,
            protocols: protocols(&table)?,
            object: wrap.object,
            drain: handler(&table, "drain")?,
            traceback: lua.globals().get::<Table>("debug").and_then(|debug| debug.get("traceback")).map_err(fault)?,
            streamed: Streamed::of(&table.get("stream").map_err(fault)?)?,
            passage,
            last_fault: RefCell::new(None),
            vm,
        });
        let weak: Weak<ScriptApp> = Rc::downgrade(&app);
        context.set_handler(weak);
        Ok(app)
    }

    /// The application's name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.context.name
    }

    /// The files read so far, to be watched.
    #[must_use]
    pub fn files_read(&self) -> Vec<std::path::PathBuf> {
        self.context.source.files_read()
    }

    /// Bytes that the VM uses.
    #[must_use]
    pub fn memory(&self) -> usize {
        self.vm.lua().used_memory()
    }

    /// Requests whose handlers are at work.
    #[must_use]
    pub fn requests(&self) -> usize {
        self.active.len()
    }

    /// The last error that nobody caught.
    #[must_use]
    pub fn last_fault(&self) -> Option<Fault> {
        self.last_fault.borrow().clone()
    }

    /// Whether the application serves raw connections.
    #[must_use]
    pub fn takes_connections(&self) -> bool {
        self.connection.is_some()
    }

    /// The first of the offered subprotocols that the application speaks.
    pub(super) fn choose_protocol<'a>(&self, mut offered: impl Iterator<Item = &'a str>) -> Option<String> {
        offered.find(|name| self.protocols.iter().any(|known| known == name)).map(str::to_owned)
    }

    /// A request as scripts see it, and its number among the active ones, which whoever asked removes.
    pub(super) fn show(&self, request: &Rc<ScriptRequest>) -> mlua::Result<(Table, f64)> {
        let number = self.active.insert(request.clone());
        let path = request::decoded_path(request.raw_path());
        let shown = match self.passage.put(number, &request.head.method, &path) {
            Ok(()) => self.object.call::<Table>(()),
            Err(arguments) => self.object.call(arguments),
        };
        match shown {
            Ok(table) => Ok((table, number)),
            Err(error) => {
                self.active.remove(number);
                Err(error)
            }
        }
    }

    pub(super) fn remember(&self, fault: &Fault) {
        self.last_fault.replace(Some(fault.clone()));
    }

    /// Ends timers, and waits until the application's tasks have ended, at most for `limit`; then they are cancelled. For code that was replaced,
    /// and for a worker that goes.
    pub async fn retire(&self, limit: Duration) {
        self.context.retire();
        if timeout(limit, self.context.scope.wait()).await.is_err() {
            self.context.scope.cancel().await;
        }
    }
}

/// Sets what scripts find among the globals, and seals them. Gives the loader, the function that wraps request handlers, and the way of its texts.
fn prepare(vm: &Rc<Vm>, context: &Rc<AppContext>, active: &Rc<ActiveRequests>) -> mlua::Result<(Rc<require::Modules>, Wrappers, Passage)> {
    let lua = vm.lua();
    lua.set_app_data(context.clone());
    let modules = require::install(lua, context)?;
    lua.globals().raw_set("print", modules::log::writer(lua, context, Level::Info)?)?;
    let (wrap, passage) = request::install(lua, context, active)?;
    vm.seal()?;
    Ok((modules, wrap, passage))
}

/// The subprotocols that the application speaks.
fn protocols(table: &Table) -> Result<Vec<String>, ScriptError> {
    table
        .get::<Option<Vec<String>>>("websocket_protocols")
        .map(Option::unwrap_or_default)
        .map_err(|_| ScriptError::Shape("app.websocket_protocols is a list of names".to_owned()))
}

fn handler(table: &Table, name: &str) -> Result<Option<Function>, ScriptError> {
    match table.get::<Value>(name) {
        Ok(Value::Nil) => Ok(None),
        Ok(Value::Function(function)) => Ok(Some(function)),
        Ok(other) => Err(ScriptError::Shape(format!("app.{name} is a function, not a {}", kind(&other)))),
        Err(error) => Err(ScriptError::Shape(format!("app.{name}: {error}"))),
    }
}

impl Handler for ScriptApp {
    fn request(self: Rc<Self>, request: Request) -> Answer {
        let Some(function) = &self.request else {
            return Answer::Now(Response::error(404, "this application takes no requests"));
        };
        let request = Rc::new(ScriptRequest::new(request));
        let reads_form = !request.body().is_empty()
            && form::is_form(&request.head)
            && !self.streamed.contains(&request::decoded_path(request.raw_path()));
        if reads_form {
            let app = self.clone();
            return Answer::Later(Box::pin(async move {
                if let Err(failure) = form::read(&request).await {
                    return Response::error(failure.status(), &failure.to_string());
                }
                let Some(function) = &app.request else { return Response::error(500, "") };
                let call = RequestCall::new(app.clone(), request, function);
                call::respond(call).await
            }));
        }
        let mut call = RequestCall::new(self.clone(), request, function);
        // Most handlers never wait: then no future is made. One that does is polled again at once by whoever takes the answer.
        match call.poll_reply(&mut Context::from_waker(Waker::noop())) {
            Some(Reply::Response(response)) => Answer::Now(response),
            Some(reply) => Answer::Later(Box::pin(call::finish(reply, call))),
            None => Answer::Later(Box::pin(call::respond(call))),
        }
    }

    fn websocket(self: Rc<Self>, request: Request, sessions: &Rc<Sessions>) -> Answer {
        if self.websocket.is_none() {
            return self.request(request);
        }
        if let Some(response) = taken::refused(&request.head, sessions) {
            return Answer::Now(response);
        }
        // The head's buffers are shared by all requests and larger than one of them: what lives long takes a copy of its own size.
        let head = request.head.clone();
        let request = Rc::new(ScriptRequest::new(Request { head, ..request }));
        match self.websocket_accept.clone() {
            None => Answer::Now(taken::accept(&self, request, sessions)),
            Some(decide) => Answer::Later(Box::pin(taken::ask(self, request, decide, sessions.clone()))),
        }
    }

    fn connection(self: Rc<Self>, connection: Connection) -> Pin<Box<dyn Future<Output = ()>>> {
        Box::pin(async move {
            let Some(function) = &self.connection else { return };
            let peer = connection.origin.peer.to_string();
            let connection = match modules::net::accepted(self.vm.lua(), connection) {
                Ok(connection) => connection,
                Err(error) => return self.context.report("connection", &self.context.fault(&error)),
            };
            let call = Stepped::new(&self.vm, StepKind::Connection, peer.as_bytes(), function.call_async::<()>(&connection));
            if let Err(error) = call.await {
                let fault = self.context.fault(&error);
                self.context.report("connection", &fault);
                self.remember(&fault);
            }
            // A script that keeps the object past its handler keeps a closed one.
            modules::net::close(&connection);
        })
    }

    fn trace(&self, id: RequestId) -> Option<String> {
        let request = self.active.with_id(id)?;
        let thread = request.used()?.suspended.borrow().clone()?;
        // Only a native function could fail here, and then there is no trace.
        let trace: String = self.traceback.call(thread).ok()?;
        Some(waiting_trace(&trace, &self.context.name))
    }

    fn drain(self: Rc<Self>) -> Pin<Box<dyn Future<Output = ()>>> {
        self.context.retire();
        Box::pin(async move {
            let Some(drain) = &self.drain else { return };
            if let Err(error) = context::call(&self.vm, StepKind::Task, "drain", drain, ()).await {
                self.context.report("drain", &self.context.fault(&error));
            }
        })
    }
}

#[cfg(test)]
mod tests;
