//! One Luau VM: sealed globals, compiled code, limits.

use std::cell::Cell;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use mlua::state::{GcIncParams, GcMode};
use mlua::{Function, Lua, LuaOptions, StdLib, Table, Value};

use super::fault::{self, OWN_CHUNK};
use super::lifetime::Lifetime;
use super::limits::Limits;
use super::step::{StepKind, StepTicket};
use crate::scoreboard::{Label, Slot, StepShown};

/// Finished coroutines kept for the next calls.
const THREAD_POOL: usize = 64;

/// How large the heap may get beside what is in use of it, in percent, before the collector has run again: as Luau has it, and of a large heap. Where
/// ten thousand connections have a coroutine each it is memory that counts; to look through a small heap twice as often would cost more than it gives.
const GOAL: i32 = 200;
const GOAL_WHEN_LARGE: i32 = 140;
/// From how many bytes on a heap is large.
const LARGE: usize = 6 << 20;
/// The heap is looked at once in so many calls into the VM.
const CALLS: u32 = 128;

/// The global functions and library entries that scripts do not get. Files, processes and code loading are modules' business, with limits;
/// environments of other functions are nobody's.
const REMOVED: &[&str] = &["loadstring", "require", "getfenv", "setfenv", "newproxy", "collectgarbage", "gcinfo"];

/// A VM with its limits. Values of it must not be used after it is gone, so whatever holds some holds an `Rc` of this too.
pub struct Vm {
    // Dropped before `lua`: it holds a reference to it.
    ticket: StepTicket,
    lua: Lua,
    /// Where this process shows what it runs, and the application's name there.
    shown: Option<(Slot, Label)>,
    /// Calls into the VM, round and round.
    calls: Cell<u32>,
    is_large: Cell<bool>,
}

impl Vm {
    /// Creates a VM with the standard libraries, still open: set what scripts shall find, then [`Vm::seal`] it. `optimise` lets the compiler inline
    /// functions, which then are missing in traces.
    ///
    /// # Errors
    /// When the memory limit does not even hold the libraries.
    pub fn new(app: &str, limits: &Limits, optimise: bool) -> mlua::Result<Vm> {
        let lua = Lua::new_with(StdLib::ALL_SAFE, LuaOptions::new().thread_pool_size(THREAD_POOL))?;
        lua.set_memory_limit(limits.memory)?;
        lua.set_compiler(
            mlua::chunk::Compiler::new().set_optimization_level(if optimise { 2 } else { 1 }).set_debug_level(1).set_type_info_level(1),
        );
        lua.enable_jit(true);
        let globals = lua.globals();
        for name in REMOVED {
            globals.raw_set(*name, Value::Nil)?;
        }
        install_coroutines(&lua, &globals)?;
        let ticket = StepTicket::new(&lua, limits.step);
        let shown = Slot::own().map(|slot| (slot, slot.label(app)));
        Ok(Vm { ticket, lua, shown, calls: Cell::new(0), is_large: Cell::new(false) })
    }

    /// Makes the globals and libraries read-only. What scripts then set as globals goes to a table of their own.
    ///
    /// # Errors
    /// When memory is short.
    pub fn seal(&self) -> mlua::Result<()> {
        self.lua.sandbox(true)
    }

    /// The VM itself.
    #[must_use]
    pub fn lua(&self) -> &Lua {
        &self.lua
    }

    /// The step limit and record.
    #[must_use]
    pub fn ticket(&self) -> &StepTicket {
        &self.ticket
    }

    /// Says in the scoreboard what runs, unless who brought it has said so: the HTTP server, which knows more.
    pub(super) fn show(&self, verb: &str, text: &[u8]) -> Option<StepShown> {
        self.shown.map(|(slot, app)| slot.begin_step(app, Label::default(), verb, text))
    }

    /// A call into the VM begins, of which [`Vm::poll_step`] runs the pieces: now and then the collector is told how large the heap is.
    pub(super) fn count_call(&self) {
        let calls = self.calls.get().wrapping_add(1);
        self.calls.set(calls);
        if calls.is_multiple_of(CALLS) {
            let is_large = self.lua.used_memory() > LARGE;
            if self.is_large.replace(is_large) != is_large {
                let goal = if is_large { GOAL_WHEN_LARGE } else { GOAL };
                self.lua.gc_set_mode(GcMode::Incremental(GcIncParams::default().goal(goal)));
            }
        }
    }

    /// Polls a coroutine as one step. `text` says in reports what it is for.
    pub(super) fn poll_step<F>(
        &self,
        kind: StepKind,
        text: &[u8],
        lifetime: Option<&Lifetime>,
        future: &mut F,
        cx: &mut Context<'_>,
    ) -> Poll<F::Output>
    where
        F: Future + Unpin,
    {
        let _running = lifetime.map(Lifetime::enter);
        let _shown = self.show(kind.name(), text);
        let _step = self.ticket.begin();
        Pin::new(future).poll(cx)
    }

    /// Runs a piece of native code that calls into the VM, as one step.
    pub fn step<R>(&self, kind: StepKind, text: &[u8], body: impl FnOnce(&Lua) -> R) -> R {
        let _shown = self.show(kind.name(), text);
        let _step = self.ticket.begin();
        body(&self.lua)
    }
}

/// Sets the functions of `coroutine.luau` in place of the plain ones.
fn install_coroutines(lua: &Lua, globals: &Table) -> mlua::Result<()> {
    let describe = lua.create_function(|_, error: Value| match error {
        Value::Error(error) => Ok(fault::message_for_scripts(&error)),
        other => other.to_string(),
    })?;
    let chunk = lua.load(include_str!("coroutine.luau")).set_name(format!("={OWN_CHUNK}"));
    let (resume, wrap, pcall, xpcall): (Function, Function, Function, Function) = chunk.call((Lua::poll_pending(), describe))?;
    let coroutine: Table = globals.raw_get("coroutine")?;
    coroutine.raw_set("resume", resume)?;
    coroutine.raw_set("wrap", wrap)?;
    globals.raw_set("pcall", pcall)?;
    globals.raw_set("xpcall", xpcall)
}

/// Polls a coroutine of a VM so that every run of it is one step.
pub struct Stepped<'a, F> {
    vm: &'a Vm,
    kind: StepKind,
    text: &'a [u8],
    future: F,
    /// None while an application loads: what it makes then is the application's.
    lifetime: Option<Lifetime>,
}

impl<'a, F: Future + Unpin> Stepped<'a, F> {
    /// `text` says in reports what it is for.
    pub fn new(vm: &'a Vm, kind: StepKind, text: &'a [u8], future: F) -> Stepped<'a, F> {
        let lifetime = (kind != StepKind::Load).then(Lifetime::new);
        vm.count_call();
        Stepped { vm, kind, text, future, lifetime }
    }
}

impl<F: Future + Unpin> Future for Stepped<'_, F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let this = &mut *self;
        this.vm.poll_step(this.kind, this.text, this.lifetime.as_ref(), &mut this.future, cx)
    }
}

#[cfg(test)]
mod tests;
