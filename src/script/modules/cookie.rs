//! `skep.cookie`: a cookie for the visitor's browser to keep.

use std::time::{Duration, SystemTime};

use mlua::{Lua, LuaString, Value};

use crate::request::cookies::{SameSite, SetCookie};
use crate::script::arguments::{Options, Span, kind};

const OPTIONS: &[&str] = &["path", "domain", "max_age", "expires", "http_only", "secure", "same_site", "partitioned"];

/// The value of a `Set-Cookie` field. Without a value the browser is told to forget the cookie.
///
/// # Errors
/// What browsers would drop or misread, in words.
pub(super) fn cookie(lua: &Lua, (name, value, options): (String, Value, Options)) -> mlua::Result<LuaString> {
    let made = make(&name, &value, &options).and_then(|cookie| cookie.to_field().map_err(mlua::Error::runtime));
    let field = made.map_err(|error| match error {
        mlua::Error::RuntimeError(why) => mlua::Error::runtime(format!("cookie {name:?}: {why}")),
        other => other,
    })?;
    lua.create_string(field)
}

fn make(name: &str, value: &Value, options: &Options) -> mlua::Result<SetCookie> {
    options.only(OPTIONS)?;
    let text = match value {
        Value::Nil => Vec::new(),
        Value::String(text) => text.as_bytes().to_vec(),
        Value::Integer(_) | Value::Number(_) => value.to_string()?.into_bytes(),
        other => return Err(mlua::Error::runtime(format!("the value is a string, a number or nil, not a {}", kind(other)))),
    };
    let safe = SetCookie::new(name, text);
    let mut cookie = SetCookie {
        path: options.get("path")?.or(safe.path.clone()),
        domain: options.get("domain")?,
        max_age: options.get::<Span>("max_age")?.map(|span| span.0.as_secs() as i64),
        expires: options.get::<f64>("expires")?.map(instant).transpose()?,
        http_only: options.or("http_only", safe.http_only)?,
        secure: options.or("secure", safe.secure)?,
        same_site: options.get::<String>("same_site")?.map_or(Ok(safe.same_site), |word| same_site(&word))?,
        partitioned: options.or("partitioned", safe.partitioned)?,
        ..safe
    };
    if value.is_nil() {
        if cookie.max_age.is_some() || cookie.expires.is_some() {
            return Err(mlua::Error::runtime("a cookie without a value is removed: it takes no max_age and no expires"));
        }
        // Both, because old browsers know the one only, and every browser believes the other first.
        cookie.max_age = Some(0);
        cookie.expires = Some(SystemTime::UNIX_EPOCH);
    }
    Ok(cookie)
}

fn same_site(word: &str) -> mlua::Result<Option<SameSite>> {
    match word {
        "strict" => Ok(Some(SameSite::Strict)),
        "lax" => Ok(Some(SameSite::Lax)),
        "none" => Ok(Some(SameSite::None)),
        other => Err(mlua::Error::runtime(format!("same_site is \"strict\", \"lax\" or \"none\", not {other:?}"))),
    }
}

/// Seconds since 1970.
fn instant(seconds: f64) -> mlua::Result<SystemTime> {
    let since = Duration::try_from_secs_f64(seconds).ok().and_then(|since| SystemTime::UNIX_EPOCH.checked_add(since));
    since.ok_or_else(|| mlua::Error::runtime("a cookie expires between 1970 and 9999"))
}
