//! Files of a directory.
//!
//! The directory is opened once; every lookup starts there and cannot leave it (`openat2` with `RESOLVE_BENEATH`). Small files are
//! kept in memory with their header lines; larger ones are sent by the kernel. Nothing that might wait for a disk runs on the loop:
//! a lookup is first tried with what the kernel has at hand (`RESOLVE_CACHED`) and only else given to the thread pool.

mod cache;
pub mod config;
mod folder;
mod listing;
mod source;

pub use folder::Folder;
