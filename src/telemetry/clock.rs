//! The time as logs write it, in UTC. The part down to the second is kept for the lines that follow in the same second.

use std::cell::Cell;
use std::time::{SystemTime, UNIX_EPOCH};

/// The bytes of an RFC 3339 time with milliseconds, `2026-11-23T09:08:20.123Z`.
pub const ISO_BYTES: usize = 24;
/// The bytes of the combined log's time, `23/Nov/2026:09:08:20 +0000`.
pub const COMBINED_BYTES: usize = 26;

const MONTHS: [&[u8; 3]; 12] = [b"Jan", b"Feb", b"Mar", b"Apr", b"May", b"Jun", b"Jul", b"Aug", b"Sep", b"Oct", b"Nov", b"Dec"];

thread_local! {
    static ISO: Cell<(u64, [u8; ISO_BYTES])> = const { Cell::new((u64::MAX, [0; ISO_BYTES])) };
    static COMBINED: Cell<(u64, [u8; COMBINED_BYTES])> = const { Cell::new((u64::MAX, [0; COMBINED_BYTES])) };
}

/// Milliseconds since the Unix epoch.
#[must_use]
pub fn epoch_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// The time in RFC 3339 with milliseconds, section 5.6.
#[must_use]
pub fn iso(epoch_ms: u64) -> [u8; ISO_BYTES] {
    let second = epoch_ms / 1000;
    let (cached, mut text) = ISO.get();
    if cached != second {
        let civil = Civil::from_epoch(second);
        text = *b"0000-00-00T00:00:00.000Z";
        digits(&mut text[0..4], civil.year);
        digits(&mut text[5..7], civil.month);
        digits(&mut text[8..10], civil.day);
        civil.time_of_day(&mut text[11..19]);
        ISO.set((second, text));
    }
    digits(&mut text[20..23], epoch_ms % 1000);
    text
}

/// The time as Apache's combined log has it, without its brackets.
#[must_use]
pub fn combined(epoch_ms: u64) -> [u8; COMBINED_BYTES] {
    let second = epoch_ms / 1000;
    let (cached, mut text) = COMBINED.get();
    if cached != second {
        let civil = Civil::from_epoch(second);
        text = *b"00/Jan/0000:00:00:00 +0000";
        digits(&mut text[0..2], civil.day);
        text[3..6].copy_from_slice(MONTHS[civil.month as usize - 1]);
        digits(&mut text[7..11], civil.year);
        civil.time_of_day(&mut text[12..20]);
        COMBINED.set((second, text));
    }
    text
}

struct Civil {
    year: u64,
    month: u64,
    day: u64,
    second_of_day: u64,
}

impl Civil {
    /// The proleptic Gregorian date of a moment at or after 1970. Years begin in March here, so that the leap day comes last.
    fn from_epoch(seconds: u64) -> Civil {
        let days = seconds / 86_400 + 719_468;
        let (era, day_of_era) = (days / 146_097, days % 146_097);
        let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
        let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let shifted = (5 * day_of_year + 2) / 153;
        let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
        Civil {
            year: era * 400 + year_of_era + u64::from(month <= 2),
            month,
            day: day_of_year - (153 * shifted + 2) / 5 + 1,
            second_of_day: seconds % 86_400,
        }
    }

    fn time_of_day(&self, text: &mut [u8]) {
        digits(&mut text[0..2], self.second_of_day / 3600);
        digits(&mut text[3..5], self.second_of_day / 60 % 60);
        digits(&mut text[6..8], self.second_of_day % 60);
    }
}

fn digits(text: &mut [u8], mut number: u64) {
    for place in text.iter_mut().rev() {
        *place = b'0' + (number % 10) as u8;
        number /= 10;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn text(bytes: &[u8]) -> &str {
        std::str::from_utf8(bytes).expect("ASCII")
    }

    #[test]
    fn known_moments() {
        assert_eq!(text(&iso(0)), "1970-01-01T00:00:00.000Z");
        assert_eq!(text(&iso(951_782_400_007)), "2000-02-29T00:00:00.007Z");
        assert_eq!(text(&iso(951_782_400_999)), "2000-02-29T00:00:00.999Z");
        assert_eq!(text(&combined(971_211_336_000)), "10/Oct/2000:20:55:36 +0000");
    }

    proptest! {
        #[test]
        fn the_same_as_the_calendar_of_jiff(second in 0i64..253_402_300_800) {
            let theirs = jiff::Timestamp::from_second(second).expect("in range").to_string();
            let ours = iso(u64::try_from(second).expect("positive") * 1000);
            prop_assert_eq!(text(&ours).replace(".000Z", "Z"), theirs);
        }
    }
}
