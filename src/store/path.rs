//! Dotted paths, and what they lead to: through lists too, as in MongoDB.

use std::fmt;

use super::value::{Document, Value};

/// The longest path, in parts.
const MAX_PARTS: usize = 64;

/// A path such as `author.name` or `lines.0.text`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Path(Vec<String>);

impl Path {
    /// Reads a path.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(text: &str) -> Result<Self, String> {
        let parts: Vec<String> = text.split('.').map(str::to_owned).collect();
        let plain = |part: &String| !part.is_empty() && !part.starts_with('$') && !part.contains('\0');
        if parts.len() > MAX_PARTS || !parts.iter().all(plain) {
            return Err(format!("{text:?} is no path of a field: names with dots between them"));
        }
        Ok(Self(parts))
    }

    /// The names from the top.
    #[must_use]
    pub fn parts(&self) -> &[String] {
        &self.0
    }

    /// Whether one of both is the beginning of the other, or both are the same.
    #[must_use]
    pub fn overlaps(&self, other: &Self) -> bool {
        self.0.iter().zip(&other.0).all(|(a, b)| a == b)
    }

    /// Shows every value that a filter on this path looks at, until one is accepted; whether one was. A list counts as itself and as each
    /// of its elements; a document without the field counts as `None`; elements of a list on the way that are no documents do not count.
    pub fn any<'a>(&self, document: &'a Document, accept: &mut dyn FnMut(Option<&'a Value>) -> bool) -> bool {
        any_in(document, &self.0, accept)
    }

    /// The one value that the path leads to without going through lists.
    #[must_use]
    pub fn plain<'a>(&self, document: &'a Document) -> Option<&'a Value> {
        let (first, rest) = self.0.split_first()?;
        rest.iter().try_fold(document.get(first)?, |value, part| match value {
            Value::Document(document) => document.get(part),
            _ => None,
        })
    }
}

impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.join("."))
    }
}

fn any_in<'a>(document: &'a Document, parts: &[String], accept: &mut dyn FnMut(Option<&'a Value>) -> bool) -> bool {
    match parts.split_first().map(|(first, rest)| (document.get(first), rest)) {
        None | Some((None, _)) => accept(None),
        Some((Some(value), rest)) => any_of(value, rest, accept),
    }
}

fn any_of<'a>(value: &'a Value, rest: &[String], accept: &mut dyn FnMut(Option<&'a Value>) -> bool) -> bool {
    let Some((next, behind)) = rest.split_first() else {
        return accept(Some(value)) || matches!(value, Value::Array(items) if items.iter().any(|item| accept(Some(item))));
    };
    match value {
        Value::Document(document) => any_in(document, rest, accept),
        Value::Array(items) => {
            let indexed = index(next).and_then(|index| items.get(index));
            indexed.is_some_and(|item| any_of(item, behind, accept))
                || items.iter().any(|item| matches!(item, Value::Document(document) if any_in(document, rest, accept)))
        }
        _ => accept(None),
    }
}

/// A part of a path as the place in a list.
#[must_use]
pub fn index(part: &str) -> Option<usize> {
    part.bytes().all(|byte| byte.is_ascii_digit()).then(|| part.parse().ok()).flatten()
}
