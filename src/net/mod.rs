//! Addresses, listeners, streams.

mod accept;
pub mod acme;
pub mod address;
pub mod certificate;
mod client_certificate;
mod clients;
mod dialing;
mod listener;
pub mod network;
mod peer;
pub mod placeholder;
mod socket;
mod stream;
pub mod tickets;
pub mod tls_challenge;
mod tls_client;
pub mod tls_files;
pub mod tls_server;

pub use address::{Address, AddressError};
pub use certificate::Certificate;
pub use client_certificate::{ClientCertificate, ClientName};
pub use clients::Clients;
pub use dialing::connect_any;
pub use listener::{Accepted, Balance, Listener};
pub use network::Network;
pub use peer::Peer;
pub use socket::Socket;
pub use stream::{Stream, Substream};
pub use tls_client::{TlsSettings, connect_tls, connect_tls_with};
pub use tls_server::TlsServer;

#[cfg(test)]
mod tests;
