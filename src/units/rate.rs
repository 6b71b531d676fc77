//! How often something may happen, as people write it.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use super::{DurationError, HumanDuration};

/// The shortest time in which one is forgiven, microseconds: what is measured in microseconds is not exact below.
const SHORTEST: u64 = 10;

/// So many in a span of time: `"10/s"`, `"300/m"`, `"1000/h"`, `"5/10s"`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HumanRate {
    count: u32,
    span: HumanDuration,
}

/// Why a text is no rate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RateError {
    /// There is no slash.
    NoSpan(String),
    /// What is before the slash is no whole number from 1 on.
    BadCount(String),
    /// What is behind the slash is no span of time.
    BadSpan(DurationError),
    /// More than 100,000 in a second.
    TooFast,
    /// The span is longer than a day.
    TooLong,
}

impl fmt::Display for RateError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoSpan(text) => write!(f, "a rate is a number and a span of time, as in \"10/s\" or \"300/m\", not `{text}`"),
            Self::BadCount(text) => write!(f, "`{text}` is no number of a rate: write for example \"10/s\""),
            Self::BadSpan(error) => write!(f, "the span of a rate: {error}; write for example \"10/s\", \"300/m\" or \"5/10s\""),
            Self::TooFast => write!(f, "a rate is at most 100000 in a second"),
            Self::TooLong => write!(f, "the span of a rate is at most a day"),
        }
    }
}

impl std::error::Error for RateError {}

impl HumanRate {
    /// The number.
    #[must_use]
    pub fn count(self) -> u32 {
        self.count
    }

    /// The time in which one is forgiven, in microseconds.
    #[must_use]
    pub fn price(self) -> u64 {
        u64::try_from(self.span.as_micros()).unwrap_or(u64::MAX) / u64::from(self.count)
    }
}

impl FromStr for HumanRate {
    type Err = RateError;

    fn from_str(text: &str) -> Result<Self, RateError> {
        let (count, span) = text.split_once('/').ok_or_else(|| RateError::NoSpan(text.to_owned()))?;
        let (count, span) = (count.trim(), span.trim());
        let digits = count.bytes().all(|byte| byte.is_ascii_digit());
        let number = count.parse().ok().filter(|number| digits && *number > 0).ok_or_else(|| RateError::BadCount(count.to_owned()))?;
        let one = if span.starts_with(|c: char| c.is_ascii_alphabetic()) { "1" } else { "" };
        let span: HumanDuration = format!("{one}{span}").parse().map_err(RateError::BadSpan)?;
        if *span > *HumanDuration::seconds(86_400) {
            return Err(RateError::TooLong);
        }
        let rate = Self { count: number, span };
        if rate.price() < SHORTEST { Err(RateError::TooFast) } else { Ok(rate) }
    }
}

impl fmt::Display for HumanRate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let span = self.span.to_string();
        let unit = span.strip_prefix('1').filter(|unit| unit.bytes().all(|byte| byte.is_ascii_alphabetic()));
        write!(f, "{}/{}", self.count, unit.unwrap_or(&span))
    }
}

impl Serialize for HumanRate {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for HumanRate {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = Cow::<'de, str>::deserialize(deserializer)?;
        text.parse().map_err(de::Error::custom)
    }
}

impl JsonSchema for HumanRate {
    fn schema_name() -> Cow<'static, str> {
        "Rate".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string",
            "description": "So many in a span of time: \"10/s\", \"300/m\", \"1000/h\" or \"5/10s\".",
            "pattern": r"^\s*[0-9]+\s*/.+$",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_and_shows_every_form() {
        for (text, shown, price) in
            [("10/s", "10/s", 100_000), ("300/m", "300/m", 200_000), ("1 / h", "1/h", 3_600_000_000), ("5/10s", "5/10s", 2_000_000)]
        {
            let rate: HumanRate = text.parse().unwrap();
            assert_eq!((rate.to_string().as_str(), rate.price()), (shown, price), "{text}");
            assert_eq!(rate.to_string().parse(), Ok(rate));
        }
    }

    #[test]
    fn refuses_with_advice() {
        let said = |text: &str| text.parse::<HumanRate>().unwrap_err();
        assert_eq!(said("10"), RateError::NoSpan("10".into()));
        assert_eq!(said("0/s"), RateError::BadCount("0".into()));
        assert_eq!(said("+1/s"), RateError::BadCount("+1".into()));
        assert!(matches!(said("1/week"), RateError::BadSpan(DurationError::UnknownUnit(_))));
        assert!(matches!(said("1/"), RateError::BadSpan(DurationError::Empty)));
        assert_eq!(said("200000/s"), RateError::TooFast);
        assert_eq!(said("1/2d"), RateError::TooLong);
    }
}
