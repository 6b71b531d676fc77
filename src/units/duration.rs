//! A span of time as people write it.

use std::borrow::Cow;
use std::fmt;
use std::ops::Deref;
use std::str::FromStr;
use std::time::Duration;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// The units, longest first, in microseconds.
const UNITS: [(&str, u64); 6] =
    [("d", 86_400_000_000), ("h", 3_600_000_000), ("m", 60_000_000), ("s", 1_000_000), ("ms", 1_000), ("us", 1)];

/// Nothing in a configuration is meant to last longer than this: a hundred years, in microseconds.
const LONGEST: u64 = 100 * 365 * 86_400_000_000;

/// A span of time, written as whole numbers with units: `"250ms"`, `"30s"`, `"1h30m"`, `"7d"`.
///
/// Units are `d`, `h`, `m`, `s`, `ms` and `us`; a number without a unit is refused, because it would be a guess.
/// It is read as a [`Duration`] (`*span`), in whole microseconds.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct HumanDuration(Duration);

/// Why a text is not a span of time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DurationError {
    /// There is nothing in it.
    Empty,
    /// A number stands without a unit.
    NoUnit(String),
    /// What follows the number is no unit we know.
    UnknownUnit(String),
    /// A unit, or something else, stands where a number must.
    NoNumber(String),
    /// A number with a fraction.
    Fraction(String),
    /// Longer than a hundred years.
    TooLong,
}

impl fmt::Display for DurationError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => write!(f, "a duration is empty: write for example \"30s\""),
            Self::NoUnit(number) => {
                write!(
                    f,
                    "a duration needs a unit: write \"{number}s\" for seconds, or \"{number}ms\", \"{number}m\", \"{number}h\", \"{number}d\""
                )
            }
            Self::UnknownUnit(unit) => write!(f, "`{unit}` is no unit of time: use d, h, m, s, ms or us, as in \"1h30m\""),
            Self::NoNumber(text) => write!(f, "a duration is a number and a unit, as in \"30s\" or \"1h30m\", not `{text}`"),
            Self::Fraction(text) => write!(f, "a duration has no fractions: instead of `{text}` write for example \"1s500ms\""),
            Self::TooLong => write!(f, "a duration is at most a hundred years"),
        }
    }
}

impl std::error::Error for DurationError {}

impl HumanDuration {
    /// So many seconds.
    #[must_use]
    pub const fn seconds(seconds: u64) -> Self {
        Self(Duration::from_secs(seconds))
    }

    /// So many milliseconds.
    #[must_use]
    pub const fn milliseconds(milliseconds: u64) -> Self {
        Self(Duration::from_millis(milliseconds))
    }

    /// The span itself.
    #[must_use]
    pub const fn get(self) -> Duration {
        self.0
    }
}

impl Deref for HumanDuration {
    type Target = Duration;

    fn deref(&self) -> &Duration {
        &self.0
    }
}

impl From<HumanDuration> for Duration {
    fn from(span: HumanDuration) -> Self {
        span.0
    }
}

impl FromStr for HumanDuration {
    type Err = DurationError;

    fn from_str(text: &str) -> Result<Self, DurationError> {
        let mut rest = text.trim();
        if rest.is_empty() {
            return Err(DurationError::Empty);
        }
        let mut total: u64 = 0;
        while !rest.is_empty() {
            let digits = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
            let (number, after) = rest.split_at(digits);
            if number.is_empty() {
                return Err(DurationError::NoNumber(text.to_owned()));
            }
            if after.starts_with('.') {
                return Err(DurationError::Fraction(text.to_owned()));
            }
            let after = after.trim_start();
            let letters = after.find(|c: char| c.is_ascii_digit() || c.is_whitespace()).unwrap_or(after.len());
            let (unit, after) = after.split_at(letters);
            if unit.is_empty() {
                return Err(DurationError::NoUnit(number.to_owned()));
            }
            let microseconds = UNITS
                .iter()
                .find_map(|(name, size)| (*name == unit).then_some(*size))
                .ok_or_else(|| DurationError::UnknownUnit(unit.to_owned()))?;
            total = number
                .parse::<u64>()
                .ok()
                .and_then(|number| number.checked_mul(microseconds))
                .and_then(|part| total.checked_add(part))
                .filter(|total| *total <= LONGEST)
                .ok_or(DurationError::TooLong)?;
            rest = after.trim_start();
        }
        Ok(Self(Duration::from_micros(total)))
    }
}

impl fmt::Display for HumanDuration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut rest = u64::try_from(self.0.as_micros()).unwrap_or(u64::MAX);
        if rest == 0 {
            return f.write_str("0s");
        }
        for (unit, size) in UNITS {
            if rest >= size {
                write!(f, "{}{unit}", rest / size)?;
                rest %= size;
            }
        }
        Ok(())
    }
}

impl fmt::Debug for HumanDuration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for HumanDuration {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for HumanDuration {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;

        impl de::Visitor<'_> for Visitor {
            type Value = HumanDuration;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a duration such as \"30s\"")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<HumanDuration, E> {
                text.parse().map_err(E::custom)
            }

            fn visit_u64<E: de::Error>(self, number: u64) -> Result<HumanDuration, E> {
                Err(E::custom(DurationError::NoUnit(number.to_string())))
            }

            fn visit_f64<E: de::Error>(self, number: f64) -> Result<HumanDuration, E> {
                Err(E::custom(DurationError::Fraction(number.to_string())))
            }
        }

        deserializer.deserialize_any(Visitor)
    }
}

impl JsonSchema for HumanDuration {
    fn schema_name() -> Cow<'static, str> {
        "Duration".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string",
            "description": "A span of time: whole numbers with units d, h, m, s, ms or us, as in \"30s\" or \"1h30m\".",
            "pattern": r"^\s*([0-9]+\s*(d|h|m|s|ms|us)\s*)+$",
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn reads_what_people_write() {
        for (text, milliseconds) in [
            ("30s", 30_000),
            ("5m", 300_000),
            ("1h30m", 5_400_000),
            ("1h 30m", 5_400_000),
            ("250ms", 250),
            ("7d", 604_800_000),
            (" 2 s ", 2_000),
            ("0s", 0),
        ] {
            assert_eq!(text.parse(), Ok(HumanDuration::milliseconds(milliseconds)), "{text}");
        }
    }

    #[test]
    fn refuses_with_advice() {
        let said = |text: &str| text.parse::<HumanDuration>().unwrap_err();
        assert_eq!(said(""), DurationError::Empty);
        assert_eq!(said("30"), DurationError::NoUnit("30".into()));
        assert_eq!(said("1h30"), DurationError::NoUnit("30".into()));
        assert_eq!(said("30 sec"), DurationError::UnknownUnit("sec".into()));
        assert_eq!(said("1.5s"), DurationError::Fraction("1.5s".into()));
        assert_eq!(said("soon"), DurationError::NoNumber("soon".into()));
        assert_eq!(said("-1s"), DurationError::NoNumber("-1s".into()));
        assert_eq!(said("99999999999999999999s"), DurationError::TooLong);
        assert_eq!(said("36501d"), DurationError::TooLong);
        assert!(said("30").to_string().contains("\"30s\""));
    }

    proptest! {
        #[test]
        fn what_is_shown_reads_back(microseconds in 0..=LONGEST) {
            let span = HumanDuration(Duration::from_micros(microseconds));
            prop_assert_eq!(span.to_string().parse(), Ok(span));
        }

        #[test]
        fn any_text_is_a_span_or_an_error(text in "[0-9a-zµ. ]{0,12}") {
            if let Ok(span) = text.parse::<HumanDuration>() {
                prop_assert_eq!(span.to_string().parse(), Ok(span));
            }
        }
    }
}
