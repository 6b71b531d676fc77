//! Answers made smaller on their way (docs/compression.md).

mod coding;
mod compressor;
mod config;
mod encoder;
mod stream;

pub use coding::Coding;
pub use config::Compression;

pub(super) use compressor::Compressor;
