//! Cookies that a client sends (RFC 6265 §5.4, read as leniently as browsers and old servers need) and those it is given.

use std::fmt::{self, Write};
use std::time::SystemTime;

use crate::codec::http::Method;
use crate::codec::percent::{decode_lenient, encode};

/// More cookies than this in one request are ignored.
const MAX_COOKIES: usize = 300;

/// The cookies of one request in the order they came.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Cookies {
    entries: Vec<(Vec<u8>, Vec<u8>)>,
}

impl Cookies {
    /// Reads the values of all `Cookie` fields. Values lose the quotes around them; `%XX` and `%uXXXX` in them are decoded.
    pub fn parse<'a>(values: impl IntoIterator<Item = &'a [u8]>) -> Self {
        let pairs = values.into_iter().flat_map(|value| value.split(|&byte| byte == b';'));
        let entries = pairs.filter_map(parse_pair).take(MAX_COOKIES).collect();
        Self { entries }
    }

    /// The value of this name. Of several the first counts: clients send the one with the longest path first.
    pub fn get(&self, name: &str) -> Option<&[u8]> {
        self.entries.iter().find(|(found, _)| found == name.as_bytes()).map(|(_, value)| value.as_slice())
    }

    /// The value of this name, if it is UTF-8.
    pub fn text(&self, name: &str) -> Option<&str> {
        std::str::from_utf8(self.get(name)?).ok()
    }

    /// Names and values in order.
    pub fn iter(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        self.entries.iter().map(|(name, value)| (name.as_slice(), value.as_slice()))
    }
}

impl fmt::Debug for Cookies {
    /// Names only: values are secrets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.entries.iter().map(|(name, _)| String::from_utf8_lossy(name))).finish()
    }
}

fn parse_pair(pair: &[u8]) -> Option<(Vec<u8>, Vec<u8>)> {
    let pair = pair.trim_ascii();
    let (name, value) = match memchr::memchr(b'=', pair) {
        Some(at) => (pair[..at].trim_ascii_end(), pair[at + 1..].trim_ascii_start()),
        None => (pair, &[][..]),
    };
    let value = match value {
        [b'"', inner @ .., b'"'] => inner,
        value => value,
    };
    (!name.is_empty()).then(|| (name.to_vec(), decode_lenient(value).into_owned()))
}

/// When a browser sends a cookie along from other sites.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SameSite {
    /// Never.
    Strict,
    /// When a link is followed, not with embedded content and forms.
    Lax,
    /// Needs `secure`.
    None,
}

/// A cookie for a client to keep (RFC 6265 §4.1, RFC 6265bis for `SameSite`, prefixes and `Partitioned`).
#[derive(Clone, Debug)]
pub struct SetCookie {
    /// The name, a token.
    pub name: String,
    /// Any bytes; those that a cookie cannot carry are percent-encoded, as [`Cookies::parse`] decodes them.
    pub value: Vec<u8>,
    /// Where on the host it belongs; None: where the request went.
    pub path: Option<String>,
    /// The host and all below it; None: this host alone.
    pub domain: Option<String>,
    /// In seconds from now; 0 or less removes the cookie.
    pub max_age: Option<i64>,
    /// Until when it is kept; None, and no `max_age`: until the browser ends.
    pub expires: Option<SystemTime>,
    /// Sent over encrypted connections only.
    pub secure: bool,
    /// Not shown to scripts.
    pub http_only: bool,
    /// None: as the browser likes.
    pub same_site: Option<SameSite>,
    /// Kept apart for each top-level site (CHIPS).
    pub partitioned: bool,
}

/// Why a cookie cannot be set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CookieError {
    /// The name is empty or has a character that names cannot have.
    Name,
    /// The path does not start with `/`, or it has a control character or a semicolon.
    Path,
    /// The domain is not a host name.
    Domain,
    /// The expiry is before 1970 or after 9999.
    Expires,
    /// `SameSite=None`, `Partitioned`, `__Secure-` or `__Host-` without `secure`.
    NeedsSecure,
    /// `__Host-` with a domain or a path other than `/`.
    HostPrefix,
    /// Name and value above 4096 bytes: browsers drop it without a word.
    TooLarge,
}

impl fmt::Display for CookieError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Name => "a cookie name may have only letters, digits and !#$%&'*+-.^_`|~",
            Self::Path => "a cookie path starts with / and has no semicolon and no control characters",
            Self::Domain => "a cookie domain is a host name",
            Self::Expires => "a cookie expires between 1970 and 9999",
            Self::NeedsSecure => "this cookie must be secure",
            Self::HostPrefix => "a __Host- cookie has the path / and no domain",
            Self::TooLarge => "a cookie has at most 4096 bytes",
        })
    }
}

impl std::error::Error for CookieError {}

impl SetCookie {
    /// A cookie for this session and host, for HTTP only, not sent from other sites.
    pub fn new(name: impl Into<String>, value: impl Into<Vec<u8>>) -> Self {
        Self {
            name: name.into(),
            value: value.into(),
            path: Some("/".into()),
            domain: None,
            max_age: None,
            expires: None,
            secure: false,
            http_only: true,
            same_site: Some(SameSite::Lax),
            partitioned: false,
        }
    }

    /// The value of a `Set-Cookie` field.
    ///
    /// # Errors
    /// See [`CookieError`]; nothing that comes out can add an attribute or a field.
    pub fn to_field(&self) -> Result<String, CookieError> {
        self.check()?;
        let mut out = self.name.clone();
        out.push('=');
        // cookie-octet without `%`, which the encoding itself needs.
        encode(&self.value, &mut out, |byte| byte.is_ascii_graphic() && !matches!(byte, b'"' | b',' | b';' | b'\\' | b'%'));
        if out.len() > 4096 {
            return Err(CookieError::TooLarge);
        }
        let mut attribute = |name: &str, value: &dyn fmt::Display| {
            // Writing to a String cannot fail.
            let _ = write!(out, "; {name}{value}");
        };
        if let Some(path) = &self.path {
            attribute("Path=", path);
        }
        if let Some(domain) = &self.domain {
            attribute("Domain=", domain);
        }
        if let Some(seconds) = self.max_age {
            attribute("Max-Age=", &seconds);
        }
        if let Some(time) = self.expires {
            attribute("Expires=", &httpdate::HttpDate::from(time));
        }
        for (name, set) in [("Secure", self.secure), ("HttpOnly", self.http_only), ("Partitioned", self.partitioned)] {
            if set {
                attribute(name, &"");
            }
        }
        match self.same_site {
            Some(SameSite::Strict) => attribute("SameSite=", &"Strict"),
            Some(SameSite::Lax) => attribute("SameSite=", &"Lax"),
            Some(SameSite::None) => attribute("SameSite=", &"None"),
            None => {}
        }
        Ok(out)
    }

    fn check(&self) -> Result<(), CookieError> {
        // Methods and cookie names are both tokens.
        if !Method::is_token(self.name.as_bytes()) {
            return Err(CookieError::Name);
        }
        let bad_path = |path: &String| !path.starts_with('/') || path.bytes().any(|byte| byte < b' ' || byte == b';' || byte == 0x7f);
        if self.path.as_ref().is_some_and(bad_path) {
            return Err(CookieError::Path);
        }
        let in_domain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.');
        let bad_domain = |domain: &String| domain.trim_matches('.').is_empty() || !domain.bytes().all(in_domain);
        if self.domain.as_ref().is_some_and(bad_domain) {
            return Err(CookieError::Domain);
        }
        if let Some(time) = self.expires {
            let since = time.duration_since(SystemTime::UNIX_EPOCH).map_err(|_| CookieError::Expires)?;
            if since.as_secs() >= 253_402_300_800 {
                return Err(CookieError::Expires);
            }
        }
        let host_only = self.name.starts_with("__Host-");
        let needs_secure = host_only || self.name.starts_with("__Secure-") || self.same_site == Some(SameSite::None) || self.partitioned;
        if needs_secure && !self.secure {
            return Err(CookieError::NeedsSecure);
        }
        if host_only && (self.domain.is_some() || self.path.as_deref() != Some("/")) {
            return Err(CookieError::HostPrefix);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;

    fn parse(value: &str) -> Vec<(String, String)> {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        Cookies::parse([value.as_bytes()]).iter().map(|(name, value)| (text(name), text(value))).collect()
    }

    #[test]
    fn cookies_are_read_leniently() {
        for (sent, read) in [
            ("a=1; b=2", vec![("a", "1"), ("b", "2")]),
            ("a=1;b=2;;", vec![("a", "1"), ("b", "2")]),
            (" a = 1 ", vec![("a", "1")]),
            ("a=\"quoted\"; b=\"", vec![("a", "quoted"), ("b", "\"")]),
            ("a=b=c", vec![("a", "b=c")]),
            ("flag; a=", vec![("flag", ""), ("a", "")]),
            ("=x", vec![]),
            ("a=%u041f%20+%zz", vec![("a", "\u{41f} +%zz")]),
        ] {
            let read: Vec<_> = read.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
            assert_eq!(parse(sent), read, "{sent:?}");
        }
        let cookies = Cookies::parse([&b"a=1; a=2"[..], b"b=3"]);
        assert_eq!((cookies.text("a"), cookies.text("b"), cookies.text("c")), (Some("1"), Some("3"), None));
        assert_eq!(format!("{cookies:?}"), r#"["a", "a", "b"]"#);
        assert_eq!(parse(&"a=1;".repeat(1000)).len(), MAX_COOKIES);
    }

    #[test]
    fn a_cookie_is_written_with_its_attributes() {
        assert_eq!(SetCookie::new("id", "x y;\u{fc}").to_field().unwrap(), "id=x%20y%3B%C3%BC; Path=/; HttpOnly; SameSite=Lax");
        let cookie = SetCookie {
            domain: Some("example.com".into()),
            max_age: Some(60),
            expires: Some(SystemTime::UNIX_EPOCH + Duration::from_secs(784_111_777)),
            secure: true,
            same_site: Some(SameSite::None),
            partitioned: true,
            ..SetCookie::new("a", "1")
        };
        assert_eq!(
            cookie.to_field().unwrap(),
            "a=1; Path=/; Domain=example.com; Max-Age=60; Expires=Sun, 06 Nov 1994 08:49:37 GMT; Secure; HttpOnly; Partitioned; SameSite=None"
        );
    }

    #[test]
    fn cookies_that_browsers_would_drop_or_misread_are_refused() {
        let base = || SetCookie::new("a", "1");
        for (cookie, error) in [
            (SetCookie::new("", "1"), CookieError::Name),
            (SetCookie::new("a b", "1"), CookieError::Name),
            (SetCookie::new("a\r\nSet-Cookie: b", "1"), CookieError::Name),
            (SetCookie { path: Some("/; Secure".into()), ..base() }, CookieError::Path),
            (SetCookie { path: Some("/\r\n".into()), ..base() }, CookieError::Path),
            (SetCookie { path: Some("x".into()), ..base() }, CookieError::Path),
            (SetCookie { domain: Some("a;b".into()), ..base() }, CookieError::Domain),
            (SetCookie { domain: Some(".".into()), ..base() }, CookieError::Domain),
            (SetCookie { expires: Some(SystemTime::UNIX_EPOCH - Duration::from_secs(1)), ..base() }, CookieError::Expires),
            (SetCookie { expires: Some(SystemTime::UNIX_EPOCH + Duration::from_secs(1 << 40)), ..base() }, CookieError::Expires),
            (SetCookie { same_site: Some(SameSite::None), ..base() }, CookieError::NeedsSecure),
            (SetCookie { partitioned: true, ..base() }, CookieError::NeedsSecure),
            (SetCookie::new("__Secure-a", "1"), CookieError::NeedsSecure),
            (SetCookie { secure: true, path: Some("/x".into()), ..SetCookie::new("__Host-a", "1") }, CookieError::HostPrefix),
            (SetCookie::new("a", vec![b'x'; 5000]), CookieError::TooLarge),
        ] {
            assert_eq!(cookie.to_field(), Err(error), "{cookie:?}");
        }
    }

    proptest! {
        #[test]
        fn what_is_set_comes_back(value in prop::collection::vec(any::<u8>(), 0..50)) {
            let field = SetCookie::new("a", value.clone()).to_field().unwrap();
            let sent = field.split(';').next().unwrap();
            let cookies = Cookies::parse([sent.as_bytes()]);
            prop_assert_eq!(cookies.get("a"), Some(&value[..]));
        }

        #[test]
        fn any_bytes_are_read(value in prop::collection::vec(any::<u8>(), 0..60)) {
            prop_assert!(Cookies::parse([&value[..]]).iter().all(|(name, _)| !name.is_empty()));
        }
    }
}
