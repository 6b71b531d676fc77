//! Durations and sizes as people write them: `"30s"`, `"64 MiB"`.

mod duration;
mod size;

pub use duration::{DurationError, HumanDuration};
pub use size::{HumanSize, SizeError};
