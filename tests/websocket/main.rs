//! WebSocket as a script serves it, through the real binary.

#![allow(clippy::unwrap_used, reason = "a test says what it expects in the shortest way")]

#[path = "../support/mod.rs"]
mod support;

mod autobahn;
mod clients;
mod faults;
mod feeds;
mod peer;
mod served;
