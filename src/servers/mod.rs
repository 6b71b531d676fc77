//! Protocols that take connections.
