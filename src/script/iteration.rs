//! What `for x in something:lines() do` calls.

use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;

use mlua::{AnyUserData, Function, IntoLuaMulti, Lua, MultiValue, UserData};

use super::fault::OWN_CHUNK;

type Next = Rc<dyn Fn(Lua) -> Pin<Box<dyn Future<Output = mlua::Result<MultiValue>>>>>;

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
    let next: Next = Rc::new(move |lua| {
        let value = next(lua.clone());
        Box::pin(async move { value.await?.into_lua_multi(&lua) })
    });
    closures(lua)?.call(lua.create_userdata(Iteration(next))?)
}

/// Makes closures of iterations.
fn closures(lua: &Lua) -> mlua::Result<Function> {
    const NAME: &str = "skep.iteration";
    if let Some(function) = lua.named_registry_value::<Option<Function>>(NAME)? {
        return Ok(function);
    }
    let next = lua.create_async_function(|lua, iteration: AnyUserData| {
        let next = iteration.borrow::<Iteration>().map(|iteration| iteration.0.clone());
        async move { next?(lua).await }
    })?;
    let source = "local next = ... return function(iteration) return function() return next(iteration) end end";
    let function: Function = lua.load(source).set_name(format!("={OWN_CHUNK}")).call(next)?;
    lua.set_named_registry_value(NAME, &function)?;
    Ok(function)
}
