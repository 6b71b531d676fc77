//! Protocols that we speak to others.
