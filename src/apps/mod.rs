//! What answers requests. What applications share stands in files beside their folders.

mod answer;
pub mod cgi;
mod clock;
mod collected;
mod complaints;
mod error_log;
mod failure;
pub mod fastcgi;
pub mod files;
mod gate;
pub mod proxy;
mod target;
mod variables;
mod work;
