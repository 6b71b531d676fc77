//! Where the certificate of a TLS listener is.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Whether the listeners of this version speak TLS. As long as they do not, a configuration that wants it is refused.
pub const IS_SERVED: bool = false;

/// The certificate and key that a listener shows to its clients.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct TlsFiles {
    /// PEM file with the certificate first and the intermediate ones after it.
    pub certificate: PathBuf,
    /// PEM file with the private key.
    pub key: PathBuf,
}
