//! The changes that are kept for those who follow a collection.

use std::collections::VecDeque;

use rusqlite::{Connection, params};

use crate::store::StoreError;
use crate::store::call::{Change, ChangeKind};
use crate::store::text;
use crate::store::value::{Document, Value};

/// The most changes of one answer.
const MOST: usize = 256;
/// The most bytes of one answer, above the first change.
const MOST_BYTES: usize = 4 << 20;

/// What the writer knows of the changes that are kept.
#[derive(Debug, Default)]
pub(super) struct Kept {
    /// Number and size of each, the oldest first.
    rows: VecDeque<(i64, usize)>,
    bytes: usize,
}

impl Kept {
    pub fn load(connection: &Connection) -> Result<Self, StoreError> {
        let mut kept = Self::default();
        let mut statement = connection.prepare("SELECT number, length(id) + ifnull(length(document), 0) FROM changes ORDER BY number")?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            kept.push(row.get(0)?, row.get::<_, i64>(1)? as usize);
        }
        Ok(kept)
    }

    pub fn push(&mut self, number: i64, bytes: usize) {
        self.rows.push_back((number, bytes));
        self.bytes += bytes;
    }

    /// Forgets the oldest until the rest is within the limits.
    pub fn trim(&mut self, connection: &Connection, count: usize, bytes: usize) -> Result<(), StoreError> {
        let mut last = None;
        while self.rows.len() > count || self.bytes > bytes {
            let Some((number, size)) = self.rows.pop_front() else { break };
            self.bytes -= size;
            last = Some(number);
        }
        if let Some(last) = last {
            connection.prepare_cached("DELETE FROM changes WHERE number <= ?")?.execute([last])?;
        }
        Ok(())
    }
}

/// Writes a change; gives its number and size.
pub(super) fn record(
    connection: &Connection,
    collection: &str,
    kind: ChangeKind,
    id: &Value,
    document: Option<&str>,
) -> Result<(i64, usize), StoreError> {
    let id = text::write(id);
    let size = id.len() + document.map_or(0, str::len);
    connection.prepare_cached("INSERT INTO changes (collection, kind, id, document) VALUES (?, ?, ?, ?)")?.execute(params![
        collection,
        kind.name(),
        id,
        document
    ])?;
    Ok((connection.last_insert_rowid(), size))
}

/// The number of the last change there ever was.
pub(super) fn last(connection: &Connection) -> Result<u64, StoreError> {
    let mut statement = connection.prepare_cached("SELECT ifnull(max(seq), 0) FROM sqlite_sequence WHERE name = 'changes'")?;
    Ok(statement.query_row([], |row| row.get::<_, i64>(0))? as u64)
}

/// What tells this file from another one of the same name.
pub(super) fn epoch(connection: &Connection) -> Result<u64, StoreError> {
    let mut statement = connection.prepare_cached("SELECT value FROM meta WHERE name = 'epoch'")?;
    Ok(statement.query_row([], |row| row.get::<_, i64>(0))? as u64)
}

/// Changes of a collection after a number, oldest first, and the number to go on after.
pub(super) fn after(connection: &Connection, collection: &str, number: u64) -> Result<(Vec<Change>, u64), StoreError> {
    let newest = last(connection)?;
    let oldest: Option<i64> = connection.prepare_cached("SELECT min(number) FROM changes")?.query_row([], |row| row.get(0))?;
    let gone = oldest.map_or(newest, |oldest| (oldest as u64).saturating_sub(1));
    if number < gone || number > newest {
        return Err(StoreError::TooOld);
    }
    let mut statement = connection.prepare_cached(
        "SELECT number, kind, id, document FROM changes WHERE number > ? AND number <= ? AND collection = ? ORDER BY number",
    )?;
    let mut rows = statement.query(params![number as i64, newest as i64, collection])?;
    let (mut changes, mut bytes): (Vec<Change>, usize) = (Vec::new(), 0);
    while let Some(row) = rows.next()? {
        if changes.len() == MOST || bytes > MOST_BYTES {
            let reached = changes.last().map_or(number, |change| change.number);
            return Ok((changes, reached));
        }
        let (number, kind, id, document): (i64, String, String, Option<String>) = (row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?);
        bytes += id.len() + document.as_ref().map_or(0, String::len);
        changes.push(change(number as u64, &kind, &id, document.as_deref())?);
    }
    Ok((changes, newest))
}

fn change(number: u64, kind: &str, id: &str, document: Option<&str>) -> Result<Change, StoreError> {
    let damaged = |why: String| StoreError::Unavailable(format!("change {number} is damaged: {why}"));
    let kind = ChangeKind::from_name(kind).ok_or_else(|| damaged(format!("there is no kind {kind}")))?;
    let document: Option<Document> = document.map(text::read_document).transpose().map_err(damaged)?;
    Ok(Change { number, kind, id: text::read(id).map_err(damaged)?, document })
}
