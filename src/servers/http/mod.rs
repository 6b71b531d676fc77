//! HTTP/1.1.

pub mod config;
