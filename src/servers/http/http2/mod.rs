//! HTTP/2 (RFC 9113): frames, windows and field compression are the `h2` crate's; requests, answers, limits and policy are ours.
//!
//! | file | what it is |
//! |---|---|
//! | `transport` | the bytes of a connection, as `h2` wants them |
//! | `connection` | one connection: its streams, its idle time, how it ends |
//! | `asked` | a request from its fields |
//! | `exchange` | one stream from its request to its end |
//! | `body` | the body of a request while it arrives |
//! | `reply` | writing a response |
//! | `tunnel` | a stream on which another protocol is spoken (RFC 8441) |

mod asked;
mod body;
mod connection;
mod exchange;
mod reply;
mod transport;
mod tunnel;

pub(super) use connection::takeover;

/// What a client that knows beforehand sends first (RFC 9113 §3.4), as far as HTTP/1.1 would take it for a head.
pub(super) const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\n";
