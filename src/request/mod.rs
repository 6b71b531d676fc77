//! Requests and replies, whatever brought them.

pub mod cookies;
pub mod form;
pub mod route;
