//! The Luau runtime and its modules.

pub mod config;
