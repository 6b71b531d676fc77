//! Reading what scripts pass to functions.

use std::rc::Rc;
use std::time::Duration;

use mlua::{FromLua, Lua, Table, Value};

use super::context::AppContext;
use crate::units::HumanDuration;

/// The longest wait that a script may ask for, in seconds: a year.
const LONGEST: f64 = 31_536_000.0;

/// A span of time: a number of seconds, or a text such as `"250ms"`, `"5s"`, `"1h30m"`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Span(pub Duration);

impl FromLua for Span {
    fn from_lua(value: Value, _: &Lua) -> mlua::Result<Span> {
        let seconds = match &value {
            Value::Integer(seconds) => *seconds as f64,
            Value::Number(seconds) => *seconds,
            Value::String(text) => {
                let text = text.to_str()?;
                return text.parse::<HumanDuration>().map(|span| Span(span.get())).map_err(mlua::Error::runtime);
            }
            other => {
                return Err(mlua::Error::runtime(format!("a time is a number of seconds or a text such as \"5s\", not a {}", kind(other))));
            }
        };
        if !(0.0..=LONGEST).contains(&seconds) {
            return Err(mlua::Error::runtime(format!("a time is between 0 seconds and a year, not {seconds}")));
        }
        Ok(Span(Duration::from_secs_f64(seconds)))
    }
}

/// The named options of a call: a table, or nothing.
pub struct Options {
    table: Option<Table>,
}

impl FromLua for Options {
    fn from_lua(value: Value, lua: &Lua) -> mlua::Result<Options> {
        Ok(Options { table: Option::<Table>::from_lua(value, lua)? })
    }
}

impl Options {
    /// The value of an option.
    ///
    /// # Errors
    /// When it is of another type; the message names the option.
    pub fn get<T: FromLua>(&self, name: &str) -> mlua::Result<Option<T>> {
        match &self.table {
            None => Ok(None),
            Some(table) => table.raw_get::<Option<T>>(name).map_err(|error| mlua::Error::runtime(format!("option {name}: {error}"))),
        }
    }

    /// The value of an option, or what it is without.
    ///
    /// # Errors
    /// As [`Options::get`].
    pub fn or<T: FromLua>(&self, name: &str, default: T) -> mlua::Result<T> {
        Ok(self.get(name)?.unwrap_or(default))
    }

    /// A span of time, or what it is without.
    ///
    /// # Errors
    /// As [`Options::get`].
    pub fn span(&self, name: &str, default: Duration) -> mlua::Result<Duration> {
        Ok(self.get::<Span>(name)?.map_or(default, |span| span.0))
    }

    /// A number of bytes to take at most: never more than the VM could hold anyway.
    ///
    /// # Errors
    /// As [`Options::get`].
    pub fn size(&self, lua: &Lua, name: &str, default: usize) -> mlua::Result<usize> {
        let size = self.or(name, default)?;
        let limit = lua.app_data_ref::<Rc<AppContext>>().map_or(default, |app| app.limits.memory);
        Ok(size.min(limit))
    }

    /// Refuses options that are none.
    ///
    /// # Errors
    /// When there is an option not in `known`.
    pub fn only(&self, known: &[&str]) -> mlua::Result<()> {
        let Some(table) = &self.table else { return Ok(()) };
        table.for_each(|key: Value, _: Value| match key.as_string().map(mlua::LuaString::to_string_lossy) {
            Some(key) if known.contains(&key.as_str()) => Ok(()),
            Some(key) => {
                let near = known.iter().find(|known| strsim::jaro_winkler(known, &key) > 0.8);
                let hint = near.map(|near| format!(", did you mean {near}?")).unwrap_or_default();
                Err(mlua::Error::runtime(format!("no option named {key}{hint} (there are {})", known.join(", "))))
            }
            None => Err(mlua::Error::runtime("options have names")),
        })
    }
}

/// What scripts call the type of a value.
pub fn kind(value: &Value) -> &'static str {
    match value {
        Value::Integer(_) => "number",
        Value::LightUserData(pointer) if pointer.0.is_null() => "null",
        other => other.type_name(),
    }
}
