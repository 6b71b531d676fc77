//! What is measured, a file each.

mod cgi;
mod fanout;
mod fastcgi;
mod fixed;
mod growth;
mod locks;
mod memory;
mod proxy;
mod rtep;
mod scripted;
mod soak;
mod start;
mod static_files;
mod subscribers;
mod tls;

use crate::report::Finding;
use crate::{Bench, Result};

/// One thing to measure.
pub struct Row {
    /// `group/name`; `ONLY` selects by a part of it.
    pub name: &'static str,
    /// Too long to be run with all others.
    pub by_name_only: bool,
    pub run: fn(&Bench) -> Result<Vec<Finding>>,
}

/// In the order of the report.
pub const ROWS: &[Row] = &[
    scripted::ROW,
    fixed::ROW,
    static_files::SMALL,
    static_files::LARGE,
    proxy::ROW,
    fastcgi::ROW,
    cgi::ROW,
    tls::HANDSHAKES,
    tls::HTTP2,
    locks::ROW,
    rtep::ROW,
    fanout::PACED,
    fanout::BURST,
    subscribers::MEMORY,
    subscribers::IDLE,
    growth::ROW,
    memory::ROW,
    start::ROW,
    soak::ROW,
];
