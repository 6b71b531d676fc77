//! Bytes in, events out: no socket, no clock.

pub mod http;
pub mod percent;
pub mod resp;
pub mod websocket;
