//! Which collections and indexes there are.

use rusqlite::{Connection, OptionalExtension, Row, params};
use serde_json::Value as Json;

use crate::store::StoreError;
use crate::store::call::IndexSpec;
use crate::store::key::{self, Direction};
use crate::store::path::Path;
use crate::store::value::Document;
use crate::store::view::{Fields, MAX_FIELDS, parts};

/// The index that every collection has.
pub(super) const ID_INDEX: &str = "_id_";
/// Keys that one document may have in one index.
const MAX_KEYS: usize = 1000;

/// A collection and its indexes.
#[derive(Clone, Debug)]
pub(super) struct Collection {
    pub number: i64,
    pub indexes: Vec<Index>,
}

/// An index.
#[derive(Clone, Debug)]
pub(super) struct Index {
    pub number: i64,
    pub spec: IndexSpec,
    pub paths: Vec<(Path, Direction)>,
    /// A document had a list in one of the fields, so that a document may have several keys.
    pub lists: bool,
}

impl Collection {
    /// The collection of a name with its indexes.
    pub fn load(connection: &Connection, name: &str) -> Result<Option<Self>, StoreError> {
        let number = connection
            .prepare_cached("SELECT number FROM collections WHERE name = ?")?
            .query_row([name], |row| row.get::<_, i64>(0))
            .optional()?;
        let Some(number) = number else { return Ok(None) };
        let mut statement = connection.prepare_cached(
            "SELECT number, name, fields, is_unique, expire_after, lists FROM indexes WHERE collection = ? ORDER BY number",
        )?;
        let indexes = statement.query_map([number], |row| Ok(Index::read(row)))?.collect::<rusqlite::Result<Result<_, _>>>()??;
        Ok(Some(Self { number, indexes }))
    }

    /// Makes a collection with its first index.
    pub fn create(connection: &Connection, name: &str) -> Result<Self, StoreError> {
        connection.prepare_cached("INSERT INTO collections (name) VALUES (?)")?.execute([name])?;
        let number = connection.last_insert_rowid();
        connection.execute_batch(&format!("CREATE TABLE d{number} (n INTEGER PRIMARY KEY, document TEXT NOT NULL)"))?;
        let fields = vec![("_id".to_owned(), Direction::Up)];
        let spec = IndexSpec { name: ID_INDEX.to_owned(), fields, unique: true, expire_after: None };
        let id = Index::create(connection, number, spec)?;
        Ok(Self { number, indexes: vec![id] })
    }

    /// Removes it with everything in it.
    pub fn remove(&self, connection: &Connection) -> Result<(), StoreError> {
        for index in &self.indexes {
            index.remove(connection)?;
        }
        connection.execute_batch(&format!("DROP TABLE d{}", self.number))?;
        connection.prepare_cached("DELETE FROM collections WHERE number = ?")?.execute([self.number])?;
        Ok(())
    }
}

impl Index {
    fn read(row: &Row<'_>) -> Result<Self, StoreError> {
        let written: String = row.get(2)?;
        let fields = read_fields(&written).ok_or_else(|| StoreError::Unavailable("the list of indexes is damaged".to_owned()))?;
        let expire_after = row.get::<_, Option<i64>>(4)?.map(i64::unsigned_abs);
        let spec = IndexSpec { name: row.get(1)?, fields, unique: row.get(3)?, expire_after };
        Ok(Self { number: row.get(0)?, paths: paths(&spec.fields)?, spec, lists: row.get(5)? })
    }

    /// Makes an index that is empty yet.
    pub fn create(connection: &Connection, collection: i64, spec: IndexSpec) -> Result<Self, StoreError> {
        let paths = paths(&spec.fields)?;
        connection
            .prepare_cached("INSERT INTO indexes (collection, name, fields, is_unique, expire_after, lists) VALUES (?, ?, ?, ?, ?, 0)")?
            .execute(params![
                collection,
                spec.name,
                write_fields(&spec.fields),
                spec.unique,
                spec.expire_after.map(|seconds| seconds as i64)
            ])?;
        let number = connection.last_insert_rowid();
        connection.execute_batch(&format!("CREATE TABLE i{number} (key BLOB, n INTEGER, PRIMARY KEY (key, n)) WITHOUT ROWID"))?;
        Ok(Self { number, spec, paths, lists: false })
    }

    /// Removes it.
    pub fn remove(&self, connection: &Connection) -> Result<(), StoreError> {
        connection.execute_batch(&format!("DROP TABLE i{}", self.number))?;
        connection.prepare_cached("DELETE FROM indexes WHERE number = ?")?.execute([self.number])?;
        Ok(())
    }

    /// Remembers that a document had a list in one of the fields.
    pub fn note_lists(&self, connection: &Connection) -> Result<(), StoreError> {
        connection.prepare_cached("UPDATE indexes SET lists = 1 WHERE number = ?")?.execute([self.number])?;
        Ok(())
    }

    /// The keys of a document, in order, and whether a list had to do with them.
    pub fn keys(&self, document: &Document) -> Result<(Vec<Vec<u8>>, bool), StoreError> {
        let (mut keys, mut lists) = (vec![Vec::new()], false);
        for (path, direction) in &self.paths {
            let (parts, has_lists) = parts(document, path);
            lists |= has_lists;
            if keys.len() * parts.len() > MAX_KEYS {
                return Err(StoreError::Invalid(format!(
                    "the index {} would have more than {MAX_KEYS} keys of one document",
                    self.spec.name
                )));
            }
            let mut longer = Vec::with_capacity(keys.len() * parts.len());
            for key in &keys {
                for part in &parts {
                    let mut key = key.clone();
                    key::append(&mut key, part, *direction);
                    longer.push(key);
                }
            }
            keys = longer;
        }
        keys.sort_unstable();
        Ok((keys, lists))
    }
}

fn paths(fields: &Fields) -> Result<Vec<(Path, Direction)>, StoreError> {
    if fields.is_empty() || fields.len() > MAX_FIELDS {
        return Err(StoreError::Invalid(format!("an index has 1 to {MAX_FIELDS} fields")));
    }
    let path = |(path, direction): &(String, Direction)| Ok((Path::parse(path).map_err(StoreError::Invalid)?, *direction));
    fields.iter().map(path).collect()
}

/// `[["room",1],["at",-1]]`
fn write_fields(fields: &Fields) -> String {
    let number = |direction: &Direction| if *direction == Direction::Up { 1 } else { -1 };
    Json::Array(fields.iter().map(|(path, direction)| Json::from(vec![Json::from(path.as_str()), Json::from(number(direction))])).collect())
        .to_string()
}

fn read_fields(text: &str) -> Option<Fields> {
    let fields: Vec<(String, i64)> = serde_json::from_str(text).ok()?;
    Some(fields.into_iter().map(|(path, number)| (path, if number < 0 { Direction::Down } else { Direction::Up })).collect())
}
