//! Durations, sizes, rates and counts as people write them: `"30s"`, `"64 MiB"`, `"10/s"`, "1 worker".

mod count;
mod duration;
mod rate;
mod size;

pub use count::counted;
pub use duration::{DurationError, HumanDuration};
pub use rate::{HumanRate, RateError};
pub use size::{HumanSize, SizeError};
