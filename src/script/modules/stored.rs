//! Documents of the store as scripts see them: tables, and objects for what tables lack.

use mlua::{AnyUserData, Lua, MetaMethod, Table, UserData, UserDataFields, UserDataMethods, Value};

use super::json;
use crate::script::arguments::kind;
use crate::store::value::{Document, MAX_DEPTH, Value as Stored};

/// Up to here every whole number of Luau is exact.
const EXACT: f64 = 9_007_199_254_740_992.0;

/// A moment, in milliseconds since 1970.
#[derive(Clone, Copy, PartialEq)]
pub(super) struct Date(pub i64);

/// Bytes that are no text.
#[derive(Clone, PartialEq)]
pub(super) struct Binary(pub Vec<u8>);

/// A whole number that Luau's numbers cannot hold.
#[derive(Clone, Copy, PartialEq)]
pub(super) struct Integer(pub i64);

/// What makes two objects of a kind comparable and gives them a text.
fn comparable<T, M>(m: &mut M, show: fn(&T) -> String, order: fn(&T, &T) -> std::cmp::Ordering)
where
    T: UserData + 'static,
    M: UserDataMethods<T>,
{
    let other = move |this: &T, other: &AnyUserData| other.borrow::<T>().ok().map(|other| order(this, &other));
    m.add_meta_method(MetaMethod::ToString, move |_, this, ()| Ok(show(this)));
    m.add_meta_method(MetaMethod::Eq, move |_, this, right: AnyUserData| Ok(other(this, &right).is_some_and(std::cmp::Ordering::is_eq)));
    let unlike = || mlua::Error::runtime("store: these two cannot be compared");
    m.add_meta_method(MetaMethod::Lt, move |_, this, right: AnyUserData| {
        other(this, &right).map(std::cmp::Ordering::is_lt).ok_or_else(unlike)
    });
    m.add_meta_method(MetaMethod::Le, move |_, this, right: AnyUserData| {
        other(this, &right).map(std::cmp::Ordering::is_le).ok_or_else(unlike)
    });
}

impl UserData for Date {
    fn add_fields<F: UserDataFields<Self>>(fields: &mut F) {
        fields.add_field_method_get("seconds", |_, this| Ok(this.0 as f64 / 1000.0));
    }

    fn add_methods<M: UserDataMethods<Self>>(m: &mut M) {
        comparable(m, |date: &Date| show_date(date.0), |a, b| a.0.cmp(&b.0));
    }
}

impl UserData for Binary {
    fn add_fields<F: UserDataFields<Self>>(fields: &mut F) {
        fields.add_field_method_get("bytes", |lua, this| lua.create_string(&this.0));
    }

    fn add_methods<M: UserDataMethods<Self>>(m: &mut M) {
        comparable(m, |binary: &Binary| format!("{} bytes", binary.0.len()), |a, b| a.0.cmp(&b.0));
    }
}

impl UserData for Integer {
    fn add_fields<F: UserDataFields<Self>>(fields: &mut F) {
        fields.add_field_method_get("text", |_, this| Ok(this.0.to_string()));
    }

    fn add_methods<M: UserDataMethods<Self>>(m: &mut M) {
        comparable(m, |number: &Integer| number.0.to_string(), |a, b| a.0.cmp(&b.0));
    }
}

/// As RFC 3339 has it.
fn show_date(millis: i64) -> String {
    jiff::Timestamp::from_millisecond(millis).map_or_else(|_| format!("{millis} ms"), |at| at.to_string())
}

/// A table as a document. Names are in order, so that equal tables are equal documents.
///
/// # Errors
/// What cannot be kept, and where.
pub(super) fn document(lua: &Lua, table: &Table) -> mlua::Result<Document> {
    document_at(lua, table, 0)
}

fn document_at(lua: &Lua, table: &Table, depth: usize) -> mlua::Result<Document> {
    let mut fields: Vec<(String, Stored)> = Vec::new();
    table.for_each(|key: Value, item: Value| {
        let Value::String(name) = &key else {
            return Err(refuse(format!("a document has names, not a {} as key; a list has no holes", kind(&key))));
        };
        let name = name.to_str().map_err(|_| refuse("a name is not UTF-8"))?.to_owned();
        let item = value_at(lua, &item, depth + 1).map_err(|error| within(&name, &error))?;
        fields.push((name, item));
        Ok(())
    })?;
    fields.sort_by(|(a, _), (b, _)| a.cmp(b));
    Ok(fields.into_iter().collect())
}

fn value_at(lua: &Lua, item: &Value, depth: usize) -> mlua::Result<Stored> {
    if depth > MAX_DEPTH {
        return Err(refuse("nested too deep, or a table that contains itself"));
    }
    Ok(match item {
        Value::Nil => Stored::Null,
        Value::LightUserData(pointer) if pointer.0.is_null() => Stored::Null,
        Value::Boolean(flag) => Stored::Bool(*flag),
        Value::Integer(number) => Stored::Int(*number),
        Value::Number(number) => self::number(*number),
        Value::String(text) => match text.to_str() {
            Ok(text) => Stored::Text(text.to_owned()),
            Err(_) => return Err(refuse("a string is not UTF-8; keep bytes with store.binary")),
        },
        Value::Table(table) if json::is_list(lua, table)? => list(lua, table, depth)?,
        Value::Table(table) => Stored::Document(document_at(lua, table, depth)?),
        Value::UserData(object) => object_value(object)?,
        other => return Err(refuse(format!("a {} cannot be kept", kind(other)))),
    })
}

/// Whole numbers are kept as such.
fn number(number: f64) -> Stored {
    let is_whole = number.fract() == 0.0 && number.abs() < EXACT && !(number == 0.0 && number.is_sign_negative());
    if is_whole { Stored::Int(number as i64) } else { Stored::Double(number) }
}

fn list(lua: &Lua, table: &Table, depth: usize) -> mlua::Result<Stored> {
    let length = table.raw_len();
    let mut items = Vec::with_capacity(length);
    for index in 1..=length {
        items.push(value_at(lua, &table.raw_get::<Value>(index)?, depth + 1)?);
    }
    let mut count = 0;
    table.for_each(|_: Value, _: Value| {
        count += 1;
        Ok(())
    })?;
    if count != length {
        return Err(refuse("a table that is both a list and a map, or a list with holes, cannot be kept"));
    }
    Ok(Stored::Array(items))
}

fn object_value(object: &AnyUserData) -> mlua::Result<Stored> {
    if let Ok(date) = object.borrow::<Date>() {
        return Ok(Stored::Date(date.0));
    }
    if let Ok(binary) = object.borrow::<Binary>() {
        return Ok(Stored::Binary(binary.0.clone()));
    }
    if let Ok(integer) = object.borrow::<Integer>() {
        return Ok(Stored::Int(integer.0));
    }
    Err(refuse("this object cannot be kept"))
}

fn refuse(what: impl std::fmt::Display) -> mlua::Error {
    mlua::Error::runtime(what.to_string())
}

fn within(name: &str, error: &mlua::Error) -> mlua::Error {
    match error {
        mlua::Error::RuntimeError(why) => refuse(format!("{name}: {why}")),
        other => other.clone(),
    }
}

/// A kept value for a script.
///
/// # Errors
/// When memory is short.
pub(super) fn to_lua(lua: &Lua, value: Stored) -> mlua::Result<Value> {
    Ok(match value {
        Stored::Null => Value::NULL,
        Stored::Bool(flag) => Value::Boolean(flag),
        Stored::Int(number) if (number as f64).abs() < EXACT => Value::Number(number as f64),
        Stored::Int(number) => Value::UserData(lua.create_userdata(Integer(number))?),
        Stored::Double(number) => Value::Number(number),
        Stored::Text(text) => Value::String(lua.create_string(text)?),
        Stored::Binary(bytes) => Value::UserData(lua.create_userdata(Binary(bytes))?),
        Stored::Date(millis) => Value::UserData(lua.create_userdata(Date(millis))?),
        Stored::Array(items) => {
            let table = lua.create_table_with_capacity(items.len(), 0)?;
            for (index, item) in items.into_iter().enumerate() {
                table.raw_set(index + 1, to_lua(lua, item)?)?;
            }
            json::mark_list(lua, &table)?;
            Value::Table(table)
        }
        Stored::Document(document) => Value::Table(document_to_lua(lua, document)?),
    })
}

/// A document for a script.
///
/// # Errors
/// When memory is short.
pub(super) fn document_to_lua(lua: &Lua, document: Document) -> mlua::Result<Table> {
    let table = lua.create_table_with_capacity(0, document.len())?;
    for (name, value) in document {
        table.raw_set(name, to_lua(lua, value)?)?;
    }
    Ok(table)
}
