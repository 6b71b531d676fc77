//! Documents and the values in them, with MongoDB's order of types.

use std::cmp::Ordering;
use std::fmt;

use serde::{Deserialize, Serialize};

/// How deep values may be nested.
pub const MAX_DEPTH: usize = 64;
/// From here on every double is a whole number beyond 64 bits.
const TWO_63: f64 = 9_223_372_036_854_775_808.0;

/// A value of a document.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Value {
    /// Nothing.
    Null,
    /// True or false.
    Bool(bool),
    /// A whole number of 64 bits. Equal to the double of the same value.
    Int(i64),
    /// A number with a fraction.
    Double(f64),
    /// Text.
    Text(String),
    /// Bytes.
    Binary(Vec<u8>),
    /// Milliseconds since 1970.
    Date(i64),
    /// A list.
    Array(Vec<Value>),
    /// A document inside a document.
    Document(Document),
}

/// Names and values in an order that is kept. Names are unique.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Document(Vec<(String, Value)>);

impl Value {
    /// The place of the type in MongoDB's order (<https://www.mongodb.com/docs/manual/reference/bson-type-comparison-order/>).
    #[must_use]
    pub fn rank(&self) -> u8 {
        match self {
            Self::Null => 0x14,
            Self::Int(_) | Self::Double(_) => 0x20,
            Self::Text(_) => 0x30,
            Self::Document(_) => 0x40,
            Self::Array(_) => 0x50,
            Self::Binary(_) => 0x60,
            Self::Bool(_) => 0x80,
            Self::Date(_) => 0x90,
        }
    }

    /// The type's name, for messages.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Null => "null",
            Self::Bool(_) => "boolean",
            Self::Int(_) | Self::Double(_) => "number",
            Self::Text(_) => "string",
            Self::Binary(_) => "binary",
            Self::Date(_) => "date",
            Self::Array(_) => "array",
            Self::Document(_) => "document",
        }
    }

    /// Whether this is the number that is none.
    #[must_use]
    pub fn is_nan(&self) -> bool {
        matches!(self, Self::Double(number) if number.is_nan())
    }

    /// MongoDB's order over all types: by type first, numbers by value however they are stored, NaN before all numbers.
    #[must_use]
    pub fn order(&self, other: &Self) -> Ordering {
        match (self, other) {
            (Self::Int(a), Self::Int(b)) | (Self::Date(a), Self::Date(b)) => a.cmp(b),
            (Self::Double(a), Self::Double(b)) => order_doubles(*a, *b),
            (Self::Int(a), Self::Double(b)) => order_mixed(*a, *b),
            (Self::Double(a), Self::Int(b)) => order_mixed(*b, *a).reverse(),
            (Self::Text(a), Self::Text(b)) => a.cmp(b),
            (Self::Binary(a), Self::Binary(b)) => a.len().cmp(&b.len()).then_with(|| a.cmp(b)),
            (Self::Bool(a), Self::Bool(b)) => a.cmp(b),
            (Self::Array(a), Self::Array(b)) => {
                let different = a.iter().zip(b).map(|(a, b)| a.order(b)).find(|order| order.is_ne());
                different.unwrap_or_else(|| a.len().cmp(&b.len()))
            }
            (Self::Document(a), Self::Document(b)) => a.order(b),
            (a, b) => a.rank().cmp(&b.rank()),
        }
    }

    /// Whether both are the same value for a filter: equal numbers are equal, NaN is equal to itself.
    #[must_use]
    pub fn same(&self, other: &Self) -> bool {
        self.order(other).is_eq()
    }

    /// About how many bytes it takes.
    #[must_use]
    pub fn size(&self) -> usize {
        match self {
            Self::Null | Self::Bool(_) => 5,
            Self::Int(_) | Self::Double(_) | Self::Date(_) => 16,
            Self::Text(text) => text.len() + 3,
            Self::Binary(bytes) => bytes.len() * 4 / 3 + 16,
            Self::Array(items) => 2 + items.iter().map(|item| item.size() + 1).sum::<usize>(),
            Self::Document(document) => document.size(),
        }
    }

    /// How deep it is nested; a plain value is 0.
    fn depth(&self) -> usize {
        match self {
            Self::Array(items) => 1 + items.iter().map(Self::depth).max().unwrap_or(0),
            Self::Document(document) => document.depth(),
            _ => 0,
        }
    }
}

fn order_doubles(a: f64, b: f64) -> Ordering {
    a.partial_cmp(&b).unwrap_or_else(|| b.is_nan().cmp(&a.is_nan()))
}

/// Exactly, although not every whole number of 64 bits is a double.
fn order_mixed(a: i64, b: f64) -> Ordering {
    if b.is_nan() || b < -TWO_63 {
        return Ordering::Greater;
    }
    if b >= TWO_63 {
        return Ordering::Less;
    }
    a.cmp(&(b.trunc() as i64)).then_with(|| 0.0.partial_cmp(&b.fract()).unwrap_or(Ordering::Equal))
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&super::text::write(self))
    }
}

impl Document {
    /// An empty document.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The value of a name.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Value> {
        self.0.iter().find(|(own, _)| own == name).map(|(_, value)| value)
    }

    /// The value of a name, to change it.
    pub fn get_mut(&mut self, name: &str) -> Option<&mut Value> {
        self.0.iter_mut().find(|(own, _)| own == name).map(|(_, value)| value)
    }

    /// Gives a name a value: in its place, or as the last one.
    pub fn set(&mut self, name: impl Into<String>, value: Value) {
        let name = name.into();
        match self.get_mut(&name) {
            Some(place) => *place = value,
            None => self.0.push((name, value)),
        }
    }

    /// Puts a name and its value first.
    pub fn set_first(&mut self, name: &str, value: Value) {
        self.remove(name);
        self.0.insert(0, (name.to_owned(), value));
    }

    /// Takes a name out.
    pub fn remove(&mut self, name: &str) -> Option<Value> {
        let at = self.0.iter().position(|(own, _)| own == name)?;
        Some(self.0.remove(at).1)
    }

    /// Names and values in order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Value)> {
        self.0.iter().map(|(name, value)| (name.as_str(), value))
    }

    /// How many names there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// About how many bytes it takes.
    #[must_use]
    pub fn size(&self) -> usize {
        2 + self.0.iter().map(|(name, value)| name.len() + 4 + value.size()).sum::<usize>()
    }

    fn depth(&self) -> usize {
        1 + self.0.iter().map(|(_, value)| value.depth()).max().unwrap_or(0)
    }

    /// Field by field: the type, the name, the value; what ends first is less.
    fn order(&self, other: &Self) -> Ordering {
        let field = |((name, value), (other_name, other)): (&(String, Value), &(String, Value))| {
            value.rank().cmp(&other.rank()).then_with(|| name.cmp(other_name)).then_with(|| value.order(other))
        };
        let different = self.0.iter().zip(&other.0).map(field).find(|order| order.is_ne());
        different.unwrap_or_else(|| self.len().cmp(&other.len()))
    }

    /// Whether it can be kept as a document: its names are plain, it is not nested too deep.
    ///
    /// # Errors
    /// What is wrong, in words.
    pub fn check(&self) -> Result<(), String> {
        if self.depth() > MAX_DEPTH {
            return Err(format!("a document may be nested {MAX_DEPTH} deep"));
        }
        self.check_names()
    }

    fn check_names(&self) -> Result<(), String> {
        self.0.iter().try_for_each(|(name, value)| {
            if name.is_empty() || name.starts_with('$') || name.contains(['.', '\0']) {
                return Err(format!("{name:?} is no name of a field: it may not be empty, begin with $ or contain a dot"));
            }
            check_names(value)
        })
    }
}

fn check_names(value: &Value) -> Result<(), String> {
    match value {
        Value::Document(document) => document.check_names(),
        Value::Array(items) => items.iter().try_for_each(check_names),
        _ => Ok(()),
    }
}

impl FromIterator<(String, Value)> for Document {
    /// Of a name that comes twice the last value counts.
    fn from_iter<T: IntoIterator<Item = (String, Value)>>(fields: T) -> Self {
        let mut document = Self::new();
        fields.into_iter().for_each(|(name, value)| document.set(name, value));
        document
    }
}

impl IntoIterator for Document {
    type Item = (String, Value);
    type IntoIter = std::vec::IntoIter<(String, Value)>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter()
    }
}
