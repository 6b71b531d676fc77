//! What tests against the real binary have in common: starting it, talking HTTP to it, waiting for conditions.

// Every test program is compiled with this module of its own and uses a part of it.
#![allow(dead_code)]

pub mod client;
pub mod redis;
pub mod server;
pub mod steady;
pub mod wait;
pub mod wire;
