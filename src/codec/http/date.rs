//! HTTP dates (RFC 9110 §5.6.7).

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use httpdate::HttpDate;

/// The last second that the format can express: the end of the year 9999.
const LAST: u64 = 253_402_300_799;

/// Reads any of the three formats; `None` for what is no date.
pub fn parse(value: &[u8]) -> Option<SystemTime> {
    let date: HttpDate = std::str::from_utf8(value).ok()?.trim().parse().ok()?;
    Some(date.into())
}

/// Writes `Sun, 06 Nov 1994 08:49:37 GMT`. Times before 1970 and after 9999 become the nearest that can be written.
pub fn format(time: SystemTime) -> String {
    HttpDate::from(UNIX_EPOCH + Duration::from_secs(seconds(time).min(LAST))).to_string()
}

/// Whole seconds since 1970, 0 for earlier times: as exact as HTTP dates are.
pub fn seconds(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_three_formats_are_read_and_one_is_written() {
        let time = UNIX_EPOCH + Duration::from_secs(784_111_777);
        for text in ["Sun, 06 Nov 1994 08:49:37 GMT", "Sunday, 06-Nov-94 08:49:37 GMT", "Sun Nov  6 08:49:37 1994"] {
            assert_eq!(parse(text.as_bytes()), Some(time), "{text}");
        }
        assert_eq!(format(time + Duration::from_millis(999)), "Sun, 06 Nov 1994 08:49:37 GMT");
        for text in ["", "yesterday", "Sun, 06 Nov 1994 25:49:37 GMT", "0"] {
            assert_eq!(parse(text.as_bytes()), None, "{text}");
        }
        assert_eq!(parse(b"\xff"), None);
    }

    #[test]
    fn times_beyond_the_format_are_clamped() {
        assert_eq!(format(UNIX_EPOCH - Duration::from_secs(5)), "Thu, 01 Jan 1970 00:00:00 GMT");
        assert_eq!(format(UNIX_EPOCH + Duration::from_secs(1 << 40)), "Fri, 31 Dec 9999 23:59:59 GMT");
    }
}
