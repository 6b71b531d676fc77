//! The HTTP server: HTTP/1.1 (RFC 9110, RFC 9112).
//!
//! | file | what it is |
//! |---|---|
//! | [`config`] | its block in `config.ron` |
//! | `server` | the server in a worker: its connections, what it serves now, how it ends |
//! | `connection` | one connection from its first byte to its last |
//! | `wire` | the bytes of a connection, and their deadline |
//! | `host` | what exchanges know of their server |
//! | `body` | the body of a request while it arrives |
//! | `reply` | writing a response |
//! | `watch` | whether an application that writes its answer bit by bit goes on doing so |
//! | `record` | what is kept of an exchange: counters, access log, slow requests |

mod body;
pub mod config;
mod connection;
mod host;
mod record;
mod reply;
mod server;
mod watch;
mod wire;

pub(super) use connection::{broken, guarded};
pub(super) use host::Host;
pub(super) use record::Exchange;
pub use server::{HttpServer, Live, RequestIds};
pub(super) use watch::Watch;

#[cfg(test)]
mod tests;
