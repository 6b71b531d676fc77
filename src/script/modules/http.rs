//! `@skep/http`: requests to other servers.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::rc::{Rc, Weak};
use std::time::Duration;

use bytes::Bytes;
use mlua::{Function, Lua, LuaString, Table, UserData, UserDataFields, UserDataMethods, Value};

use super::{AppContext, json};
use crate::clients::http::{Client, ClientRequest, ClientResponse, Connected, Connector, HttpError, REDIRECTS, RequestBody, Url};
use crate::codec::http::{Fields, Method};
use crate::codec::percent;
use crate::net::{Stream, TlsSettings, connect_tls_with};
use crate::reactor::timeout;
use crate::script::arguments::{Options, kind};
use crate::script::connection::reason;
use crate::script::dial::CONNECT_TIMEOUT;
use crate::script::iteration;

/// How long an answer takes at most if nothing else is said.
const LIMIT: Duration = Duration::from_secs(30);
/// The largest body that is read whole if nothing else is said.
const MAX_BODY: usize = 16 << 20;
/// What a request may say.
const OPTIONS: &[&str] = &["method", "url", "headers", "query", "body", "json", "form", "timeout", "redirects", "max_body", "stream", "ca"];

pub(super) fn open(lua: &Lua, app: &Rc<AppContext>) -> mlua::Result<Table> {
    let client = Rc::new(Client::new(Box::new(Dialer(Rc::downgrade(app)))));
    // Kept connections count as sockets, but they go before the application goes without one.
    let idle = Rc::downgrade(&client);
    app.sockets.on_full(move || idle.upgrade().is_some_and(|client| client.close_idle()));
    let module = lua.create_table()?;
    for (name, method) in [("get", Method::Get), ("head", Method::Head), ("delete", Method::Delete)] {
        let client = client.clone();
        let function = lua.create_async_function(move |lua, (url, options): (String, Options)| {
            let (client, method) = (client.clone(), method.clone());
            async move { send(&lua, &client, method, &url, None, &options).await }
        })?;
        module.raw_set(name, function)?;
    }
    for (name, method) in [("post", Method::Post), ("put", Method::Put), ("patch", Method::Patch)] {
        let client = client.clone();
        let function = lua.create_async_function(move |lua, (url, body, options): (String, Value, Options)| {
            let (client, method) = (client.clone(), method.clone());
            async move { send(&lua, &client, method, &url, Some(body), &options).await }
        })?;
        module.raw_set(name, function)?;
    }
    module.raw_set(
        "request",
        lua.create_async_function(move |lua, options: Options| {
            let client = client.clone();
            async move {
                let method = options.or("method", "GET".to_owned())?;
                if !Method::is_token(method.as_bytes()) {
                    return Err(fail("the method is no token"));
                }
                let url = options.get::<String>("url")?.ok_or_else(|| fail("the request has no url"))?;
                send(&lua, &client, Method::from_token(&method), &url, None, &options).await
            }
        })?,
    )?;
    Ok(module)
}

fn fail(what: impl std::fmt::Display) -> mlua::Error {
    mlua::Error::runtime(format!("http: {what}"))
}

fn failed(error: HttpError) -> mlua::Error {
    match error {
        HttpError::Io(error, server) => fail(format_args!("{} ({server})", reason(&error))),
        error => fail(error),
    }
}

/// Connects within what the application may.
struct Dialer(Weak<AppContext>);

impl Connector for Dialer {
    fn connect<'a>(&'a self, url: &'a Url, authorities: Option<&'a str>) -> Pin<Box<dyn Future<Output = Result<Connected, String>> + 'a>> {
        Box::pin(async move {
            let app = self.0.upgrade().ok_or("the application has ended")?;
            let (host, port) = (url.host(), url.port());
            let address = if url.socket().is_some() {
                host.to_owned()
            } else if host.contains(':') {
                format!("[{host}]:{port}")
            } else {
                format!("{host}:{port}")
            };
            let (socket, permit) = app.dial(&address, CONNECT_TIMEOUT).await.map_err(|error| error.to_string())?;
            let stream = if url.is_secure() {
                let settings = settings(authorities).map_err(|error| format!("{error} ({address})"))?;
                connect_tls_with(socket, host, settings).await.map_err(|error| format!("{} ({address})", reason(&error)))?
            } else {
                Stream::from(socket)
            };
            Ok(Connected { stream, kept: Box::new(permit) })
        })
    }
}

/// TLS with the public authorities, or with these.
fn settings(authorities: Option<&str>) -> io::Result<TlsSettings> {
    thread_local! {
        static PUBLIC: std::cell::OnceCell<TlsSettings> = const { std::cell::OnceCell::new() };
    }
    if let Some(pem) = authorities {
        return Ok(TlsSettings::with_authorities(pem)?.offering("http/1.1"));
    }
    let shared = TlsSettings::shared()?;
    Ok(PUBLIC.with(|public| public.get_or_init(|| shared.offering("http/1.1")).clone()))
}

async fn send(lua: &Lua, client: &Client, method: Method, url: &str, body: Option<Value>, options: &Options) -> mlua::Result<Response> {
    options.only(OPTIONS)?;
    let mut fields = Fields::new();
    fields.push("user-agent", concat!("skep/", env!("CARGO_PKG_VERSION"))).map_err(fail)?;
    if let Some(headers) = options.get::<Table>("headers")? {
        headers.for_each(|name: String, value: LuaString| {
            fields.set(&name, &*value.as_bytes()).map_err(|error| fail(format_args!("the header {name}: {error}")))
        })?;
    }
    let body = request_body(lua, body, options, &mut fields)?;
    let (limit, streams) = (options.span("timeout", LIMIT)?, options.or("stream", false)?);
    // A stream may be larger than what the VM could hold.
    let most = if streams { options.get::<usize>("max_body")? } else { Some(options.size(lua, "max_body", MAX_BODY)?) };
    let request = ClientRequest {
        method,
        url: address(url, options)?,
        fields,
        body,
        timeout: limit,
        authorities: options.get::<String>("ca")?.map(Rc::from),
        redirects: options.or("redirects", REDIRECTS)?,
    };
    let server = request.url.server();
    let whole = async {
        let response = Box::pin(client.send(request)).await?;
        if streams {
            if let Some(most) = most {
                response.body.allow(most);
            }
            return Ok((response, None));
        }
        let body = response.body.bytes(most.unwrap_or(MAX_BODY)).await?;
        Ok((response, Some(body)))
    };
    // The whole answer within the limit: a server that sends a byte now and then must not hold the caller for ever.
    let (response, body) = timeout(limit, whole).await.unwrap_or(Err(HttpError::TimedOut(server))).map_err(failed)?;
    Ok(Response { response: Rc::new(response), body })
}

/// The address with the fields of `query` behind it.
fn address(url: &str, options: &Options) -> mlua::Result<Url> {
    let mut url = url.split('#').next().unwrap_or_default().to_owned();
    if let Some(query) = options.get::<Table>("query")? {
        let encoded = encode_form(&query)?;
        if !encoded.is_empty() {
            url.push(if url.contains('?') { '&' } else { '?' });
            url.push_str(&encoded);
        }
    }
    Url::parse(&url).map_err(fail)
}

/// Fields as forms encode them, in order of their names.
fn encode_form(table: &Table) -> mlua::Result<String> {
    let mut pairs: Vec<(Vec<u8>, Vec<u8>)> = Vec::new();
    table.for_each(|name: LuaString, value: Value| {
        let mut add = |value: &Value| match value {
            Value::Table(_) | Value::Function(_) | Value::UserData(_) | Value::Thread(_) => {
                Err(fail(format_args!("a field is a text or a number, not a {}", kind(value))))
            }
            value => {
                pairs.push((name.as_bytes().to_vec(), value.to_string()?.into_bytes()));
                Ok(())
            }
        };
        match &value {
            Value::String(text) => {
                pairs.push((name.as_bytes().to_vec(), text.as_bytes().to_vec()));
                Ok(())
            }
            Value::Table(list) => list.for_each(|_: Value, value: Value| add(&value)),
            value => add(value),
        }
    })?;
    pairs.sort_by(|(one, _), (other, _)| one.cmp(other));
    let mut out = String::new();
    for (name, value) in pairs {
        if !out.is_empty() {
            out.push('&');
        }
        percent::encode_component(&name, &mut out);
        out.push('=');
        percent::encode_component(&value, &mut out);
    }
    Ok(out)
}

fn request_body(lua: &Lua, body: Option<Value>, options: &Options, fields: &mut Fields) -> mlua::Result<RequestBody> {
    let mut typed = |kind: &str| if fields.contains("content-type") { Ok(()) } else { fields.push("content-type", kind).map_err(fail) };
    if let Some(value) = options.get::<Value>("json")? {
        typed("application/json")?;
        return Ok(RequestBody::Bytes(json::encode(lua, &value)?.into()));
    }
    if let Some(form) = options.get::<Table>("form")? {
        typed("application/x-www-form-urlencoded")?;
        return Ok(RequestBody::Bytes(encode_form(&form)?.into()));
    }
    let body = match body {
        None | Some(Value::Nil) => options.get::<Value>("body")?.unwrap_or(Value::Nil),
        Some(body) => body,
    };
    match body {
        Value::Nil => Ok(RequestBody::Empty),
        Value::String(text) => Ok(RequestBody::Bytes(Bytes::copy_from_slice(&text.as_bytes()))),
        Value::Function(function) => Ok(RequestBody::Stream(Box::pin(pieces(function)))),
        other => Err(fail(format_args!("the body is a text, or a function that gives its pieces, not a {}", kind(&other)))),
    }
}

/// What a function gives, until it gives nil.
fn pieces(function: Function) -> impl futures_lite::Stream<Item = io::Result<Bytes>> {
    futures_lite::stream::unfold(Some(function), |function| async move {
        let function = function?;
        match function.call_async::<Option<LuaString>>(()).await {
            Ok(Some(piece)) => Some((Ok(Bytes::copy_from_slice(&piece.as_bytes())), Some(function))),
            Ok(None) => None,
            Err(error) => Some((Err(io::Error::other(error.to_string())), None)),
        }
    })
}

/// An answer in the hands of a script.
struct Response {
    response: Rc<ClientResponse>,
    /// `None` when it is read piece by piece.
    body: Option<Bytes>,
}

impl UserData for Response {
    fn add_fields<F: UserDataFields<Self>>(fields: &mut F) {
        fields.add_field_method_get("status", |_, this| Ok(this.response.head.status));
        fields.add_field_method_get("ok", |_, this| Ok((200..300).contains(&this.response.head.status)));
        fields.add_field_method_get("url", |_, this| Ok(this.response.url.to_string()));
        fields.add_field_method_get("body", |lua, this| this.body.as_ref().map(|body| lua.create_string(body)).transpose());
        fields.add_field_method_get("headers", |lua, this| {
            let table = lua.create_table()?;
            for (name, value) in this.response.head.fields.iter() {
                match table.raw_get::<Option<LuaString>>(name)? {
                    None => table.raw_set(name, lua.create_string(value)?)?,
                    Some(before) => table.raw_set(name, lua.create_string([&*before.as_bytes(), b", ", value].concat())?)?,
                }
            }
            Ok(table)
        });
    }

    fn add_methods<M: UserDataMethods<Self>>(methods: &mut M) {
        methods.add_async_method("json", |lua, this, ()| {
            let (response, body) = (this.response.clone(), this.body.clone());
            async move {
                let body = match body {
                    Some(body) => body,
                    None => response.body.bytes(MAX_BODY).await.map_err(failed)?,
                };
                json::decode(&lua, &body)
            }
        });
        methods.add_method("chunks", |lua, this, ()| {
            let response = this.response.clone();
            iteration::function(lua, move |lua| {
                let response = response.clone();
                async move { response.body.chunk().await.map_err(failed)?.map(|chunk| lua.create_string(chunk)).transpose() }
            })
        });
        methods.add_method("close", |_, this, ()| {
            this.response.body.close();
            Ok(())
        });
    }
}
