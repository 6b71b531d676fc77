//! A number of bytes as people write it.

use std::borrow::Cow;
use std::fmt;
use std::ops::Deref;
use std::str::FromStr;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// The units a size is shown in, the preferred first: binary before decimal, large before small.
const UNITS: [(&str, u64); 9] = [
    ("TiB", 1 << 40),
    ("GiB", 1 << 30),
    ("MiB", 1 << 20),
    ("KiB", 1 << 10),
    ("TB", 1_000_000_000_000),
    ("GB", 1_000_000_000),
    ("MB", 1_000_000),
    ("KB", 1_000),
    ("B", 1),
];

/// A number of bytes: `"64 MiB"`, `"512KiB"`, `"10MB"`, `"1 GiB"`, `"1000"`.
///
/// `KiB`, `MiB`, `GiB` and `TiB` are powers of 1024; `KB` (or `kB`), `MB`, `GB` and `TB` powers of 1000; `B` or nothing means bytes.
/// It is read as a `u64` (`*size`).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct HumanSize(u64);

/// Why a text is not a size.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SizeError {
    /// There is nothing in it.
    Empty,
    /// It does not begin with a number.
    NoNumber(String),
    /// A number with a fraction.
    Fraction(String),
    /// A unit that could mean powers of 1000 or of 1024: the letter.
    Ambiguous(char),
    /// What follows the number is no unit we know.
    UnknownUnit(String),
    /// More than 2⁶³ − 1 bytes.
    TooLarge,
}

impl fmt::Display for SizeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => write!(f, "a size is empty: write for example \"64 MiB\""),
            Self::NoNumber(text) => write!(f, "a size is a number and a unit, as in \"64 MiB\", not `{text}`"),
            Self::Fraction(text) => write!(f, "a size has no fractions: instead of `{text}` write for example \"1536 KiB\""),
            Self::Ambiguous(letter) => {
                write!(f, "`{letter}` is ambiguous: write {letter}iB for powers of 1024 or {letter}B for powers of 1000")
            }
            Self::UnknownUnit(unit) => write!(f, "`{unit}` is no unit of size: use B, KiB, MiB, GiB, TiB, KB, MB, GB or TB"),
            Self::TooLarge => write!(f, "a size is at most 8388607 TiB"),
        }
    }
}

impl std::error::Error for SizeError {}

impl HumanSize {
    /// So many bytes.
    #[must_use]
    pub const fn bytes(bytes: u64) -> Self {
        Self(bytes)
    }

    /// So many times 1024 bytes.
    #[must_use]
    pub const fn kib(kib: u64) -> Self {
        Self(kib << 10)
    }

    /// So many times 1024² bytes.
    #[must_use]
    pub const fn mib(mib: u64) -> Self {
        Self(mib << 20)
    }

    /// The number of bytes.
    #[must_use]
    pub const fn get(self) -> u64 {
        self.0
    }

    /// The number of bytes as a length in memory; the largest length where it would not fit.
    #[must_use]
    pub fn length(self) -> usize {
        usize::try_from(self.0).unwrap_or(usize::MAX)
    }
}

impl Deref for HumanSize {
    type Target = u64;

    fn deref(&self) -> &u64 {
        &self.0
    }
}

impl From<HumanSize> for u64 {
    fn from(size: HumanSize) -> Self {
        size.0
    }
}

/// How many bytes a unit stands for.
fn unit_size(unit: &str) -> Result<u64, SizeError> {
    if unit.is_empty() {
        return Ok(1);
    }
    if let Some((_, size)) = UNITS.iter().find(|(name, _)| name.eq_ignore_ascii_case(unit)) {
        return Ok(*size);
    }
    match unit {
        "K" | "k" => Err(SizeError::Ambiguous('K')),
        "M" | "m" => Err(SizeError::Ambiguous('M')),
        "G" | "g" => Err(SizeError::Ambiguous('G')),
        "T" | "t" => Err(SizeError::Ambiguous('T')),
        _ => Err(SizeError::UnknownUnit(unit.to_owned())),
    }
}

impl FromStr for HumanSize {
    type Err = SizeError;

    fn from_str(text: &str) -> Result<Self, SizeError> {
        let trimmed = text.trim();
        if trimmed.is_empty() {
            return Err(SizeError::Empty);
        }
        let digits = trimmed.find(|c: char| !c.is_ascii_digit()).unwrap_or(trimmed.len());
        let (number, unit) = trimmed.split_at(digits);
        if number.is_empty() {
            return Err(SizeError::NoNumber(text.to_owned()));
        }
        if unit.starts_with('.') {
            return Err(SizeError::Fraction(text.to_owned()));
        }
        let size = unit_size(unit.trim_start())?;
        number
            .parse::<u64>()
            .ok()
            .and_then(|number| number.checked_mul(size))
            .filter(|bytes| i64::try_from(*bytes).is_ok())
            .map(Self)
            .ok_or(SizeError::TooLarge)
    }
}

impl fmt::Display for HumanSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (unit, size) in UNITS {
            if self.0 >= size && self.0.is_multiple_of(size) {
                return write!(f, "{} {unit}", self.0 / size);
            }
        }
        write!(f, "0 B")
    }
}

impl fmt::Debug for HumanSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for HumanSize {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for HumanSize {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;

        impl de::Visitor<'_> for Visitor {
            type Value = HumanSize;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a size such as \"64 MiB\"")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<HumanSize, E> {
                text.parse().map_err(E::custom)
            }

            fn visit_u64<E: de::Error>(self, bytes: u64) -> Result<HumanSize, E> {
                if i64::try_from(bytes).is_ok() { Ok(HumanSize(bytes)) } else { Err(E::custom(SizeError::TooLarge)) }
            }

            fn visit_f64<E: de::Error>(self, number: f64) -> Result<HumanSize, E> {
                Err(E::custom(SizeError::Fraction(number.to_string())))
            }
        }

        deserializer.deserialize_any(Visitor)
    }
}

impl JsonSchema for HumanSize {
    fn schema_name() -> Cow<'static, str> {
        "Size".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": ["string", "integer"],
            "description": "A number of bytes with a unit: B, KiB, MiB, GiB, TiB (powers of 1024), KB, MB, GB, TB (powers of 1000), as in \"64 MiB\".",
            "pattern": r"^\s*[0-9]+\s*(([KMGTkmgt][Ii]?)?[Bb])?\s*$",
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn reads_what_people_write() {
        for (text, bytes) in [
            ("64 MiB", 64 << 20),
            ("512KiB", 512 << 10),
            ("10MB", 10_000_000),
            ("1 GiB", 1 << 30),
            ("1000", 1000),
            ("1000 B", 1000),
            ("5 kB", 5000),
            ("0", 0),
        ] {
            assert_eq!(text.parse(), Ok(HumanSize(bytes)), "{text}");
        }
    }

    #[test]
    fn refuses_with_advice() {
        let said = |text: &str| text.parse::<HumanSize>().unwrap_err();
        assert_eq!(said(" "), SizeError::Empty);
        assert_eq!(said("MiB"), SizeError::NoNumber("MiB".into()));
        assert_eq!(said("-1"), SizeError::NoNumber("-1".into()));
        assert_eq!(said("1.5 GiB"), SizeError::Fraction("1.5 GiB".into()));
        assert_eq!(said("64M"), SizeError::Ambiguous('M'));
        assert_eq!(said("64 potatoes"), SizeError::UnknownUnit("potatoes".into()));
        assert_eq!(said("8388608 TiB"), SizeError::TooLarge);
        assert_eq!(said("99999999999999999999"), SizeError::TooLarge);
        assert!(said("64M").to_string().contains("MiB"));
    }

    #[test]
    fn shows_the_largest_exact_unit() {
        assert_eq!(HumanSize::mib(64).to_string(), "64 MiB");
        assert_eq!(HumanSize::bytes(10_000_000).to_string(), "10 MB");
        assert_eq!(HumanSize::bytes(1).to_string(), "1 B");
        assert_eq!(HumanSize::bytes(0).to_string(), "0 B");
    }

    proptest! {
        #[test]
        fn what_is_shown_reads_back(bytes in 0..=i64::MAX.unsigned_abs()) {
            let size = HumanSize(bytes);
            prop_assert_eq!(size.to_string().parse(), Ok(size));
        }

        #[test]
        fn any_text_is_a_size_or_an_error(text in "[0-9KMGTiB. ]{0,12}") {
            if let Ok(size) = text.parse::<HumanSize>() {
                prop_assert_eq!(size.to_string().parse(), Ok(size));
            }
        }
    }
}
