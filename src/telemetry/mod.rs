//! Logs.

pub mod config;
