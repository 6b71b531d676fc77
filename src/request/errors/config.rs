//! Error pages as the configuration says them.

use std::borrow::Cow;
use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::codec::http::fields::check_field;

/// What is answered in the place of errors; the status stays: docs/errors.md. It has one of `body`, `file` and `path`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ErrorPage {
    /// Which errors: `[404]`, `["4xx"]`, `["500-504", 404]`. Of several pages for a status, one that names it alone wins over one for a range, then the first.
    pub status: Vec<Statuses>,
    /// The page itself. `{status}` stands for the number, `{reason}` for its name, `{id}` for the number of the request in the log.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub body: Option<String>,
    /// A file of text with the page, at most 1 MiB, read with the configuration. The same may stand in it as in `body`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub file: Option<PathBuf>,
    /// The path of this server that answers with the page: what it answers to GET, unless that fails.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// The Content-Type of `body` or `file`. None: by the file's name, or `text/html; charset=utf-8`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub content_type: Option<String>,
    /// Whether errors that applications, programs and other servers answer with are replaced too. `false`: only those that are skep's own.
    pub intercept: bool,
}

impl ErrorPage {
    /// What does not make sense, in words.
    #[must_use]
    pub fn nonsense(&self) -> Option<String> {
        let ways = [self.body.is_some(), self.file.is_some(), self.path.is_some()];
        if ways.iter().filter(|is| **is).count() != 1 {
            return Some("an error page has one of `body`, `file` and `path`".to_owned());
        }
        if self.status.is_empty() {
            return Some("an error page needs `status`, as in [404] or [\"5xx\"]".to_owned());
        }
        let is_path = |path: &str| path.starts_with('/') && !path.contains(|c: char| c.is_control() || c == ' ' || c == '#');
        if let Some(path) = self.path.as_deref().filter(|path| !is_path(path)) {
            return Some(format!("`{path}` is no path of this server: it begins with a slash, as in \"/errors/404.html\""));
        }
        if self.path.is_some() && self.content_type.is_some() {
            return Some("what answers at `path` says itself what it is: there is no `content_type` with it".to_owned());
        }
        let cannot_stand = |kind: &String| check_field(b"content-type", kind.as_bytes()).is_err();
        self.content_type.as_ref().filter(|kind| cannot_stand(kind)).map(|kind| format!("{kind:?} cannot be sent as a content type"))
    }

    /// The Content-Type of what stands in the configuration or in a file.
    pub(super) fn kind(&self) -> Cow<'_, str> {
        if let Some(kind) = &self.content_type {
            return Cow::Borrowed(kind);
        }
        let guessed = self.file.as_ref().and_then(|file| mime_guess::from_path(file).first_raw()).unwrap_or("text/html");
        // The file was read as UTF-8.
        if guessed.starts_with("text/") { format!("{guessed}; charset=utf-8").into() } else { guessed.into() }
    }
}

/// One status of an error (`404`), all of a class (`"4xx"`), or those from one to another (`"500-504"`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Statuses {
    first: u16,
    last: u16,
}

/// A text or number that names no errors.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StatusesError(String);

impl fmt::Display for StatusesError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}` names no errors: write for example 404, \"4xx\" or \"500-504\", from 400 to 599", self.0)
    }
}

impl std::error::Error for StatusesError {}

impl Statuses {
    /// The statuses.
    pub fn all(self) -> impl Iterator<Item = u16> {
        self.first..=self.last
    }

    /// Whether it is one.
    #[must_use]
    pub fn is_one(self) -> bool {
        self.first == self.last
    }
}

impl FromStr for Statuses {
    type Err = StatusesError;

    fn from_str(text: &str) -> Result<Self, StatusesError> {
        let error = || StatusesError(text.to_owned());
        let one = |digits: &str| digits.parse().ok().filter(|status| (400..=599).contains(status) && digits.len() == 3).ok_or_else(error);
        match text {
            "4xx" => Ok(Self { first: 400, last: 499 }),
            "5xx" => Ok(Self { first: 500, last: 599 }),
            _ => {
                let (first, last) = text.split_once('-').unwrap_or((text, text));
                let (first, last) = (one(first)?, one(last)?);
                if first > last { Err(error()) } else { Ok(Self { first, last }) }
            }
        }
    }
}

impl fmt::Display for Statuses {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.first, self.last) {
            (400, 499) => f.write_str("4xx"),
            (500, 599) => f.write_str("5xx"),
            (first, last) if first == last => first.fmt(f),
            (first, last) => write!(f, "{first}-{last}"),
        }
    }
}

impl Serialize for Statuses {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if self.is_one() { serializer.serialize_u16(self.first) } else { serializer.collect_str(self) }
    }
}

impl<'de> Deserialize<'de> for Statuses {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;

        impl de::Visitor<'_> for Visitor {
            type Value = Statuses;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("errors such as 404, \"4xx\" or \"500-504\"")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Statuses, E> {
                text.parse().map_err(E::custom)
            }

            fn visit_u64<E: de::Error>(self, status: u64) -> Result<Statuses, E> {
                status.to_string().parse().map_err(E::custom)
            }
        }

        deserializer.deserialize_any(Visitor)
    }
}

impl JsonSchema for Statuses {
    fn schema_name() -> Cow<'static, str> {
        "Statuses".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "Errors: a status (404), all of a class (\"4xx\", \"5xx\"), or those from one to another (\"500-504\").",
            "anyOf": [
                { "type": "integer", "minimum": 400, "maximum": 599 },
                { "type": "string", "pattern": "^([45]xx|[45][0-9]{2}(-[45][0-9]{2})?)$" },
            ],
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statuses_are_read_in_every_form() {
        for (text, count) in [("404", 1), ("4xx", 100), ("5xx", 100), ("500-504", 5), ("400-599", 200)] {
            let statuses: Statuses = text.parse().unwrap();
            assert_eq!((statuses.to_string().as_str(), statuses.all().count()), (text, count));
            let json = serde_json::to_string(&statuses).unwrap();
            assert_eq!(serde_json::from_str::<Statuses>(&json).unwrap(), statuses);
        }
        for wrong in ["", "200", "3xx", "600", "504-500", "4x", "404-", "+404", "4040"] {
            assert!(wrong.parse::<Statuses>().is_err(), "{wrong}");
        }
        assert!(serde_json::from_str::<Statuses>("302").is_err());
    }
}
