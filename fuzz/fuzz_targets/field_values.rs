//! Values of header fields that clients choose: ranges, tags, dates, hosts, lists, parameters, and escapes.

#![no_main]

use libfuzzer_sys::fuzz_target;
use skep::codec::http::range::{self, Requested};
use skep::codec::http::{Fields, accept, authority, date, etag};
use skep::codec::percent;

const SIZE: u64 = 1000;

fuzz_target!(|value: &[u8]| {
    if let Requested::Ranges(ranges) = range::parse(value, SIZE) {
        assert!(!ranges.is_empty() && ranges.iter().all(|range| range.start < range.end && range.end <= SIZE));
    }
    for tag in etag::list(value) {
        assert!(tag.weak_eq(&tag));
    }
    let _date = date::parse(value);
    if let Some(host) = authority::parse(value) {
        assert!(!value.is_empty() && format!("{host:?}").is_ascii());
    }
    let mut fields = Fields::new();
    if fields.push("accept-encoding", value).is_ok() && fields.push("accept", value).is_ok() {
        let chosen = accept::encoding(&fields, &["br", "gzip"]);
        assert!(matches!(chosen, None | Some("br" | "gzip")));
        assert!(accept::media_type(&fields, "text/html") <= 1000);
    }
    assert!(percent::decode_form(value).len() <= value.len().max(1) * 3);
    if let Ok(path) = std::str::from_utf8(value)
        && let Some(decoded) = percent::decode_path(path)
    {
        assert!(!decoded.contains('\0'));
        let mut encoded = String::new();
        percent::encode_path(decoded.as_bytes(), &mut encoded);
        assert_eq!(percent::decode_path(&encoded).as_deref(), Some(&*decoded));
    }
});
