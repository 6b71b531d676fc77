//! RTEP, the Real-Time Events Protocol of the original: docs/rtep.md.
//!
//! The protocol's events are those of the events core: the event `NAME` is the topic `NAME`. A connection is one subscriber of each of its topics,
//! and an event is encoded once a worker.

pub mod config;

mod output;
mod requests;
mod server;
mod session;

pub use server::RtepServer;
