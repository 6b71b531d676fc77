//! What is measured, a file each.

mod fixed;
mod growth;
mod memory;
mod scripted;
mod start;
mod static_files;

use crate::report::Finding;
use crate::{Bench, Result};

/// One thing to measure.
pub struct Row {
    /// `group/name`; `ONLY` selects by a part of it.
    pub name: &'static str,
    pub run: fn(&Bench) -> Result<Vec<Finding>>,
}

/// In the order of the report.
pub const ROWS: &[Row] = &[scripted::ROW, fixed::ROW, static_files::SMALL, static_files::LARGE, growth::ROW, memory::ROW, start::ROW];
