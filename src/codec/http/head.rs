//! The head of a request and of a response: start line and fields.

use std::cell::RefCell;
use std::fmt;
use std::ops::Deref;

use super::authority;
use super::fields::{Fields, Span};
use super::method::Method;

/// The HTTP versions that this crate speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Version {
    /// HTTP/1.0.
    Http10,
    /// HTTP/1.1.
    Http11,
    /// HTTP/2.
    Http2,
}

impl Version {
    /// `HTTP/1.0`, `HTTP/1.1` or `HTTP/2.0`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Http10 => "HTTP/1.0",
            Self::Http11 => "HTTP/1.1",
            Self::Http2 => "HTTP/2.0",
        }
    }
}

/// What a client asks: method, target and fields.
#[derive(Clone)]
pub struct RequestHead {
    /// The method.
    pub method: Method,
    /// The version of the message.
    pub version: Version,
    /// The header fields.
    pub fields: Fields,
    target: Target,
    placement: Placement,
}

/// The target of a request, in a buffer that others have used before: one is made and forgotten with each request.
#[derive(Debug)]
pub struct Target(String);

/// Buffers kept for the next targets.
const POOLED: usize = 64;
/// Larger ones are not kept.
const POOLED_BYTES: usize = 1 << 10;

thread_local! {
    static POOL: RefCell<Vec<String>> = const { RefCell::new(Vec::new()) };
}

impl From<&str> for Target {
    fn from(text: &str) -> Self {
        let mut buffer = POOL.with_borrow_mut(Vec::pop).unwrap_or_default();
        buffer.push_str(text);
        Self(buffer)
    }
}

impl Clone for Target {
    fn clone(&self) -> Self {
        Self::from(&**self)
    }
}

impl Deref for Target {
    type Target = str;
    fn deref(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self)
    }
}

impl Drop for Target {
    fn drop(&mut self) {
        if self.0.capacity() > POOLED_BYTES {
            return;
        }
        self.0.clear();
        let buffer = std::mem::take(&mut self.0);
        // After the thread's end there is no pool, and the buffer is just freed.
        let _ = POOL.try_with(|pool| {
            let mut pool = pool.borrow_mut();
            if pool.len() < POOLED {
                pool.push(buffer);
            }
        });
    }
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

/// Where the parts of a target stand, and what host it names.
#[derive(Clone, Debug)]
pub(super) struct Placement {
    path: Span,
    query: Option<Span>,
    authority: Authority,
    /// Nothing in the path is encoded, and no segment of it begins with a dot.
    plain: bool,
}

/// The host of a request.
#[derive(Clone, Debug)]
enum Authority {
    None,
    /// In the value of the `Host` field: what nearly every request has.
    InFields(Span),
    /// In the target, which may be replaced later.
    Own(Box<str>),
}

impl Placement {
    /// Splits a target (RFC 9112 §3.2).
    pub(super) fn read(method: &Method, target: &str) -> Result<Self, TargetError> {
        let bytes = target.as_bytes();
        // One pass without a branch, which the compiler turns into wide instructions.
        if bytes.iter().fold(false, |bad, &byte| bad | !is_target_byte(byte)) {
            return Err(TargetError::Character);
        }
        let end = bytes.len();
        let span = |start: usize, end: usize| Span::new(start, end - start);
        if *method == Method::Connect {
            let authority = authority::parse(bytes).ok_or(TargetError::Form)?;
            authority.port.ok_or(TargetError::Form)?;
            return Ok(Self { path: span(end, end), query: None, authority: Authority::Own(target.into()), plain: true });
        }
        let (authority, path) = match bytes {
            [b'/', ..] => (Authority::None, 0),
            b"*" if *method == Method::Options => {
                return Ok(Self { path: span(0, end), query: None, authority: Authority::None, plain: true });
            }
            _ => {
                let start = scheme_length(bytes).ok_or(TargetError::Form)?;
                let stop = bytes[start..].iter().position(|byte| matches!(byte, b'/' | b'?')).map_or(end, |at| start + at);
                authority::parse(&bytes[start..stop]).ok_or(TargetError::Authority)?;
                (Authority::Own(target[start..stop].into()), stop)
            }
        };
        let mark = memchr::memchr(b'?', &bytes[path..]).map(|at| path + at);
        let stop = mark.unwrap_or(end);
        let plain = is_plain(&bytes[path..stop]);
        Ok(Self { path: span(path, stop), query: mark.map(|at| span(at + 1, end)), authority, plain })
    }

    /// Of a target that is a path of so many bytes, checked already, whose query begins there. `plain`: see [`RequestHead::has_plain_path`].
    pub(super) fn of_path(length: usize, query: Option<usize>, plain: bool) -> Self {
        let span = |start: usize, end: usize| Span::new(start, end - start);
        let path = span(0, query.map_or(length, |at| at - 1));
        Self { path, query: query.map(|at| span(at, length)), authority: Authority::None, plain }
    }

    /// Uses the value of the `Host` field as the authority, unless the target named one (RFC 9112 §3.2.2).
    pub(super) fn with_host(mut self, host: Option<Span>) -> Self {
        if let (Authority::None, Some(host)) = (&self.authority, host) {
            self.authority = Authority::InFields(host);
        }
        self
    }
}

impl RequestHead {
    /// A head without fields, for a request that did not come as HTTP/1.1 text or that we send ourselves.
    ///
    /// # Errors
    /// A target that [`TargetError`] describes.
    pub fn new(method: Method, target: &str, version: Version) -> Result<Self, TargetError> {
        let placement = Placement::read(&method, target)?;
        Ok(Self { method, version, fields: Fields::pooled(), target: target.into(), placement })
    }

    /// Takes what was parsed; `fields` holds the host that `placement` speaks of.
    #[inline]
    pub(super) fn from_parts(method: Method, version: Version, target: &str, fields: Fields, placement: Placement) -> Self {
        Self { method, version, fields, target: target.into(), placement }
    }

    /// Replaces target, path and query (a rewrite); an authority that is known stays unless the new target has one.
    ///
    /// # Errors
    /// A target that [`TargetError`] describes; the old one stays then.
    pub fn set_target(&mut self, target: &str) -> Result<(), TargetError> {
        let mut placement = Placement::read(&self.method, target)?;
        if matches!(placement.authority, Authority::None) {
            placement.authority = std::mem::replace(&mut self.placement.authority, Authority::None);
        }
        self.target = target.into();
        self.placement = placement;
        Ok(())
    }

    /// Names the host that is asked, where neither target nor parser did: a request that did not come as HTTP/1.1 text.
    ///
    /// # Errors
    /// [`TargetError::Authority`] when it is no `host[:port]`.
    pub fn set_authority(&mut self, authority: &str) -> Result<(), TargetError> {
        authority::parse(authority.as_bytes()).ok_or(TargetError::Authority)?;
        self.placement.authority = Authority::Own(authority.into());
        Ok(())
    }

    /// The target as it was sent (or rewritten).
    pub fn target(&self) -> &str {
        &self.target
    }

    /// The target, for who keeps it longer than the head.
    pub fn kept_target(&self) -> Target {
        self.target.clone()
    }

    /// The path as it was sent, still percent-encoded; `/` for an absolute target without one, `*` for `OPTIONS *`,
    /// empty for CONNECT.
    pub fn path(&self) -> &str {
        let path = self.placement.path.of_str(&self.target);
        if path.is_empty() && self.method != Method::Connect { "/" } else { path }
    }

    /// Whether nothing in the path is encoded and no segment of it begins with a dot: it reads as it stands.
    pub fn has_plain_path(&self) -> bool {
        self.placement.plain
    }

    /// What follows the first `?`, still encoded.
    pub fn query(&self) -> Option<&str> {
        self.placement.query.map(|span| span.of_str(&self.target))
    }

    /// `host[:port]` from an absolute target, else from `Host`. Checked by [`authority::parse`].
    pub fn authority(&self) -> Option<&str> {
        match &self.placement.authority {
            Authority::None => None,
            Authority::Own(text) => Some(text),
            // A host that is valid is ASCII.
            Authority::InFields(span) => std::str::from_utf8(self.fields.slice(*span)).ok(),
        }
    }

    /// The host alone, without its port.
    pub fn host(&self) -> Option<&str> {
        authority::parse(self.authority()?.as_bytes()).map(|authority| authority.host)
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
    byte > b' ' && byte != b'#' && byte != 0x7f
}

/// See [`RequestHead::has_plain_path`].
fn is_plain(path: &[u8]) -> bool {
    !memchr::memchr2_iter(b'.', b'%', path).any(|at| path[at] == b'%' || at > 0 && path[at - 1] == b'/')
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
