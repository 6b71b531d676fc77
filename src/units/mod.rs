//! Durations, sizes and counts as people write them: `"30s"`, `"64 MiB"`, "1 worker".

mod count;
mod duration;
mod size;

pub use count::counted;
pub use duration::{DurationError, HumanDuration};
pub use size::{HumanSize, SizeError};
