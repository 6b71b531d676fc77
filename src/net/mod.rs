//! Addresses, listeners, streams.

mod accept;
pub mod address;
mod listener;
pub mod network;
mod peer;
mod socket;
mod stream;
pub mod tls_files;

pub use address::Address;
pub use listener::{Accepted, Balance, Listener};
pub use network::Network;
pub use peer::Peer;
pub use socket::Socket;
pub use stream::Stream;

#[cfg(test)]
mod tests;
