//! What answers requests. What applications share stands in files beside their folders.

pub mod cgi;
mod clock;
mod error_log;
pub mod files;
mod gate;
mod root;
mod sent_file;
mod target;
mod variables;
