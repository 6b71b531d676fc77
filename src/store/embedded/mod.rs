//! Documents in a file of this machine: SQLite in WAL mode.
//!
//! SQLite keeps and orders the rows and makes transactions of writes; what a document, a filter or an index is, is ours. A collection is a table
//! of documents in their stored form ([`super::text`]); an index is a table of keys ([`super::key`]), one a value that a filter could look at.
//! A filter is answered by the ranges of one index (`plan`), and every document found so is looked at by the filter itself: an index makes
//! an answer faster and never another one.

mod catalog;
mod changes;
mod commits;
mod file;
mod identity;
mod plan;
mod reader;
mod scan;
mod writer;

pub use commits::Commits;
pub use reader::Reader;
pub use writer::Writer;

#[cfg(test)]
mod tests;
