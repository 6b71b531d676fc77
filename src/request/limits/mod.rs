//! How much one address may ask for, by server and by route (docs/limits.md).

mod config;
mod limit;
mod limited;

pub use config::Limits;
pub use limit::{Admission, Limit, Pass, holding};

pub(super) use limited::Limited;
