//! Documents: collections, filters, updates, indexes, and following what changes. The shape and the meaning are MongoDB's.
//!
//! | file | what it is |
//! |---|---|
//! | [`value`], [`text`], [`key`] | documents; their stored form; their order as bytes |
//! | [`path`], [`filter`], [`update`], [`view`] | what is meant, what changes, how it is shown |
//! | [`call`] | what a worker asks the process that writes |
//! | [`client`] | the store as a process uses it |
//! | [`embedded`] | documents in a file of this machine |
//! | [`config`] | its options |

pub mod call;
pub mod client;
pub mod config;
pub mod embedded;
pub mod filter;
pub mod key;
pub mod path;
pub mod text;
pub mod update;
pub mod value;
pub mod view;

use std::fmt;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

pub use call::{Change, ChangeKind, IndexSpec, StoreAnswer, StoreCall, Write};
pub use client::{Store, Writing};
pub use value::{Document, Value};

/// Why something cannot be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StoreError {
    /// What was asked makes no sense; says why.
    Invalid(String),
    /// Another document has the value in a unique index already; says which.
    Duplicate(String),
    /// A limit is reached; says which.
    Limit(String),
    /// It took too long.
    TimedOut,
    /// The changes after this point are not kept any more, or the point is of another store.
    TooOld,
    /// The file cannot be used; says why.
    Unavailable(String),
    /// The process that writes said no, in its words.
    Refused(String),
}

impl fmt::Display for StoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Duplicate(what) => write!(f, "duplicate key: {what}"),
            Self::TimedOut => f.write_str("it took too long"),
            Self::TooOld => f.write_str("too old: the changes after this point are not kept any more"),
            Self::Invalid(why) | Self::Limit(why) | Self::Unavailable(why) | Self::Refused(why) => f.write_str(why),
        }
    }
}

impl std::error::Error for StoreError {}

impl From<rusqlite::Error> for StoreError {
    fn from(error: rusqlite::Error) -> Self {
        Self::Unavailable(error.to_string())
    }
}

/// Where the embedded store is and what bounds it, as checked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EmbeddedSettings {
    /// The file.
    pub path: PathBuf,
    /// The options; the path in them is not looked at.
    pub options: config::EmbeddedStore,
}

/// The longest name of a collection.
const MAX_NAME: usize = 120;

/// Checks the name of a collection.
///
/// # Errors
/// When it is none.
pub fn check_name(name: &str) -> Result<(), StoreError> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"_-.".contains(&byte);
    if name.is_empty() || name.len() > MAX_NAME || !name.bytes().all(plain) {
        return Err(StoreError::Invalid(format!("{name:?} is no name of a collection: 1 to {MAX_NAME} letters, digits, `_`, `-` and `.`")));
    }
    Ok(())
}

#[cfg(test)]
mod tests;
