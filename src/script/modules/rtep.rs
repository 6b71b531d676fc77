//! `@skep/rtep`: groups and operations of RTEP servers, and clients of others.

use std::any::Any;
use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::{Rc, Weak};
use std::time::Duration;

use bytes::Bytes;
use event_listener::Event;
use mlua::{Function, IntoLuaMulti, Lua, Table, UserData, UserDataFields, UserDataMethods, Value};
use serde_json::Map;

use super::{AppContext, json};
use crate::rtep::{Group, Hear, Local, News, Operation, Registration, Remote, Session, Subscribed};
use crate::script::arguments::Options;
use crate::script::feed::{Feed, call_with_each};
use crate::script::gauge::Permit;
use crate::script::step::StepKind;
use crate::script::vm::Stepped;

/// How long a call to another server may take if nothing else is said.
const PATIENCE: Duration = Duration::from_secs(10);
/// News that may wait for a function that is slower than they come.
const MOST_WAITING: usize = 1000;

type Members = Map<String, serde_json::Value>;

pub(super) fn open(lua: &Lua, app: &Rc<AppContext>) -> mlua::Result<Table> {
    let module = lua.create_table()?;
    let context = app.clone();
    module.raw_set(
        "group",
        lua.create_function(move |_, (name, group): (String, Table)| {
            let calls = Calls { app: context.clone(), place: format!("group {name}") };
            let group = Calling { calls, add: group.get("add")?, remove: group.get("remove")? };
            register(&context, || context.services.rtep.add_group(&name, Rc::new(group)))
        })?,
    )?;
    let context = app.clone();
    module.raw_set(
        "operation",
        lua.create_function(move |_, (name, function): (String, Function)| {
            let calls = Calls { app: context.clone(), place: format!("operation {name}") };
            register(&context, || context.services.rtep.add_operation(&name, Rc::new(Called { calls, function })))
        })?,
    )?;
    let context = app.clone();
    module.raw_set(
        "client",
        lua.create_function(move |_, name: String| {
            let remote = context.services.rtep.remote(&name);
            let remote = remote.ok_or_else(|| fail(format_args!("there is no client `{name}` of the kind Rtep in the configuration")));
            Ok(ClientHandle { remote: remote?, app: context.clone() })
        })?,
    )?;
    Ok(module)
}

fn fail(what: impl std::fmt::Display) -> mlua::Error {
    mlua::Error::runtime(format!("rtep: {what}"))
}

/// Keeps a registration for as long as the application's code counts.
fn register(app: &Rc<AppContext>, register: impl FnOnce() -> Registration) -> mlua::Result<()> {
    if app.handler().is_some() {
        return Err(fail("groups and operations are registered while the application loads, so that every worker has them"));
    }
    if crate::reactor::is_running() {
        let (registration, context) = (register(), app.clone());
        app.scope.spawn(async move {
            context.until_retired().await;
            drop(registration);
        });
    }
    Ok(())
}

/// Calls functions of the application.
#[derive(Clone)]
struct Calls {
    app: Rc<AppContext>,
    place: String,
}

impl Calls {
    /// The function's result. An error is logged; who asked is told only that there was one.
    async fn call(
        &self,
        function: &Function,
        arguments: impl FnOnce(&Lua) -> mlua::Result<mlua::MultiValue>,
    ) -> Result<(Value, Lua), String> {
        let vm = self.app.vm().ok_or("the application has ended")?;
        let result = match arguments(vm.lua()) {
            Ok(arguments) => Stepped::new(&vm, StepKind::Task, self.place.as_bytes(), function.call_async::<Value>(arguments)).await,
            Err(error) => Err(error),
        };
        match result {
            Ok(value) => Ok((value, vm.lua().clone())),
            Err(error) => {
                self.app.report(&self.place, &self.app.fault(&error));
                Err("the application failed".to_owned())
            }
        }
    }
}

/// A group of an application.
struct Calling {
    calls: Calls,
    add: Option<Function>,
    remove: Option<Function>,
}

fn arguments(lua: &Lua, subscribed: Subscribed) -> mlua::Result<mlua::MultiValue> {
    let arguments = decode(lua, &subscribed.arguments.into())?;
    (SessionHandle::new(&subscribed.session), arguments, subscribed.name).into_lua_multi(lua)
}

impl Group for Calling {
    fn add(&self, subscribed: Subscribed) -> Local<Result<(), String>> {
        let (calls, add) = (self.calls.clone(), self.add.clone());
        Box::pin(async move {
            let Some(add) = add else { return Ok(()) };
            match calls.call(&add, |lua| arguments(lua, subscribed)).await? {
                (Value::Boolean(false), _) => Err("the application refused the subscription".to_owned()),
                _ => Ok(()),
            }
        })
    }

    fn remove(&self, subscribed: Subscribed) -> Local<()> {
        let (calls, remove) = (self.calls.clone(), self.remove.clone());
        Box::pin(async move {
            if let Some(remove) = remove {
                // What went wrong is in the log, and nobody waits for a result.
                let _ = calls.call(&remove, |lua| arguments(lua, subscribed)).await;
            }
        })
    }
}

/// An operation of an application.
struct Called {
    calls: Calls,
    function: Function,
}

impl Operation for Called {
    fn call(&self, session: Rc<dyn Session>, fields: Members) -> Local<Result<Members, String>> {
        let (calls, function) = (self.calls.clone(), self.function.clone());
        Box::pin(async move {
            let arguments = |lua: &Lua| (SessionHandle::new(&session), decode(lua, &fields.into())?).into_lua_multi(lua);
            let (value, lua) = calls.call(&function, arguments).await?;
            members(&lua, &value).map_err(|error| {
                calls.app.report(&calls.place, &calls.app.fault(&error));
                "the application failed".to_owned()
            })
        })
    }
}

fn decode(lua: &Lua, value: &serde_json::Value) -> mlua::Result<Value> {
    json::decode(lua, value.to_string().as_bytes())
}

/// A table as the members of a request or response.
fn members(lua: &Lua, value: &Value) -> mlua::Result<Members> {
    if value.is_nil() {
        return Ok(Members::new());
    }
    match serde_json::from_slice(&json::encode(lua, value)?) {
        Ok(serde_json::Value::Object(members)) => Ok(members),
        // An empty table may be a list or not.
        Ok(serde_json::Value::Array(list)) if list.is_empty() => Ok(Members::new()),
        _ => Err(fail("a request and a response have members by name")),
    }
}

/// A connection in the hands of a script. It does not keep the connection open: a script may keep it for as long as it likes.
struct SessionHandle {
    id: u64,
    address: String,
    session: Weak<dyn Session>,
}

impl SessionHandle {
    fn new(session: &Rc<dyn Session>) -> Self {
        Self { id: session.id(), address: session.peer().to_string(), session: Rc::downgrade(session) }
    }
}

impl UserData for SessionHandle {
    fn add_fields<F: UserDataFields<Self>>(fields: &mut F) {
        fields.add_field_method_get("id", |_, this| Ok(this.id as f64));
        fields.add_field_method_get("address", |_, this| Ok(this.address.clone()));
    }

    fn add_methods<M: UserDataMethods<Self>>(methods: &mut M) {
        methods.add_method("send", |lua, this, (name, value): (String, Value)| {
            let data = Bytes::from(json::encode(lua, &value)?);
            Ok(this.session.upgrade().is_some_and(|session| session.send(&name, data)))
        });
        methods.add_method("close", |_, this, ()| {
            if let Some(session) = this.session.upgrade() {
                session.close();
            }
            Ok(())
        });
    }
}

/// A client in the hands of a script.
#[derive(Clone)]
struct ClientHandle {
    remote: Rc<dyn Remote>,
    app: Rc<AppContext>,
}

fn patience(options: &Options) -> mlua::Result<Duration> {
    options.only(&["timeout"])?;
    if !crate::reactor::is_running() {
        return Err(fail("nobody is connected to while a configuration is checked"));
    }
    options.span("timeout", PATIENCE)
}

impl UserData for ClientHandle {
    fn add_methods<M: UserDataMethods<Self>>(methods: &mut M) {
        methods.add_async_method("request", |lua, this, (op, value, options): (String, Value, Options)| {
            let remote = this.remote.clone();
            async move {
                let asked = remote.request(&op, members(&lua, &value)?, patience(&options)?);
                decode(&lua, &asked.await.map_err(fail)?.into())
            }
        });
        methods.add_async_method("publish", |lua, this, (name, value, options): (String, Value, Options)| {
            let remote = this.remote.clone();
            async move {
                let data = Bytes::from(json::encode(&lua, &value)?);
                remote.publish(&name, data, patience(&options)?).await.map_err(fail)
            }
        });
        methods.add_method("subscribe", |lua, this, (name, function): (String, Function)| subscribe(lua, this, &name, function));
    }
}

/// News on their way to a function.
#[derive(Default)]
struct Waiting {
    news: RefCell<VecDeque<News>>,
    dropped: Cell<u64>,
    came: Event,
    subscription: RefCell<Option<Box<dyn Any>>>,
    is_closed: Cell<bool>,
}

impl Waiting {
    fn push(&self, news: News) {
        let mut waiting = self.news.borrow_mut();
        if waiting.len() >= MOST_WAITING {
            waiting.pop_front();
            self.dropped.set(self.dropped.get() + 1);
        }
        waiting.push_back(news);
        self.came.notify(usize::MAX);
    }

    async fn next(&self) -> Option<News> {
        loop {
            let came = self.came.listen();
            if self.is_closed.get() {
                return None;
            }
            let dropped = self.dropped.take();
            if dropped > 0 {
                return Some(News::Missed(Some(dropped)));
            }
            if let Some(news) = self.news.borrow_mut().pop_front() {
                return Some(news);
            }
            came.await;
        }
    }

    fn close(&self) {
        self.is_closed.set(true);
        self.subscription.take();
        self.came.notify(usize::MAX);
    }
}

fn subscribe(lua: &Lua, client: &ClientHandle, name: &str, function: Function) -> mlua::Result<SubscriptionHandle> {
    let app = client.app.clone();
    let permit = app.subscriptions.take().map_err(fail)?;
    if !crate::reactor::is_running() {
        return Err(fail("nothing can be subscribed to while a configuration is checked"));
    }
    let waiting = Rc::new(Waiting::default());
    let weak = Rc::downgrade(&waiting);
    let hear: Hear = Rc::new(move |news| {
        if let Some(waiting) = weak.upgrade() {
            waiting.push(news);
        }
    });
    waiting.subscription.replace(Some(client.remote.subscribe(name, hear)));
    let handle = SubscriptionHandle(waiting.clone());
    call_with_each(lua, &app, Newspaper { name: name.to_owned(), waiting, _permit: permit }, function)?;
    Ok(handle)
}

/// What a subscription brings, under its name.
struct Newspaper {
    name: String,
    waiting: Rc<Waiting>,
    _permit: Permit,
}

impl Feed for Newspaper {
    async fn next(&self, lua: &Lua) -> Option<mlua::Result<Table>> {
        Some(table(lua, &self.name, &self.waiting.next().await?))
    }

    fn close(&self) {
        self.waiting.close();
    }
}

fn table(lua: &Lua, name: &str, news: &News) -> mlua::Result<Table> {
    let table = lua.create_table()?;
    match news {
        News::Event(event) => {
            table.raw_set("kind", "event")?;
            table.raw_set("name", event.get("name").and_then(serde_json::Value::as_str))?;
            table.raw_set("data", json::decode(lua, serde_json::to_string(&**event).map_err(mlua::Error::external)?.as_bytes())?)?;
        }
        News::Missed(count) => {
            table.raw_set("kind", "missed")?;
            table.raw_set("name", name)?;
            table.raw_set("count", count.map(|count| count as f64))?;
        }
    }
    Ok(table)
}

/// A subscription in the hands of a script.
struct SubscriptionHandle(Rc<Waiting>);

impl UserData for SubscriptionHandle {
    fn add_methods<M: UserDataMethods<Self>>(methods: &mut M) {
        methods.add_method("close", |_, this, ()| {
            this.0.close();
            Ok(())
        });
    }
}
