//! Bytes in, events out: no socket, no clock.

pub mod cgi;
pub mod fastcgi;
pub mod http;
pub mod lock;
pub mod percent;
pub mod proxy_protocol;
pub mod resp;
pub mod rtep;
pub mod websocket;
