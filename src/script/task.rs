//! Tasks and timers of a script.

use std::borrow::Cow;
use std::cell::RefCell;
use std::future::Future;
use std::rc::Rc;
use std::time::Duration;

use event_listener::Event;
use mlua::{Function, Lua, UserData, UserDataMethods, Value, Variadic};

use super::arguments::Options;
use super::context::{self, AppContext};
use super::gauge::Permit;
use super::services::Candidacy;
use super::step::StepKind;
use super::vm::Vm;
use crate::reactor::{self, sleep};

/// The shortest interval of a timer.
const SHORTEST: Duration = Duration::from_millis(10);

/// A task as its script holds it.
#[derive(Clone)]
pub(super) struct Task(Rc<State>);

#[derive(Default)]
struct State {
    /// `None` when it has ended.
    handle: RefCell<Option<()>>,
    cancelled: Event,
    ended: Event,
    is_cancelled: std::cell::Cell<bool>,
}

/// Says that a task has ended, however that comes.
struct Ending {
    state: Rc<State>,
    _permit: Permit,
}

impl Drop for Ending {
    fn drop(&mut self) {
        self.state.handle.take();
        self.state.ended.notify(usize::MAX);
    }
}

impl Task {
    /// Starts a task that calls a function.
    ///
    /// # Errors
    /// When the application has as many tasks as it may.
    pub(super) fn spawn(
        app: &Rc<AppContext>,
        place: String,
        kind: StepKind,
        function: Function,
        arguments: Variadic<Value>,
    ) -> mlua::Result<Task> {
        let context = app.clone();
        Task::start(app, move |vm| async move { run(&context, &vm, kind, &place, &function, arguments).await })
    }

    fn start<F: Future<Output = ()> + 'static>(app: &Rc<AppContext>, body: impl FnOnce(Rc<Vm>) -> F) -> mlua::Result<Task> {
        let permit = app.tasks.take().map_err(|error| mlua::Error::runtime(format!("spawn: {error}")))?;
        let vm = app.vm().ok_or_else(|| mlua::Error::runtime("spawn: the application has ended"))?;
        if !reactor::is_running() {
            return Err(mlua::Error::runtime("spawn: no tasks can be started while a configuration is checked"));
        }
        let state = Rc::new(State { handle: RefCell::new(Some(())), ..State::default() });
        let ending = Ending { state: state.clone(), _permit: permit };
        let watched = state.clone();
        let body = body(vm);
        app.scope.spawn(async move {
            let _ending = ending;
            let cancelled = async {
                loop {
                    let cancelled = watched.cancelled.listen();
                    if watched.is_cancelled.get() {
                        return;
                    }
                    cancelled.await;
                }
            };
            futures_lite::future::or(cancelled, body).await;
        });
        Ok(Task(state))
    }
}

async fn run(app: &AppContext, vm: &Vm, kind: StepKind, place: &str, function: &Function, arguments: impl mlua::IntoLuaMulti) {
    if let Err(error) = context::call(vm, kind, place, function, arguments).await {
        app.report(&format!("{} of {place}", kind.name()), &app.fault(&error));
    }
}

impl UserData for Task {
    fn add_methods<M: UserDataMethods<Self>>(methods: &mut M) {
        methods.add_method("cancel", |_, this, ()| {
            this.0.is_cancelled.set(true);
            this.0.cancelled.notify(usize::MAX);
            Ok(())
        });
        methods.add_method("done", |_, this, ()| Ok(this.0.handle.borrow().is_none()));
        methods.add_async_method("wait", |_, this, ()| {
            let state = this.0.clone();
            async move {
                loop {
                    let ended = state.ended.listen();
                    if state.handle.borrow().is_none() {
                        return Ok(());
                    }
                    ended.await;
                }
            }
        });
    }
}

/// The place in the script that asks, for reports.
pub(super) fn place(lua: &Lua) -> String {
    let mut level = 0;
    while let Some(found) = lua.inspect_stack(level, |frame| {
        let source = frame.source().short_src.map(Cow::into_owned)?;
        let line = frame.current_line()?;
        (source.contains(".luau")).then(|| format!("{source}:{line}"))
    }) {
        if let Some(place) = found {
            return place;
        }
        level += 1;
    }
    String::new()
}

/// What tells once-a-machine tasks of one application apart.
fn office(app: &AppContext, options: &Options, place: &str) -> mlua::Result<Option<Box<dyn Candidacy>>> {
    options.only(&["once", "name"])?;
    if !options.or("once", false)? {
        return Ok(None);
    }
    let name = options.get::<String>("name")?.unwrap_or_else(|| place.to_owned());
    Ok(Some(app.services.elections.campaign(&format!("{}: {name}", app.name))))
}

/// Waits for something; `None` when newer code takes over first.
async fn unless_retired<T>(app: &AppContext, wait: impl Future<Output = T>) -> Option<T> {
    let retired = async {
        app.until_retired().await;
        None
    };
    futures_lite::future::or(retired, async { Some(wait.await) }).await
}

/// Runs `body` while this worker is the one that shall, again and again as elections come and go; at once without an election. Ends when `body`
/// says that it is done, and when newer code has taken over while it waits to be elected.
async fn in_office<F: Future<Output = bool>>(app: &AppContext, office: Option<Box<dyn Candidacy>>, mut body: impl FnMut() -> F) {
    let Some(office) = office else {
        body().await;
        return;
    };
    loop {
        if unless_retired(app, office.until(true)).await.is_none() {
            return;
        }
        let dismissed = async {
            office.until(false).await;
            false
        };
        if futures_lite::future::or(body(), dismissed).await {
            return;
        }
    }
}

/// `skep.every`.
pub(super) fn every(lua: &Lua, app: &Rc<AppContext>, interval: Duration, function: Function, options: &Options) -> mlua::Result<Task> {
    let place = place(lua);
    let office = office(app, options, &place)?;
    let interval = interval.max(SHORTEST);
    let context = app.clone();
    Task::start(app, move |vm| async move {
        in_office(&context, office, || async {
            let mut next = std::time::Instant::now() + interval;
            loop {
                if unless_retired(&context, reactor::sleep_until(next)).await.is_none() {
                    return true;
                }
                run(&context, &vm, StepKind::Timer, &place, &function, ()).await;
                // A run that took longer than the interval does not make the following ones come in a crowd.
                next = (next + interval).max(std::time::Instant::now());
            }
        })
        .await;
    })
}

/// `skep.after`.
pub(super) fn after(lua: &Lua, app: &Rc<AppContext>, delay: Duration, function: Function, options: &Options) -> mlua::Result<Task> {
    let place = place(lua);
    let office = office(app, options, &place)?;
    let context = app.clone();
    Task::start(app, move |vm| async move {
        in_office(&context, office, || async {
            if unless_retired(&context, sleep(delay)).await.is_some() {
                run(&context, &vm, StepKind::Timer, &place, &function, ()).await;
            }
            true
        })
        .await;
    })
}
