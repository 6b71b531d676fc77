//! What answers requests. What applications share stands in files beside their folders.

pub mod files;
mod root;
mod target;
