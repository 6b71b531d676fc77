//! Range requests (RFC 9110 §14) and the `multipart/byteranges` answer to several ranges (§14.6).

use std::ops::Range;

use smallvec::SmallVec;

/// More ranges than this in one request are an attack or a mistake: the whole is sent instead (§14.2 allows it).
const MAX_RANGES: usize = 32;

/// What a `Range` field asks of a representation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Requested {
    /// Everything: the field is malformed, in another unit, or asks for too many pieces.
    Whole,
    /// 416: nothing that was asked for is there.
    Unsatisfiable,
    /// One or more ranges, none empty, in the order asked for; sorted and joined if they overlapped.
    Ranges(SmallVec<[Range<u64>; 2]>),
}

/// Reads a `Range` field for a representation of `size` bytes.
pub fn parse(value: &[u8], size: u64) -> Requested {
    let Some(set) = value.split_at_checked(6).filter(|(unit, _)| unit.eq_ignore_ascii_case(b"bytes=")).map(|(_, set)| set) else {
        return Requested::Whole;
    };
    let mut ranges = SmallVec::<[Range<u64>; 2]>::new();
    let mut specs = 0;
    for spec in set.split(|&byte| byte == b',').map(<[u8]>::trim_ascii).filter(|spec| !spec.is_empty()) {
        specs += 1;
        match read_spec(spec, size) {
            None => return Requested::Whole,
            Some(_) if specs > MAX_RANGES => return Requested::Whole,
            Some(range) if range.is_empty() => {}
            Some(range) => ranges.push(range),
        }
    }
    if specs == 0 || (size == 0 && ranges.is_empty() && set.trim_ascii().starts_with(b"-")) {
        return Requested::Whole;
    }
    if ranges.is_empty() {
        return Requested::Unsatisfiable;
    }
    join_overlapping(&mut ranges);
    Requested::Ranges(ranges)
}

/// One `first-last`, `first-` or `-suffix`; empty when it lies outside. `None` when it is malformed.
fn read_spec(spec: &[u8], size: u64) -> Option<Range<u64>> {
    let at = memchr::memchr(b'-', spec)?;
    let (first, last) = (spec[..at].trim_ascii(), spec[at + 1..].trim_ascii());
    if first.is_empty() {
        let suffix = read_number(last)?;
        return Some(size.saturating_sub(suffix)..size);
    }
    let first = read_number(first)?;
    let end = if last.is_empty() { size } else { read_number(last).filter(|&last| last >= first)?.saturating_add(1).min(size) };
    Some(first.min(size)..end)
}

/// Digits only; a number beyond 64 bits is as good as the largest.
fn read_number(digits: &[u8]) -> Option<u64> {
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let number = digits.iter().fold(0u64, |sum, digit| sum.saturating_mul(10).saturating_add(u64::from(digit - b'0')));
    Some(number)
}

fn join_overlapping(ranges: &mut SmallVec<[Range<u64>; 2]>) {
    let mut sorted = ranges.clone();
    sorted.sort_by_key(|range| range.start);
    if sorted.windows(2).all(|pair| pair[0].end < pair[1].start) {
        return;
    }
    ranges.clear();
    for range in sorted {
        match ranges.last_mut() {
            Some(last) if range.start <= last.end => last.end = last.end.max(range.end),
            _ => ranges.push(range),
        }
    }
}

/// The value of `Content-Range` for one range.
pub fn content_range(range: &Range<u64>, size: u64) -> String {
    format!("bytes {}-{}/{size}", range.start, range.end.saturating_sub(1))
}

/// The value of `Content-Range` in a 416.
pub fn unsatisfied_range(size: u64) -> String {
    format!("bytes */{size}")
}

/// The frame of a `multipart/byteranges` body around its pieces.
#[derive(Clone, Debug)]
pub struct ByteRanges {
    /// For each piece what is sent in front of it, and the piece.
    pub parts: Vec<(Vec<u8>, Range<u64>)>,
    /// What ends the body.
    pub closing: Vec<u8>,
    /// The length of the whole body.
    pub length: u64,
    /// The `Content-Type` of the answer.
    pub content_type: String,
}

impl ByteRanges {
    /// Frames the ranges of a representation. `boundary` must not occur in the content: make it random.
    pub fn new(ranges: &[Range<u64>], size: u64, content_type: &str, boundary: &str) -> Self {
        let front = |range: &Range<u64>| {
            let content_range = content_range(range, size);
            format!("\r\n--{boundary}\r\nContent-Type: {content_type}\r\nContent-Range: {content_range}\r\n\r\n").into_bytes()
        };
        let parts: Vec<_> = ranges.iter().map(|range| (front(range), range.clone())).collect();
        let closing = format!("\r\n--{boundary}--\r\n").into_bytes();
        let length = parts.iter().map(|(front, range)| front.len() as u64 + (range.end - range.start)).sum::<u64>() + closing.len() as u64;
        Self { parts, closing, length, content_type: format!("multipart/byteranges; boundary={boundary}") }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn ranges<const N: usize>(ranges: [(u64, u64); N]) -> Requested {
        Requested::Ranges(ranges.into_iter().map(|(start, end)| start..end).collect())
    }

    #[test]
    fn ranges_are_read() {
        for (value, size, requested) in [
            ("bytes=0-0", 10, ranges([(0, 1)])),
            ("Bytes=2-5", 10, ranges([(2, 6)])),
            ("bytes=2-", 10, ranges([(2, 10)])),
            ("bytes=-3", 10, ranges([(7, 10)])),
            ("bytes=-30", 10, ranges([(0, 10)])),
            ("bytes=5-500", 10, ranges([(5, 10)])),
            ("bytes=5-99999999999999999999999", 10, ranges([(5, 10)])),
            ("bytes=0-1, 4-5", 10, ranges([(0, 2), (4, 6)])),
            ("bytes=4-5,0-1", 10, ranges([(4, 6), (0, 2)])),
            ("bytes=0-4,3-6", 10, ranges([(0, 7)])),
            ("bytes=0-4,5-6", 10, ranges([(0, 7)])),
            ("bytes=8-,0-1,0-0", 10, ranges([(0, 2), (8, 10)])),
            ("bytes=0-1,20-30", 10, ranges([(0, 2)])),
            ("bytes=10-", 10, Requested::Unsatisfiable),
            ("bytes=-0", 10, Requested::Unsatisfiable),
            ("bytes=0-", 0, Requested::Unsatisfiable),
            ("bytes=-5", 0, Requested::Whole),
            ("bytes=5-4", 10, Requested::Whole),
            ("bytes=a-b", 10, Requested::Whole),
            ("bytes=-", 10, Requested::Whole),
            ("bytes=", 10, Requested::Whole),
            ("bytes=1", 10, Requested::Whole),
            ("bytes=0-1,x", 10, Requested::Whole),
            ("bytes=+1-2", 10, Requested::Whole),
            ("lines=0-1", 10, Requested::Whole),
            ("bytes 0-1", 10, Requested::Whole),
            ("", 10, Requested::Whole),
        ] {
            assert_eq!(parse(value.as_bytes(), size), requested, "{value:?} of {size}");
        }
        let many: Vec<String> = (0..33).map(|n| format!("{}-{}", n * 10, n * 10)).collect();
        assert_eq!(parse(format!("bytes={}", many.join(",")).as_bytes(), 1000), Requested::Whole);
    }

    #[test]
    fn several_ranges_are_framed() {
        let framed = ByteRanges::new(&[0..2, 4..6], 10, "text/plain", "B");
        assert_eq!(framed.content_type, "multipart/byteranges; boundary=B");
        let mut body = Vec::new();
        for (front, range) in &framed.parts {
            body.extend_from_slice(front);
            body.extend_from_slice(&b"0123456789"[range.start as usize..range.end as usize]);
        }
        body.extend_from_slice(&framed.closing);
        let expected = "\r\n--B\r\nContent-Type: text/plain\r\nContent-Range: bytes 0-1/10\r\n\r\n01\r\n--B\r\nContent-Type: text/plain\r\nContent-Range: bytes 4-5/10\r\n\r\n45\r\n--B--\r\n";
        assert_eq!(body, expected.as_bytes());
        assert_eq!(framed.length, body.len() as u64);
        assert_eq!(unsatisfied_range(10), "bytes */10");
    }

    proptest! {
        #[test]
        fn what_is_answered_lies_inside_and_apart(value in "bytes=[0-9, -]{0,40}", size in 0u64..100) {
            if let Requested::Ranges(mut found) = parse(value.as_bytes(), size) {
                prop_assert!(!found.is_empty());
                prop_assert!(found.iter().all(|range| range.start < range.end && range.end <= size));
                found.sort_by_key(|range| range.start);
                prop_assert!(found.windows(2).all(|pair| pair[0].end < pair[1].start));
            }
        }
    }
}
