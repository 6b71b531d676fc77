//! Raw connections for the `connection` handler of a Luau application.

pub mod config;

mod server;

pub use server::RawServer;
