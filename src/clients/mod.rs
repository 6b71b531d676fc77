//! Protocols that we speak to others.

pub mod dns;
pub mod http;
pub mod lock;
pub mod redis;
pub mod rtep;
