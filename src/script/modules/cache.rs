//! `@skep/cache`: values that all workers share.

use std::future::Future;
use std::rc::Rc;
use std::time::Duration;

use mlua::{FromLuaMulti, IntoLuaMulti, Lua, Table, Value};

use super::{AppContext, json};
use crate::link::{CacheCall, CacheValue, Reply};
use crate::script::arguments::Span;

/// The longest key, in bytes.
const MAX_KEY: usize = 250;
/// What a stored text begins with.
const TEXT: u8 = b's';
/// What any other stored value begins with: its JSON follows.
const JSON: u8 = b'j';

pub(super) fn open(lua: &Lua, app: &Rc<AppContext>) -> mlua::Result<Table> {
    let module = lua.create_table()?;
    add(lua, &module, app, "get", |lua, cache, key: String| async move {
        match cache.call(CacheCall::Get { key: cache.key(key)? }).await? {
            Reply::Value(value) => value.map_or(Ok(Value::Nil), |value| unpack(&lua, value)),
            _ => Err(unexpected()),
        }
    })?;
    add(lua, &module, app, "set", |lua, cache, (key, value, ttl): (String, Value, Option<Span>)| async move {
        let call = CacheCall::Set { key: cache.key(key)?, value: pack(&lua, &value)?, ttl_ms: ttl.map(millis), only_new: false };
        cache.done(call).await.map(|_| ())
    })?;
    add(lua, &module, app, "add", |lua, cache, (key, value, ttl): (String, Value, Option<Span>)| async move {
        cache.done(CacheCall::Set { key: cache.key(key)?, value: pack(&lua, &value)?, ttl_ms: ttl.map(millis), only_new: true }).await
    })?;
    add(lua, &module, app, "incr", |_, cache, (key, by, ttl): (String, Option<i64>, Option<Span>)| async move {
        match cache.call(CacheCall::Add { key: cache.key(key)?, by: by.unwrap_or(1), ttl_ms: ttl.map(millis) }).await? {
            Reply::Count(count) => Ok(count),
            _ => Err(unexpected()),
        }
    })?;
    add(lua, &module, app, "delete", |_, cache, key: String| async move { cache.done(CacheCall::Delete { key: cache.key(key)? }).await })?;
    add(lua, &module, app, "touch", |_, cache, (key, ttl): (String, Option<Span>)| async move {
        cache.done(CacheCall::Touch { key: cache.key(key)?, ttl_ms: ttl.map(millis) }).await
    })?;
    add(lua, &module, app, "ttl", |_, cache, key: String| async move {
        match cache.call(CacheCall::Ttl { key: cache.key(key)? }).await? {
            Reply::Ttl(None) => Ok(None),
            Reply::Ttl(Some(None)) => Ok(Some(f64::INFINITY)),
            Reply::Ttl(Some(Some(left))) => Ok(Some(Duration::from_millis(left).as_secs_f64())),
            _ => Err(unexpected()),
        }
    })?;
    Ok(module)
}

/// The cache as one application sees it.
struct Cache(Rc<AppContext>);

impl Cache {
    fn key(&self, key: String) -> mlua::Result<(String, String)> {
        if key.is_empty() || key.len() > MAX_KEY {
            return Err(fail(format_args!("a key has 1 to {MAX_KEY} bytes")));
        }
        Ok((self.0.name.to_string(), key))
    }

    async fn call(&self, call: CacheCall) -> mlua::Result<Reply> {
        self.0.services.cache.call(call).await.map_err(fail)
    }

    async fn done(&self, call: CacheCall) -> mlua::Result<bool> {
        match self.call(call).await? {
            Reply::Done(done) => Ok(done),
            _ => Err(unexpected()),
        }
    }
}

fn add<A, R, F>(lua: &Lua, module: &Table, app: &Rc<AppContext>, name: &str, body: fn(Lua, Rc<Cache>, A) -> F) -> mlua::Result<()>
where
    A: FromLuaMulti + 'static,
    R: IntoLuaMulti,
    F: Future<Output = mlua::Result<R>> + 'static,
{
    let cache = Rc::new(Cache(app.clone()));
    module.raw_set(name, lua.create_async_function(move |lua, arguments: A| body(lua, cache.clone(), arguments))?)
}

fn fail(what: impl std::fmt::Display) -> mlua::Error {
    mlua::Error::runtime(format!("cache: {what}"))
}

fn unexpected() -> mlua::Error {
    fail("the hub gave an answer to another question")
}

fn millis(span: Span) -> u64 {
    u64::try_from(span.0.as_millis()).unwrap_or(u64::MAX)
}

fn pack(lua: &Lua, value: &Value) -> mlua::Result<CacheValue> {
    match value {
        Value::Nil => Err(fail("nil cannot be kept; delete the key")),
        Value::Integer(count) => Ok(CacheValue::Count(*count)),
        Value::Number(number) if number.fract() == 0.0 && number.abs() < 9_007_199_254_740_992.0 => Ok(CacheValue::Count(*number as i64)),
        Value::String(text) => Ok(tagged(TEXT, &text.as_bytes())),
        other => Ok(tagged(JSON, &json::encode(lua, other)?)),
    }
}

fn tagged(tag: u8, bytes: &[u8]) -> CacheValue {
    let mut tagged = Vec::with_capacity(bytes.len() + 1);
    tagged.push(tag);
    tagged.extend_from_slice(bytes);
    CacheValue::Bytes(tagged)
}

fn unpack(lua: &Lua, value: CacheValue) -> mlua::Result<Value> {
    match value {
        CacheValue::Count(count) => Ok(Value::Number(count as f64)),
        CacheValue::Bytes(bytes) => match bytes.split_first() {
            Some((&TEXT, text)) => lua.create_string(text).map(Value::String),
            Some((&JSON, text)) => json::decode(lua, text),
            _ => Err(unexpected()),
        },
    }
}
