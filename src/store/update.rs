//! What changes: MongoDB's update operators (<https://www.mongodb.com/docs/manual/reference/operator/update/>).
//!
//! Understood are `$set`, `$unset`, `$inc`, `$min`, `$max`, `$push`, `$addToSet` (both with `$each`, `$push` with `$slice`), `$pull` and `$setOnInsert`.

use super::filter::{Filter, Test, has_operators};
use super::path::{Path, index};
use super::value::{Document, Value};

/// The name of a document's own identity.
pub const ID: &str = "_id";
/// How far behind its end a list may be written.
const MAX_GAP: usize = 10_000;
const OPERATORS: &[&str] = &["$set", "$unset", "$inc", "$min", "$max", "$push", "$addToSet", "$pull", "$setOnInsert"];

/// An update as understood.
#[derive(Clone, Debug, PartialEq)]
pub struct Update {
    changes: Vec<(Path, Change)>,
}

#[derive(Clone, Debug, PartialEq)]
enum Change {
    Set(Value),
    SetOnInsert(Value),
    Unset,
    Add(Value),
    Least(Value),
    Greatest(Value),
    Push { items: Vec<Value>, slice: Option<i64> },
    AddToSet(Vec<Value>),
    Pull(Pull),
}

#[derive(Clone, Debug, PartialEq)]
enum Pull {
    /// Elements equal to this.
    Equal(Value),
    /// Elements of which the operators are true.
    Value(Filter),
    /// Documents that the filter means.
    Document(Filter),
}

impl Update {
    /// Understands an update.
    ///
    /// # Errors
    /// What is wrong with it, in words.
    pub fn parse(document: &Document) -> Result<Self, String> {
        let mut changes: Vec<(Path, Change)> = Vec::new();
        for (operator, fields) in document.iter() {
            if !OPERATORS.contains(&operator) {
                return Err(format!("there is no update {operator:?} ({})", OPERATORS.join(", ")));
            }
            let Value::Document(fields) = fields else { return Err(format!("{operator} takes fields and values")) };
            for (path, value) in fields.iter() {
                let path = Path::parse(path)?;
                if let Some((other, _)) = changes.iter().find(|(other, _)| other.overlaps(&path)) {
                    return Err(format!("{path} and {other} cannot both be changed by one update"));
                }
                let change = change(operator, value)?;
                changes.push((path, change));
            }
        }
        if document.is_empty() {
            return Err(format!("an update has operators ({}); to replace a document there is replace_one", OPERATORS.join(", ")));
        }
        Ok(Self { changes })
    }

    /// Changes a document; `inserting` when it does not exist yet.
    ///
    /// # Errors
    /// What cannot be done with this document, in words. The document is half changed then.
    pub fn apply(&self, document: &mut Document, inserting: bool) -> Result<(), String> {
        for (path, change) in &self.changes {
            change.apply(path, document, inserting)?;
        }
        Ok(())
    }
}

/// What an upsert begins with: the fields that the filter wants to be equal to a value.
///
/// # Errors
/// Fields that contradict each other.
pub fn seed(filter: &Filter) -> Result<Document, String> {
    let (mut document, mut result) = (Document::new(), Ok(()));
    filter.required(&mut |path, test| {
        if let (Test::Equal(value), Ok(())) = (test, &result) {
            result = put(path, &mut document, &mut |_| Ok(value.clone()));
        }
    });
    result.map(|()| document)
}

fn change(operator: &str, value: &Value) -> Result<Change, String> {
    check(value)?;
    Ok(match operator {
        "$set" => Change::Set(value.clone()),
        "$setOnInsert" => Change::SetOnInsert(value.clone()),
        "$unset" => Change::Unset,
        "$inc" if matches!(value, Value::Int(_) | Value::Double(_)) => Change::Add(value.clone()),
        "$inc" => return Err(format!("$inc takes a number, not a {}", value.kind())),
        "$min" => Change::Least(value.clone()),
        "$max" => Change::Greatest(value.clone()),
        "$push" => {
            let (items, slice) = each(operator, value, true)?;
            Change::Push { items, slice }
        }
        "$addToSet" => Change::AddToSet(each(operator, value, false)?.0),
        _ => Change::Pull(match value {
            Value::Document(condition) if has_operators(condition) => Pull::Value(Filter::of_value(condition)?),
            Value::Document(condition) => Pull::Document(Filter::parse(condition)?),
            other => Pull::Equal(other.clone()),
        }),
    })
}

/// Values that are to be kept have names that can be kept; operators at the top are looked at by who understands them.
fn check(value: &Value) -> Result<(), String> {
    match value {
        Value::Document(document) if !has_operators(document) && document.iter().all(|(name, _)| !name.contains('.')) => document.check(),
        Value::Array(items) => items.iter().try_for_each(check),
        _ => Ok(()),
    }
}

/// The elements to add: one, or those of `$each`.
fn each(operator: &str, value: &Value, may_slice: bool) -> Result<(Vec<Value>, Option<i64>), String> {
    let Value::Document(modifiers) = value else { return Ok((vec![value.clone()], None)) };
    if !has_operators(modifiers) {
        return Ok((vec![value.clone()], None));
    }
    let (mut items, mut slice) = (None, None);
    for (name, value) in modifiers.iter() {
        match (name, value) {
            ("$each", Value::Array(values)) => items = Some(values.clone()),
            ("$slice", Value::Int(count)) if may_slice => slice = Some(*count),
            _ => return Err(format!("{operator} does not take {name} of this kind")),
        }
    }
    Ok((items.ok_or_else(|| format!("{operator} with modifiers needs $each"))?, slice))
}

impl Change {
    fn apply(&self, path: &Path, document: &mut Document, inserting: bool) -> Result<(), String> {
        match self {
            Self::SetOnInsert(_) if !inserting => Ok(()),
            Self::Unset => {
                unset(document, path.parts());
                Ok(())
            }
            Self::Pull(pull) => match get_mut(document, path.parts()) {
                None => Ok(()),
                Some(Value::Array(items)) => {
                    items.retain(|item| !pull.takes(item));
                    Ok(())
                }
                Some(other) => Err(format!("{path} is a {}, $pull needs an array", other.kind())),
            },
            change => put(path, document, &mut |old| change.value(path, old)),
        }
    }

    /// The new value in the place of the old one.
    fn value(&self, path: &Path, old: Option<Value>) -> Result<Value, String> {
        match self {
            Self::Set(value) | Self::SetOnInsert(value) => Ok(value.clone()),
            Self::Add(by) => match old {
                None => Ok(by.clone()),
                Some(old) => add(&old, by).map_err(|why| format!("{path}: {why}")),
            },
            Self::Least(value) => Ok(old.filter(|old| old.order(value).is_le()).unwrap_or_else(|| value.clone())),
            Self::Greatest(value) => Ok(old.filter(|old| old.order(value).is_ge()).unwrap_or_else(|| value.clone())),
            Self::Push { items, slice } => {
                let mut array = array(path, old)?;
                array.extend_from_slice(items);
                if let Some(slice) = slice {
                    cut(&mut array, *slice);
                }
                Ok(Value::Array(array))
            }
            Self::AddToSet(items) => {
                let mut array = array(path, old)?;
                for item in items {
                    if !array.iter().any(|own| own.same(item)) {
                        array.push(item.clone());
                    }
                }
                Ok(Value::Array(array))
            }
            // Both are done without a new value.
            Self::Unset | Self::Pull(_) => Ok(old.unwrap_or(Value::Null)),
        }
    }
}

impl Pull {
    fn takes(&self, item: &Value) -> bool {
        match self {
            Self::Equal(value) => item.same(value),
            Self::Value(filter) => filter.matches(&[("value".to_owned(), item.clone())].into_iter().collect()),
            Self::Document(filter) => matches!(item, Value::Document(document) if filter.matches(document)),
        }
    }
}

fn array(path: &Path, old: Option<Value>) -> Result<Vec<Value>, String> {
    match old {
        None => Ok(Vec::new()),
        Some(Value::Array(items)) => Ok(items),
        Some(other) => Err(format!("{path} is a {}, not an array", other.kind())),
    }
}

/// The first elements, or with a negative number the last.
fn cut(array: &mut Vec<Value>, slice: i64) {
    let count = usize::try_from(slice.unsigned_abs()).unwrap_or(usize::MAX);
    if slice >= 0 {
        array.truncate(count);
    } else {
        array.drain(..array.len().saturating_sub(count));
    }
}

fn add(old: &Value, by: &Value) -> Result<Value, String> {
    match (old, by) {
        (Value::Int(a), Value::Int(b)) => a.checked_add(*b).map(Value::Int).ok_or_else(|| "the sum leaves the range of 64 bits".to_owned()),
        (Value::Double(a), Value::Double(b)) => Ok(Value::Double(a + b)),
        (Value::Double(a), Value::Int(b)) | (Value::Int(b), Value::Double(a)) => Ok(Value::Double(a + *b as f64)),
        (other, _) => Err(format!("$inc needs a number, there is a {}", other.kind())),
    }
}

/// Puts a value at a path, making the documents on the way.
fn put(path: &Path, document: &mut Document, make: &mut dyn FnMut(Option<Value>) -> Result<Value, String>) -> Result<(), String> {
    put_in(path, document, path.parts(), make)
}

fn put_in(
    path: &Path,
    document: &mut Document,
    parts: &[String],
    make: &mut dyn FnMut(Option<Value>) -> Result<Value, String>,
) -> Result<(), String> {
    let Some((first, rest)) = parts.split_first() else { return Ok(()) };
    if rest.is_empty() {
        let old = document.get_mut(first).map(|value| std::mem::replace(value, Value::Null));
        document.set(first.clone(), make(old)?);
        return Ok(());
    }
    if document.get(first).is_none() {
        document.set(first.clone(), Value::Document(Document::new()));
    }
    match document.get_mut(first) {
        Some(value) => put_below(path, value, rest, make),
        None => Ok(()),
    }
}

fn put_below(
    path: &Path,
    value: &mut Value,
    parts: &[String],
    make: &mut dyn FnMut(Option<Value>) -> Result<Value, String>,
) -> Result<(), String> {
    match value {
        Value::Document(document) => put_in(path, document, parts, make),
        Value::Array(items) => {
            let Some((at, rest)) = parts.split_first().and_then(|(first, rest)| Some((index(first)?, rest))) else {
                return Err(format!("{path}: there is an array on the way; name the place in it"));
            };
            if at > items.len() + MAX_GAP {
                return Err(format!("{path}: the place is more than {MAX_GAP} behind the end of the array"));
            }
            let is_new = at >= items.len();
            if is_new {
                items.resize(at + 1, Value::Null);
            }
            if rest.is_empty() {
                let old = (!is_new).then(|| std::mem::replace(&mut items[at], Value::Null));
                items[at] = make(old)?;
                return Ok(());
            }
            if is_new {
                items[at] = Value::Document(Document::new());
            }
            put_below(path, &mut items[at], rest, make)
        }
        other => Err(format!("{path}: there is a {} on the way, which has no fields", other.kind())),
    }
}

fn get_mut<'a>(document: &'a mut Document, parts: &[String]) -> Option<&'a mut Value> {
    let (first, rest) = parts.split_first()?;
    rest.iter().try_fold(document.get_mut(first)?, |value, part| match value {
        Value::Document(document) => document.get_mut(part),
        Value::Array(items) => items.get_mut(index(part)?),
        _ => None,
    })
}

fn unset(document: &mut Document, parts: &[String]) {
    let Some((last, way)) = parts.split_last() else { return };
    if way.is_empty() {
        document.remove(last);
        return;
    }
    match get_mut(document, way) {
        Some(Value::Document(document)) => {
            document.remove(last);
        }
        // The others keep their places.
        Some(Value::Array(items)) => {
            if let Some(item) = index(last).and_then(|at| items.get_mut(at)) {
                *item = Value::Null;
            }
        }
        _ => {}
    }
}
