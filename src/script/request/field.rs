//! The parts of a request, made when a script first looks at them.

use mlua::{Lua, Value};

use super::ScriptRequest;
use crate::codec::http::RequestHead;
use crate::net::{ClientCertificate, ClientName, Peer};
use crate::request::cookies::Cookies;
use crate::request::form::{FormLimits, FormMap, FormValue, parse_urlencoded};
use crate::script::form;

/// The names of the parts that [`field`] makes, and of those set at once; for the test of the descriptions.
#[cfg(test)]
pub(in crate::script) const FIELDS: &[&str] = &[
    "method",
    "path",
    "id",
    "url",
    "base",
    "query",
    "get",
    "post",
    "form",
    "files",
    "cookies",
    "headers",
    "server",
    "remote",
    "client_certificate",
    "user",
    "onabort",
    "onfinish",
];

pub(super) fn field(lua: &Lua, request: &ScriptRequest, key: &str) -> mlua::Result<Value> {
    let text = |text: &str| lua.create_string(text).map(Value::String);
    match key {
        "id" => text(&request.id.to_string()),
        "url" => text(request.head.target()),
        "base" => text(request.base()),
        "query" => text(request.head.query().unwrap_or_default()),
        "get" => query(lua, request),
        "post" | "form" => form::fields_table(lua, request),
        "files" => form::files_table(lua, request),
        "cookies" => cookies(lua, request),
        "headers" => headers(lua, &request.head),
        "server" => server(lua, request),
        "user" => request.user.as_deref().map_or(Ok(Value::Nil), text),
        "remote" => peer(lua, &request.origin.peer),
        "client_certificate" => request.origin.certificate.as_deref().map_or(Ok(Value::Nil), |shown| certificate(lua, shown)),
        _ => Ok(Value::Nil),
    }
}

fn query(lua: &Lua, request: &ScriptRequest) -> mlua::Result<Value> {
    let mut map = FormMap::new();
    if let Some(query) = request.head.query() {
        parse_urlencoded(query.as_bytes(), &FormLimits::default(), &mut map)
            .map_err(|error| mlua::Error::runtime(format!("the query: {error}")))?;
    }
    form_map(lua, &map)
}

pub(in crate::script) fn form_map(lua: &Lua, map: &FormMap) -> mlua::Result<Value> {
    let table = lua.create_table_with_capacity(0, map.len())?;
    for (name, value) in map.iter() {
        table.raw_set(lua.create_string(name)?, form_value(lua, value)?)?;
    }
    Ok(Value::Table(table))
}

fn form_value(lua: &Lua, value: &FormValue) -> mlua::Result<Value> {
    match value {
        FormValue::Text(text) => lua.create_string(text).map(Value::String),
        FormValue::Map(map) => form_map(lua, map),
        FormValue::List(items) => {
            let table = lua.create_table_with_capacity(items.len(), 0)?;
            for (index, item) in items.iter().enumerate() {
                table.raw_set(index + 1, form_value(lua, item)?)?;
            }
            Ok(Value::Table(table))
        }
    }
}

fn cookies(lua: &Lua, request: &ScriptRequest) -> mlua::Result<Value> {
    let table = lua.create_table()?;
    for (name, value) in Cookies::parse(request.head.fields.get_all("cookie")).iter() {
        let name = lua.create_string(name)?;
        if !table.contains_key(&name)? {
            table.raw_set(name, lua.create_string(value)?)?;
        }
    }
    Ok(Value::Table(table))
}

/// Names and values, a line each; `request.luau` makes the table and joins values of one name as RFC 9110 section 5.3 says.
fn headers(lua: &Lua, head: &RequestHead) -> mlua::Result<Value> {
    let mut text = Vec::with_capacity(512);
    for (name, value) in head.fields.iter() {
        text.extend_from_slice(name.as_bytes());
        text.push(b'\n');
        text.extend_from_slice(value);
        text.push(b'\n');
    }
    lua.create_string(text).map(Value::String)
}

fn server(lua: &Lua, request: &ScriptRequest) -> mlua::Result<Value> {
    let table = lua.create_table()?;
    table.raw_set("name", &*request.origin.server)?;
    let host = request.head.host().or_else(|| request.head.fields.get_str("host").and_then(|host| host.split(':').next()));
    table.raw_set("host", host)?;
    table.raw_set("authority", request.head.authority())?;
    table.raw_set("protocol", request.head.version.as_str())?;
    table.raw_set("secure", request.origin.secure)?;
    table.raw_set("scheme", if request.origin.secure { "https" } else { "http" })?;
    table.raw_set("address", request.origin.local.ip().map(|ip| ip.to_string()))?;
    table.raw_set("port", request.origin.local.port())?;
    let parameters = lua.create_table()?;
    for (name, value) in request.origin.parameters.iter() {
        parameters.raw_set(name, lua.create_string(value)?)?;
    }
    table.raw_set("parameters", parameters)?;
    Ok(Value::Table(table))
}

/// An end of a connection: `address`, `port`, or `path` of a unix socket.
pub(in crate::script) fn peer(lua: &Lua, peer: &Peer) -> mlua::Result<Value> {
    let table = lua.create_table()?;
    match peer {
        Peer::Ip(address) => {
            table.raw_set("address", address.ip().to_string())?;
            table.raw_set("port", address.port())?;
        }
        Peer::Unix(path) => {
            table.raw_set("address", "unix:")?;
            table.raw_set("path", path.as_ref().map(|path| path.to_string_lossy().into_owned()))?;
        }
        Peer::Unknown => table.raw_set("address", "")?,
    }
    Ok(Value::Table(table))
}

/// The certificate that a client has shown.
pub(in crate::script) fn certificate(lua: &Lua, shown: &ClientCertificate) -> mlua::Result<Value> {
    let table = lua.create_table()?;
    for (name, text) in [
        ("subject", &shown.subject),
        ("common_name", &shown.common_name),
        ("issuer", &shown.issuer),
        ("serial", &shown.serial),
        ("fingerprint", &shown.fingerprint),
        ("pem", &shown.pem()),
    ] {
        table.raw_set(name, &**text)?;
    }
    table.raw_set("names", lua.create_sequence_from(shown.names.iter().map(ClientName::as_str))?)?;
    table.raw_set("begins", shown.begins)?;
    table.raw_set("ends", shown.ends)?;
    Ok(Value::Table(table))
}
