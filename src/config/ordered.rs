//! Certificates that were ordered by ACME, as they are found in the data directory.

use std::path::Path;

use crate::net::acme::{self, Acme};
use crate::net::placeholder::placeholder;
use crate::net::tls_server::{Identity, check};

/// The certificate in this file with its key, or a placeholder while there is none: the server must start, or nobody could show that the names lead here.
///
/// # Errors
/// In words, what is wrong with the file.
pub(super) fn identity(file: &Path, acme: &Acme) -> Result<String, String> {
    let said = |error: &dyn std::fmt::Display| format!("{}: {error}", file.display());
    match acme::stored(file) {
        Ok(Some(text)) => match check(Identity { certificate: &text, key: &text }) {
            Ok(()) => Ok(text),
            Err(error) => Err(said(&error)),
        },
        Ok(None) => placeholder(&acme.domains).map_err(|error| said(&error)),
        Err(error) => Err(said(&error)),
    }
}
