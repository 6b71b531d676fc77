//! WebSocket connections, either end of them: messages over a stream, with limits, liveness and an orderly end.
//!
//! | file | what it is |
//! |---|---|
//! | [`config`] | the block `websocket: (…)` of an HTTP server |
//! | [`session`] | one connection |
//! | [`sessions`] | all connections of a server: who still lives, and how they end when the worker goes |
//! | `output` | what waits to be sent to one peer, within bounds |
//! | `flush` | writes what waits, for all connections of the thread |
//! | [`shared`] | a message framed once for all its receivers |

pub mod config;
mod flush;
mod moment;
mod output;
mod queue;
pub mod session;
pub mod sessions;
pub mod shared;

pub use session::{Ended, Message, Session};
pub use sessions::Sessions;
pub use shared::Shared;

#[cfg(test)]
mod tests;
