//! Entity tags (RFC 9110 §8.8.3).

/// `"opaque"` or `W/"opaque"`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EntityTag<'a> {
    /// Whether it says only that two states serve the same purpose.
    pub weak: bool,
    /// What stands between the quotes.
    pub opaque: &'a [u8],
}

impl<'a> EntityTag<'a> {
    /// Reads one tag that is the whole value.
    pub fn parse(value: &'a [u8]) -> Option<Self> {
        let (tag, rest) = Self::parse_front(value.trim_ascii())?;
        rest.is_empty().then_some(tag)
    }

    fn parse_front(value: &'a [u8]) -> Option<(Self, &'a [u8])> {
        let (weak, value) = match value {
            [b'W', b'/', rest @ ..] => (true, rest),
            _ => (false, value),
        };
        let inner = value.strip_prefix(b"\"")?;
        let end = memchr::memchr(b'"', inner)?;
        let (opaque, rest) = (&inner[..end], &inner[end + 1..]);
        let valid = |&byte: &u8| byte > b' ' && byte != 0x7f;
        opaque.iter().all(valid).then_some((Self { weak, opaque }, rest))
    }

    /// Strong comparison (§8.8.3.2): the same bytes, for ranges and changes.
    pub fn strong_eq(&self, other: &EntityTag<'_>) -> bool {
        !self.weak && !other.weak && self.opaque == other.opaque
    }

    /// Weak comparison: the same for a reader's purposes, for caches.
    pub fn weak_eq(&self, other: &EntityTag<'_>) -> bool {
        self.opaque == other.opaque
    }
}

/// The tags of a comma-separated list, up to the first malformed one. Commas may stand inside tags.
pub fn list(value: &[u8]) -> impl Iterator<Item = EntityTag<'_>> {
    let mut rest = value;
    std::iter::from_fn(move || {
        while let [b' ' | b'\t' | b',', tail @ ..] = rest {
            rest = tail;
        }
        let (tag, tail) = EntityTag::parse_front(rest)?;
        rest = tail;
        Some(tag)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_are_read() {
        let tags: Vec<_> = list(br#"W/"a", "b,c" ,"" ,"d"#).collect();
        let tag = |weak, opaque: &'static str| EntityTag { weak, opaque: opaque.as_bytes() };
        assert_eq!(tags, [tag(true, "a"), tag(false, "b,c"), tag(false, "")]);
        assert_eq!(EntityTag::parse(br#" "x" "#), Some(tag(false, "x")));
        for bad in ["", "x", "\"x", "w/\"x\"", "W/x", "\"a b\"", "\"a\"b"] {
            assert_eq!(EntityTag::parse(bad.as_bytes()), None, "{bad:?}");
        }
    }

    #[test]
    fn tags_are_compared_as_the_table_says() {
        // RFC 9110 §8.8.3.2, table 3.
        let tags = |text: &'static str| EntityTag::parse(text.as_bytes()).unwrap();
        for (left, right, strong, weak) in [
            ("W/\"1\"", "W/\"1\"", false, true),
            ("W/\"1\"", "W/\"2\"", false, false),
            ("W/\"1\"", "\"1\"", false, true),
            ("\"1\"", "\"1\"", true, true),
        ] {
            assert_eq!(tags(left).strong_eq(&tags(right)), strong, "{left} {right}");
            assert_eq!(tags(left).weak_eq(&tags(right)), weak, "{left} {right}");
        }
    }
}
