//! What workers and the hub have in common: the link between them, channels on the reactor, the heartbeat.
//!
//! One socket pair a worker; frames of [postcard](https://postcard.jamesmunns.com). A hub that died is started again by the master, which
//! then gives every worker a new channel: calls under way fail with [`LinkError::Lost`], candidacies are announced again.

mod client;
pub mod events;
pub mod locks;
mod message;
mod port;
mod pulse;

pub use client::{Candidacy, EventSink, HubLink, LinkError};
pub use message::{CacheCall, CacheValue, Call, Candidate, FromHub, Reply, ToHub};
pub use port::Port;
pub use pulse::Pulse;

#[cfg(test)]
mod tests;
