//! `host[:port]` as it stands in `Host`, in an absolute target and after CONNECT (RFC 3986 §3.2, RFC 9110 §4.2.3).

use std::net::Ipv6Addr;

/// The parts of a valid authority.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Authority<'a> {
    /// The host as sent; an IPv6 address keeps its brackets.
    pub host: &'a str,
    /// The port, when one was written.
    pub port: Option<u16>,
}

/// Splits and checks `host[:port]`. User information, zone identifiers, percent-encoding and an empty host are refused:
/// what two programs could read differently must not choose a virtual host.
pub fn parse(text: &[u8]) -> Option<Authority<'_>> {
    let text = std::str::from_utf8(text).ok()?;
    let (host, rest) = if text.starts_with('[') {
        let end = text.find(']')?;
        text[1..end].parse::<Ipv6Addr>().ok()?;
        text.split_at(end + 1)
    } else {
        let end = text.find(':').unwrap_or(text.len());
        let (host, rest) = text.split_at(end);
        let valid = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~');
        if host.is_empty() || !host.bytes().all(valid) {
            return None;
        }
        (host, rest)
    };
    let port = match rest.strip_prefix(':') {
        None if !rest.is_empty() => return None,
        None | Some("") => None,
        Some(digits) if digits.len() <= 5 && digits.bytes().all(|byte| byte.is_ascii_digit()) => Some(digits.parse().ok()?),
        Some(_) => return None,
    };
    Some(Authority { host, port })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_are_split_and_checked() {
        let parts = |text: &'static str| parse(text.as_bytes()).map(|authority| (authority.host, authority.port));
        assert_eq!(parts("example.com"), Some(("example.com", None)));
        assert_eq!(parts("example.com:80"), Some(("example.com", Some(80))));
        assert_eq!(parts("example.com:"), Some(("example.com", None)));
        assert_eq!(parts("127.0.0.1:8047"), Some(("127.0.0.1", Some(8047))));
        assert_eq!(parts("[::1]:8047"), Some(("[::1]", Some(8047))));
        assert_eq!(parts("[::1]"), Some(("[::1]", None)));
        assert_eq!(parts("my_host-1.local."), Some(("my_host-1.local.", None)));
        for bad in [
            "",
            ":80",
            "a b",
            "a:b",
            "a:65536",
            "a:000080",
            "a:80:90",
            "user@a",
            "a/b",
            "a,b",
            "[::1",
            "[::1]x",
            "[::1%25lo]",
            "[]",
            "a%41",
            "ü",
            "a\0",
            "::1",
        ] {
            assert_eq!(parts(bad), None, "{bad:?}");
        }
    }
}
