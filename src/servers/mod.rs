//! Protocols that take connections.

pub mod fastcgi;
pub mod flash_policy;
pub mod http;
pub mod lock;
pub mod rtep;
pub mod script;
