//! `@skep`: replies, time, tasks, and what else every application needs.

use std::rc::Rc;
use std::time::{SystemTime, UNIX_EPOCH};

use mlua::{Function, Lua, LuaString, Table, Value, Variadic};

use super::template::Templates;
use super::{AppContext, crypto, json};
use crate::codec::percent;
use crate::request::Response;
use crate::script::arguments::{Options, Span};
pub(in crate::script) use crate::script::file_reply::FileReply;
use crate::script::queue;
use crate::script::source::resolve;
use crate::script::step::StepKind;
use crate::script::task::{self, Task};

pub(super) fn open(lua: &Lua, app: &Rc<AppContext>) -> mlua::Result<Table> {
    let module = lua.create_table()?;
    module.raw_set("version", env!("CARGO_PKG_VERSION"))?;
    module.raw_set("now", lua.create_function(|_, ()| Ok(now()))?)?;
    module.raw_set("uuid", lua.create_function(|_, ()| uuid())?)?;
    module.raw_set("json", lua.create_function(|lua, value: Value| lua.create_string(json::encode(lua, &value)?))?)?;
    let name = app.clone();
    module.raw_set("worker", lua.create_function(move |lua, ()| worker(lua, &name))?)?;
    replies(lua, &module, app)?;
    texts(lua, &module)?;
    tasks(lua, &module, app)?;
    Ok(module)
}

fn now() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |since| since.as_secs_f64())
}

/// A random UUID (RFC 9562 section 5.4).
fn uuid() -> mlua::Result<String> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).map_err(mlua::Error::external)?;
    bytes[6] = bytes[6] & 0x0f | 0x40;
    bytes[8] = bytes[8] & 0x3f | 0x80;
    let hex = crypto::hex(&bytes);
    Ok([&hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]].join("-"))
}

fn worker(lua: &Lua, app: &AppContext) -> mlua::Result<Table> {
    let table = lua.create_table()?;
    table.raw_set("number", app.services.worker)?;
    table.raw_set("pid", std::process::id())?;
    table.raw_set("app", &*app.name)?;
    table.raw_set("memory", lua.used_memory())?;
    table.raw_set("memory_limit", app.limits.memory)?;
    table.raw_set("tasks", app.tasks.used())?;
    table.raw_set("sockets", app.sockets.used())?;
    Ok(table)
}

fn reply(lua: &Lua, status: u16, kind: &str, body: LuaString) -> mlua::Result<Table> {
    let headers = lua.create_table()?;
    headers.raw_set("content-type", kind)?;
    let reply = lua.create_table()?;
    reply.raw_set("status", status)?;
    reply.raw_set("headers", headers)?;
    reply.raw_set("body", body)?;
    Ok(reply)
}

fn replies(lua: &Lua, module: &Table, app: &Rc<AppContext>) -> mlua::Result<()> {
    let templates = Templates::of(lua, app);
    let template = move |lua: &Lua, (name, values, status): (String, Option<Table>, Option<u16>)| {
        let kind = match name.rsplit('.').next() {
            Some("html" | "htm" | "jinja" | "j2") | None => "text/html; charset=utf-8".to_owned(),
            Some(_) => format!("{}; charset=utf-8", mime_guess::from_path(&name).first_raw().unwrap_or("text/plain")),
        };
        reply(lua, status.unwrap_or(200), &kind, lua.create_string(templates.render(&name, values.as_ref())?)?)
    };
    module.raw_set("template", lua.create_function(template)?)?;
    module.raw_set(
        "json_reply",
        lua.create_function(|lua, (value, status): (Value, Option<u16>)| {
            reply(lua, status.unwrap_or(200), "application/json", lua.create_string(json::encode(lua, &value)?)?)
        })?,
    )?;
    module.raw_set(
        "redirect",
        lua.create_function(|lua, (location, status): (LuaString, Option<u16>)| {
            let status = status.unwrap_or(303);
            if !matches!(status, 301 | 302 | 303 | 307 | 308) {
                return Err(mlua::Error::runtime(format!("redirect: the status is 301, 302, 303, 307 or 308, not {status}")));
            }
            let headers = lua.create_table()?;
            headers.raw_set("location", location)?;
            let reply = lua.create_table()?;
            reply.raw_set("status", status)?;
            reply.raw_set("headers", headers)?;
            Ok(reply)
        })?,
    )?;
    module.raw_set("file", lua.create_function(file)?)?;
    module.raw_set("cookie", lua.create_function(super::cookie::cookie)?)?;
    let own = app.clone();
    let read = move |_: &Lua, path: String| {
        let text = resolve("", &path).map(|path| own.source.read(&path)).transpose().map_err(mlua::Error::external)?.flatten();
        text.ok_or_else(|| mlua::Error::runtime(format!("read: the application has no file {path}")))
    };
    module.raw_set("read", lua.create_function(read)?)?;
    module.raw_set(
        "sse",
        lua.create_function(|lua, (function, headers): (Function, Option<Table>)| {
            let reply = lua.create_table()?;
            reply.raw_set("events", function)?;
            reply.raw_set("headers", headers)?;
            Ok(reply)
        })?,
    )
}

fn file(lua: &Lua, (path, options): (String, Options)) -> mlua::Result<Table> {
    options.only(&["type", "download", "status", "headers"])?;
    let headers = match options.get::<Table>("headers")? {
        Some(headers) => headers,
        None => lua.create_table()?,
    };
    if let Some(kind) = options.get::<LuaString>("type")? {
        headers.raw_set("content-type", kind)?;
    }
    if let Some(name) = options.get::<String>("download")? {
        let plain: String =
            name.chars().map(|c| if c.is_ascii_graphic() && !matches!(c, '"' | '\\') || c == ' ' { c } else { '_' }).collect();
        let mut encoded = String::new();
        percent::encode_component(name.as_bytes(), &mut encoded);
        headers.raw_set("content-disposition", format!("attachment; filename=\"{plain}\"; filename*=UTF-8''{encoded}"))?;
    }
    let reply = lua.create_table()?;
    reply.raw_set("status", options.get::<u16>("status")?)?;
    reply.raw_set("headers", headers)?;
    reply.raw_set("file", lua.create_userdata(FileReply { path, response: Response::default() })?)?;
    Ok(reply)
}

fn texts(lua: &Lua, module: &Table) -> mlua::Result<()> {
    module.raw_set(
        "escape",
        lua.create_function(|lua, text: LuaString| {
            let mut out = Vec::with_capacity(text.as_bytes().len() + 16);
            for byte in &*text.as_bytes() {
                match byte {
                    b'&' => out.extend_from_slice(b"&amp;"),
                    b'<' => out.extend_from_slice(b"&lt;"),
                    b'>' => out.extend_from_slice(b"&gt;"),
                    b'"' => out.extend_from_slice(b"&quot;"),
                    b'\'' => out.extend_from_slice(b"&#39;"),
                    byte => out.push(*byte),
                }
            }
            lua.create_string(out)
        })?,
    )?;
    module.raw_set(
        "url_encode",
        lua.create_function(|_, text: LuaString| {
            let mut out = String::new();
            percent::encode_component(&text.as_bytes(), &mut out);
            Ok(out)
        })?,
    )?;
    module.raw_set("url_decode", lua.create_function(|lua, text: LuaString| lua.create_string(percent::decode_form(&text.as_bytes())))?)
}

fn tasks(lua: &Lua, module: &Table, app: &Rc<AppContext>) -> mlua::Result<()> {
    let context = app.clone();
    module.raw_set(
        "spawn",
        lua.create_function(move |lua, (function, arguments): (Function, Variadic<Value>)| {
            Task::spawn(&context, task::place(lua), StepKind::Task, function, arguments)
        })?,
    )?;
    let context = app.clone();
    module.raw_set(
        "every",
        lua.create_function(move |lua, (span, function, options): (Span, Function, Options)| {
            task::every(lua, &context, span.0, function, &options)
        })?,
    )?;
    let context = app.clone();
    module.raw_set(
        "after",
        lua.create_function(move |lua, (span, function, options): (Span, Function, Options)| {
            task::after(lua, &context, span.0, function, &options)
        })?,
    )?;
    module.raw_set(
        "sleep",
        lua.create_async_function(|_, span: Span| async move {
            crate::reactor::sleep(span.0).await;
            Ok(())
        })?,
    )?;
    module.raw_set("enqueue", queue::function(lua, app)?)
}
