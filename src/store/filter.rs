//! Which documents are meant: MongoDB's filters (<https://www.mongodb.com/docs/manual/reference/operator/query/>).
//!
//! Understood are `$eq`, `$ne`, `$gt`, `$gte`, `$lt`, `$lte`, `$in`, `$nin`, `$exists`, `$not`, `$and`, `$or`, `$nor`, dotted paths, and equality with
//! an element of a list. Comparisons are among values of one type only; NaN is comparable with itself only.

use std::cmp::Ordering;

use super::path::Path;
use super::value::{Document, Value};

/// How deep filters may be nested.
const MAX_DEPTH: usize = 32;
/// How many values one filter may name, all lists together.
const MAX_VALUES: usize = 10_000;
const OPERATORS: &[&str] = &["$eq", "$ne", "$gt", "$gte", "$lt", "$lte", "$in", "$nin", "$exists", "$not"];

/// A filter as understood.
#[derive(Clone, Debug, PartialEq)]
pub enum Filter {
    /// All of them; of none: every document.
    And(Vec<Filter>),
    /// At least one of them.
    Or(Vec<Filter>),
    /// Not this one.
    Not(Box<Filter>),
    /// What a path leads to.
    Field(Path, Test),
}

/// What is asked of a value.
#[derive(Clone, Debug, PartialEq)]
pub enum Test {
    /// Equal to this; null is what is missing, too.
    Equal(Value),
    /// Of the same type and so to this.
    Compare(Comparison, Value),
    /// Equal to one of these.
    In(Vec<Value>),
    /// Is there at all.
    Exists,
}

/// How values compare.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Comparison {
    /// `$gt`
    Greater,
    /// `$gte`
    NotLess,
    /// `$lt`
    Less,
    /// `$lte`
    NotGreater,
}

impl Comparison {
    fn accepts(self, order: Ordering) -> bool {
        match self {
            Self::Greater => order.is_gt(),
            Self::NotLess => order.is_ge(),
            Self::Less => order.is_lt(),
            Self::NotGreater => order.is_le(),
        }
    }
}

impl Filter {
    /// Understands a filter.
    ///
    /// # Errors
    /// What is wrong with it, in words.
    pub fn parse(document: &Document) -> Result<Self, String> {
        let mut reading = Reading { values: 0 };
        reading.document(document, 0)
    }

    /// Whether a document is meant.
    #[must_use]
    pub fn matches(&self, document: &Document) -> bool {
        match self {
            Self::And(all) => all.iter().all(|filter| filter.matches(document)),
            Self::Or(any) => any.iter().any(|filter| filter.matches(document)),
            Self::Not(filter) => !filter.matches(document),
            Self::Field(path, test) => path.any(document, &mut |value| test.accepts(value)),
        }
    }

    /// What every meant document has to be: the tests of fields that are joined by `$and` at the top.
    pub fn required<'a>(&'a self, each: &mut dyn FnMut(&'a Path, &'a Test)) {
        match self {
            Self::And(all) => all.iter().for_each(|filter| filter.required(each)),
            Self::Field(path, test) => each(path, test),
            Self::Or(_) | Self::Not(_) => {}
        }
    }

    /// The test of a single value, as `$pull` has it: the operators of `condition`.
    ///
    /// # Errors
    /// What is wrong with it, in words.
    pub(super) fn of_value(condition: &Document) -> Result<Self, String> {
        let path = Path::parse("value")?;
        Reading { values: 0 }.operators(&path, condition, 0)
    }
}

impl Test {
    fn accepts(&self, value: Option<&Value>) -> bool {
        match self {
            Self::Exists => value.is_some(),
            Self::Equal(wanted) => equal(value, wanted),
            Self::In(wanted) => wanted.iter().any(|wanted| equal(value, wanted)),
            Self::Compare(comparison, limit) => compares(*comparison, value.unwrap_or(&Value::Null), limit),
        }
    }
}

fn equal(value: Option<&Value>, wanted: &Value) -> bool {
    value.unwrap_or(&Value::Null).same(wanted)
}

fn compares(comparison: Comparison, value: &Value, limit: &Value) -> bool {
    if value.is_nan() || limit.is_nan() {
        let both = value.is_nan() && limit.is_nan();
        return both && matches!(comparison, Comparison::NotLess | Comparison::NotGreater);
    }
    value.rank() == limit.rank() && comparison.accepts(value.order(limit))
}

/// Whether a document is one of operators: its first name begins with `$`.
pub(super) fn has_operators(document: &Document) -> bool {
    document.iter().next().is_some_and(|(name, _)| name.starts_with('$'))
}

struct Reading {
    values: usize,
}

impl Reading {
    fn document(&mut self, document: &Document, depth: usize) -> Result<Filter, String> {
        if depth > MAX_DEPTH {
            return Err(format!("a filter may be nested {MAX_DEPTH} deep"));
        }
        let mut all = Vec::new();
        for (name, value) in document.iter() {
            self.count(1)?;
            all.push(match name {
                "$and" => Filter::And(self.list(name, value, depth)?),
                "$or" => Filter::Or(self.list(name, value, depth)?),
                "$nor" => Filter::Not(Box::new(Filter::Or(self.list(name, value, depth)?))),
                _ if name.starts_with('$') => return Err(format!("there is no {name} at this place of a filter: $and, $or, $nor")),
                _ => self.field(&Path::parse(name)?, value, depth)?,
            });
        }
        Ok(if all.len() == 1 { all.remove(0) } else { Filter::And(all) })
    }

    fn count(&mut self, values: usize) -> Result<(), String> {
        self.values += values;
        if self.values > MAX_VALUES { Err(format!("a filter may have {MAX_VALUES} values")) } else { Ok(()) }
    }

    fn list(&mut self, name: &str, value: &Value, depth: usize) -> Result<Vec<Filter>, String> {
        let wrong = || format!("{name} takes a list of filters that is not empty");
        let Value::Array(items) = value else { return Err(wrong()) };
        if items.is_empty() {
            return Err(wrong());
        }
        items
            .iter()
            .map(|item| match item {
                Value::Document(document) => self.document(document, depth + 1),
                _ => Err(wrong()),
            })
            .collect()
    }

    fn field(&mut self, path: &Path, value: &Value, depth: usize) -> Result<Filter, String> {
        match value {
            Value::Document(operators) if has_operators(operators) => self.operators(path, operators, depth),
            other => Ok(Filter::Field(path.clone(), Test::Equal(other.clone()))),
        }
    }

    fn operators(&mut self, path: &Path, operators: &Document, depth: usize) -> Result<Filter, String> {
        if depth > MAX_DEPTH {
            return Err(format!("a filter may be nested {MAX_DEPTH} deep"));
        }
        let mut all = Vec::new();
        for (name, value) in operators.iter() {
            self.count(1)?;
            all.push(self.operator(path, name, value, depth)?);
        }
        Ok(if all.len() == 1 { all.remove(0) } else { Filter::And(all) })
    }

    fn operator(&mut self, path: &Path, name: &str, value: &Value, depth: usize) -> Result<Filter, String> {
        let field = |test| Filter::Field(path.clone(), test);
        let not = |filter| Filter::Not(Box::new(filter));
        let compare = |comparison| field(Test::Compare(comparison, value.clone()));
        Ok(match name {
            "$eq" => field(Test::Equal(value.clone())),
            "$ne" => not(field(Test::Equal(value.clone()))),
            "$gt" => compare(Comparison::Greater),
            "$gte" => compare(Comparison::NotLess),
            "$lt" => compare(Comparison::Less),
            "$lte" => compare(Comparison::NotGreater),
            "$in" => field(Test::In(self.values(name, value)?)),
            "$nin" => not(field(Test::In(self.values(name, value)?))),
            "$exists" => match value {
                Value::Bool(true) => field(Test::Exists),
                Value::Bool(false) => not(field(Test::Exists)),
                _ => return Err("$exists takes true or false".to_owned()),
            },
            "$not" => match value {
                Value::Document(operators) if has_operators(operators) => not(self.operators(path, operators, depth + 1)?),
                _ => return Err("$not takes operators, such as {[\"$gt\"] = 5}".to_owned()),
            },
            _ => return Err(format!("there is no operator {name:?} ({})", OPERATORS.join(", "))),
        })
    }

    fn values(&mut self, name: &str, value: &Value) -> Result<Vec<Value>, String> {
        let Value::Array(items) = value else { return Err(format!("{name} takes a list of values")) };
        self.count(items.len())?;
        Ok(items.clone())
    }
}
