//! What answers requests.

pub mod files;
pub mod proxy;
