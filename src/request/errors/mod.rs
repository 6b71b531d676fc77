//! Pages in the place of errors (docs/errors.md).

mod config;
mod pages;
mod replacing;

pub use config::{ErrorPage, Statuses, StatusesError};

pub(super) use pages::Pages;
pub(super) use replacing::ErrorPages;
