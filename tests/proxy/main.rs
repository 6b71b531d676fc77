//! The reverse proxy through the real binary: in front of nginx, of skep itself, and of small scripted servers that behave badly.

#![allow(clippy::unwrap_used, reason = "a test says what it expects in the shortest way")]

#[path = "../support/mod.rs"]
mod support;

// The client of the tests of WebSocket itself.
#[allow(dead_code)]
#[path = "../websocket/peer.rs"]
mod peer;

mod bodies;
mod choice;
mod downgrades;
mod faults;
mod heads;
mod nginx;
mod smuggling;
mod sockets;
mod upstream;
