//! Form values: text, lists and maps, in the order they came.

use std::borrow::Cow;
use std::collections::HashMap;

use super::{FormError, FormLimits};

/// One field of a form. Text is bytes, because a client may send any; it is UTF-8 when the client behaves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FormValue {
    /// A plain field.
    Text(Vec<u8>),
    /// From `a[]=1&a[]=2`.
    List(Vec<FormValue>),
    /// From `a[k]=1`.
    Map(FormMap),
}

impl FormValue {
    /// The text, if it is one and UTF-8.
    pub fn as_str(&self) -> Option<&str> {
        std::str::from_utf8(self.as_bytes()?).ok()
    }

    /// The text, if it is one.
    pub fn as_bytes(&self) -> Option<&[u8]> {
        match self {
            Self::Text(text) => Some(text),
            Self::List(_) | Self::Map(_) => None,
        }
    }

    /// The items, if it is a list.
    pub fn as_list(&self) -> Option<&[FormValue]> {
        match self {
            Self::List(items) => Some(items),
            Self::Text(_) | Self::Map(_) => None,
        }
    }

    /// The map, if it is one.
    pub fn as_map(&self) -> Option<&FormMap> {
        match self {
            Self::Map(map) => Some(map),
            Self::Text(_) | Self::List(_) => None,
        }
    }
}

/// Above this many entries a hash index is kept, so that a form made to be slow is not.
const INDEX_ABOVE: usize = 16;

/// Names and values in the order they first came; names are unique.
#[derive(Clone, Debug, Default)]
pub struct FormMap {
    entries: Vec<(Vec<u8>, FormValue)>,
    index: HashMap<Vec<u8>, usize>,
}

impl FormMap {
    /// An empty map.
    pub fn new() -> Self {
        Self::default()
    }

    /// The value of this name.
    pub fn get(&self, name: impl AsRef<[u8]>) -> Option<&FormValue> {
        self.position(name.as_ref()).map(|at| &self.entries[at].1)
    }

    /// The text of this name; `None` when there is none, or it is a list, a map or not UTF-8.
    pub fn text(&self, name: impl AsRef<[u8]>) -> Option<&str> {
        self.get(name)?.as_str()
    }

    /// Names and values in order.
    pub fn iter(&self) -> impl Iterator<Item = (&[u8], &FormValue)> {
        self.entries.iter().map(|(name, value)| (name.as_slice(), value))
    }

    /// How many names there are.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    fn position(&self, name: &[u8]) -> Option<usize> {
        if self.index.is_empty() { self.entries.iter().position(|(found, _)| found == name) } else { self.index.get(name).copied() }
    }

    /// The value of this name, which is put there first if it is missing.
    fn slot(&mut self, name: &[u8]) -> &mut FormValue {
        let at = self.position(name).unwrap_or_else(|| {
            let at = self.entries.len();
            self.entries.push((name.to_vec(), FormValue::Text(Vec::new())));
            if !self.index.is_empty() {
                self.index.insert(name.to_vec(), at);
            } else if self.entries.len() > INDEX_ABOVE {
                self.index = self.entries.iter().enumerate().map(|(at, (name, _))| (name.clone(), at)).collect();
            }
            at
        });
        &mut self.entries[at].1
    }

    /// The next free number as a name, for `a[]` where `a` is a map already.
    fn next_number(&self) -> Vec<u8> {
        let mut number = self.entries.len();
        while self.position(number.to_string().as_bytes()).is_some() {
            number += 1;
        }
        number.to_string().into_bytes()
    }

    /// Puts a field where its name says: `a` (the last one wins), `a[]` (appends), `a[k]`, and these nested. A name whose
    /// brackets do not pair up is taken literally.
    ///
    /// # Errors
    /// [`FormError::TooDeep`] when there are more brackets than `limits.depth`.
    pub fn insert(&mut self, name: &[u8], value: Vec<u8>, limits: &FormLimits) -> Result<(), FormError> {
        let (base, keys) = split_name(name, limits.depth)?;
        let mut slot = self.slot(base);
        for key in keys {
            slot = slot.descend(key);
        }
        *slot = FormValue::Text(value);
        Ok(())
    }
}

impl PartialEq for FormMap {
    fn eq(&self, other: &Self) -> bool {
        self.entries == other.entries
    }
}

impl Eq for FormMap {}

impl FormValue {
    /// The place of `[key]` below this value, which becomes a list or a map for it.
    fn descend(&mut self, key: &[u8]) -> &mut FormValue {
        match self {
            Self::Text(_) if key.is_empty() => *self = Self::List(Vec::new()),
            Self::Text(_) => *self = Self::Map(FormMap::new()),
            Self::List(items) if !key.is_empty() => {
                let mut map = FormMap::new();
                for (number, item) in items.drain(..).enumerate() {
                    *map.slot(number.to_string().as_bytes()) = item;
                }
                *self = Self::Map(map);
            }
            Self::List(_) | Self::Map(_) => {}
        }
        let key = match self {
            Self::Map(map) if key.is_empty() => Cow::Owned(map.next_number()),
            _ => Cow::Borrowed(key),
        };
        match self {
            Self::Map(map) => map.slot(&key),
            Self::List(items) => items.push_mut(Self::Text(Vec::new())),
            text @ Self::Text(_) => text,
        }
    }
}

/// `a[b][]` into `a` and `["b", ""]`.
fn split_name(name: &[u8], depth: usize) -> Result<(&[u8], Vec<&[u8]>), FormError> {
    let literal = (name, Vec::new());
    let Some(base) = memchr::memchr(b'[', name).filter(|&base| base > 0 && name.ends_with(b"]")) else {
        return Ok(literal);
    };
    let mut keys = Vec::new();
    let mut rest = &name[base..];
    while let [b'[', inner @ ..] = rest {
        let Some(end) = memchr::memchr(b']', inner) else { return Ok(literal) };
        if keys.len() == depth {
            return Err(FormError::TooDeep);
        }
        keys.push(&inner[..end]);
        rest = &inner[end + 1..];
    }
    if rest.is_empty() { Ok((&name[..base], keys)) } else { Ok(literal) }
}
