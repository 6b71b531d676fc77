//! Addresses, listeners, streams.

mod accept;
pub mod address;
mod listener;
mod peer;
mod socket;
mod stream;

pub use address::Address;
pub use listener::{Accepted, Balance, Listener};
pub use peer::Peer;
pub use socket::Socket;
pub use stream::Stream;

#[cfg(test)]
mod tests;
