//! `@skep/websocket`: connections to other WebSocket servers.

use std::io;
use std::rc::Rc;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use mlua::{Lua, LuaString, Table};

use super::AppContext;
use crate::clients::http::Url;
use crate::codec::http::http1::{HeadLimits, ResponseParser};
use crate::codec::http::{Fields, Method, ResponseHead};
use crate::codec::websocket::deflate::{self, Agreement};
use crate::codec::websocket::{MessageLimits, Role, handshake};
use crate::net::{Stream, TlsSettings, connect_tls_with};
use crate::reactor::timeout;
use crate::script::arguments::Options;
use crate::script::connection::reason;
use crate::script::dial::CONNECT_TIMEOUT;
use crate::script::gauge::Permit;
use crate::script::websocket::handle::{Socket, WebSocketHandle};
use crate::websocket::config::Settings;
use crate::websocket::{Session, Sessions};

/// What a call understands.
const OPTIONS: &[&str] =
    &["protocols", "headers", "timeout", "ping", "pong_timeout", "close_timeout", "compression", "max_message", "queue", "authorities"];
/// Fields that the handshake sets itself.
const OWN: [&str; 8] = [
    "host",
    "connection",
    "upgrade",
    "sec-websocket-key",
    "sec-websocket-version",
    "sec-websocket-protocol",
    "sec-websocket-extensions",
    "content-length",
];

pub(super) fn open(lua: &Lua, app: &Rc<AppContext>) -> mlua::Result<Table> {
    let module = lua.create_table()?;
    let context = app.clone();
    module.raw_set(
        "connect",
        lua.create_async_function(move |lua, (address, options): (String, Options)| {
            let app = context.clone();
            async move { connect(&lua, &app, &address, &options).await }
        })?,
    )?;
    Ok(module)
}

fn fail(what: impl std::fmt::Display) -> mlua::Error {
    mlua::Error::runtime(format!("websocket: {what}"))
}

/// What is asked of a server.
struct Wish {
    url: Url,
    fields: Fields,
    protocols: Vec<String>,
    compression: bool,
    authorities: Option<String>,
}

/// A connection that a server has agreed to.
struct Made {
    stream: Stream,
    early: Vec<u8>,
    agreement: Option<Agreement>,
    protocol: Option<String>,
    permit: Permit,
}

async fn connect(lua: &Lua, app: &Rc<AppContext>, address: &str, options: &Options) -> mlua::Result<WebSocketHandle> {
    options.only(OPTIONS)?;
    let limit = options.span("timeout", CONNECT_TIMEOUT)?;
    let settings = settings(lua, options)?;
    let wish = wish(address, options)?;
    let made = match timeout(limit, Box::pin(make(app, &wish))).await {
        Ok(made) => made.map_err(|why| fail(format_args!("{why} ({address})")))?,
        Err(_) => return Err(fail(format_args!("timed out ({address})"))),
    };
    let Made { stream, early, agreement, protocol, permit } = made;
    let session = Session::new(stream, &early, Role::Client, agreement, Rc::new(settings.clone()));
    let socket = Rc::new(Socket::new("websocket", session.clone(), protocol));
    let weak = Rc::downgrade(&socket);
    let member = Sessions::new(settings).enter(session.clone());
    let context = app.clone();
    app.scope.spawn(async move {
        let _held = (member, permit);
        session.until_ended().await;
        if let Some(socket) = weak.upgrade() {
            socket.tell_end(&context);
        }
        session.drive().await;
    });
    Ok(WebSocketHandle(socket))
}

fn settings(lua: &Lua, options: &Options) -> mlua::Result<Settings> {
    let usual = Settings::default();
    let message = options.size(lua, "max_message", usual.limits.message)?;
    let limits = MessageLimits { message, frame: message, ..*usual.limits };
    Ok(Settings {
        limits: Rc::new(limits),
        queue: options.size(lua, "queue", usual.queue)?,
        ping: options.span("ping", usual.ping)?.max(Duration::from_millis(10)),
        pong_timeout: options.span("pong_timeout", usual.pong_timeout)?,
        close_timeout: options.span("close_timeout", usual.close_timeout)?,
        ..usual
    })
}

fn wish(address: &str, options: &Options) -> mlua::Result<Wish> {
    let url = match address.split_once("://") {
        Some((scheme, rest)) if scheme.eq_ignore_ascii_case("ws") => format!("http://{rest}"),
        Some((scheme, rest)) if scheme.eq_ignore_ascii_case("wss") => format!("https://{rest}"),
        _ => return Err(fail(format_args!("an address begins with ws:// or wss:// ({address})"))),
    };
    let mut fields = Fields::new();
    if let Some(headers) = options.get::<Table>("headers")? {
        headers.for_each(|name: String, value: LuaString| {
            if OWN.iter().any(|own| name.eq_ignore_ascii_case(own)) {
                return Err(fail(format_args!("the header {name} is set by the handshake")));
            }
            fields.push(&name, &*value.as_bytes()).map_err(|error| fail(format_args!("the header {name}: {error}")))
        })?;
    }
    Ok(Wish {
        url: Url::parse(&url).map_err(fail)?,
        fields,
        protocols: options.or("protocols", Vec::new())?,
        compression: options.or("compression", true)?,
        authorities: options.get("authorities")?,
    })
}

/// Connects, and asks for the upgrade (RFC 6455 section 4.1). Errors are in words.
async fn make(app: &AppContext, wish: &Wish) -> Result<Made, String> {
    let (host, port) = (wish.url.host(), wish.url.port());
    let address = match wish.url.socket() {
        Some(_) => host.to_owned(),
        None if host.contains(':') => format!("[{host}]:{port}"),
        None => format!("{host}:{port}"),
    };
    let (socket, permit) = app.dial(&address, CONNECT_TIMEOUT).await.map_err(|error| error.to_string())?;
    let words = |error: &io::Error| reason(error);
    let stream = if wish.url.is_secure() {
        let tls = match &wish.authorities {
            Some(pem) => TlsSettings::with_authorities(pem),
            None => TlsSettings::shared(),
        };
        let tls = tls.map_err(|error| error.to_string())?.offering("http/1.1");
        connect_tls_with(socket, host, tls).await.map_err(|error| words(&error))?
    } else {
        Stream::from(socket)
    };
    let mut key = [0; 16];
    getrandom::fill(&mut key).map_err(|error| error.to_string())?;
    let key = STANDARD.encode(key);
    stream.write_all(&request(wish, &key)?).await.map_err(|error| words(&error))?;
    let (head, early) = answer(&stream).await?;
    let protocol = handshake::check_answer(&head, &key, &wish.protocols).map_err(|error| error.to_string())?.map(str::to_owned);
    let extensions = head.fields.get_all("sec-websocket-extensions");
    let agreement = deflate::accepted(extensions).map_err(|error| error.to_string())?;
    if agreement.is_some() && !wish.compression {
        return Err(deflate::NotOffered.to_string());
    }
    Ok(Made { stream, early, agreement, protocol, permit })
}

fn request(wish: &Wish, key: &str) -> Result<Vec<u8>, String> {
    let mut out = Vec::with_capacity(512);
    let mut fields = Fields::new();
    let mut push = |name: &str, value: &str| fields.push(name, value).map_err(|error| error.to_string());
    push("Host", &wish.url.authority())?;
    push("Upgrade", "websocket")?;
    push("Connection", "Upgrade")?;
    push("Sec-WebSocket-Version", handshake::VERSION)?;
    push("Sec-WebSocket-Key", key)?;
    if !wish.protocols.is_empty() {
        push("Sec-WebSocket-Protocol", &wish.protocols.join(", "))?;
    }
    if wish.compression {
        push("Sec-WebSocket-Extensions", &deflate::offer())?;
    }
    out.extend_from_slice(b"GET ");
    out.extend_from_slice(wish.url.target().as_bytes());
    out.extend_from_slice(b" HTTP/1.1\r\n");
    for (name, value) in fields.iter().chain(wish.fields.iter()) {
        out.extend_from_slice(name.as_bytes());
        out.extend_from_slice(b": ");
        out.extend_from_slice(value);
        out.extend_from_slice(b"\r\n");
    }
    out.extend_from_slice(b"\r\n");
    Ok(out)
}

/// Reads the head of the answer; gives what came behind it too.
async fn answer(stream: &Stream) -> Result<(ResponseHead, Vec<u8>), String> {
    let limits = HeadLimits::default();
    let mut parser = ResponseParser::new(Method::Get, true, limits);
    let mut input = Vec::new();
    let mut piece = vec![0; 4096];
    loop {
        let read = stream.read(&mut piece).await.map_err(|error| reason(&error))?;
        if read == 0 {
            return Err("the connection ended before an answer".to_owned());
        }
        input.extend_from_slice(&piece[..read]);
        if let Some(parsed) = parser.parse(&input).map_err(|error| error.to_string())? {
            input.drain(..parsed.consumed);
            return Ok((parsed.head, input));
        }
    }
}
