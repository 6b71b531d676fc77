//! What all contenders that send messages to many are set to.

use std::time::Duration;

/// How often a silent client is asked whether it lives.
#[derive(Clone, Copy)]
pub struct Liveness(pub Duration);

/// Messages that a channel keeps for who was away.
pub const HISTORY: u32 = 100;
/// Connections at most: what the limit of open files allows on most machines.
pub const MOST: u32 = 18_000;
