//! What the fields of a message say of its body and its connection (RFC 9112 §6, §9.3).

use crate::codec::http::fields::list_items;
use crate::codec::http::head::Version;

/// Why the length of a body cannot be told for sure. Guessing would be request smuggling.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum FramingError {
    /// Not a plain decimal number, or several of them.
    BadLength,
    /// `Content-Length` and `Transfer-Encoding` together.
    LengthAndCoding,
    /// A transfer coding other than a single `chunked`.
    UnknownCoding,
    /// A transfer coding in HTTP/1.0.
    CodingInOldVersion,
}

/// What the framing fields say, both kinds looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Declared {
    Nothing,
    Length(u64),
    Chunked,
}

/// Gathers the framing fields one by one as a head is read.
#[derive(Debug, Default)]
pub(super) struct Framing {
    length: Option<u64>,
    chunked: bool,
    error: Option<FramingError>,
}

impl Framing {
    pub(super) fn content_length(&mut self, value: &[u8]) {
        match parse_length(value) {
            Some(length) if self.length.is_none() => self.length = Some(length),
            _ => self.fail(FramingError::BadLength),
        }
    }

    pub(super) fn transfer_encoding(&mut self, value: &[u8]) {
        if self.chunked || !value.eq_ignore_ascii_case(b"chunked") {
            self.fail(FramingError::UnknownCoding);
        }
        self.chunked = true;
    }

    fn fail(&mut self, error: FramingError) {
        self.error.get_or_insert(error);
    }

    pub(super) fn declared(&self, version: Version) -> Result<Declared, FramingError> {
        if self.chunked && version == Version::Http10 {
            return Err(FramingError::CodingInOldVersion);
        }
        if self.chunked && self.length.is_some() {
            return Err(FramingError::LengthAndCoding);
        }
        match (self.error, self.length) {
            (Some(error), _) => Err(error),
            (None, Some(length)) => Ok(Declared::Length(length)),
            (None, None) if self.chunked => Ok(Declared::Chunked),
            (None, None) => Ok(Declared::Nothing),
        }
    }
}

/// `1*DIGIT` and nothing else; no sign, no list, no number beyond 64 bits.
pub(super) fn parse_length(value: &[u8]) -> Option<u64> {
    if value.is_empty() || value.len() > 20 {
        return None;
    }
    value.iter().try_fold(0u64, |sum, byte| match byte {
        b'0'..=b'9' => sum.checked_mul(10)?.checked_add(u64::from(byte - b'0')),
        _ => None,
    })
}

/// What `Connection` says of this connection's life (RFC 9112 §9.3).
#[derive(Debug, Default)]
pub(super) struct Persistence {
    close: bool,
    keep_alive: bool,
}

impl Persistence {
    pub(super) fn connection(&mut self, value: &[u8]) {
        // What nearly every client sends needs no splitting.
        if value.eq_ignore_ascii_case(b"keep-alive") {
            self.keep_alive = true;
            return;
        }
        for item in list_items(value) {
            self.close |= item.eq_ignore_ascii_case(b"close");
            self.keep_alive |= item.eq_ignore_ascii_case(b"keep-alive");
        }
    }

    pub(super) fn keep_alive(&self, version: Version) -> bool {
        !self.close && (version == Version::Http11 || self.keep_alive)
    }
}

/// Fields that must not come (or be sent) in a trailer (RFC 9110 §6.5.1): framing, routing, authentication, and what
/// changes how the content is read.
pub(super) fn forbidden_in_trailer(name: &str) -> bool {
    const NAMES: [&str; 30] = [
        "age",
        "authorization",
        "cache-control",
        "connection",
        "content-encoding",
        "content-length",
        "content-range",
        "content-type",
        "cookie",
        "date",
        "expect",
        "expires",
        "host",
        "if-match",
        "if-modified-since",
        "if-none-match",
        "if-range",
        "if-unmodified-since",
        "keep-alive",
        "location",
        "max-forwards",
        "proxy-authenticate",
        "proxy-authorization",
        "range",
        "set-cookie",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
        "www-authenticate",
    ];
    NAMES.iter().any(|forbidden| name.eq_ignore_ascii_case(forbidden))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_are_plain_numbers() {
        assert_eq!(parse_length(b"0"), Some(0));
        assert_eq!(parse_length(b"0012"), Some(12));
        assert_eq!(parse_length(b"18446744073709551615"), Some(u64::MAX));
        for bad in ["", "+1", "-1", "1 ", "1,1", "0x10", "1.0", "18446744073709551616", "99999999999999999999999"] {
            assert_eq!(parse_length(bad.as_bytes()), None, "{bad:?}");
        }
    }
}
