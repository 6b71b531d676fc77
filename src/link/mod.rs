//! Between a worker and the hub: what is asked, and how it gets there and back.
//!
//! One socket pair a worker; frames of [postcard](https://postcard.jamesmunns.com). A hub that died is started again by the master, which
//! then gives every worker a new channel: calls under way fail with [`LinkError::Lost`], candidacies are announced again.

mod client;
mod message;
mod port;

pub use client::{Candidacy, HubLink, LinkError};
pub use message::{CacheCall, CacheValue, Call, Candidate, FromHub, Reply, ToHub};
pub use port::Port;

#[cfg(test)]
mod tests;
