//! Percent-encoding (RFC 3986 §2.1), the form variant of it (WHATWG URL, `application/x-www-form-urlencoded`) and the
//! `%uXXXX` that JavaScript's `escape` writes.

use std::borrow::Cow;

/// Decodes `%XX` and `%uXXXX`; `+` becomes a space. Sequences that mean nothing stay as they are.
pub fn decode_form(input: &[u8]) -> Cow<'_, [u8]> {
    decode(input, true)
}

/// Decodes `%XX` and `%uXXXX`; `+` stays. Sequences that mean nothing stay as they are.
pub fn decode_lenient(input: &[u8]) -> Cow<'_, [u8]> {
    decode(input, false)
}

/// Decodes the path of a target: `%XX` only. `None` for a `%` without two hexadecimal digits, for NUL, and for what is
/// not UTF-8 afterwards: what cannot be named in one way must not choose a file or a route.
pub fn decode_path(path: &str) -> Option<Cow<'_, str>> {
    let bytes = path.as_bytes();
    if memchr::memchr2(b'%', 0, bytes).is_none() {
        return Some(Cow::Borrowed(path));
    }
    let mut out = Vec::with_capacity(bytes.len());
    let mut rest = bytes;
    while let [byte, tail @ ..] = rest {
        rest = tail;
        let byte = match (byte, tail) {
            (b'%', [high, low, tail @ ..]) => {
                rest = tail;
                hex(*high)? << 4 | hex(*low)?
            }
            (b'%', _) => return None,
            (byte, _) => *byte,
        };
        if byte == 0 {
            return None;
        }
        out.push(byte);
    }
    String::from_utf8(out).ok().map(Cow::Owned)
}

fn decode(input: &[u8], form: bool) -> Cow<'_, [u8]> {
    let encoded = |byte: &u8| *byte == b'%' || (form && *byte == b'+');
    let Some(first) = input.iter().position(encoded) else {
        return Cow::Borrowed(input);
    };
    let mut out = Vec::with_capacity(input.len());
    out.extend_from_slice(&input[..first]);
    let mut rest = &input[first..];
    while let [byte, tail @ ..] = rest {
        if *byte == b'+' && form {
            out.push(b' ');
            rest = tail;
        } else if let Some((length, character)) = unicode_escape(rest) {
            out.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
            rest = &rest[length..];
        } else if let Some(decoded) = byte_escape(rest) {
            out.push(decoded);
            rest = &rest[3..];
        } else {
            out.push(*byte);
            rest = tail;
        }
    }
    Cow::Owned(out)
}

fn hex(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        b'A'..=b'F' => Some(digit - b'A' + 10),
        _ => None,
    }
}

/// `%XX` at the front.
fn byte_escape(input: &[u8]) -> Option<u8> {
    match input {
        [b'%', high, low, ..] => Some(hex(*high)? << 4 | hex(*low)?),
        _ => None,
    }
}

/// `%uXXXX` at the front, or two of them that are a surrogate pair; with the length of the escape.
fn unicode_escape(input: &[u8]) -> Option<(usize, char)> {
    let unit = code_unit(input)?;
    if let Some(character) = char::from_u32(unit.into()) {
        return Some((6, character));
    }
    let units = [unit, code_unit(&input[6..])?];
    let character = char::decode_utf16(units).next()?.ok()?;
    Some((12, character))
}

fn code_unit(input: &[u8]) -> Option<u16> {
    let [b'%', b'u' | b'U', digits @ ..] = input else { return None };
    let digits = digits.first_chunk::<4>()?;
    digits.iter().try_fold(0u16, |unit, &digit| Some(unit << 4 | u16::from(hex(digit)?)))
}

/// Encodes everything but unreserved characters (RFC 3986 §2.3): for one segment, name or value.
pub fn encode_component(input: &[u8], out: &mut String) {
    encode(input, out, |_| false);
}

/// Encodes a path: like a component, but `/` and the characters that are safe in a segment stay (RFC 3986 §3.3).
pub fn encode_path(input: &[u8], out: &mut String) {
    encode(input, out, |byte| {
        matches!(byte, b'/' | b'!' | b'$' | b'&' | b'\'' | b'(' | b')' | b'*' | b'+' | b',' | b';' | b'=' | b':' | b'@')
    });
}

/// Encodes what `keep` does not name and what is not unreserved.
pub fn encode(input: &[u8], out: &mut String, keep: impl Fn(u8) -> bool) {
    const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
    for &byte in input {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~') || (byte.is_ascii() && keep(byte)) {
            out.push(byte.into());
        } else {
            out.push('%');
            out.push(DIGITS[usize::from(byte >> 4)].into());
            out.push(DIGITS[usize::from(byte & 0xf)].into());
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn escapes_are_decoded_and_nonsense_stays() {
        for (input, output) in [
            ("plain", "plain"),
            ("a+b%20c", "a b c"),
            ("%C3%BC%c3%bc", "\u{fc}\u{fc}"),
            ("%u041f%u0440", "\u{41f}\u{440}"),
            ("%uD83D%uDE00!", "\u{1f600}!"),
            ("%uD83D", "%uD83D"),
            ("%uD83Dx", "%uD83Dx"),
            ("%uDE00%uD83D", "%uDE00%uD83D"),
            ("%uD83D%u0041", "%uD83DA"),
            ("%", "%"),
            ("%4", "%4"),
            ("%zz%u12%u12g4", "%zz%u12%u12g4"),
            ("%%41", "%A"),
            ("100%+", "100% "),
        ] {
            assert_eq!(String::from_utf8_lossy(&decode_form(input.as_bytes())), output, "{input:?}");
        }
        assert_eq!(decode_form(b"%ff"), &b"\xff"[..]);
        assert_eq!(decode_lenient(b"a+b%2B"), &b"a+b+"[..]);
    }

    #[test]
    fn paths_are_decoded_strictly() {
        assert_eq!(decode_path("/a%20b+c").as_deref(), Some("/a b+c"));
        assert_eq!(decode_path("/%C3%BC").as_deref(), Some("/\u{fc}"));
        assert_eq!(decode_path("/%2e%2E%2f").as_deref(), Some("/../"));
        for bad in ["/%", "/%1", "/%zz", "/%00", "/a\0", "/%ff", "/%u0041", "/%c0%ae"] {
            assert_eq!(decode_path(bad), None, "{bad:?}");
        }
    }

    proptest! {
        #[test]
        fn what_is_encoded_is_decoded(bytes in prop::collection::vec(any::<u8>(), 0..40)) {
            let mut component = String::new();
            encode_component(&bytes, &mut component);
            prop_assert_eq!(&*decode_form(component.as_bytes()), &bytes[..]);
            let mut path = String::new();
            encode_path(&bytes, &mut path);
            prop_assert_eq!(&*decode_lenient(path.as_bytes()), &bytes[..]);
        }

        #[test]
        fn any_bytes_can_be_decoded(bytes in prop::collection::vec(any::<u8>(), 0..40), text in "[%u0-9dDeE+]{0,30}") {
            decode_form(&bytes);
            let decoded = decode_lenient(text.as_bytes());
            prop_assert!(decoded.len() <= text.len());
        }
    }
}
