//! Going through documents.

use std::collections::HashSet;
use std::time::Instant;

use rusqlite::{Connection, Row, params};

use super::catalog::Collection;
use super::plan::{Plan, plan};
use crate::store::StoreError;
use crate::store::filter::Filter;
use crate::store::key::Direction;
use crate::store::text;
use crate::store::value::Document;
use crate::store::view::Sort;

/// A way through the documents of a collection that a filter means.
pub(super) struct Scan<'a> {
    pub connection: &'a Connection,
    pub collection: &'a Collection,
    pub filter: &'a Filter,
    pub plan: Plan<'a>,
    /// The direction among documents that are equal in the order.
    pub ties: Direction,
    pub deadline: Instant,
}

/// Takes the number of a document and the document; whether to go on.
type Each<'a> = dyn FnMut(i64, Document) -> Result<bool, StoreError> + 'a;

impl<'a> Scan<'a> {
    pub fn new(connection: &'a Connection, collection: &'a Collection, filter: &'a Filter, sort: &Sort, deadline: Instant) -> Self {
        Self { connection, collection, filter, plan: plan(collection, filter, sort), ties: sort.last(), deadline }
    }

    /// Shows every document that is meant, once.
    pub fn run(&self, each: &mut Each<'_>) -> Result<(), StoreError> {
        let table = self.collection.number;
        let Some((index, ranges)) = &self.plan.index else {
            let mut statement = self.connection.prepare_cached(&format!("SELECT n, document FROM d{table} ORDER BY n"))?;
            let mut rows = statement.query([])?;
            while let Some(row) = rows.next()? {
                if !self.look(row, &mut |_| true, each)? {
                    break;
                }
            }
            return Ok(());
        };
        let order = if self.plan.ordered {
            let way = |direction| if direction == Direction::Up { "ASC" } else { "DESC" };
            format!(" ORDER BY i.key {}, i.n {}", way(self.plan.direction), way(self.ties))
        } else {
            String::new()
        };
        let mut statement = self.connection.prepare_cached(&format!(
            "SELECT i.n, d.document FROM i{} AS i CROSS JOIN d{table} AS d ON d.n = i.n WHERE i.key >= ? AND i.key < ?{order}",
            index.number
        ))?;
        let mut seen = HashSet::new();
        let mut is_new = |n| !index.lists || seen.insert(n);
        for (from, to) in ranges {
            let mut rows = statement.query(params![from, to])?;
            while let Some(row) = rows.next()? {
                if !self.look(row, &mut is_new, each)? {
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    fn look(&self, row: &Row<'_>, is_new: &mut dyn FnMut(i64) -> bool, each: &mut Each<'_>) -> Result<bool, StoreError> {
        if Instant::now() > self.deadline {
            return Err(StoreError::TimedOut);
        }
        let n = row.get(0)?;
        if !is_new(n) {
            return Ok(true);
        }
        let document = read(row.get_ref(1)?.as_str().map_err(|error| StoreError::Unavailable(error.to_string()))?)?;
        if self.filter.matches(&document) { each(n, document) } else { Ok(true) }
    }
}

/// A document from its stored form.
pub(super) fn read(stored: &str) -> Result<Document, StoreError> {
    text::read_document(stored).map_err(|why| StoreError::Unavailable(format!("a stored document is damaged: {why}")))
}
