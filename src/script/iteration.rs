//! What `for x in something:lines() do` calls.

use std::future::{Future, ready};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use mlua::{AnyUserData, Function, IntoLuaMulti, Lua, MultiValue, UserData};
use pin_project_lite::pin_project;

use super::fault::OWN_CHUNK;

type Next = Rc<dyn Fn(Lua) -> Given>;

/// The next values. Whoever reads in a loop waits in one of these.
type Given = Pin<Box<dyn Future<Output = mlua::Result<MultiValue>>>>;

pin_project! {
    /// Makes what a future gives into values. An `async` block would hold the future twice.
    struct Converting<F> {
        #[pin]
        future: F,
        lua: Lua,
    }
}

impl<F, R> Future for Converting<F>
where
    F: Future<Output = mlua::Result<R>>,
    R: IntoLuaMulti,
{
    type Output = mlua::Result<MultiValue>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        this.future.poll(cx).map(|given| given?.into_lua_multi(this.lua))
    }
}

/// What gives the next value.
struct Iteration(Next);

impl UserData for Iteration {}

/// A function for scripts that gives what `next` gives, and may wait for it; a loop over it ends with nil.
///
/// An asynchronous function is compiled when it is made, which takes more memory than most of what is read in this way. So there is one
/// for all of a VM, and what this makes is a closure over it.
///
/// # Errors
/// When memory is short.
pub(super) fn function<F, R>(lua: &Lua, next: impl Fn(Lua) -> F + 'static) -> mlua::Result<Function>
where
    F: Future<Output = mlua::Result<R>> + 'static,
    R: IntoLuaMulti,
{
    let next: Next = Rc::new(move |lua| Box::pin(Converting { future: next(lua.clone()), lua }));
    closures(lua)?.call(lua.create_userdata(Iteration(next))?)
}

/// Makes closures of iterations.
fn closures(lua: &Lua) -> mlua::Result<Function> {
    const NAME: &str = "skep.iteration";
    if let Some(function) = lua.named_registry_value::<Option<Function>>(NAME)? {
        return Ok(function);
    }
    let next = lua.create_async_function(|lua, iteration: AnyUserData| -> Given {
        let next = iteration.borrow::<Iteration>().map(|iteration| iteration.0.clone());
        match next {
            Ok(next) => next(lua),
            Err(error) => Box::pin(ready(Err(error))),
        }
    })?;
    let source = "local next = ... return function(iteration) return function() return next(iteration) end end";
    let function: Function = lua.load(source).set_name(format!("={OWN_CHUNK}")).call(next)?;
    lua.set_named_registry_value(NAME, &function)?;
    Ok(function)
}
