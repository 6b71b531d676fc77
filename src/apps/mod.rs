//! What answers requests.

pub mod files;
