//! What of itself the server writes down, and where.

use std::borrow::Cow;
use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// The log of the server and of the applications.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Log {
    /// The file; `"-"` is stderr. It is opened again on `skep reopenlog` and on SIGUSR1.
    pub file: LogFile,
    /// The least important level that is written: `Error`, `Warn`, `Info`, `Debug` or `Trace`.
    pub level: Level,
    /// `Text`, a line for people, or `Json`, one object a line.
    pub format: LogFormat,
}

/// How important a message is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
pub enum Level {
    /// Something failed and somebody should look.
    Error,
    /// Something is not as it should be, and the work goes on.
    Warn,
    /// What happened.
    #[default]
    Info,
    /// How it happened.
    Debug,
    /// Every step.
    Trace,
}

/// How the log is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum LogFormat {
    /// A line for people.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

/// Where a log goes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum LogFile {
    /// Standard error, written `"-"`.
    #[default]
    Stderr,
    /// A file, appended to.
    Path(PathBuf),
}

impl Serialize for LogFile {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Stderr => serializer.serialize_str("-"),
            Self::Path(path) => path.serialize(serializer),
        }
    }
}

impl<'de> Deserialize<'de> for LogFile {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = Cow::<'de, str>::deserialize(deserializer)?;
        match text.as_ref() {
            "" => Err(de::Error::custom("a log needs a file: \"-\" is stderr")),
            "-" => Ok(Self::Stderr),
            path => Ok(Self::Path(PathBuf::from(path))),
        }
    }
}

impl JsonSchema for LogFile {
    fn schema_name() -> Cow<'static, str> {
        "LogFile".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "description": "A file; \"-\" is stderr.", "minLength": 1 })
    }
}

/// The log of requests: one line each, written when the answer is sent.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct AccessLog {
    /// The file; `"-"` is stderr. It is opened again on `skep reopenlog` and on SIGUSR1.
    pub file: LogFile,
    /// `Combined` (as Apache and nginx write it), `Json` (one object a line), or `Custom("$remote_addr $method $uri $status")`.
    /// `Custom` knows `$remote_addr`, `$remote_port`, `$user`, `$time` (as in Combined), `$time_iso`, `$method`, `$uri` (path and query),
    /// `$path`, `$query`, `$protocol`, `$status`, `$bytes` (of the body sent), `$received` (of the body read), `$duration` (seconds, three
    /// decimals), `$host`, `$referer`, `$user_agent`, `$request_id`, `$server`, `$app`, `$worker`, and `$$` for a dollar sign.
    pub format: AccessFormat,
}

/// How a request is written down.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum AccessFormat {
    /// The combined log format of Apache and nginx.
    #[default]
    Combined,
    /// One JSON object a line.
    Json,
    /// A line of one's own.
    Custom(AccessTemplate),
}

/// What `$name` stands for in an access line of one's own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AccessField {
    /// The client's address.
    RemoteAddr,
    /// The client's port.
    RemotePort,
    /// The user that HTTP authentication gave.
    User,
    /// The time as in the combined format.
    Time,
    /// The time in ISO 8601.
    TimeIso,
    /// The method.
    Method,
    /// Path and query as received.
    Uri,
    /// The path.
    Path,
    /// The query without the question mark.
    Query,
    /// `HTTP/1.1`.
    Protocol,
    /// The status sent.
    Status,
    /// Bytes of body sent.
    Bytes,
    /// Bytes of body received.
    Received,
    /// Seconds from the first byte read to the last byte written, three decimals.
    Duration,
    /// The host asked for.
    Host,
    /// The Referer header.
    Referer,
    /// The User-Agent header.
    UserAgent,
    /// The request's id, the same as in the application's log lines.
    RequestId,
    /// The server's name in the configuration.
    Server,
    /// The application's name in the configuration.
    App,
    /// The worker's process id.
    Worker,
}

impl AccessField {
    /// Every field with its name.
    pub const ALL: [(&'static str, Self); 21] = [
        ("remote_addr", Self::RemoteAddr),
        ("remote_port", Self::RemotePort),
        ("user", Self::User),
        ("time", Self::Time),
        ("time_iso", Self::TimeIso),
        ("method", Self::Method),
        ("uri", Self::Uri),
        ("path", Self::Path),
        ("query", Self::Query),
        ("protocol", Self::Protocol),
        ("status", Self::Status),
        ("bytes", Self::Bytes),
        ("received", Self::Received),
        ("duration", Self::Duration),
        ("host", Self::Host),
        ("referer", Self::Referer),
        ("user_agent", Self::UserAgent),
        ("request_id", Self::RequestId),
        ("server", Self::Server),
        ("app", Self::App),
        ("worker", Self::Worker),
    ];
}

/// A piece of an access line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AccessPiece {
    /// Text as it is.
    Text(String),
    /// What a field says of the request.
    Field(AccessField),
}

/// A checked access line: its source and its pieces.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AccessTemplate {
    source: String,
    pieces: Vec<AccessPiece>,
}

/// A `$name` that stands for nothing; the name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnknownField(pub String);

impl fmt::Display for UnknownField {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<String> = AccessField::ALL.iter().map(|(name, _)| format!("${name}")).collect();
        let nearest = AccessField::ALL
            .iter()
            .map(|(name, _)| *name)
            .max_by(|one, two| strsim::jaro_winkler(one, &self.0).total_cmp(&strsim::jaro_winkler(two, &self.0)));
        match nearest.filter(|name| strsim::jaro_winkler(name, &self.0) > 0.8) {
            Some(name) => write!(f, "`${}` stands for nothing; did you mean `${name}`?", self.0),
            None => write!(f, "`${}` stands for nothing; there are {} and $$", self.0, names.join(", ")),
        }
    }
}

impl std::error::Error for UnknownField {}

impl AccessTemplate {
    /// The pieces in order.
    #[must_use]
    pub fn pieces(&self) -> &[AccessPiece] {
        &self.pieces
    }
}

impl FromStr for AccessTemplate {
    type Err = UnknownField;

    fn from_str(source: &str) -> Result<Self, UnknownField> {
        let mut pieces = Vec::new();
        let mut text = String::new();
        let mut rest = source;
        while let Some((before, after)) = rest.split_once('$') {
            text.push_str(before);
            if let Some(after) = after.strip_prefix('$') {
                text.push('$');
                rest = after;
                continue;
            }
            let end = after.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(after.len());
            let (name, after) = after.split_at(end);
            let field = AccessField::ALL.iter().find_map(|(known, field)| (*known == name).then_some(*field));
            let field = field.ok_or_else(|| UnknownField(name.to_owned()))?;
            if !text.is_empty() {
                pieces.push(AccessPiece::Text(std::mem::take(&mut text)));
            }
            pieces.push(AccessPiece::Field(field));
            rest = after;
        }
        text.push_str(rest);
        if !text.is_empty() {
            pieces.push(AccessPiece::Text(text));
        }
        Ok(Self { source: source.to_owned(), pieces })
    }
}

impl Serialize for AccessTemplate {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.source)
    }
}

impl<'de> Deserialize<'de> for AccessTemplate {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = Cow::<'de, str>::deserialize(deserializer)?;
        text.parse().map_err(de::Error::custom)
    }
}

impl JsonSchema for AccessTemplate {
    fn schema_name() -> Cow<'static, str> {
        "AccessTemplate".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "description": "Text with $names of fields." })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn splits_an_access_line() {
        let template: AccessTemplate = "$remote_addr \"$method $uri\" $$5".parse().unwrap();
        assert_eq!(
            template.pieces(),
            [
                AccessPiece::Field(AccessField::RemoteAddr),
                AccessPiece::Text(" \"".into()),
                AccessPiece::Field(AccessField::Method),
                AccessPiece::Text(" ".into()),
                AccessPiece::Field(AccessField::Uri),
                AccessPiece::Text("\" $5".into()),
            ]
        );
    }

    #[test]
    fn names_the_nearest_field() {
        let error = "$remote_adr".parse::<AccessTemplate>().unwrap_err();
        assert!(error.to_string().contains("did you mean `$remote_addr`"), "{error}");
        assert!("$".parse::<AccessTemplate>().unwrap_err().to_string().contains("$remote_addr,"));
    }
}
