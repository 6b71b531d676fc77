//! Peers and processes that fail.
