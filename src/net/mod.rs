//! Addresses, listeners, streams.

pub mod address;
pub mod network;
pub mod tls_files;

pub use address::Address;
pub use network::Network;
