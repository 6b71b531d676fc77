//! Lock servers: jobs as in the original, leases for who says `hello 2`. The protocol is in docs/locks.md, the locks are in the hub.

pub mod config;

mod connection;
mod server;

pub use server::LockServer;
