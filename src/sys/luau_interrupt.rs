//! Raising an error inside a running Luau VM from another thread.
//!
//! Luau calls `lua_Callbacks::interrupt` at loop back edges, calls and returns, in compiled code too, when the pointer is set, and documents
//! that this one pointer may be set from any thread. While nobody sets it a running script pays nothing for it: no clock, no flag, no call.
//! That is why the pointer is written here and not through a callback that is always installed (30 ns a loop round).

use std::sync::atomic::{AtomicPtr, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use mlua::{Lua, ffi};
use slab::Slab;

/// What to do with the code that was interrupted.
pub enum Verdict {
    /// Nothing: the interrupt came too late for the step it was meant for.
    Continue,
    /// Raise an error with this message; the place in the script is put before it.
    Raise(String),
}

/// Decides, on the VM's own thread, what an interrupt means.
pub trait Judge {
    /// Called at a safe point of the interrupted script. It must not call into the VM.
    fn judge() -> Verdict;
}

/// The address of one VM's callback table, which lives exactly as long as the VM.
struct CallbackTable(*mut ffi::lua_Callbacks);

// SAFETY: the pointer is only followed while the registry is locked and the entry is in it, and `InterruptSlot` keeps the VM alive until it has
// taken the entry out. The one field touched is written atomically.
unsafe impl Send for CallbackTable {}

static REGISTRY: Mutex<Slab<CallbackTable>> = Mutex::new(Slab::new());

fn registry() -> MutexGuard<'static, Slab<CallbackTable>> {
    REGISTRY.lock().unwrap_or_else(PoisonError::into_inner)
}

/// One VM that can be interrupted. Keeps the VM alive; dropping it ends the possibility.
pub struct InterruptSlot {
    key: usize,
    _vm: Lua,
}

impl InterruptSlot {
    /// Registers a VM.
    #[must_use]
    pub fn new(lua: &Lua) -> InterruptSlot {
        // SAFETY: `Lua::state` gives the live state of this VM, and `lua_callbacks` only computes the address of its table.
        let table = unsafe { ffi::lua_callbacks(lua.state()) };
        let key = registry().insert(CallbackTable(table));
        InterruptSlot { key, _vm: lua.clone() }
    }

    /// The number by which [`arm`] finds this VM.
    #[must_use]
    pub fn key(&self) -> usize {
        self.key
    }

    /// Takes a set interrupt away again.
    pub fn disarm(&self) {
        if let Some(table) = registry().get(self.key) {
            // SAFETY: see `pointer`.
            unsafe { pointer(table) }.store(std::ptr::null_mut(), Ordering::Relaxed);
        }
    }
}

impl Drop for InterruptSlot {
    fn drop(&mut self) {
        let table = registry().remove(self.key);
        // SAFETY: see `pointer`; the VM is alive, as `_vm` is dropped after this body.
        unsafe { pointer(&table) }.store(std::ptr::null_mut(), Ordering::Relaxed);
    }
}

/// Sets the interrupt of the VM with this key, if it is still there. May be called from any thread.
pub fn arm<J: Judge>(key: usize) {
    let registry = registry();
    if let Some(table) = registry.get(key) {
        let callback: unsafe extern "C-unwind" fn(*mut ffi::lua_State, std::ffi::c_int) = interrupt::<J>;
        // SAFETY: see `pointer`.
        unsafe { pointer(table) }.store(callback as *mut (), Ordering::Relaxed);
    }
}

/// The callback field as an atomic.
///
/// # Safety
/// The entry must be in the locked registry or have been taken from it while its VM is alive.
unsafe fn pointer(table: &CallbackTable) -> &AtomicPtr<()> {
    // SAFETY: the VM behind the entry is alive, so the field is valid memory; an optional function pointer has the size and alignment of a
    // pointer with null for `None`; Luau reads it as one aligned word.
    unsafe { AtomicPtr::from_ptr((&raw mut (*table.0).interrupt).cast::<*mut ()>()) }
}

/// What Luau calls at its safe points while the interrupt is armed.
///
/// # Safety
/// Only Luau calls it, with the state of the VM that runs.
unsafe extern "C-unwind" fn interrupt<J: Judge>(state: *mut ffi::lua_State, gc: std::ffi::c_int) {
    if gc >= 0 {
        return; // An error must not be raised from within a collection.
    }
    let Verdict::Raise(message) = J::judge() else {
        // SAFETY: called by the running VM with its own state.
        let table = CallbackTable(unsafe { ffi::lua_callbacks(state) });
        // SAFETY: the VM is running, so it is alive.
        unsafe { pointer(&table) }.store(std::ptr::null_mut(), Ordering::Relaxed);
        return;
    };
    // SAFETY: `state` is the running coroutine. Two slots are reserved before two values are pushed, and the message is dropped before the
    // error leaves this frame, so unwinding skips no destructor.
    unsafe {
        ffi::luaL_checkstack(state, 2, c"step limit".as_ptr());
        ffi::luaL_where(state, 0);
        ffi::lua_pushlstring(state, message.as_ptr().cast(), message.len());
        drop(message);
        ffi::lua_concat(state, 2);
        ffi::lua_error(state);
    }
}
