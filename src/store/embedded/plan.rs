//! Which index answers a filter, and by which ranges of its keys.

use super::catalog::{Collection, Index};
use crate::store::filter::{Comparison, Filter, Test};
use crate::store::key::{self, AFTER, Direction};
use crate::store::path::Path;
use crate::store::value::Value;
use crate::store::view::Sort;

/// The most ranges of one plan: the combinations of `$in`.
const MAX_RANGES: usize = 500;

/// Keys from the first one to before the second one.
type Range = (Vec<u8>, Vec<u8>);

/// The way to the documents that a filter means: no document that it means is outside the ranges.
#[derive(Debug)]
pub(super) struct Plan<'a> {
    /// The index and the ranges of its keys, `from..to`; without one every document is looked at.
    pub index: Option<(&'a Index, Vec<Range>)>,
    /// The direction to go.
    pub direction: Direction,
    /// The documents come in the order that was asked for.
    pub ordered: bool,
}

/// What one index could do.
struct Candidate<'a> {
    index: &'a Index,
    ranges: Vec<Range>,
    /// Fields that are known exactly.
    fixed: usize,
    limited: bool,
    order: Option<Direction>,
}

impl Candidate<'_> {
    fn worth(&self) -> usize {
        self.fixed * 4 + usize::from(self.limited) * 2 + usize::from(self.order.is_some())
    }
}

/// The best way that the indexes of a collection offer.
pub(super) fn plan<'a>(collection: &'a Collection, filter: &Filter, sort: &Sort) -> Plan<'a> {
    let mut tests: Vec<(&Path, &Test)> = Vec::new();
    filter.required(&mut |path, test| tests.push((path, test)));
    let best = collection.indexes.iter().map(|index| candidate(index, &tests, sort)).filter(|candidate| candidate.worth() > 0);
    // Of equals the first: the index on `_id` is the first of all.
    match best.rev().max_by_key(Candidate::worth) {
        Some(Candidate { index, ranges, order, .. }) => {
            Plan { index: Some((index, ranges)), direction: order.unwrap_or(Direction::Up), ordered: order.is_some() }
        }
        None => Plan { index: None, direction: Direction::Up, ordered: false },
    }
}

fn candidate<'a>(index: &'a Index, tests: &[(&Path, &Test)], sort: &Sort) -> Candidate<'a> {
    let mut prefixes = vec![Vec::new()];
    let mut fixed = 0;
    for (path, direction) in &index.paths {
        let Some(parts) = exact(tests, path).filter(|parts| parts.len() * prefixes.len() <= MAX_RANGES) else { break };
        prefixes = extended(&prefixes, &parts, *direction);
        fixed += 1;
    }
    let order = if prefixes.len() == 1 && !index.lists { order(&index.paths, fixed, sort) } else { None };
    let bounds = index.paths.get(fixed).and_then(|(path, direction)| bounds(tests, path, *direction, index.lists));
    let limited = bounds.is_some();
    let (from, to) = bounds.unwrap_or_else(|| (Vec::new(), vec![AFTER]));
    let mut ranges: Vec<_> = prefixes.into_iter().map(|prefix| ([&prefix[..], &from].concat(), [&prefix[..], &to].concat())).collect();
    ranges.sort();
    Candidate { index, ranges, fixed, limited, order }
}

fn extended(prefixes: &[Vec<u8>], parts: &[Vec<u8>], direction: Direction) -> Vec<Vec<u8>> {
    let mut longer = Vec::with_capacity(prefixes.len() * parts.len());
    for prefix in prefixes {
        for part in parts {
            let mut key = prefix.clone();
            key::append(&mut key, part, direction);
            longer.push(key);
        }
    }
    longer
}

/// The values that a field has to be equal to one of. Lists are kept in indexes by their elements, so that an index does not know them.
fn exact(tests: &[(&Path, &Test)], path: &Path) -> Option<Vec<Vec<u8>>> {
    let known = |value: &Value| (!matches!(value, Value::Array(_))).then(|| key::encode(value));
    tests.iter().filter(|(own, _)| *own == path).find_map(|(_, test)| match test {
        Test::Equal(value) => known(value).map(|part| vec![part]),
        Test::In(values) => {
            let mut parts = values.iter().map(known).collect::<Option<Vec<_>>>()?;
            parts.sort_unstable();
            parts.dedup();
            Some(parts)
        }
        _ => None,
    })
}

/// The range of a field that is compared. With lists one element may be greater than the one limit and another less than the other one, so that
/// only one limit counts then.
fn bounds(tests: &[(&Path, &Test)], path: &Path, direction: Direction, lists: bool) -> Option<Range> {
    let mut least: Option<&Value> = None;
    let mut most: Option<&Value> = None;
    for (_, test) in tests.iter().filter(|(own, _)| *own == path) {
        let Test::Compare(comparison, value) = test else { continue };
        if matches!(value, Value::Array(_)) || (lists && (least.is_some() || most.is_some())) {
            continue;
        }
        match comparison {
            Comparison::Greater | Comparison::NotLess => least = Some(value),
            Comparison::Less | Comparison::NotGreater => most = Some(value),
        }
    }
    let rank = least.or(most)?.rank();
    // The first byte is the type: comparisons are within one.
    let least = least.map_or_else(|| vec![rank], key::encode);
    let most = most.map_or_else(|| vec![rank], key::encode);
    let (mut from, mut to) = (Vec::new(), Vec::new());
    let (first, last) = if direction == Direction::Up { (least, most) } else { (most, least) };
    key::append(&mut from, &first, direction);
    key::append(&mut to, &last, direction);
    if let ([byte], true) = (&mut to[..], last.len() == 1 && rank != Value::Null.rank()) {
        *byte += 1;
    } else {
        to.push(AFTER);
    }
    Some((from, to))
}

/// The direction in which the index has the order, when the first `fixed` fields are known. Further fields of the index would put documents that are
/// equal otherwise than they were inserted.
fn order(paths: &[(Path, Direction)], fixed: usize, sort: &Sort) -> Option<Direction> {
    let is_fixed = |path: &Path| paths[..fixed].iter().any(|(own, _)| own == path);
    let wanted: Vec<_> = sort.0.iter().filter(|(path, _)| !is_fixed(path)).collect();
    let (first, _) = (paths.get(fixed)?, wanted.first()?);
    let direction = if first.1 == wanted[0].1 { Direction::Up } else { Direction::Down };
    let fits = |((path, own), (wanted_path, wanted)): (&(Path, Direction), &&(Path, Direction))| {
        path == wanted_path && ((own == wanted) == (direction == Direction::Up))
    };
    (wanted.len() == paths.len() - fixed && paths[fixed..].iter().zip(&wanted).all(fits)).then_some(direction)
}
