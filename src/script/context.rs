//! What every function of an application's modules knows of the application.

use std::cell::{Cell, RefCell};
use std::path::{Path, PathBuf};
use std::rc::{Rc, Weak};
use std::sync::Arc;

use event_listener::Event;
use mlua::Function;

use super::fault::Fault;
use super::gauge::Gauge;
use super::limits::Limits;
use super::services::Services;
use super::source::Source;
use super::step::StepKind;
use super::vm::{Stepped, Vm};
use crate::clients::dns::Resolver;
use crate::reactor::Scope;
use crate::request::Handler;
use crate::telemetry::{self, Fields, Level};

/// How an application is run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Errors are shown to the browser with source lines; code keeps its calls for traces.
    Development,
    /// Errors are shown in the log only; code is optimised.
    Production,
}

/// One loaded application, as its modules see it. Never owned by the VM's owner: functions inside the VM hold it.
pub struct AppContext {
    /// The application's name in the configuration.
    pub name: Rc<str>,
    /// How it is run.
    pub mode: Mode,
    /// What it may use.
    pub limits: Limits,
    /// Its files.
    pub source: Arc<Source>,
    /// What it gets from the process.
    pub services: Services,
    /// Names to addresses.
    pub resolver: Rc<Resolver>,
    /// Its tasks and timers.
    pub scope: Scope,
    /// Sockets it has open.
    pub sockets: Rc<Gauge>,
    /// Tasks and timers it has.
    pub tasks: Rc<Gauge>,
    /// Subscriptions it has.
    pub subscriptions: Rc<Gauge>,
    /// Child processes it has.
    pub processes: Rc<Gauge>,
    /// The VM, which owns what owns this.
    vm: RefCell<Weak<Vm>>,
    handler: RefCell<Option<Weak<dyn Handler>>>,
    retired: Cell<bool>,
    retiring: Event,
}

impl AppContext {
    /// A context that has no VM yet.
    #[must_use]
    pub fn new(name: &str, mode: Mode, limits: Limits, source: Arc<Source>, services: Services) -> Rc<AppContext> {
        Rc::new(AppContext {
            name: name.into(),
            mode,
            sockets: Gauge::new("sockets", limits.sockets),
            tasks: Gauge::new("tasks", limits.tasks),
            subscriptions: Gauge::new("subscriptions", limits.subscriptions),
            processes: Gauge::new("child processes", limits.processes),
            limits,
            source,
            services,
            resolver: Resolver::of_thread(),
            scope: Scope::new(),
            vm: RefCell::new(Weak::new()),
            handler: RefCell::new(None),
            retired: Cell::new(false),
            retiring: Event::new(),
        })
    }

    /// Says which VM this is the context of.
    pub fn set_vm(&self, vm: &Rc<Vm>) {
        *self.vm.borrow_mut() = Rc::downgrade(vm);
    }

    /// The VM, as long as it lives.
    #[must_use]
    pub fn vm(&self) -> Option<Rc<Vm>> {
        self.vm.borrow().upgrade()
    }

    /// Says what answers the application's requests.
    pub fn set_handler(&self, handler: Weak<dyn Handler>) {
        *self.handler.borrow_mut() = Some(handler);
    }

    /// What answers the application's requests, once it is loaded.
    #[must_use]
    pub fn handler(&self) -> Option<Rc<dyn Handler>> {
        self.handler.borrow().as_ref()?.upgrade()
    }

    /// Whether newer code has taken over: timers end then.
    #[must_use]
    pub fn is_retired(&self) -> bool {
        self.retired.get()
    }

    /// Newer code has taken over, or the worker goes.
    pub fn retire(&self) {
        self.retired.set(true);
        self.retiring.notify(usize::MAX);
    }

    /// Waits until that is so.
    pub async fn until_retired(&self) {
        loop {
            let retiring = self.retiring.listen();
            if self.retired.get() {
                return;
            }
            retiring.await;
        }
    }

    /// A path as a script wrote it: relative ones are below the application's directory.
    #[must_use]
    pub fn path(&self, path: &str) -> PathBuf {
        self.source.root().map_or_else(|| PathBuf::from(path), |root| root.join(path))
    }

    /// The real path of a file that the application may read.
    ///
    /// # Errors
    /// When it may not, in words.
    pub fn readable(&self, path: &str) -> Result<PathBuf, String> {
        self.limits.readable(&self.path(path), self.source.root()).ok_or_else(|| format!("this application may not read {path}"))
    }

    /// The real path of a file that the application may write.
    ///
    /// # Errors
    /// When it may not, in words.
    pub fn writable(&self, path: &str) -> Result<PathBuf, String> {
        self.limits.writable(&self.path(path)).ok_or_else(|| format!("this application may not write {path}"))
    }

    /// Whether a unix socket may be used: it is a file.
    #[must_use]
    pub fn may_use_socket(&self, path: &Path) -> bool {
        self.limits.readable(path, self.source.root()).is_some()
    }

    /// Takes an error apart.
    #[must_use]
    pub fn fault(&self, error: &mlua::Error) -> Fault {
        Fault::new(error, &self.name, &self.source)
    }

    /// Logs an error that nobody catches.
    pub fn report(&self, what: &str, fault: &Fault) {
        report(&self.name, what, fault);
    }

    /// Starts a task that calls a function: every run of it is a step, an error goes to the log. Nothing happens where no reactor runs any more.
    pub fn spawn(&self, kind: StepKind, text: &str, function: Function, arguments: impl mlua::IntoLuaMulti + 'static) {
        let Some(vm) = self.vm() else { return };
        if !crate::reactor::is_running() {
            return;
        }
        let (text, name, source) = (text.to_owned(), self.name.clone(), self.source.clone());
        self.scope.spawn(async move {
            if let Err(error) = call(&vm, kind, &text, &function, arguments).await {
                report(&name, kind.name(), &Fault::new(&error, &name, &source));
            }
        });
    }
}

/// Calls a function: every run of it is a step.
///
/// # Errors
/// What the function raises.
pub async fn call(vm: &Vm, kind: StepKind, text: &str, function: &Function, arguments: impl mlua::IntoLuaMulti) -> mlua::Result<()> {
    Stepped::new(vm, kind, text.as_bytes(), function.call_async::<()>(arguments)).await
}

fn report(app: &str, what: &str, fault: &Fault) {
    let request = super::request::current_id();
    let fields = Fields { request: request.as_deref(), app: Some(app) };
    telemetry::write(Level::Error, fields, format_args!("{what}: {}", fault.with_trace()));
}
