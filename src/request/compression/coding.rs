//! Content codings that clients of today know.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::codec::http::Fields;
use crate::codec::http::accept;

/// A content coding (RFC 9110 §8.4.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
pub enum Coding {
    /// `zstd` (RFC 8878, with the window of RFC 9659).
    Zstd,
    /// `br` (RFC 7932).
    Brotli,
    /// `gzip` (RFC 1952).
    Gzip,
}

impl Coding {
    /// Its name in fields.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Zstd => "zstd",
            Self::Brotli => "br",
            Self::Gzip => "gzip",
        }
    }

    /// How the name of a file ends that is compressed so.
    #[must_use]
    pub fn ending(self) -> &'static str {
        match self {
            Self::Zstd => ".zst",
            Self::Brotli => ".br",
            Self::Gzip => ".gz",
        }
    }

    /// Those of these that a client takes, the most welcome first and of equally welcome ones in order; without those that it welcomes less than none.
    #[must_use]
    pub fn welcome(fields: &Fields, among: &[Self]) -> Vec<Self> {
        let mut left = among.to_vec();
        let mut welcome = Vec::new();
        while let Some(coding) = Self::choose(fields, &left) {
            left.retain(|other| *other != coding);
            welcome.push(coding);
        }
        welcome
    }

    /// The one of these that a client would rather have than the others and than none; of equally welcome ones the first.
    #[must_use]
    pub fn choose(fields: &Fields, among: &[Self]) -> Option<Self> {
        let names: Vec<&str> = among.iter().map(|coding| coding.name()).collect();
        let chosen = accept::encoding(fields, &names)?;
        among.iter().copied().find(|coding| coding.name() == chosen)
    }
}
