//! What a client filled in: query strings, forms and uploads, as values that applications look into.

pub mod multipart;
mod urlencoded;
mod value;

use std::fmt;

pub use urlencoded::parse_urlencoded;
pub use value::{FormMap, FormValue};

/// How much one form may hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FormLimits {
    /// Names and values together, still encoded, in bytes.
    pub bytes: usize,
    /// The number of fields.
    pub fields: usize,
    /// How many levels `a[b][c]` may have below `a`.
    pub depth: usize,
}

impl Default for FormLimits {
    fn default() -> Self {
        Self { bytes: 1 << 20, fields: 1000, depth: 8 }
    }
}

/// Why a form is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FormError {
    /// Above `bytes`.
    TooLarge,
    /// Above `fields`.
    TooManyFields,
    /// Above `depth`.
    TooDeep,
}

impl FormError {
    /// The status code that tells the client.
    pub fn status(self) -> u16 {
        match self {
            Self::TooLarge | Self::TooManyFields => 413,
            Self::TooDeep => 400,
        }
    }
}

impl fmt::Display for FormError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::TooLarge => "the form is too large",
            Self::TooManyFields => "the form has too many fields",
            Self::TooDeep => "a field name of the form is nested too deeply",
        })
    }
}

impl std::error::Error for FormError {}
