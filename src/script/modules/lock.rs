//! `@skep/lock`: jobs and leases, here or at other lock servers.

use std::cell::{Cell, RefCell};
use std::rc::{Rc, Weak};
use std::time::Duration;

use event_listener::Event;
use mlua::{Function, Lua, LuaString, MultiValue, Table, UserData, UserDataFields, UserDataMethods, Value};

use super::AppContext;
use crate::link::locks::{Act, Door, Hearer, Listed, MAX_NAME, Mode, Name, Party, Said, Tell, Want};
use crate::reactor::{self, timeout};
use crate::scoreboard::now_ms;
use crate::script::arguments::{Options, Span};
use crate::script::lifetime::{self, Bound};
use crate::script::step::StepKind;

/// How long a lease lasts if nothing else is said.
const LEASE: Duration = Duration::from_secs(30);
/// The shortest lease: shorter ones would be renewed all the time.
const SHORTEST_LEASE: Duration = Duration::from_millis(100);
/// How long an answer may take that should come at once.
const ANSWER: Duration = Duration::from_secs(10);
/// The longest wait for an outcome.
const LONGEST: Duration = Duration::from_hours(365 * 24);

pub(super) fn open(lua: &Lua, app: &Rc<AppContext>) -> mlua::Result<Table> {
    let module = lua.create_table()?;
    let context = app.clone();
    module.raw_set(
        "acquire",
        lua.create_async_function(move |_, (name, options): (LuaString, Options)| {
            let app = context.clone();
            async move {
                Ok(match acquire(&app, &name, &options).await? {
                    Ok(held) => (Some(LockHandle(held)), None),
                    Err(why) => (None, Some(why)),
                })
            }
        })?,
    )?;
    let context = app.clone();
    module.raw_set(
        "with",
        lua.create_async_function(move |lua, (name, options, body): (LuaString, Options, Function)| {
            let app = context.clone();
            async move { with(&lua, &app, &name, &options, &body).await }
        })?,
    )?;
    let context = app.clone();
    module.raw_set(
        "job",
        lua.create_async_function(move |_, (name, options, body): (LuaString, Options, Function)| {
            let app = context.clone();
            async move { job(&app, &name, &options, &body).await }
        })?,
    )?;
    let context = app.clone();
    module.raw_set(
        "list",
        lua.create_async_function(move |lua, (prefix, options): (Option<LuaString>, Options)| {
            let app = context.clone();
            async move { list(&lua, &app, prefix, &options).await }
        })?,
    )?;
    Ok(module)
}

fn fail(what: impl std::fmt::Display) -> mlua::Error {
    mlua::Error::runtime(format!("lock: {what}"))
}

fn door(app: &AppContext, options: &Options) -> mlua::Result<Rc<dyn Door>> {
    let client = options.get::<String>("client")?;
    app.services
        .locks
        .find(client.as_deref())
        .ok_or_else(|| fail(format_args!("there is no client {:?} of the kind Lock in the configuration", client.unwrap_or_default())))
}

fn checked(name: &LuaString) -> mlua::Result<Name> {
    let bytes = name.as_bytes();
    if !(1..=MAX_NAME).contains(&bytes.len()) || bytes.contains(&b'\n') || bytes.contains(&b'\r') {
        return Err(fail(format_args!("a name has 1 to {MAX_NAME} bytes, and no end of line")));
    }
    Ok((&*bytes).into())
}

fn millis(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}

/// How far it has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// No answer yet.
    Asked,
    /// In the queue, or waiting for an outcome.
    Waits,
    Holds,
    /// There will be no lock, for this reason.
    Refused(&'static str),
    /// Somebody else's job has ended.
    Outcome(bool),
    Lost,
    Released,
}

/// What this application has to do with one lock.
struct Held {
    app: Rc<AppContext>,
    name: Name,
    party: RefCell<Option<Box<dyn Party>>>,
    state: Cell<State>,
    token: Cell<u64>,
    /// Milliseconds of [`now_ms`]; 0 for a job, which has no time.
    until_ms: Cell<u64>,
    lease_ms: Cell<u64>,
    /// Answers to renewals so far.
    renewals: Cell<u64>,
    changed: Event,
    /// It is held no more, or nobody has it.
    over: Event,
    onlost: RefCell<Option<Function>>,
}

impl Held {
    fn enter(app: &Rc<AppContext>, door: &dyn Door, name: Name) -> Rc<Self> {
        let held = Rc::new(Self {
            app: app.clone(),
            name,
            party: RefCell::default(),
            state: Cell::new(State::Asked),
            token: Cell::new(0),
            until_ms: Cell::new(0),
            lease_ms: Cell::new(0),
            renewals: Cell::new(0),
            changed: Event::new(),
            over: Event::new(),
            onlost: RefCell::default(),
        });
        let ear = Rc::new(Ear(Rc::downgrade(&held)));
        held.party.replace(Some(door.enter(&held.name, ear)));
        held
    }

    fn ask(&self, act: Act) {
        if let Some(party) = &*self.party.borrow() {
            party.ask(act);
        }
    }

    /// Waits until something is so; whether it came in time.
    async fn until(&self, limit: Duration, so: impl Fn(&Self) -> bool) -> bool {
        let wait = async {
            loop {
                let changed = self.changed.listen();
                if so(self) {
                    return;
                }
                changed.await;
            }
        };
        timeout(limit, wait).await.is_ok()
    }

    fn is_held(&self) -> bool {
        if self.state.get() == State::Holds && self.until_ms.get() != 0 && now_ms() >= self.until_ms.get() {
            self.lose();
        }
        self.state.get() == State::Holds
    }

    fn set(&self, state: State) {
        self.state.set(state);
        self.changed.notify(usize::MAX);
        if state != State::Holds {
            self.over.notify(usize::MAX);
        }
    }

    fn lose(&self) {
        if self.state.get() != State::Holds {
            return;
        }
        self.set(State::Lost);
        if let Some(function) = self.onlost.take() {
            self.app.spawn(StepKind::Task, "a lock was lost", function, ());
        }
    }

    /// Renews the lease for as long as it is held and somebody has it.
    fn keep(self: &Rc<Self>) {
        let weak = Rc::downgrade(self);
        self.app.scope.spawn(async move {
            loop {
                let (pause, over) = {
                    let Some(held) = weak.upgrade().filter(|held| held.is_held()) else { return };
                    (held.lease_ms.get() / 3, held.over.listen())
                };
                futures_lite::future::or(over, reactor::sleep(Duration::from_millis(pause.max(10)))).await;
                let Some(held) = weak.upgrade().filter(|held| held.is_held()) else { return };
                held.ask(Act::Renew { name: held.name.clone(), lease_ms: None });
            }
        });
    }

    async fn renew(&self) -> bool {
        if !self.is_held() {
            return false;
        }
        let before = self.renewals.get();
        self.ask(Act::Renew { name: self.name.clone(), lease_ms: None });
        self.until(ANSWER, |held| held.renewals.get() != before || held.state.get() != State::Holds).await;
        self.is_held()
    }

    /// Gives it back and waits until that is so.
    async fn release(&self) -> bool {
        let was_held = self.is_held();
        if self.state.get() == State::Holds {
            self.ask(Act::Release { name: self.name.clone() });
            self.until(ANSWER, |held| held.state.get() != State::Holds).await;
            // Without an answer the party's end says it once more.
            self.set(State::Released);
        }
        self.drop_party();
        was_held
    }

    /// Nothing is asked or told any more. A callback may hold the handle that holds it.
    fn drop_party(&self) {
        self.party.take();
        self.onlost.take();
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.over.notify(usize::MAX);
    }
}

impl Bound for Held {
    fn end(&self) {
        if matches!(self.state.get(), State::Holds | State::Asked | State::Waits) {
            self.set(State::Released);
        }
        self.drop_party();
    }
}

/// What hears for a lock, and does not keep it.
struct Ear(Weak<Held>);

impl Hearer for Ear {
    fn hear(&self, tell: &Tell) {
        let Some(held) = self.0.upgrade() else { return };
        match &tell.said {
            Said::Run { token } => {
                held.token.set(*token);
                held.set(State::Holds);
            }
            Said::Granted { token, until_ms, lease_ms, .. } => {
                held.token.set(*token);
                held.until_ms.set(*until_ms);
                held.lease_ms.set(*lease_ms);
                held.set(State::Holds);
            }
            Said::Renewed { until_ms } => {
                held.until_ms.set(*until_ms);
                held.renewals.set(held.renewals.get() + 1);
                held.changed.notify(usize::MAX);
            }
            Said::Wait | Said::Queued { .. } => held.set(State::Waits),
            Said::NotRun | Said::Busy => held.set(State::Refused("busy")),
            Said::TimedOut => held.set(State::Refused("timeout")),
            Said::Limit => held.set(State::Refused("limit")),
            Said::Unavailable if held.state.get() != State::Holds => held.set(State::Refused("unavailable")),
            Said::Ended { done } => held.set(State::Outcome(*done)),
            Said::Released => held.set(State::Released),
            Said::Lost | Said::Moved | Said::NotHeld => held.lose(),
            Said::Unavailable | Said::NotEnded | Said::Left | Said::Holds(_) | Said::Locks(_) => {}
        }
    }
}

async fn acquire(app: &Rc<AppContext>, name: &LuaString, options: &Options) -> mlua::Result<Result<Rc<Held>, &'static str>> {
    options.only(&["wait", "lease", "shared", "permits", "client"])?;
    let wait = options.span("wait", Duration::ZERO)?;
    let lease = options.span("lease", LEASE)?.max(SHORTEST_LEASE);
    let mode = match (options.or("shared", false)?, options.get::<u32>("permits")?) {
        (true, Some(_)) => return Err(fail("a lock is shared, or has permits, not both")),
        (_, Some(0)) => return Err(fail("permits are at least 1")),
        (_, Some(count)) => Mode::Permits(count),
        (true, None) => Mode::Shared,
        (false, None) => Mode::Exclusive,
    };
    let held = Held::enter(app, &*door(app, options)?, checked(name)?);
    lifetime::bind(Rc::<Held>::downgrade(&held));
    let want = Want { mode, lease_ms: millis(lease), wait_ms: millis(wait), lasting: false };
    held.ask(Act::Take { name: held.name.clone(), want });
    let answered = held.until(wait.saturating_add(ANSWER), |held| !matches!(held.state.get(), State::Asked | State::Waits)).await;
    match held.state.get() {
        State::Holds if held.is_held() => {
            held.keep();
            Ok(Ok(held))
        }
        State::Refused(why) => Ok(Err(why)),
        _ if answered => Ok(Err("unavailable")),
        _ => {
            held.end();
            Ok(Err("unavailable"))
        }
    }
}

async fn with(lua: &Lua, app: &Rc<AppContext>, name: &LuaString, options: &Options, body: &Function) -> mlua::Result<MultiValue> {
    let held = match acquire(app, name, options).await? {
        Ok(held) => held,
        Err(why) => return Ok([Value::Boolean(false), Value::String(lua.create_string(why)?)].into_iter().collect()),
    };
    let result = body.call_async::<MultiValue>(LockHandle(held.clone())).await;
    held.release().await;
    let mut values = result?;
    values.push_front(Value::Boolean(true));
    Ok(values)
}

async fn job(app: &Rc<AppContext>, name: &LuaString, options: &Options, body: &Function) -> mlua::Result<(&'static str, bool)> {
    options.only(&["wait", "client"])?;
    let limit = match options.get::<Value>("wait")? {
        None | Some(Value::Nil | Value::Boolean(false)) => None,
        Some(Value::Boolean(true)) => Some(LONGEST),
        Some(_) => options.get::<Span>("wait")?.map(|span| span.0),
    };
    let held = Held::enter(app, &*door(app, options)?, checked(name)?);
    lifetime::bind(Rc::<Held>::downgrade(&held));
    held.ask(Act::Job { name: held.name.clone(), wait: limit.is_some() });
    if !held.until(ANSWER, |held| held.state.get() != State::Asked).await {
        held.end();
        return Ok(("unavailable", false));
    }
    if held.state.get() == State::Waits && !held.until(limit.unwrap_or_default(), |held| held.state.get() != State::Waits).await {
        held.end();
        return Ok(("timeout", false));
    }
    match held.state.get() {
        State::Outcome(done) => return Ok((if done { "done" } else { "failed" }, false)),
        State::Holds => {}
        State::Refused(why) => return Ok((why, false)),
        _ => return Ok(("unavailable", false)),
    }
    let result = body.call_async::<Value>(held.token.get()).await;
    let done = !matches!(result, Err(_) | Ok(Value::Boolean(false)));
    // Whoever lost the job must not say that it is done.
    let was_held = held.state.get() == State::Holds;
    if was_held {
        held.ask(Act::End { name: held.name.clone(), done });
        held.until(ANSWER, |held| held.state.get() != State::Holds).await;
    }
    held.party.take();
    result?;
    Ok((if done && was_held { "done" } else { "failed" }, true))
}

/// Collects lists.
#[derive(Default)]
struct Lister {
    /// What each place said; none where it could not.
    said: RefCell<Vec<Option<Vec<Listed>>>>,
    changed: Event,
}

impl Hearer for Lister {
    fn hear(&self, tell: &Tell) {
        let said = match &tell.said {
            Said::Locks(locks) => Some(locks.clone()),
            Said::Unavailable => None,
            _ => return,
        };
        self.said.borrow_mut().push(said);
        self.changed.notify(usize::MAX);
    }
}

async fn list(lua: &Lua, app: &AppContext, prefix: Option<LuaString>, options: &Options) -> mlua::Result<Table> {
    options.only(&["limit", "client"])?;
    let limit: u32 = options.or("limit", 100)?;
    let prefix: Name = prefix.map(|prefix| Name::from(&*prefix.as_bytes())).unwrap_or_default();
    let lister = Rc::new(Lister::default());
    let parties = door(app, options)?.enter_everywhere(lister.clone());
    parties.iter().for_each(|party| party.ask(Act::List { prefix: prefix.clone(), limit }));
    let all = async {
        loop {
            let changed = lister.changed.listen();
            if lister.said.borrow().len() >= parties.len() {
                return;
            }
            changed.await;
        }
    };
    if timeout(ANSWER, all).await.is_err() || lister.said.borrow().iter().any(Option::is_none) {
        return Err(fail("unavailable"));
    }
    let mut locks: Vec<Listed> = lister.said.take().into_iter().flatten().flatten().collect();
    locks.sort_by(|one, other| one.name.cmp(&other.name));
    locks.truncate(limit as usize);
    let table = lua.create_table_with_capacity(locks.len(), 0)?;
    for lock in locks {
        let entry = lua.create_table()?;
        entry.raw_set("name", lua.create_string(&*lock.name)?)?;
        entry.raw_set("mode", lock.mode_in_words())?;
        entry.raw_set("holders", lock.holders)?;
        entry.raw_set("waiting", lock.waiting)?;
        entry.raw_set("token", lock.token as f64)?;
        table.raw_push(entry)?;
    }
    Ok(table)
}

/// A lease as a script holds it.
struct LockHandle(Rc<Held>);

impl UserData for LockHandle {
    fn add_fields<F: UserDataFields<Self>>(fields: &mut F) {
        fields.add_field_method_get("name", |lua, this| lua.create_string(&*this.0.name));
        // Tokens are far below 2^53.
        fields.add_field_method_get("token", |_, this| Ok(this.0.token.get() as f64));
        fields.add_field_method_get("lost", |_, this| Ok(!this.0.is_held() && this.0.state.get() == State::Lost));
    }

    fn add_methods<M: UserDataMethods<Self>>(methods: &mut M) {
        methods.add_async_method("renew", |_, this, ()| {
            let held = this.0.clone();
            async move { Ok(held.renew().await) }
        });
        methods.add_async_method("release", |_, this, ()| {
            let held = this.0.clone();
            async move { Ok(held.release().await) }
        });
        methods.add_method("onlost", |_, this, function: Function| {
            if this.0.is_held() {
                this.0.onlost.replace(Some(function));
            } else if this.0.state.get() == State::Lost {
                this.0.app.spawn(StepKind::Task, "a lock was lost", function, ());
            }
            Ok(())
        });
    }
}
