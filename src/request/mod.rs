//! Requests and replies, whatever brought them.

pub mod route;
