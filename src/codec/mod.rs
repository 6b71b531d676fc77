//! Bytes in, events out: no socket, no clock.

pub mod http;
pub mod lock;
pub mod percent;
pub mod rtep;
pub mod websocket;
