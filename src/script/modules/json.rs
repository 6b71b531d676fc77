//! `@skep/json`: JSON to and from Luau values, without a tree in between.

use std::fmt;

use mlua::{Lua, Table, Value};
use serde::de::{DeserializeSeed, Error as _, MapAccess, SeqAccess, Visitor};

use super::AppContext;
use crate::script::arguments::kind;

/// How deep values may be nested, both ways.
const MAX_DEPTH: usize = 128;
/// Where the metatable that marks arrays is kept.
const ARRAY_MARK: &str = "skep.json.array";
/// What is wrong with a list that has them.
const HOLES: &str = "a list with holes cannot be encoded; put json.null into them";
/// Up to here every whole number of Luau is exact.
const EXACT: f64 = 9_007_199_254_740_992.0;

pub(super) fn open(lua: &Lua, _: &std::rc::Rc<AppContext>) -> mlua::Result<Table> {
    let module = lua.create_table()?;
    module.raw_set("null", Value::NULL)?;
    module.raw_set(
        "encode",
        lua.create_function(|lua, (value, options): (Value, Option<Table>)| {
            let pretty = match &options {
                Some(options) => options.get::<Option<bool>>("pretty")?.unwrap_or(false),
                None => false,
            };
            let mut text = Vec::with_capacity(128);
            Encoder { mark: array_mark(lua)?, out: &mut text, pretty }.encode(&value)?;
            lua.create_string(&text)
        })?,
    )?;
    module.raw_set("decode", lua.create_function(|lua, text: mlua::LuaString| decode(lua, &text.as_bytes()))?)?;
    module.raw_set(
        "array",
        lua.create_function(|lua, table: Option<Table>| {
            let table = match table {
                Some(table) => table,
                None => lua.create_table()?,
            };
            table.set_metatable(Some(array_mark(lua)?))?;
            Ok(table)
        })?,
    )?;
    module.raw_set(
        "is_array",
        lua.create_function(|lua, value: Value| match value {
            Value::Table(table) => Ok(is_array(&table, &array_mark(lua)?)),
            _ => Ok(false),
        })?,
    )?;
    Ok(module)
}

/// Encodes a value in its compact form.
///
/// # Errors
/// What cannot be JSON, with the path to it.
pub(crate) fn encode(lua: &Lua, value: &Value) -> mlua::Result<Vec<u8>> {
    let mut text = Vec::with_capacity(128);
    Encoder { mark: array_mark(lua)?, out: &mut text, pretty: false }.encode(value)?;
    Ok(text)
}

/// Decodes a text.
///
/// # Errors
/// What is wrong with it, with line and column.
pub(crate) fn decode(lua: &Lua, text: &[u8]) -> mlua::Result<Value> {
    read(lua, text).map_err(|error| mlua::Error::runtime(format!("json: {error}")))
}

/// The same with the error as it is: of the category `Data` when the text is JSON and the VM cannot have it.
///
/// # Errors
/// The text is not JSON, or memory is short.
pub(crate) fn read(lua: &Lua, text: &[u8]) -> serde_json::Result<Value> {
    let mut deserializer = serde_json::Deserializer::from_slice(text);
    let mark = array_mark(lua).map_err(serde::de::Error::custom)?;
    let value = Build { lua, mark: &mark }.deserialize(&mut deserializer)?;
    deserializer.end()?;
    Ok(value)
}

/// The Luau form of a value from the configuration.
///
/// # Errors
/// When memory is short.
pub(crate) fn from_config(lua: &Lua, value: &serde_json::Value) -> mlua::Result<Value> {
    let build = Build { lua, mark: &array_mark(lua)? };
    build.deserialize(value).map_err(|error| mlua::Error::runtime(format!("config: {error}")))
}

/// The metatable of arrays: it tells an empty array from an empty object.
fn array_mark(lua: &Lua) -> mlua::Result<Table> {
    if let Some(mark) = lua.named_registry_value::<Option<Table>>(ARRAY_MARK)? {
        return Ok(mark);
    }
    let mark = lua.create_table()?;
    mark.raw_set("__metatable", "json.array")?;
    mark.set_readonly(true);
    lua.set_named_registry_value(ARRAY_MARK, &mark)?;
    Ok(mark)
}

/// Whether a table is a list for JSON.
///
/// # Errors
/// When memory is short.
pub(crate) fn is_list(lua: &Lua, table: &Table) -> mlua::Result<bool> {
    Ok(is_array(table, &array_mark(lua)?))
}

/// Makes a table a list for JSON, also when it is empty.
///
/// # Errors
/// When memory is short.
pub(crate) fn mark_list(lua: &Lua, table: &Table) -> mlua::Result<()> {
    table.set_metatable(Some(array_mark(lua)?))
}

fn is_array(table: &Table, mark: &Table) -> bool {
    table.raw_len() > 0 || table.metatable().is_some_and(|metatable| metatable == *mark)
}

struct Encoder<'a> {
    mark: Table,
    out: &'a mut Vec<u8>,
    pretty: bool,
}

/// A step of the path to a value, for errors.
enum Step<'a> {
    Root,
    Index(usize, &'a Step<'a>),
    Key(&'a str, &'a Step<'a>),
}

impl fmt::Display for Step<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Step::Root => Ok(()),
            Step::Index(index, up) => write!(f, "{up}[{index}]"),
            Step::Key(key, up) => write!(f, "{up}.{key}"),
        }
    }
}

impl Step<'_> {
    fn depth(&self) -> usize {
        match self {
            Step::Root => 0,
            Step::Index(_, up) | Step::Key(_, up) => 1 + up.depth(),
        }
    }

    fn refuse(&self, what: &str) -> mlua::Error {
        match self {
            Step::Root => mlua::Error::runtime(format!("json: {what}")),
            step => mlua::Error::runtime(format!("json: {what} (at {})", step.to_string().trim_start_matches('.'))),
        }
    }
}

impl Encoder<'_> {
    fn encode(&mut self, value: &Value) -> mlua::Result<()> {
        self.value(value, &Step::Root, 0)
    }

    fn value(&mut self, value: &Value, at: &Step<'_>, depth: usize) -> mlua::Result<()> {
        debug_assert_eq!(at.depth(), depth);
        match value {
            Value::Nil => self.out.extend_from_slice(b"null"),
            Value::LightUserData(pointer) if pointer.0.is_null() => self.out.extend_from_slice(b"null"),
            Value::Boolean(true) => self.out.extend_from_slice(b"true"),
            Value::Boolean(false) => self.out.extend_from_slice(b"false"),
            Value::Integer(number) => self.out.extend_from_slice(itoa::Buffer::new().format(*number).as_bytes()),
            Value::Number(number) => self.number(*number, at)?,
            Value::String(text) => match std::str::from_utf8(&text.as_bytes()) {
                Ok(text) => self.text(text),
                Err(_) => return Err(at.refuse("a string is not UTF-8; encode bytes as base64 or hex")),
            },
            Value::Table(_) if depth == MAX_DEPTH => return Err(at.refuse("nested too deep, or a table that contains itself")),
            Value::Table(table) => self.table(table, at, depth)?,
            other => return Err(at.refuse(&format!("cannot encode a {}", kind(other)))),
        }
        Ok(())
    }

    fn number(&mut self, number: f64, at: &Step<'_>) -> mlua::Result<()> {
        if !number.is_finite() {
            return Err(at.refuse(&format!("{number} is no JSON number")));
        }
        if number.fract() == 0.0 && number.abs() < EXACT {
            self.out.extend_from_slice(itoa::Buffer::new().format(number as i64).as_bytes());
            return Ok(());
        }
        serde_json::to_writer(&mut *self.out, &number).map_err(|error| at.refuse(&error.to_string()))
    }

    fn text(&mut self, text: &str) {
        // Writing a string to memory cannot fail.
        let _ = serde_json::to_writer(&mut *self.out, text);
    }

    fn table(&mut self, table: &Table, at: &Step<'_>, depth: usize) -> mlua::Result<()> {
        if is_array(table, &self.mark) {
            return self.array(table, at, depth);
        }
        if self.pretty {
            return self.sorted_object(table, at, depth);
        }
        self.out.push(b'{');
        let mut first = true;
        table.for_each(|key: Value, value: Value| {
            if !std::mem::take(&mut first) {
                self.out.push(b',');
            }
            self.member(&key, &value, at, depth)
        })?;
        self.out.push(b'}');
        Ok(())
    }

    fn member(&mut self, key: &Value, value: &Value, at: &Step<'_>, depth: usize) -> mlua::Result<()> {
        let Value::String(key) = key else {
            return Err(at.refuse(&format!("a table with a {} key that is no list cannot be encoded", kind(key))));
        };
        let key = key.to_str().map_err(|_| at.refuse("a key is not UTF-8"))?;
        self.text(&key);
        self.out.push(b':');
        if self.pretty {
            self.out.push(b' ');
        }
        self.value(value, &Step::Key(&key, at), depth + 1)
    }

    /// For people: keys in order, a line each.
    fn sorted_object(&mut self, table: &Table, at: &Step<'_>, depth: usize) -> mlua::Result<()> {
        let mut members: Vec<(Value, Value)> = Vec::new();
        table.for_each(|key, value| {
            members.push((key, value));
            Ok(())
        })?;
        members.sort_by_cached_key(|(key, _)| key.as_string().map(|key| key.as_bytes().to_vec()));
        self.out.push(b'{');
        for (index, (key, value)) in members.iter().enumerate() {
            self.separate(index, depth + 1);
            self.member(key, value, at, depth)?;
        }
        self.close(members.is_empty(), depth, b'}');
        Ok(())
    }

    fn array(&mut self, table: &Table, at: &Step<'_>, depth: usize) -> mlua::Result<()> {
        let length = table.raw_len();
        self.out.push(b'[');
        for index in 1..=length {
            if self.pretty {
                self.separate(index - 1, depth + 1);
            } else if index > 1 {
                self.out.push(b',');
            }
            let value: Value = table.raw_get(index)?;
            if value.is_nil() {
                return Err(at.refuse(HOLES));
            }
            self.value(&value, &Step::Index(index, at), depth + 1)?;
        }
        if self.pretty {
            self.close(length == 0, depth, b']');
        } else {
            self.out.push(b']');
        }
        table.for_each(|key: Value, _: Value| match key {
            Value::Integer(place) if (1..=length as i64).contains(&place) => Ok(()),
            Value::Number(place) if (1.0..=length as f64).contains(&place) && place.fract() == 0.0 => Ok(()),
            Value::Integer(_) | Value::Number(_) => Err(at.refuse(HOLES)),
            _ => Err(at.refuse("a table that is both a list and a map cannot be encoded")),
        })
    }

    fn separate(&mut self, index: usize, depth: usize) {
        if index > 0 {
            self.out.push(b',');
        }
        self.line(depth);
    }

    fn close(&mut self, empty: bool, depth: usize, bracket: u8) {
        if !empty {
            self.line(depth);
        }
        self.out.push(bracket);
    }

    fn line(&mut self, depth: usize) {
        self.out.push(b'\n');
        self.out.extend(std::iter::repeat_n(b' ', depth * 2));
    }
}

/// Builds Luau values while a text is read.
#[derive(Clone, Copy)]
struct Build<'a> {
    lua: &'a Lua,
    mark: &'a Table,
}

impl<'de> DeserializeSeed<'de> for Build<'_> {
    type Value = Value;

    fn deserialize<D: serde::Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Build<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::NULL)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Boolean(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(Value::Number(value as f64))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(Value::Number(value as f64))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(Value::Number(value))
    }

    fn visit_str<E: serde::de::Error>(self, value: &str) -> Result<Value, E> {
        self.lua.create_string(value).map(Value::String).map_err(E::custom)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut access: A) -> Result<Value, A::Error> {
        let table = self.lua.create_table().map_err(A::Error::custom)?;
        let mut index = 0;
        while let Some(value) = access.next_element_seed(self)? {
            index += 1;
            table.raw_set(index, value).map_err(A::Error::custom)?;
        }
        table.set_metatable(Some(self.mark.clone())).map_err(A::Error::custom)?;
        Ok(Value::Table(table))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Value, A::Error> {
        let table = self.lua.create_table().map_err(A::Error::custom)?;
        while let Some(key) = access.next_key_seed(self)? {
            let value = access.next_value_seed(self)?;
            table.raw_set(key, value).map_err(A::Error::custom)?;
        }
        Ok(Value::Table(table))
    }
}
