//! Requests that an application queues for itself.

use std::cell::Cell;
use std::rc::Rc;

use bytes::Bytes;
use futures_lite::StreamExt;
use mlua::{Function, Lua, LuaString, Table};

use super::context::AppContext;
use crate::codec::http::{Method, RequestHead, Version};
use crate::net::Peer;
use crate::request::{Answer, Body, Onward, Origin, Request, RequestId, ResponseBody};

/// The server name of queued requests.
const SERVER: &str = "queue";
/// Set in the numbers of queued requests, so that they are never those of a client's.
const QUEUED: u64 = 1 << 47;

thread_local! {
    static NEXT: Cell<u64> = const { Cell::new(1) };
}

/// `skep.enqueue`.
pub(super) fn function(lua: &Lua, app: &Rc<AppContext>) -> mlua::Result<Function> {
    let app = app.clone();
    lua.create_function(move |_, table: Table| {
        let request = request(&table)?;
        let id = request.id;
        let handler = app.handler().ok_or_else(|| mlua::Error::runtime("enqueue: the application is not ready yet"))?;
        let permit = app.tasks.take().map_err(|error| mlua::Error::runtime(format!("enqueue: {error}")))?;
        app.scope.spawn(async move {
            let _permit = permit;
            let response = match handler.request(request) {
                Answer::Now(response) => response,
                Answer::Later(response) => response.await,
            };
            // A reply that is written as it goes is only complete when it has been taken.
            if let ResponseBody::Stream(mut body) | ResponseBody::Measured(mut body, _) = response.body {
                while let Some(Ok(_)) = body.next().await {}
            }
        });
        Ok(id.to_string())
    })
}

fn request(table: &Table) -> mlua::Result<Request> {
    let fail = |what: &dyn std::fmt::Display| mlua::Error::runtime(format!("enqueue: {what}"));
    let path: String = table.get("path")?;
    let method = table.get::<Option<String>>("method")?.unwrap_or_else(|| "GET".to_owned());
    if !Method::is_token(method.as_bytes()) {
        return Err(fail(&"the method is no token"));
    }
    let mut head = RequestHead::new(Method::from_token(&method), &path, Version::Http11).map_err(|error| fail(&error))?;
    if let Some(headers) = table.get::<Option<Table>>("headers")? {
        headers.for_each(|name: String, value: LuaString| head.fields.push(&name, &*value.as_bytes()).map_err(|error| fail(&error)))?;
    }
    let body = match table.get::<Option<LuaString>>("body")? {
        Some(body) => Body::full(Bytes::copy_from_slice(&body.as_bytes())),
        None => Body::empty(),
    };
    let number = NEXT.replace(NEXT.get() + 1);
    let pid = u64::from(std::process::id());
    let id = RequestId(QUEUED | (pid & 0x3f_ffff) << 24 | number & 0xff_ffff);
    let origin = Rc::new(Origin::new(Peer::Unknown, Peer::Unknown, SERVER.into()));
    Ok(Request { id, head, body, origin, base_length: 0, uploads: Rc::default(), onward: Onward::default(), user: None })
}
