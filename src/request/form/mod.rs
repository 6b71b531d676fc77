//! What a client filled in: query strings, forms and uploads, as values that applications look into.

pub mod multipart;
pub mod parts;
pub mod uploads;
mod urlencoded;
mod value;

use std::fmt;

use super::BodyError;
use multipart::MultipartError;

pub use uploads::{FormData, Upload, UploadContent, UploadError, UploadLimits, read_form};
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

/// Why a form cannot be read from a body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FormReadError {
    /// The body did not come, or not whole.
    Body(BodyError),
    /// The form is above a limit.
    Form(FormError),
    /// The multipart format is broken.
    Multipart(MultipartError),
    /// The body is no form.
    Unsupported,
}

impl FormReadError {
    /// The status code that tells the client.
    pub fn status(&self) -> u16 {
        match self {
            Self::Body(error) => error.status(),
            Self::Form(error) => error.status(),
            Self::Multipart(error) => error.status(),
            Self::Unsupported => 415,
        }
    }
}

impl fmt::Display for FormReadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Body(error) => error.fmt(f),
            Self::Form(error) => error.fmt(f),
            Self::Multipart(error) => error.fmt(f),
            Self::Unsupported => f.write_str("the body is not a form"),
        }
    }
}

impl std::error::Error for FormReadError {}

impl From<BodyError> for FormReadError {
    fn from(error: BodyError) -> Self {
        Self::Body(error)
    }
}

impl From<FormError> for FormReadError {
    fn from(error: FormError) -> Self {
        Self::Form(error)
    }
}

impl From<MultipartError> for FormReadError {
    fn from(error: MultipartError) -> Self {
        Self::Multipart(error)
    }
}
