//! How found documents are shown: their order, and which fields of them.

use serde::{Deserialize, Serialize};

use super::key::{self, Direction, NOTHING};
use super::path::Path;
use super::update::ID;
use super::value::{Document, Value};

/// How many fields a sort or an index may have.
pub const MAX_FIELDS: usize = 32;

/// Paths with directions, the most important first: an order, or the key of an index. As written: [`Sort::parse`] checks it.
pub type Fields = Vec<(String, Direction)>;

/// How to find.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct FindOptions {
    /// The order. Documents that are equal in it follow each other as they were inserted, in the direction of the last field.
    pub sort: Fields,
    /// How many are passed over.
    pub skip: u64,
    /// How many at most.
    pub limit: Option<u64>,
    /// Which fields: `{name = true}`, or `{name = false}` for all others.
    pub fields: Option<Document>,
}

/// An order as understood.
#[derive(Clone, Debug, PartialEq)]
pub struct Sort(pub Vec<(Path, Direction)>);

impl Sort {
    /// Understands an order.
    ///
    /// # Errors
    /// A path that is none, or too many of them.
    pub fn parse(fields: &Fields) -> Result<Self, String> {
        if fields.len() > MAX_FIELDS {
            return Err(format!("there are more than {MAX_FIELDS} fields to sort by"));
        }
        fields.iter().map(|(path, direction)| Ok((Path::parse(path)?, *direction))).collect::<Result<_, String>>().map(Self)
    }

    /// The direction in which documents follow each other that are equal.
    #[must_use]
    pub fn last(&self) -> Direction {
        self.0.last().map_or(Direction::Up, |(_, direction)| *direction)
    }

    /// Bytes that compare as the documents do. Of a list counts the element that comes first.
    #[must_use]
    pub fn key(&self, document: &Document) -> Vec<u8> {
        let mut key = Vec::new();
        for (path, direction) in &self.0 {
            let parts = parts(document, path).0.into_iter();
            let first = if *direction == Direction::Up { parts.min() } else { parts.max() };
            key::append(&mut key, &first.unwrap_or_else(|| vec![NOTHING]), *direction);
        }
        key
    }
}

/// The bytes of everything that a path leads to, and whether a list was on the way: the elements of a list at the end instead of the list.
#[must_use]
pub fn parts(document: &Document, path: &Path) -> (Vec<Vec<u8>>, bool) {
    if let Some(value) = path.plain(document)
        && !matches!(value, Value::Array(_))
    {
        return (vec![key::encode(value)], false);
    }
    let (mut parts, mut lists) = (Vec::new(), crosses_list(document, path));
    // The value itself comes before its elements, and an element that is a list is kept as it is.
    let mut elements = 0;
    path.any(document, &mut |value| {
        match value {
            Some(Value::Array(items)) if elements == 0 => {
                lists = true;
                elements = items.len();
                if items.is_empty() {
                    parts.push(vec![NOTHING]);
                }
            }
            Some(value) => {
                elements = elements.saturating_sub(1);
                parts.push(key::encode(value));
            }
            None => parts.push(key::encode(&Value::Null)),
        }
        false
    });
    parts.sort_unstable();
    parts.dedup();
    if parts.is_empty() {
        parts.push(vec![NOTHING]);
    }
    (parts, lists)
}

fn crosses_list(document: &Document, path: &Path) -> bool {
    let Some((first, rest)) = path.parts().split_first() else { return false };
    let mut value = document.get(first);
    for part in rest {
        match value {
            Some(Value::Document(document)) => value = document.get(part),
            Some(Value::Array(_)) => return true,
            _ => return false,
        }
    }
    matches!(value, Some(Value::Array(_)))
}

/// Which fields of a document are shown.
#[derive(Clone, Debug, PartialEq)]
pub struct Projection {
    paths: Vec<Path>,
    including: bool,
    id: bool,
}

impl Projection {
    /// Understands a choice of fields.
    ///
    /// # Errors
    /// What is wrong with it, in words.
    pub fn parse(fields: &Document) -> Result<Self, String> {
        let (mut paths, mut including, mut id) = (Vec::new(), None, true);
        for (name, value) in fields.iter() {
            let shown = match value {
                Value::Bool(shown) => *shown,
                Value::Int(number) => *number != 0,
                _ => return Err(format!("fields: {name} is true or false")),
            };
            if name == ID {
                id = shown;
                continue;
            }
            if *including.get_or_insert(shown) != shown {
                return Err("fields: either those that are shown are named, or those that are not".to_owned());
            }
            paths.push(Path::parse(name)?);
        }
        // Only `_id = true` says that nothing else is shown, only `_id = false` that everything else is.
        Ok(Self { paths, including: including.unwrap_or(id && !fields.is_empty()), id })
    }

    /// The document as it is shown.
    #[must_use]
    pub fn apply(&self, document: Document) -> Document {
        let paths: Vec<&[String]> = self.paths.iter().map(Path::parts).collect();
        document
            .into_iter()
            .filter_map(|(name, value)| {
                if name == ID {
                    return self.id.then_some((name, value));
                }
                Some((self.field(&name, value, &paths)?, name)).map(|(value, name)| (name, value))
            })
            .collect()
    }

    fn field(&self, name: &str, value: Value, paths: &[&[String]]) -> Option<Value> {
        let below: Vec<&[String]> = paths.iter().filter(|parts| parts[0] == name).map(|parts| &parts[1..]).collect();
        if below.is_empty() {
            return (!self.including).then_some(value);
        }
        if below.iter().any(|parts| parts.is_empty()) {
            return self.including.then_some(value);
        }
        self.inside(value, &below)
    }

    fn inside(&self, value: Value, paths: &[&[String]]) -> Option<Value> {
        match value {
            Value::Document(document) => {
                let shown = document.into_iter().filter_map(|(name, value)| Some((name.clone(), self.field(&name, value, paths)?)));
                Some(Value::Document(shown.collect()))
            }
            Value::Array(items) => Some(Value::Array(items.into_iter().filter_map(|item| self.inside(item, paths)).collect())),
            other => (!self.including).then_some(other),
        }
    }
}
