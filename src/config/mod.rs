//! `config.ron` as written, then as checked.

pub mod settings;
pub mod written;

pub use settings::{ADMIN, Settings, Store};
pub use written::{Admin, App, Backoff, Client, Events, Mpm, Server, Workers};
