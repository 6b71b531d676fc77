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
        if host.is_empty() || !host.bytes().all(is_host_byte) {
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

/// Whether [`parse`] accepts it; quicker for what is usual.
pub(super) fn is_valid(text: &[u8]) -> bool {
    let mut host = 0;
    while host < text.len() && is_host_byte(text[host]) {
        host += 1;
    }
    match &text[host..] {
        [] => host > 0,
        // At most four digits cannot be too large a number.
        [b':', port @ ..] if host > 0 && port.len() <= 4 => port.iter().all(u8::is_ascii_digit),
        _ => parse(text).is_some(),
    }
}

fn is_host_byte(byte: u8) -> bool {
    const HOST: [bool; 256] = {
        let mut table = [false; 256];
        let mut byte = 0;
        while byte < 256 {
            let c = byte as u8;
            table[byte] = c.is_ascii_alphanumeric() || matches!(c, b'-' | b'.' | b'_' | b'~');
            byte += 1;
        }
        table
    };
    HOST[usize::from(byte)]
}

#[cfg(test)]
mod tests {
    use super::*;

    proptest::proptest! {
        #[test]
        fn the_quick_check_says_the_same(text in "[a.\\-_:0-9\\[\\]@ %]{0,12}") {
            proptest::prop_assert_eq!(is_valid(text.as_bytes()), parse(text.as_bytes()).is_some());
        }
    }

    #[test]
    fn hosts_are_split_and_checked() {
        let parts = |text: &'static str| parse(text.as_bytes()).map(|authority| (authority.host, authority.port));
        assert_eq!(parts("example.com"), Some(("example.com", None)));
        assert_eq!(parts("example.com:80"), Some(("example.com", Some(80))));
        assert_eq!(parts("example.com:"), Some(("example.com", None)));
        assert_eq!(parts("127.0.0.1:8047"), Some(("127.0.0.1", Some(8047))));
        assert_eq!(parts("[::1]:8047"), Some(("[::1]", Some(8047))));
        assert!(is_valid(b"example.com") && is_valid(b"example.com:80") && is_valid(b"[::1]") && !is_valid(b"") && !is_valid(b"a b"));
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
