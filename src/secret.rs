//! A value that must never be shown.

use std::borrow::Cow;
use std::fmt;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};
use subtle::ConstantTimeEq;

/// A password, token or key: shown as `***` by `Debug`, so that no log, status or panel can carry it by accident.
///
/// It serialises truly, because the master hands the settings to its workers that way.
#[derive(Clone, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Secret(String);

impl Secret {
    /// Wraps what must not be shown.
    #[must_use]
    pub fn new(value: impl Into<String>) -> Self {
        Self(value.into())
    }

    /// The value itself, for the one place that needs it.
    #[must_use]
    pub fn reveal(&self) -> &str {
        &self.0
    }

    /// Whether `given` is the secret, in a time that does not tell how much of it was right.
    #[must_use]
    pub fn matches(&self, given: &[u8]) -> bool {
        self.0.as_bytes().ct_eq(given).into()
    }
}

impl PartialEq for Secret {
    fn eq(&self, other: &Self) -> bool {
        self.matches(other.0.as_bytes())
    }
}

impl Eq for Secret {}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

impl JsonSchema for Secret {
    fn schema_name() -> Cow<'static, str> {
        "Secret".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string",
            "description": "A secret, never shown again. Better than writing it here: \"${NAME}\" from the environment or \"${file:/path}\" from a file.",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::Secret;

    #[test]
    fn is_not_shown_but_sent() {
        let secret = Secret::new("swordfish");
        assert_eq!(format!("{secret:?}"), "***");
        assert_eq!(serde_json::to_string(&secret).unwrap(), "\"swordfish\"");
        assert!(secret.matches(b"swordfish"));
        assert!(!secret.matches(b"swordfisH"));
    }
}
