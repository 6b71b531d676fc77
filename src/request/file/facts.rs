//! What is told of a file in the header: type, entity tag, time.

use std::collections::{BTreeMap, HashMap};
use std::fs::Metadata;
use std::os::unix::fs::MetadataExt;
use std::time::{Duration, SystemTime};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use sha2::{Digest, Sha256};

use crate::codec::http::FieldError;
use crate::codec::http::conditional::Validators;
use crate::codec::http::date;
use crate::codec::http::etag::EntityTag;
use crate::codec::http::fields::check_field;
use crate::request::ResponseFields;
use crate::request::compression::Coding;

/// A file that was changed less than this long ago may change again without its time showing it.
const SETTLES: Duration = Duration::from_secs(1);

/// Content types by extension, and the fields that all files have.
#[derive(Debug, Default)]
pub struct Describer {
    types: HashMap<String, String>,
    cache_control: Option<String>,
}

/// What is told of one state of a file.
#[derive(Clone, Debug)]
pub struct Facts {
    /// How long it is, in bytes.
    pub size: u64,
    /// When it was last changed.
    pub modified: SystemTime,
    /// Its type.
    pub content_type: String,
    etag: String,
    /// Field lines, `Content-Type` first.
    fields: Bytes,
    /// Where the other lines start.
    common: usize,
    /// Whether a change from now on is certain to show in the file's times.
    pub settled: bool,
}

/// What a description is made of, beside the type.
struct Known {
    size: u64,
    modified: SystemTime,
    etag: String,
    settled: bool,
    /// The date that clients are told.
    told: Option<SystemTime>,
    /// How the file is compressed.
    coding: Option<Coding>,
    /// Whether clients that take other codings get another file.
    varies: bool,
}

impl Describer {
    /// Takes the configured types and `Cache-Control`.
    ///
    /// # Errors
    /// A type or a value that cannot be sent, with what it is for.
    pub fn new(types: &BTreeMap<String, String>, cache_control: Option<&str>) -> Result<Self, (String, FieldError)> {
        for (extension, content_type) in types {
            check_field(b"content-type", content_type.as_bytes()).map_err(|error| (format!("the type of {extension}"), error))?;
        }
        if let Some(value) = cache_control {
            check_field(b"cache-control", value.as_bytes()).map_err(|error| ("cache_control".to_owned(), error))?;
        }
        let types = types.iter().map(|(extension, kind)| (extension.trim_start_matches('.').to_ascii_lowercase(), kind.clone())).collect();
        Ok(Self { types, cache_control: cache_control.map(str::to_owned) })
    }

    /// The content type of a file by its name.
    pub fn content_type(&self, path: &str) -> String {
        let name = path.rsplit('/').next().unwrap_or(path);
        let Some((_, extension)) = name.rsplit_once('.') else { return "application/octet-stream".to_owned() };
        let extension = extension.to_ascii_lowercase();
        if let Some(own) = self.types.get(&extension) {
            return own.clone();
        }
        let known = mime_guess::from_ext(&extension).first_raw().unwrap_or("application/octet-stream");
        let text = known.starts_with("text/") || known == "application/javascript" || known.ends_with("+xml") || known == "application/xml";
        if text { format!("{known}; charset=utf-8") } else { known.to_owned() }
    }

    /// Describes a file as it is at `now`; its path tells the type.
    ///
    /// # Errors
    /// A field that cannot be sent; not for what [`Describer::new`] has checked.
    pub fn describe(&self, path: &str, metadata: &Metadata, now: SystemTime) -> Result<Facts, FieldError> {
        self.describe_as(self.content_type(path), metadata, now)
    }

    /// Describes a file that lies compressed beside the one of this path, or, with no coding, one beside which there could be others.
    ///
    /// # Errors
    /// As [`Describer::describe`].
    pub fn describe_coded(&self, path: &str, coding: Option<Coding>, metadata: &Metadata, now: SystemTime) -> Result<Facts, FieldError> {
        let known = Known { coding, varies: true, ..known(metadata, now) };
        self.facts(self.content_type(path), known)
    }

    /// Describes a file whose type is known.
    ///
    /// # Errors
    /// A type that cannot be sent.
    pub fn describe_as(&self, content_type: String, metadata: &Metadata, now: SystemTime) -> Result<Facts, FieldError> {
        self.facts(content_type, known(metadata, now))
    }

    /// Describes bytes that cannot change while this program runs: their tag is made of what they are, and they have no date.
    ///
    /// # Errors
    /// A type that cannot be sent.
    pub fn describe_bytes(&self, content_type: String, bytes: &[u8]) -> Result<Facts, FieldError> {
        let digest = Sha256::digest(bytes);
        let etag = format!("\"{}\"", URL_SAFE_NO_PAD.encode(&digest[..12]));
        let modified = SystemTime::UNIX_EPOCH;
        let known = Known { size: bytes.len() as u64, modified, etag, settled: true, told: None, coding: None, varies: false };
        self.facts(content_type, known)
    }

    fn facts(&self, content_type: String, mut known: Known) -> Result<Facts, FieldError> {
        let mut fields = ResponseFields::with_capacity(256);
        fields.push("Content-Type", &content_type)?;
        let common = fields.block().len();
        if let Some(coding) = known.coding {
            fields.push_static("Content-Encoding", coding.name());
            // The same time and length must not make it the same tag.
            known.etag = format!("{}-{}\"", known.etag.trim_end_matches('"'), coding.name());
        }
        fields.push("ETag", &known.etag)?;
        if known.varies {
            fields.push_static("Vary", "Accept-Encoding");
        }
        // A time that is yet to come must not be told (RFC 9110 §8.8.2.1).
        if let Some(modified) = known.told {
            fields.push("Last-Modified", date::format(modified))?;
        }
        fields.push_static("Accept-Ranges", "bytes");
        if let Some(value) = &self.cache_control {
            fields.push("Cache-Control", value)?;
        }
        let fields = Bytes::copy_from_slice(fields.block());
        let Known { size, modified, etag, settled, .. } = known;
        Ok(Facts { size, modified, content_type, etag, fields, common, settled })
    }
}

/// What a file's metadata tell at `now`.
fn known(metadata: &Metadata, now: SystemTime) -> Known {
    let modified = time(metadata.mtime(), metadata.mtime_nsec());
    let is_old = |time: SystemTime| now.duration_since(time).is_ok_and(|age| age >= SETTLES);
    // A tag made of a time that may stay the same over a change is no strong one (RFC 9110 §8.8.1).
    let weak = if is_old(modified) { "" } else { "W/" };
    let settled = is_old(modified) && is_old(time(metadata.ctime(), metadata.ctime_nsec()));
    let etag = format!("{weak}\"{:x}.{:x}-{:x}\"", metadata.mtime(), metadata.mtime_nsec(), metadata.size());
    let told = (modified <= now).then_some(modified);
    Known { size: metadata.size(), modified, etag, settled, told, coding: None, varies: false }
}

/// A file's time; those before 1970 count as 1970.
fn time(seconds: i64, nanoseconds: i64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::new(u64::try_from(seconds).unwrap_or(0), u32::try_from(nanoseconds).unwrap_or(0))
}

impl Facts {
    /// What conditions are compared with.
    pub fn validators(&self) -> Validators<'_> {
        Validators { etag: EntityTag::parse(self.etag.as_bytes()), modified: Some(self.modified) }
    }

    /// The field lines of the whole file.
    pub fn fields(&self) -> Bytes {
        self.fields.clone()
    }

    /// The field lines without `Content-Type`.
    pub fn common_fields(&self) -> Bytes {
        self.fields.slice(self.common..)
    }

    /// About how much memory it takes.
    pub fn weight(&self) -> usize {
        self.fields.len() + self.content_type.len() + self.etag.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_come_from_the_extension() {
        let own = BTreeMap::from([(".Foo".to_owned(), "text/x-foo".to_owned()), ("html".to_owned(), "text/html".to_owned())]);
        let describer = Describer::new(&own, None).unwrap();
        for (path, content_type) in [
            ("a.txt", "text/plain; charset=utf-8"),
            ("dir.d/a.CSS", "text/css; charset=utf-8"),
            ("a.js", "text/javascript; charset=utf-8"),
            ("a.svg", "image/svg+xml; charset=utf-8"),
            ("a.json", "application/json"),
            ("a.png", "image/png"),
            ("a.wasm", "application/wasm"),
            ("a.foo", "text/x-foo"),
            ("a.html", "text/html"),
            ("README", "application/octet-stream"),
            ("dir.txt/README", "application/octet-stream"),
            ("a.unheard-of", "application/octet-stream"),
        ] {
            assert_eq!(describer.content_type(path), content_type, "{path}");
        }
    }

    #[test]
    fn what_cannot_be_sent_is_refused() {
        let bad = BTreeMap::from([("x".to_owned(), "a\r\nb: c".to_owned())]);
        assert_eq!(Describer::new(&bad, None).unwrap_err().1, FieldError::Value);
        assert_eq!(Describer::new(&BTreeMap::new(), Some("a\nb")).unwrap_err().1, FieldError::Value);
    }
}
