//! Addresses of HTTP resources (RFC 9110 section 4.2).

use std::fmt;

use crate::codec::http::authority;

/// An `http` or `https` address, without its fragment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Url {
    secure: bool,
    host: String,
    port: Option<u16>,
    /// Path and query, never empty.
    target: String,
}

/// Why a text is no such address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum UrlError {
    /// It does not begin with `http://` or `https://`.
    Scheme(String),
    /// The host or port is none, or there is user information.
    Authority(String),
    /// A character that must be percent-encoded.
    Character(String),
}

impl fmt::Display for UrlError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            UrlError::Scheme(text) => write!(f, "an address begins with http:// or https:// ({text})"),
            UrlError::Authority(text) => write!(f, "the host or port is none ({text})"),
            UrlError::Character(text) => write!(f, "the address has characters that must be percent-encoded ({text})"),
        }
    }
}

impl std::error::Error for UrlError {}

impl Url {
    /// Reads an address.
    ///
    /// # Errors
    /// [`UrlError`].
    pub fn parse(text: &str) -> Result<Url, UrlError> {
        let (scheme, rest) = text.split_once("://").ok_or_else(|| UrlError::Scheme(text.to_owned()))?;
        let secure = match scheme.to_ascii_lowercase().as_str() {
            "http" => false,
            "https" => true,
            _ => return Err(UrlError::Scheme(text.to_owned())),
        };
        let rest = rest.split('#').next().unwrap_or_default();
        let end = rest.find(['/', '?']).unwrap_or(rest.len());
        let (authority, target) = rest.split_at(end);
        let wrong = || UrlError::Authority(text.to_owned());
        let parsed = authority::parse(authority.as_bytes()).ok_or_else(wrong)?;
        let target = if target.starts_with('/') { target.to_owned() } else { format!("/{target}") };
        check(&target, text)?;
        Ok(Url { secure, host: parsed.host.to_ascii_lowercase(), port: parsed.port, target })
    }

    /// The address that a reference found at this one means (RFC 3986 section 5).
    ///
    /// # Errors
    /// [`UrlError`].
    pub fn join(&self, reference: &str) -> Result<Url, UrlError> {
        let reference = reference.trim();
        if reference.contains("://") && !reference.starts_with(['/', '?', '#']) {
            return Url::parse(reference);
        }
        if let Some(rest) = reference.strip_prefix("//") {
            return Url::parse(&format!("{}://{rest}", self.scheme()));
        }
        let reference = reference.split('#').next().unwrap_or_default();
        let (path, query) = self.target.split_once('?').map_or((self.target.as_str(), None), |(path, query)| (path, Some(query)));
        let target = match reference {
            "" => query.map_or_else(|| path.to_owned(), |query| format!("{path}?{query}")),
            query if query.starts_with('?') => format!("{path}{query}"),
            absolute if absolute.starts_with('/') => without_dots(absolute),
            relative => {
                let directory = &path[..=path.rfind('/').unwrap_or(0)];
                without_dots(&format!("{directory}{relative}"))
            }
        };
        check(&target, reference)?;
        Ok(Url { target, ..self.clone() })
    }

    /// Whether it is `https`.
    #[must_use]
    pub fn is_secure(&self) -> bool {
        self.secure
    }

    fn scheme(&self) -> &'static str {
        if self.secure { "https" } else { "http" }
    }

    /// The host, an IPv6 address without its brackets.
    #[must_use]
    pub fn host(&self) -> &str {
        self.host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(&self.host)
    }

    /// The port, also where none was written.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port.unwrap_or(if self.secure { 443 } else { 80 })
    }

    /// Host and port as `Host` has them (RFC 9110 section 7.2).
    #[must_use]
    pub fn authority(&self) -> String {
        match self.port {
            Some(port) => format!("{}:{port}", self.host),
            None => self.host.clone(),
        }
    }

    /// Path and query.
    #[must_use]
    pub fn target(&self) -> &str {
        &self.target
    }

    /// What must be the same for two addresses to be of one server.
    #[must_use]
    pub fn origin(&self) -> (bool, &str, u16) {
        (self.secure, &self.host, self.port())
    }
}

impl fmt::Display for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}{}", self.scheme(), self.authority(), self.target)
    }
}

fn check(target: &str, text: &str) -> Result<(), UrlError> {
    if target.bytes().all(|byte| byte > b' ' && byte != 0x7f && byte < 0x80) { Ok(()) } else { Err(UrlError::Character(text.to_owned())) }
}

/// Takes `.` and `..` out of a path (RFC 3986 section 5.2.4); a query stays as it is.
fn without_dots(target: &str) -> String {
    let (path, query) = target.split_once('?').map_or((target, None), |(path, query)| (path, Some(query)));
    let mut parts: Vec<&str> = Vec::new();
    let mut segments = path.split('/').skip(1).peekable();
    while let Some(segment) = segments.next() {
        let last = segments.peek().is_none();
        match segment {
            "." => {}
            ".." => {
                parts.pop();
            }
            segment => {
                parts.push(segment);
                continue;
            }
        }
        if last {
            parts.push("");
        }
    }
    let path = format!("/{}", parts.join("/"));
    query.map_or(path.clone(), |query| format!("{path}?{query}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_taken_apart() {
        let url = Url::parse("HTTPS://Example.com:8443/a?b#c").expect("an address");
        assert_eq!((url.is_secure(), url.host(), url.port(), url.target()), (true, "example.com", 8443, "/a?b"));
        assert_eq!(url.to_string(), "https://example.com:8443/a?b");
        let url = Url::parse("http://[::1]?q").expect("an address");
        assert_eq!((url.host(), url.port(), url.target(), url.authority().as_str()), ("::1", 80, "/?q", "[::1]"));
        for bad in
            ["", "example.com", "ftp://a/", "http://", "http://u:p@a/", "http://a:99999/", "http://a/b c", "http://a/ü", "http://a/\r\nb"]
        {
            assert!(Url::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn references_are_joined_as_the_rfc_says() {
        // RFC 3986 section 5.4.
        let base = Url::parse("http://a/b/c/d?q").expect("an address");
        let cases = [
            ("g", "http://a/b/c/g"),
            ("./g", "http://a/b/c/g"),
            ("g/", "http://a/b/c/g/"),
            ("/g", "http://a/g"),
            ("//g", "http://g/"),
            ("?y", "http://a/b/c/d?y"),
            ("g?y", "http://a/b/c/g?y"),
            ("", "http://a/b/c/d?q"),
            (".", "http://a/b/c/"),
            ("..", "http://a/b/"),
            ("../g", "http://a/b/g"),
            ("../../../g", "http://a/g"),
            ("/./g", "http://a/g"),
            ("g;x=1/../y", "http://a/b/c/y"),
            ("https://x:1/y", "https://x:1/y"),
            ("g#s", "http://a/b/c/g"),
        ];
        for (reference, expected) in cases {
            assert_eq!(base.join(reference).map(|url| url.to_string()).as_deref(), Ok(expected), "{reference}");
        }
    }
}
