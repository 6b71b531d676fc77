//! How WebSocket connections are configured.

use std::rc::Rc;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::codec::websocket::MessageLimits;
use crate::units::{HumanDuration, HumanSize};

/// WebSocket connections of an HTTP server.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct WebSocket {
    /// The largest message that a client may send, decompressed. Larger: close code 1009.
    pub max_message: HumanSize,
    /// The largest frame of one.
    pub max_frame: HumanSize,
    /// The most frames of one message.
    pub max_frames: u32,
    /// Bytes that may wait for a client that takes them slower than they come.
    pub queue: HumanSize,
    /// Messages that may wait for it.
    pub queue_messages: u32,
    /// What happens when more would wait.
    pub overflow: Overflow,
    /// After so much silence of a client it is asked whether it lives.
    pub ping: HumanDuration,
    /// How long it may take to answer that, and how long it may take nothing of what waits for it. Longer: the connection is dropped.
    pub pong_timeout: HumanDuration,
    /// How long a client may take to answer a close.
    pub close_timeout: HumanDuration,
    /// Whether messages are compressed with clients that can (permessage-deflate).
    pub compression: bool,
    /// Smaller messages are sent as they are.
    pub compression_min: HumanSize,
    /// Origins of pages that may connect, such as `"https://example.com"` or `"https://*.example.com"`; `"*"` is every one.
    /// An empty list: pages of the host that they connect to. What is no page sends no origin and may.
    pub origins: Vec<String>,
    /// When a worker goes, its connections are closed one after the other over so long (code 1001), so that clients do not all come back at once.
    pub drain_spread: HumanDuration,
}

/// What happens when too much waits for a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Overflow {
    /// The connection is closed with code 1008.
    Close,
    /// The oldest messages that were published are dropped, and the client is told how many: `{"type":"missed","count":3}`.
    DropOldest,
}

impl Default for WebSocket {
    fn default() -> Self {
        Self {
            max_message: HumanSize::mib(1),
            max_frame: HumanSize::mib(1),
            max_frames: 1024,
            queue: HumanSize::mib(1),
            queue_messages: 1024,
            overflow: Overflow::DropOldest,
            ping: HumanDuration::seconds(30),
            pong_timeout: HumanDuration::seconds(20),
            close_timeout: HumanDuration::seconds(5),
            compression: true,
            compression_min: HumanSize::kib(1),
            origins: Vec::new(),
            drain_spread: HumanDuration::seconds(10),
        }
    }
}

/// The same, ready for use.
#[derive(Clone, Debug)]
pub struct Settings {
    /// What a message may cost.
    pub limits: Rc<MessageLimits>,
    /// Bytes that may wait.
    pub queue: usize,
    /// Messages that may wait.
    pub queue_messages: usize,
    /// What happens beyond that.
    pub overflow: Overflow,
    /// Silence before a ping.
    pub ping: Duration,
    /// Silence after it.
    pub pong_timeout: Duration,
    /// The time for a close.
    pub close_timeout: Duration,
    /// Whether compression is agreed to.
    pub compression: bool,
    /// The smallest message that is compressed, in bytes.
    pub compression_min: usize,
    /// Who may connect.
    pub origins: Vec<String>,
    /// The time over which connections are closed in a drain.
    pub drain_spread: Duration,
}

impl From<&WebSocket> for Settings {
    fn from(config: &WebSocket) -> Self {
        let size = |size: HumanSize| usize::try_from(*size).unwrap_or(usize::MAX);
        Self {
            limits: Rc::new(MessageLimits {
                message: size(config.max_message),
                frame: size(config.max_frame),
                frames: config.max_frames as usize,
            }),
            queue: size(config.queue),
            queue_messages: config.queue_messages as usize,
            overflow: config.overflow,
            ping: *config.ping,
            pong_timeout: *config.pong_timeout,
            close_timeout: *config.close_timeout,
            compression: config.compression,
            compression_min: size(config.compression_min),
            origins: config.origins.clone(),
            drain_spread: *config.drain_spread,
        }
    }
}

impl Default for Settings {
    fn default() -> Self {
        Self::from(&WebSocket::default())
    }
}
