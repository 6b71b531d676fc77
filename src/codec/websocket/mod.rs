//! WebSocket on the wire (RFC 6455) with compression of messages (RFC 7692), without a socket.
//!
//! | file | what it is |
//! |---|---|
//! | [`boundary`] | where frames end in what only passes through |
//! | [`handshake`] | the upgrade, seen from both sides |
//! | [`frame`] | writing frames |
//! | [`decoder`] | bytes in, messages out |
//! | [`close`] | close codes |
//! | [`utf8`] | text that is checked while it arrives |
//! | [`deflate`] | permessage-deflate |

pub mod boundary;
pub mod close;
pub mod decoder;
pub mod deflate;
pub mod frame;
pub mod handshake;
pub mod utf8;

pub use boundary::Boundary;
pub use close::Close;
pub use decoder::{Decoder, Event, MessageLimits, Violation};
pub use frame::{Kind, Opcode, Role};

#[cfg(test)]
mod tests;
