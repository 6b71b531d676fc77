//! Protocols that take connections.

pub mod http;
pub mod script;
