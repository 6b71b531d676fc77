//! The head of a request and of a response: start line and fields.

use std::fmt;

use super::authority;
use super::fields::{Fields, Span};
use super::method::Method;

/// The HTTP versions that this crate speaks as text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Version {
    /// HTTP/1.0.
    Http10,
    /// HTTP/1.1.
    Http11,
}

impl Version {
    /// `HTTP/1.0` or `HTTP/1.1`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Http10 => "HTTP/1.0",
            Self::Http11 => "HTTP/1.1",
        }
    }
}

/// What a client asks: method, target and fields. The target lives in the same buffer as the fields.
#[derive(Clone)]
pub struct RequestHead {
    /// The method.
    pub method: Method,
    /// The version of the message.
    pub version: Version,
    /// The header fields.
    pub fields: Fields,
    target: Span,
    path: Span,
    query: Option<Span>,
    authority: Option<Span>,
}

/// Why a request target is not accepted (RFC 9112 §3.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TargetError {
    /// A character that no target may have, a fragment, or bytes that are not UTF-8.
    Character,
    /// None of the four forms, or one that does not go with the method.
    Form,
    /// An absolute target with an invalid host, or a scheme other than http and https.
    Authority,
}

impl fmt::Display for TargetError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Character => "the request target has a character that does not belong there",
            Self::Form => "the request target has a form that does not go with its method",
            Self::Authority => "the request target names an invalid host",
        })
    }
}

impl std::error::Error for TargetError {}

/// The parts of a target, as offsets from its start.
struct Parts {
    authority: Option<(usize, usize)>,
    path: (usize, usize),
    query: Option<(usize, usize)>,
}

impl RequestHead {
    /// A head without fields, for a request that did not come as HTTP/1.1 text or that we send ourselves.
    ///
    /// # Errors
    /// A target that [`TargetError`] describes.
    pub fn new(method: Method, target: &str, version: Version) -> Result<Self, TargetError> {
        let mut head = Self {
            method,
            version,
            fields: Fields::from_head(target.as_bytes(), target.len()),
            target: Span::default(),
            path: Span::default(),
            query: None,
            authority: None,
        };
        head.place_target(0, target.as_bytes())?;
        Ok(head)
    }

    /// Takes the parsed start line; `fields` already holds the target's bytes at `offset`.
    pub(super) fn from_parts(method: Method, version: Version, fields: Fields, offset: usize, target: &[u8]) -> Result<Self, TargetError> {
        let mut head = Self { method, version, fields, target: Span::default(), path: Span::default(), query: None, authority: None };
        head.place_target(offset, target)?;
        Ok(head)
    }

    fn place_target(&mut self, offset: usize, target: &[u8]) -> Result<(), TargetError> {
        let parts = split_target(&self.method, target)?;
        let span = |(start, end): (usize, usize)| Span::new(offset + start, end - start);
        self.target = Span::new(offset, target.len());
        self.path = span(parts.path);
        self.query = parts.query.map(span);
        self.authority = parts.authority.map(span);
        Ok(())
    }

    /// Uses the value of the `Host` field as the authority, unless the target named one (RFC 9112 §3.2.2).
    pub(super) fn set_host(&mut self, host: Span) {
        self.authority = self.authority.or(Some(host));
    }

    /// Replaces target, path and query (a rewrite); an authority that is known stays unless the new target has one.
    ///
    /// # Errors
    /// A target that [`TargetError`] describes; the old one stays then.
    pub fn set_target(&mut self, target: &str) -> Result<(), TargetError> {
        let authority = self.authority;
        let stored = self.fields.store(target.as_bytes()).map_err(|_| TargetError::Form)?;
        self.place_target(stored.start(), target.as_bytes())?;
        self.authority = self.authority.or(authority);
        Ok(())
    }

    /// The target as it was sent (or rewritten).
    pub fn target(&self) -> &str {
        self.text(self.target)
    }

    /// The path as it was sent, still percent-encoded; `/` for an absolute target without one, `*` for `OPTIONS *`,
    /// empty for CONNECT.
    pub fn path(&self) -> &str {
        let path = self.text(self.path);
        if path.is_empty() && self.method != Method::Connect { "/" } else { path }
    }

    /// What follows the first `?`, still encoded.
    pub fn query(&self) -> Option<&str> {
        self.query.map(|span| self.text(span))
    }

    /// `host[:port]` from an absolute target, else from `Host`. Checked by [`authority::parse`].
    pub fn authority(&self) -> Option<&str> {
        self.authority.map(|span| self.text(span))
    }

    /// The host alone, without its port.
    pub fn host(&self) -> Option<&str> {
        authority::parse(self.authority()?.as_bytes()).map(|authority| authority.host)
    }

    fn text(&self, span: Span) -> &str {
        // Targets and hosts are checked to be UTF-8 when they are placed.
        std::str::from_utf8(self.fields.slice(span)).unwrap_or_default()
    }
}

impl fmt::Debug for RequestHead {
    /// Without the query and the values of fields: both may be secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RequestHead")
            .field("method", &self.method)
            .field("path", &self.path())
            .field("version", &self.version)
            .field("fields", &self.fields)
            .finish_non_exhaustive()
    }
}

/// Characters of a target: printable ASCII without `#`, and UTF-8 that clients send without encoding it.
fn is_target_byte(byte: u8) -> bool {
    (byte > b' ' && byte != b'#' && byte != 0x7f) || byte >= 0x80
}

fn split_target(method: &Method, target: &[u8]) -> Result<Parts, TargetError> {
    if !target.iter().all(|&byte| is_target_byte(byte)) || std::str::from_utf8(target).is_err() {
        return Err(TargetError::Character);
    }
    let end = target.len();
    if *method == Method::Connect {
        let authority = authority::parse(target).ok_or(TargetError::Form)?;
        authority.port.ok_or(TargetError::Form)?;
        return Ok(Parts { authority: Some((0, end)), path: (end, end), query: None });
    }
    let (authority, path) = match target {
        [b'/', ..] => (None, 0),
        b"*" if *method == Method::Options => {
            return Ok(Parts { authority: None, path: (0, 1), query: None });
        }
        _ => {
            let start = scheme_length(target).ok_or(TargetError::Form)?;
            let stop = target[start..].iter().position(|byte| matches!(byte, b'/' | b'?')).map_or(end, |at| start + at);
            authority::parse(&target[start..stop]).ok_or(TargetError::Authority)?;
            (Some((start, stop)), stop)
        }
    };
    let mark = memchr::memchr(b'?', &target[path..]).map(|at| path + at);
    Ok(Parts { authority, path: (path, mark.unwrap_or(end)), query: mark.map(|at| (at + 1, end)) })
}

/// The length of `http://` or `https://` at the front, in any case.
fn scheme_length(target: &[u8]) -> Option<usize> {
    [&b"http://"[..], b"https://"]
        .into_iter()
        .find(|scheme| target.get(..scheme.len()).is_some_and(|front| front.eq_ignore_ascii_case(scheme)))
        .map(<[u8]>::len)
}

/// What a server answers, as a client reads it.
#[derive(Clone, Debug)]
pub struct ResponseHead {
    /// The status code, 100 to 999.
    pub status: u16,
    /// The reason phrase as sent; it has no meaning to programs.
    pub reason: String,
    /// The version of the message.
    pub version: Version,
    /// The header fields.
    pub fields: Fields,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(method: Method, target: &str) -> Result<RequestHead, TargetError> {
        RequestHead::new(method, target, Version::Http11)
    }

    #[test]
    fn the_four_forms_are_split() {
        let origin = head(Method::Get, "/a/b?c=d?e").unwrap();
        assert_eq!((origin.path(), origin.query(), origin.authority()), ("/a/b", Some("c=d?e"), None));
        let absolute = head(Method::Get, "HTTP://Example.com:80?x").unwrap();
        assert_eq!((absolute.path(), absolute.query(), absolute.authority()), ("/", Some("x"), Some("Example.com:80")));
        assert_eq!(absolute.host(), Some("Example.com"));
        let connect = head(Method::Connect, "example.com:443").unwrap();
        assert_eq!((connect.path(), connect.authority()), ("", Some("example.com:443")));
        assert_eq!(head(Method::Options, "*").unwrap().path(), "*");
        assert_eq!(head(Method::Get, "/ü").unwrap().path(), "/ü");
    }

    #[test]
    fn other_targets_are_refused() {
        for (method, target, error) in [
            (Method::Get, "", TargetError::Form),
            (Method::Get, "*", TargetError::Form),
            (Method::Get, "a", TargetError::Form),
            (Method::Get, "example.com:443", TargetError::Form),
            (Method::Get, "ftp://example.com/", TargetError::Form),
            (Method::Connect, "/", TargetError::Form),
            (Method::Connect, "example.com", TargetError::Form),
            (Method::Get, "http://", TargetError::Authority),
            (Method::Get, "http://user@example.com/", TargetError::Authority),
            (Method::Get, "/a#b", TargetError::Character),
            (Method::Get, "/a b", TargetError::Character),
            (Method::Get, "/a\0", TargetError::Character),
        ] {
            assert_eq!(head(method, target).err(), Some(error), "{target:?}");
        }
    }

    #[test]
    fn a_rewrite_keeps_the_authority_and_the_fields() {
        let mut request = head(Method::Get, "http://a.example/old?x=1").unwrap();
        request.fields.push("x-kept", "yes").unwrap();
        request.set_target("/new?y=2").unwrap();
        assert_eq!((request.path(), request.query(), request.authority()), ("/new", Some("y=2"), Some("a.example")));
        assert_eq!(request.fields.get_str("x-kept"), Some("yes"));
        assert_eq!(request.set_target("nowhere"), Err(TargetError::Form));
        assert_eq!(request.path(), "/new");
    }
}
