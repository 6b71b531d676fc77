//! The modules that scripts get by `require("@skep/NAME")`: native code in `NAME.rs`, its description in `NAME.d.luau`.

mod cache;
mod cookie;
mod crypto;
mod dns;
pub(super) mod events;
mod http;
pub(crate) mod json;
mod live;
mod lock;
pub(super) mod log;
pub(super) mod net;
mod process;
mod rtep;
mod skep;
mod store;
mod stored;
mod stream;
mod template;
mod websocket;

use std::rc::Rc;

use mlua::{Lua, Table};

pub(crate) use super::context::AppContext;
pub(super) use crypto::hex;
pub(super) use skep::FileReply;

/// One module.
pub struct Module {
    /// What stands behind `@skep/`; `skep` is `@skep` itself.
    pub name: &'static str,
    /// Makes the table that `require` gives.
    pub(super) open: fn(&Lua, &Rc<AppContext>) -> mlua::Result<Table>,
    /// Its description: types for editors, from which the reference is made.
    pub types: &'static str,
}

/// All modules, in the order of the reference.
pub const ALL: &[Module] = &[
    Module { name: "skep", open: skep::open, types: include_str!("skep.d.luau") },
    Module { name: "json", open: json::open, types: include_str!("json.d.luau") },
    Module { name: "template", open: template::open, types: include_str!("template.d.luau") },
    Module { name: "log", open: log::open, types: include_str!("log.d.luau") },
    Module { name: "cache", open: cache::open, types: include_str!("cache.d.luau") },
    Module { name: "store", open: store::open, types: include_str!("store.d.luau") },
    Module { name: "lock", open: lock::open, types: include_str!("lock.d.luau") },
    Module { name: "events", open: events::open, types: include_str!("events.d.luau") },
    Module { name: "live", open: live::open, types: include_str!("live.d.luau") },
    Module { name: "rtep", open: rtep::open, types: include_str!("rtep.d.luau") },
    Module { name: "crypto", open: crypto::open, types: include_str!("crypto.d.luau") },
    Module { name: "http", open: http::open, types: include_str!("http.d.luau") },
    Module { name: "websocket", open: websocket::open, types: include_str!("websocket.d.luau") },
    Module { name: "net", open: net::open, types: include_str!("net.d.luau") },
    Module { name: "dns", open: dns::open, types: include_str!("dns.d.luau") },
    Module { name: "process", open: process::open, types: include_str!("process.d.luau") },
    Module { name: "stream", open: stream::open, types: include_str!("stream.d.luau") },
];

/// The names, for messages.
pub(super) fn names() -> String {
    let name = |module: &Module| if module.name == "skep" { "@skep".to_owned() } else { format!("@skep/{}", module.name) };
    ALL.iter().map(name).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests;
