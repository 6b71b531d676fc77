//! Strings replaced in answers on their way (docs/replace.md).

mod config;
mod replaced;
mod replacer;
mod stream;

pub use config::Replace;

pub(super) use replaced::Replaced;
