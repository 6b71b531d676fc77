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
        if let Some(rest) = rest.strip_prefix("unix:") {
            return Url::of_socket(secure, rest, text);
        }
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
        if has_scheme(reference) {
            return Url::parse(reference).and_then(Url::of_network);
        }
        if let Some(rest) = reference.strip_prefix("//") {
            return Url::parse(&format!("{}://{rest}", self.scheme())).and_then(Url::of_network);
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

    /// What stands behind `http://unix:`: the path of a socket, then a colon and the target.
    fn of_socket(secure: bool, rest: &str, text: &str) -> Result<Url, UrlError> {
        let (path, target) = rest.split_once(':').unwrap_or((rest, "/"));
        let is_path = path.starts_with('/') && path.bytes().all(|byte| byte > b' ' && byte != 0x7f);
        if secure || !is_path || !target.starts_with('/') {
            return Err(UrlError::Authority(text.to_owned()));
        }
        check(target, text)?;
        Ok(Url { secure, host: format!("unix:{path}"), port: None, target: target.to_owned() })
    }

    /// Refuses unix sockets: no server may send us to one of ours.
    fn of_network(self) -> Result<Url, UrlError> {
        if self.socket().is_some() { Err(UrlError::Authority(self.to_string())) } else { Ok(self) }
    }

    /// The path of the unix socket, of `http://unix:/path:/target`.
    #[must_use]
    pub fn socket(&self) -> Option<&str> {
        self.host.strip_prefix("unix:")
    }

    /// Host and port for messages, or the socket.
    #[must_use]
    pub fn server(&self) -> String {
        self.port.map_or_else(|| self.host.clone(), |port| format!("{}:{port}", self.host))
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
            _ if self.socket().is_some() => "localhost".to_owned(),
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
        let colon = if self.socket().is_some() { ":" } else { "" };
        write!(f, "{}://{}{colon}{}", self.scheme(), self.server(), self.target)
    }
}

/// Whether a reference is absolute: it has a scheme (RFC 3986 section 3.1).
fn has_scheme(reference: &str) -> bool {
    let Some((scheme, _)) = reference.split_once(':') else { return false };
    scheme.starts_with(|first: char| first.is_ascii_alphabetic())
        && scheme.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'-' | b'.'))
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
            ("g?u=http://x/", "http://a/b/c/g?u=http://x/"),
        ];
        for (reference, expected) in cases {
            assert_eq!(base.join(reference).map(|url| url.to_string()).as_deref(), Ok(expected), "{reference}");
        }
        for bad in ["mailto:a@b", "http://unix:/run/x.sock:/", "//unix:/run/x.sock:/", "http:///x"] {
            assert!(base.join(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_unix_socket_has_a_path_and_a_target() {
        let url = Url::parse("http://unix:/run/a.sock:/b?c").expect("an address");
        assert_eq!((url.socket(), url.target(), url.authority().as_str()), (Some("/run/a.sock"), "/b?c", "localhost"));
        assert_eq!(url.to_string(), "http://unix:/run/a.sock:/b?c");
        for bad in ["http://unix:", "http://unix:a:/", "https://unix:/a:/", "http://unix:/a:b"] {
            assert!(Url::parse(bad).is_err(), "{bad}");
        }
    }

    proptest::proptest! {
        #[test]
        fn any_text_is_an_address_that_reads_back_or_an_error(text in "(https?://)?[ -~]{0,40}|\\PC{0,40}") {
            if let Ok(url) = Url::parse(&text) {
                proptest::prop_assert_eq!(Url::parse(&url.to_string()), Ok(url));
            }
        }

        #[test]
        fn a_joined_reference_is_an_address_that_reads_back(reference in "[!-~]{0,40}") {
            let base = Url::parse("http://a/b/c?d").expect("an address");
            if let Ok(url) = base.join(&reference) {
                proptest::prop_assert_eq!(Url::parse(&url.to_string()), Ok(url));
            }
        }
    }
}
