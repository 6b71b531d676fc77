//! Protocols that take connections: a folder each. What servers of requests share stands in files beside them: what they serve (`live`), how they are
//! counted (`host`), how connections begin (`opening`), what is kept of an exchange (`record`), whether an answer comes (`watch`), handlers that panic
//! (`guarded`), buffers for what they receive (`buffers`).

pub mod fastcgi;
pub mod flash_policy;
pub mod http;
pub mod lock;
pub mod rtep;
pub mod script;

// What servers of requests share.
mod buffers;
mod guarded;
pub mod host;
pub mod limits;
pub mod live;
mod opening;
mod record;
mod watch;
