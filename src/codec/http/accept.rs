//! What a client would rather have: `Accept-Encoding` and `Accept` with their weights (RFC 9110 §12).

use super::fields::{Fields, list_items};
use super::parameters::Parameterised;

/// The weight of one list item in thousandths; 1000 without a `q`, 0 for a malformed one.
fn weight(item: &Parameterised<'_>) -> u16 {
    item.get("q").map_or(1000, |value| read_weight(&value).unwrap_or(0))
}

/// `0`, `0.5`, `1.000`.
fn read_weight(value: &[u8]) -> Option<u16> {
    let (whole, decimals) = match value {
        [whole] | [whole, b'.'] => (whole, &[][..]),
        [whole, b'.', decimals @ ..] if decimals.len() <= 3 => (whole, decimals),
        _ => return None,
    };
    let digit = |byte: u8| byte.is_ascii_digit().then(|| u16::from(byte - b'0'));
    let mut sum = digit(*whole)?;
    for place in 0..3 {
        sum = sum * 10 + decimals.get(place).map_or(Some(0), |&byte| digit(byte))?;
    }
    (sum <= 1000).then_some(sum)
}

/// The weight that `Accept-Encoding` gives a coding, by its name or by `*`.
fn weight_of(fields: &Fields, coding: &str) -> Option<u16> {
    let mut named = None;
    let mut any = None;
    for item in fields.get_all("accept-encoding").flat_map(list_items) {
        let item = Parameterised::new(item);
        if item.value.eq_ignore_ascii_case(coding.as_bytes()) {
            named = named.or(Some(weight(&item)));
        } else if item.value == b"*" {
            any = any.or(Some(weight(&item)));
        }
    }
    named.or(any)
}

/// The best of the codings that the server has (`"br"`, `"gzip"`; `"identity"` need not be named), or `None` for no coding.
/// Of equally welcome codings the server's first wins, and any welcome coding wins over none unless `identity` weighs more.
pub fn encoding<'a>(fields: &Fields, available: &[&'a str]) -> Option<&'a str> {
    let floor = weight_of(fields, "identity").unwrap_or(0);
    let mut best = None;
    for &coding in available {
        let weight = weight_of(fields, coding).unwrap_or(0);
        if weight > 0 && weight >= floor && best.is_none_or(|(_, other)| weight > other) {
            best = Some((coding, weight));
        }
    }
    best.map(|(coding, _)| coding)
}

/// Whether the client refuses an answer without a coding: `identity;q=0`, or `*;q=0` where `identity` is not named.
pub fn refuses_identity(fields: &Fields) -> bool {
    weight_of(fields, "identity") == Some(0)
}

/// The weight that `Accept` gives a media type such as `text/html`, in thousandths: the most specific range counts.
/// 1000 when the client has no `Accept` at all.
pub fn media_type(fields: &Fields, wanted: &str) -> u16 {
    let Some((wanted_type, wanted_subtype)) = wanted.split_once('/') else { return 0 };
    let mut best = None;
    for item in fields.get_all("accept").flat_map(list_items) {
        let item = Parameterised::new(item);
        let Some(slash) = memchr::memchr(b'/', item.value) else { continue };
        let (kind, subtype) = (&item.value[..slash], &item.value[slash + 1..]);
        let specificity = match (kind, subtype) {
            (b"*", b"*") => 0,
            (kind, b"*") if kind.eq_ignore_ascii_case(wanted_type.as_bytes()) => 1,
            (kind, subtype)
                if kind.eq_ignore_ascii_case(wanted_type.as_bytes()) && subtype.eq_ignore_ascii_case(wanted_subtype.as_bytes()) =>
            {
                2
            }
            _ => continue,
        };
        if best.is_none_or(|(other, _)| specificity > other) {
            best = Some((specificity, weight(&item)));
        }
    }
    match best {
        Some((_, weight)) => weight,
        None if fields.contains("accept") => 0,
        None => 1000,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(name: &str, value: &str) -> Fields {
        let mut fields = Fields::new();
        fields.push(name, value).unwrap();
        fields
    }

    #[test]
    fn the_most_welcome_coding_is_chosen() {
        for (value, chosen) in [
            ("gzip", Some("gzip")),
            ("gzip, br", Some("br")),
            ("gzip, br;q=0.5", Some("gzip")),
            ("br;q=0, gzip;q=0.001", Some("gzip")),
            ("*", Some("br")),
            ("*;q=0", None),
            ("br;q=0, *", Some("gzip")),
            ("GZIP;Q=1.0", Some("gzip")),
            ("gzip;q=0", None),
            ("gzip;q=nonsense", None),
            ("gzip;q=1.001", None),
            ("gzip;q=0.5, identity", None),
            ("deflate", None),
            ("", None),
        ] {
            assert_eq!(encoding(&with("accept-encoding", value), &["br", "gzip"]), chosen, "{value:?}");
        }
        assert_eq!(encoding(&Fields::new(), &["br"]), None);
    }

    #[test]
    fn the_most_specific_media_range_counts() {
        let accept = with("accept", "text/*;q=0.3, text/html;q=0.7, */*;q=0.1");
        assert_eq!(media_type(&accept, "text/html"), 700);
        assert_eq!(media_type(&accept, "text/plain"), 300);
        assert_eq!(media_type(&accept, "image/png"), 100);
        assert_eq!(media_type(&with("accept", "image/*"), "text/html"), 0);
        assert_eq!(media_type(&Fields::new(), "text/html"), 1000);
    }
}
