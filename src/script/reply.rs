//! What a handler returned, as a response.

use bytes::Bytes;
use mlua::{BString, LuaString, Table, Value};

use super::arguments::kind;
use super::live::BodyReply;
use super::modules::FileReply;
use super::request::ScriptRequest;
use crate::request::file::{SentFiles, X_SENDFILE};
use crate::request::{Response, ResponseBody, ResponseFields};

/// What a text without a content type of its own is.
const HTML: &str = "text/html; charset=utf-8";

/// A reply, or the file that it is to be made of.
pub(super) enum Reply {
    Response(Response),
    File(Box<FileReply>),
    /// Its headers name the file.
    Sent(Box<Response>),
}

/// What the headers of a reply have said.
#[derive(Clone, Copy, Default)]
pub(super) struct Said {
    /// There is a content type.
    has_type: bool,
    /// A file is named that is to be sent in the place of the body.
    pub names_file: bool,
}

/// The values that the function around a handler gives: body, status, headers, file, cookies.
pub(super) type Returned = (Option<BString>, Value, Value, Value, Value);

/// Turns what a handler returned into a reply. What it wrote before comes first.
///
/// # Errors
/// A status, header or body of the wrong kind, in words.
pub(super) fn convert(returned: Returned, request: &ScriptRequest, sent: &SentFiles) -> mlua::Result<Reply> {
    let (body, status, headers, file, set_cookies) = returned;
    let body = body.map(|body| Bytes::from(Vec::from(body)));
    if request.used().is_some_and(|rare| rare.written.borrow().started) {
        return Ok(written(body, request));
    }
    let status = match status {
        Value::Nil if body.is_none() && file.is_nil() && headers.is_nil() && set_cookies.is_nil() => 204,
        Value::Nil => 200,
        Value::Integer(status) => checked_status(status as f64)?,
        Value::Number(status) => checked_status(status)?,
        other => return Err(mlua::Error::runtime(format!("the status of a reply is a number, not a {}", kind(&other)))),
    };
    let mut response = Response { status, fields: ResponseFields::with_capacity(96), ..Response::default() };
    let said = match &headers {
        Value::Nil => Said::default(),
        Value::Table(table) => self::headers(Some(table), &mut response.fields)?,
        other => return Err(mlua::Error::runtime(format!("the headers of a reply are a table, not a {}", kind(other)))),
    };
    if !set_cookies.is_nil() {
        cookies(&set_cookies, &mut response.fields)?;
    }
    if said.names_file && sent.is_on() {
        return Ok(Reply::Sent(Box::new(response)));
    }
    if let Value::UserData(body) = &file
        && body.is::<BodyReply>()
    {
        response.body = body.take::<BodyReply>()?.0;
        return Ok(Reply::Response(response));
    }
    if let Value::UserData(file) = &file {
        let mut file = file.take::<FileReply>()?;
        file.response = response;
        return Ok(Reply::File(Box::new(file)));
    }
    if let Some(body) = body {
        if !said.has_type {
            response.fields.push_static("Content-Type", HTML);
        }
        response.body = ResponseBody::Bytes(body);
    }
    Ok(Reply::Response(response))
}

/// The reply of a handler that wrote everything before the head had to go out.
fn written(rest: Option<Bytes>, request: &ScriptRequest) -> Reply {
    if let Some(rest) = rest {
        request.rare().written.borrow_mut().bytes.extend_from_slice(&rest);
    }
    let bytes = request.take_written().unwrap_or_default();
    let mut response = head_of_written(request);
    if request.names_file() {
        return Reply::Sent(Box::new(response));
    }
    response.body = ResponseBody::Bytes(bytes);
    Reply::Response(response)
}

/// The head of a reply that is written piece by piece.
pub(super) fn head_of_written(request: &ScriptRequest) -> Response {
    let mut written = request.rare().written.borrow_mut();
    let mut fields = std::mem::take(&mut written.fields);
    if !written.names_file && fields.get("content-type").is_none() {
        fields.push_static("Content-Type", HTML);
    }
    request.head_sent.set(true);
    Response { status: if written.status == 0 { 200 } else { written.status }, fields, ..Response::default() }
}

/// A status that a final response may have.
///
/// # Errors
/// When it is none.
pub(super) fn checked_status(status: f64) -> mlua::Result<u16> {
    if (200.0..=599.0).contains(&status) && status.fract() == 0.0 {
        return Ok(status as u16);
    }
    Err(mlua::Error::runtime(format!("a status is a whole number from 200 to 599, not {status}")))
}

/// Takes the headers of a table: a value is a string, a number, or a list of them for a field that is repeated.
///
/// # Errors
/// A name or value that a header cannot have.
pub(super) fn headers(table: Option<&Table>, fields: &mut ResponseFields) -> mlua::Result<Said> {
    let mut said = Said::default();
    let Some(table) = table else { return Ok(said) };
    table.for_each(|name: LuaString, value: Value| {
        let name = name.as_bytes();
        said.has_type |= name.eq_ignore_ascii_case(b"content-type");
        said.names_file |= name.eq_ignore_ascii_case(X_SENDFILE.as_bytes());
        match &value {
            Value::Table(values) => values.for_each(|_: Value, value: Value| header(&name, &value, fields)),
            value => header(&name, value, fields),
        }
    })?;
    Ok(said)
}

/// Takes `reply.cookies`: a header for each.
fn cookies(list: &Value, fields: &mut ResponseFields) -> mlua::Result<()> {
    let wrong = |what: &str| mlua::Error::runtime(format!("the cookies of a reply are a list of what skep.cookie gives, not {what}"));
    let Value::Table(list) = list else { return Err(wrong(&format!("a {}", kind(list)))) };
    list.for_each(|key: Value, cookie: Value| match (&key, &cookie) {
        (Value::Integer(_) | Value::Number(_), Value::String(_)) => header(b"Set-Cookie", &cookie, fields),
        (Value::Integer(_) | Value::Number(_), other) => Err(wrong(&format!("a list with a {}", kind(other)))),
        _ => Err(wrong("a table by name")),
    })
}

fn header(name: &[u8], value: &Value, fields: &mut ResponseFields) -> mlua::Result<()> {
    let pushed = match value {
        Value::String(value) => fields.push(name, &*value.as_bytes()),
        Value::Integer(_) | Value::Number(_) => fields.push(name, value.to_string()?),
        other => {
            let name = String::from_utf8_lossy(name);
            return Err(mlua::Error::runtime(format!(
                "the header {name} is a string, a number or a list of strings, not a {}",
                kind(other)
            )));
        }
    };
    pushed.map_err(|error| mlua::Error::runtime(format!("the header {}: {error}", String::from_utf8_lossy(name))))
}
