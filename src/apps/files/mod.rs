//! Files of a directory.

pub mod config;
