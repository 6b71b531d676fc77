//! The HTTP server: HTTP/1.1 (RFC 9110, RFC 9112) and HTTP/2 (RFC 9113).
//!
//! | file | what it is |
//! |---|---|
//! | [`config`] | its block in `config.ron` |
//! | `server` | the server in a worker: its connections, what it serves now, how it ends |
//! | `connection` | one connection from its first byte to its last |
//! | `wire` | the bytes of a connection, and their deadline |
//! | `body` | the body of a request while it arrives |
//! | `leaving` | who is told when the worker goes |
//! | `reply` | writing a response |
//! | `http2` | HTTP/2 |

mod body;
pub mod config;
mod connection;
mod exchange;
mod http2;
mod leaving;
mod reply;
mod server;
mod wire;

pub use server::HttpServer;

#[cfg(test)]
mod tests;
