//! `@skep/log`: lines to the log.

use std::rc::Rc;

use mlua::{Lua, MultiValue, Table, Value};

use super::AppContext;
use crate::telemetry::{self, Fields, Level};

pub(super) fn open(lua: &Lua, app: &Rc<AppContext>) -> mlua::Result<Table> {
    let module = lua.create_table()?;
    for (name, level) in
        [("error", Level::Error), ("warn", Level::Warn), ("info", Level::Info), ("debug", Level::Debug), ("trace", Level::Trace)]
    {
        module.raw_set(name, writer(lua, app, level)?)?;
    }
    Ok(module)
}

/// A function that logs its arguments, separated by spaces, at a level. Also what `print` is.
pub(in crate::script) fn writer(lua: &Lua, app: &Rc<AppContext>, level: Level) -> mlua::Result<mlua::Function> {
    let app = app.name.clone();
    lua.create_function(move |lua, values: MultiValue| {
        if !telemetry::enabled(level) {
            return Ok(());
        }
        let mut text = String::new();
        for (index, value) in values.iter().enumerate() {
            if index > 0 {
                text.push(' ');
            }
            text.push_str(&shown(lua, value)?);
        }
        let request = crate::script::request::current_id();
        telemetry::write(level, Fields { request: request.as_deref(), app: Some(&app) }, format_args!("{text}"));
        Ok(())
    })
}

/// Plain tables are shown as JSON where they can be, anything else as `tostring` does.
fn shown(lua: &Lua, value: &Value) -> mlua::Result<String> {
    if let Value::Table(table) = value
        && table.metatable().is_none_or(|metatable| !metatable.contains_key("__tostring").unwrap_or(false))
        && let Ok(json) = super::json::encode(lua, value)
    {
        return Ok(String::from_utf8_lossy(&json).into_owned());
    }
    value.to_string()
}
