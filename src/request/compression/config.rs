//! How answers are compressed.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Coding;
use crate::units::HumanSize;

/// How answers are compressed: `()` has the defaults.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Compression {
    /// The codings that are used. Of those that a client welcomes equally, the first is.
    pub codings: Vec<Coding>,
    /// Content types whose answers are compressed, without parameters, in lower case: `"text/html"`.
    pub types: Vec<String>,
    /// Shorter answers stay as they are, where their length is known.
    pub min_length: HumanSize,
    /// The level of gzip, 1 (fast) to 9 (small).
    pub gzip_level: u32,
    /// The level of Brotli, 0 (fast) to 11 (small, and far too slow for answers that are made on request).
    pub brotli_level: u32,
    /// The level of Zstandard, 1 (fast) to 19 (small).
    pub zstd_level: u32,
}

/// Types that text has, and others that have not been compressed already. Streams of events are not among them: a window must be kept for each of
/// the many connections that only wait.
const TYPES: [&str; 20] = [
    "text/html",
    "text/css",
    "text/plain",
    "text/javascript",
    "text/xml",
    "text/csv",
    "text/markdown",
    "application/javascript",
    "application/json",
    "application/ld+json",
    "application/manifest+json",
    "application/xml",
    "application/rss+xml",
    "application/atom+xml",
    "application/xhtml+xml",
    "application/wasm",
    "application/x-ndjson",
    "application/vnd.ms-fontobject",
    "font/ttf",
    "image/svg+xml",
];

impl Default for Compression {
    fn default() -> Self {
        Self {
            codings: vec![Coding::Zstd, Coding::Brotli, Coding::Gzip],
            types: TYPES.map(str::to_owned).to_vec(),
            min_length: HumanSize::kib(1),
            gzip_level: 5,
            brotli_level: 4,
            zstd_level: 3,
        }
    }
}
