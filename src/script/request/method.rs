//! What a script calls on a request: reading its body, writing the reply, waiting.

use std::rc::Rc;

use mlua::{Lua, Table};
use serde_json::error::Category;

use super::{ActiveRequests, CURRENT, HIGH_WATER, ScriptRequest};
use crate::request::{BodyError, ResponseFields};
use crate::script::arguments::Span;
use crate::script::context::AppContext;
use crate::script::modules::json;
use crate::script::{form, iteration, reply};

pub(in crate::script) fn methods(lua: &Lua, app: &Rc<AppContext>, active: &Rc<ActiveRequests>) -> mlua::Result<Table> {
    let table = lua.create_table()?;
    reading(lua, &table, app, active)?;
    writing(lua, &table, app, active)?;
    waiting(lua, &table, active)?;
    table.set_readonly(true);
    Ok(table)
}

fn reading(lua: &Lua, table: &Table, app: &Rc<AppContext>, active: &Rc<ActiveRequests>) -> mlua::Result<()> {
    let (requests, limit) = (active.clone(), app.limits.body as u64);
    let whole = move |req: Table| {
        let request = requests.of_table(&req);
        async move { request?.body().bytes(limit).await.map_err(mlua::Error::external) }
    };
    let body = whole.clone();
    table.raw_set(
        "body",
        lua.create_async_function(move |lua, req: Table| {
            let bytes = body(req);
            async move { lua.create_string(bytes.await?) }
        })?,
    )?;
    table.raw_set(
        "json",
        lua.create_async_function(move |lua, req: Table| {
            let bytes = whole(req);
            async move {
                json::read(&lua, &bytes.await?).map_err(|error| match error.classify() {
                    // The client's mistake.
                    Category::Syntax | Category::Eof => mlua::Error::external(BodyError::Malformed(format!("no JSON: {error}"))),
                    Category::Data | Category::Io => mlua::Error::runtime(format!("json: {error}")),
                })
            }
        })?,
    )?;
    let requests = active.clone();
    table.raw_set(
        "chunks",
        lua.create_function(move |lua, req: Table| {
            let request = requests.of_table(&req)?;
            iteration::function(lua, move |lua| {
                let request = request.clone();
                async move {
                    let chunk = request.body().chunk().await.map_err(mlua::Error::external)?;
                    chunk.map(|chunk| lua.create_string(chunk)).transpose()
                }
            })
        })?,
    )?;
    form::install(lua, table, app, active)
}

/// The requests of an application, for `form.rs`.
pub(in crate::script) fn find(active: &ActiveRequests, req: &Table) -> mlua::Result<Rc<ScriptRequest>> {
    active.of_table(req)
}

fn writing(lua: &Lua, table: &Table, app: &Rc<AppContext>, active: &Rc<ActiveRequests>) -> mlua::Result<()> {
    let (requests, follows) = (active.clone(), app.services.sent.is_on());
    table.raw_set(
        "head",
        lua.create_function(move |_, (req, status, headers): (Table, u16, Option<Table>)| {
            let request = requests.of_table(&req)?;
            if request.head_sent.get() {
                return Err(mlua::Error::runtime("the head of the reply has been sent already"));
            }
            let mut fields = ResponseFields::default();
            let said = reply::headers(headers.as_ref(), &mut fields)?;
            let mut written = request.rare().written.borrow_mut();
            written.status = reply::checked_status(f64::from(status))?;
            written.fields = fields;
            written.names_file = said.names_file && follows;
            Ok(())
        })?,
    )?;
    let requests = active.clone();
    table.raw_set(
        "write",
        lua.create_async_function(move |_, (req, parts): (Table, mlua::Variadic<mlua::LuaString>)| {
            let request = requests.of_table(&req);
            async move {
                let request = request?;
                {
                    let mut written = request.rare().written.borrow_mut();
                    written.started = true;
                    parts.iter().for_each(|part| written.bytes.extend_from_slice(&part.as_bytes()));
                }
                request.wait_below(HIGH_WATER).await;
                Ok(())
            }
        })?,
    )?;
    let requests = active.clone();
    table.raw_set(
        "flush",
        lua.create_async_function(move |_, req: Table| {
            let request = requests.of_table(&req);
            async move {
                let request = request?;
                {
                    let mut written = request.rare().written.borrow_mut();
                    written.started = true;
                    written.flushing = true;
                }
                futures_lite::future::yield_now().await;
                request.wait_below(0).await;
                Ok(())
            }
        })?,
    )
}

fn waiting(lua: &Lua, table: &Table, active: &Rc<ActiveRequests>) -> mlua::Result<()> {
    let requests = active.clone();
    table.raw_set(
        "sleep",
        lua.create_async_function(move |_, (req, span): (Table, Span)| {
            let request = requests.of_table(&req);
            async move {
                let request = request?;
                let woken = async {
                    loop {
                        let wakeup = request.rare().wakeup.listen();
                        if request.woken.take() {
                            return;
                        }
                        wakeup.await;
                    }
                };
                Ok(if crate::reactor::timeout(span.0, woken).await.is_ok() { "woken" } else { "timeout" })
            }
        })?,
    )?;
    let requests = active.clone();
    table.raw_set(
        "wakeup",
        lua.create_function(move |_, req: Table| {
            let request = requests.of_table(&req)?;
            request.woken.set(true);
            request.rare().wakeup.notify(usize::MAX);
            Ok(())
        })?,
    )?;
    let requests = active.clone();
    table.raw_set(
        "terminate",
        lua.create_async_function(move |_, req: Table| {
            let request = requests.of_table(&req);
            async move {
                let request = request?;
                request.terminated.set(true);
                request.wake();
                if CURRENT.get() == Some(request.id) {
                    std::future::pending::<()>().await;
                }
                Ok(())
            }
        })?,
    )
}
