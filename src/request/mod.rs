//! Requests and replies, whatever brought them.
