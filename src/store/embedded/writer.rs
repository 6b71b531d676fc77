//! Writing: the only connection that changes the file.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use rusqlite::{Connection, OptionalExtension, params};

use super::catalog::{Collection, ID_INDEX, Index};
use super::changes::{self, Kept};
use super::file;
use super::identity::Identities;
use super::scan::{Scan, read};
use crate::store::call::{ChangeKind, IndexSpec, StoreAnswer, Write};
use crate::store::filter::{Filter, has_operators};
use crate::store::key::{self, AFTER, Direction};
use crate::store::text;
use crate::store::update::{ID, Update, seed};
use crate::store::value::{Document, Value};
use crate::store::view::Sort;
use crate::store::{EmbeddedSettings, StoreError, check_name};

/// Indexes that a collection may have, the one on `_id` not counted.
const MAX_INDEXES: usize = 64;
/// How many documents one go may remove because their time is over.
const MAX_EXPIRED: i64 = 1000;

/// The one who writes. Blocks; belongs into the background.
pub struct Writer {
    connection: Connection,
    settings: EmbeddedSettings,
    collections: HashMap<String, Collection>,
    kept: Kept,
    /// Changes of the call that is being done.
    fresh: Vec<(i64, usize)>,
    identities: Identities,
    /// Rises when another process has written the file, which happens while one program takes over from another.
    version: i64,
}

impl Writer {
    /// Opens the file, and makes it when there is none.
    ///
    /// # Errors
    /// When it cannot be used.
    pub fn open(settings: &EmbeddedSettings) -> Result<Self, StoreError> {
        let connection = file::open_writer(&settings.path, settings.options.sync)?;
        let kept = Kept::load(&connection)?;
        let version = data_version(&connection)?;
        let identities = Identities::new();
        Ok(Self { connection, settings: settings.clone(), collections: HashMap::new(), kept, fresh: Vec::new(), identities, version })
    }

    /// The number of the last change.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn last_change(&self) -> Result<u64, StoreError> {
        changes::last(&self.connection)
    }

    /// Does everything in one transaction, which is on disk when this returns. What fails changes nothing and leaves the others alone.
    ///
    /// # Errors
    /// When nothing could be done at all.
    pub fn commit(&mut self, writes: &[(String, Write)]) -> Result<Vec<Result<StoreAnswer, StoreError>>, StoreError> {
        self.transaction(|writer| Ok(writes.iter().map(|(collection, write)| writer.one(collection, write)).collect()))
    }

    /// Removes documents whose time is over at `now` (milliseconds since 1970), at most some; how many.
    ///
    /// # Errors
    /// When the file cannot be used.
    pub fn expire(&mut self, now: i64) -> Result<u64, StoreError> {
        let mut statement = self.connection.prepare_cached(
            "SELECT c.name FROM indexes i JOIN collections c ON c.number = i.collection WHERE i.expire_after IS NOT NULL",
        )?;
        let names = statement.query_map([], |row| row.get(0))?.collect::<rusqlite::Result<Vec<String>>>()?;
        drop(statement);
        let mut gone = 0;
        for name in names {
            let Some(collection) = self.collection(&name)? else { continue };
            let over = self.over(&collection, now)?;
            if over.is_empty() {
                continue;
            }
            gone += over.len() as u64;
            self.transaction(|writer| {
                over.iter().try_for_each(|n| writer.delete(&name, &collection, *n))?;
                writer.kept_fresh();
                Ok(())
            })?;
        }
        Ok(gone)
    }

    fn over(&self, collection: &Collection, now: i64) -> Result<Vec<i64>, StoreError> {
        let mut over = Vec::new();
        for index in &collection.indexes {
            let Some(after) = index.spec.expire_after else { continue };
            let limit = now.saturating_sub(i64::try_from(after).unwrap_or(i64::MAX).saturating_mul(1000));
            let mut to = key::encode(&Value::Date(limit));
            let from = vec![to[0]];
            to.push(AFTER);
            let mut statement = self
                .connection
                .prepare_cached(&format!("SELECT DISTINCT n FROM i{} WHERE key >= ? AND key < ? LIMIT {MAX_EXPIRED}", index.number))?;
            let rows = statement.query_map(params![from, to], |row| row.get(0))?;
            for n in rows {
                over.push(n?);
            }
        }
        over.sort_unstable();
        over.dedup();
        Ok(over)
    }

    fn transaction<T>(&mut self, work: impl FnOnce(&mut Self) -> Result<T, StoreError>) -> Result<T, StoreError> {
        self.connection.execute_batch("BEGIN IMMEDIATE")?;
        let done = self.refresh().and_then(|()| work(self)).and_then(|result| {
            let options = &self.settings.options;
            self.kept.trim(&self.connection, options.changes as usize, options.max_changes.length())?;
            self.connection.execute_batch("COMMIT")?;
            Ok(result)
        });
        if done.is_err() {
            // Some failures have ended the transaction already; that there is none to end is no news then.
            let _ = self.connection.execute_batch("ROLLBACK");
            self.forget()?;
        }
        done
    }

    /// What is remembered of the file is true again.
    fn forget(&mut self) -> Result<(), StoreError> {
        self.collections.clear();
        self.fresh.clear();
        self.kept = Kept::load(&self.connection)?;
        Ok(())
    }

    /// Notices what another process has written.
    fn refresh(&mut self) -> Result<(), StoreError> {
        let version = data_version(&self.connection)?;
        if version != self.version {
            self.version = version;
            self.forget()?;
        }
        Ok(())
    }

    /// One call, all or nothing.
    fn one(&mut self, collection: &str, write: &Write) -> Result<StoreAnswer, StoreError> {
        self.fresh.clear();
        self.connection.prepare_cached("SAVEPOINT one")?.execute([])?;
        let result = check_name(collection).and_then(|()| self.apply(collection, write));
        if result.is_err() {
            self.connection.execute_batch("ROLLBACK TO one")?;
            self.collections.remove(collection);
            self.fresh.clear();
        }
        self.connection.prepare_cached("RELEASE one")?.execute([])?;
        self.kept_fresh();
        result
    }

    fn kept_fresh(&mut self) {
        for (number, size) in self.fresh.drain(..) {
            self.kept.push(number, size);
        }
    }

    fn apply(&mut self, name: &str, write: &Write) -> Result<StoreAnswer, StoreError> {
        match write {
            Write::Insert(documents) => self.insert_all(name, documents),
            Write::Update { filter, update, many, upsert } => {
                let update = Update::parse(update).map_err(StoreError::Invalid)?;
                self.update(name, filter, &Change::Operators(&update), *many, *upsert)
            }
            Write::Replace { filter, document, upsert } => {
                if has_operators(document) {
                    return Err(StoreError::Invalid("a document to replace another has no operators; that is update_one".to_owned()));
                }
                self.update(name, filter, &Change::Replacement(document), false, *upsert)
            }
            Write::Delete { filter, many } => {
                let Some(collection) = self.collection(name)? else { return Ok(StoreAnswer::Deleted(0)) };
                let filter = Filter::parse(filter).map_err(StoreError::Invalid)?;
                let found = self.find(&collection, &filter, *many)?;
                found.iter().try_for_each(|n| self.delete(name, &collection, *n))?;
                Ok(StoreAnswer::Deleted(found.len() as u64))
            }
            Write::CreateIndex(spec) => self.create_index(name, spec),
            Write::DropIndex(index) => self.drop_index(name, index),
            Write::Drop => {
                let Some(collection) = self.collection(name)? else { return Ok(StoreAnswer::Done(false)) };
                collection.remove(&self.connection)?;
                self.collections.remove(name);
                self.record(name, ChangeKind::Drop, &Value::Null, None)?;
                Ok(StoreAnswer::Done(true))
            }
        }
    }

    fn collection(&mut self, name: &str) -> Result<Option<Collection>, StoreError> {
        if let Some(collection) = self.collections.get(name) {
            return Ok(Some(collection.clone()));
        }
        let collection = Collection::load(&self.connection, name)?;
        if let Some(collection) = &collection {
            self.collections.insert(name.to_owned(), collection.clone());
        }
        Ok(collection)
    }

    fn collection_made(&mut self, name: &str) -> Result<Collection, StoreError> {
        if let Some(collection) = self.collection(name)? {
            return Ok(collection);
        }
        let count: u32 = self.connection.prepare_cached("SELECT count(*) FROM collections")?.query_row([], |row| row.get(0))?;
        let most = self.settings.options.max_collections;
        if count >= most {
            return Err(StoreError::Limit(format!("there are {most} collections already")));
        }
        let collection = Collection::create(&self.connection, name)?;
        self.collections.insert(name.to_owned(), collection.clone());
        Ok(collection)
    }

    /// The numbers of the documents that are meant.
    fn find(&self, collection: &Collection, filter: &Filter, many: bool) -> Result<Vec<i64>, StoreError> {
        let mut found = Vec::new();
        let deadline = Instant::now() + self.settings.options.timeout.get().min(Duration::from_hours(1));
        Scan::new(&self.connection, collection, filter, &Sort(Vec::new()), deadline).run(&mut |n, _| {
            found.push(n);
            Ok(many)
        })?;
        Ok(found)
    }

    fn document(&self, collection: &Collection, n: i64) -> Result<Document, StoreError> {
        let mut statement = self.connection.prepare_cached(&format!("SELECT document FROM d{} WHERE n = ?", collection.number))?;
        let stored: String = statement.query_row([n], |row| row.get(0))?;
        read(&stored)
    }

    fn insert_all(&mut self, name: &str, documents: &[Document]) -> Result<StoreAnswer, StoreError> {
        let mut ids = Vec::with_capacity(documents.len());
        for document in documents {
            match self.insert(name, document.clone()) {
                Ok(id) => ids.push(id),
                Err(error @ (StoreError::Duplicate(_) | StoreError::Invalid(_) | StoreError::Limit(_))) if !ids.is_empty() => {
                    return Ok(StoreAnswer::Inserted(ids, Some(error.to_string())));
                }
                Err(error) => return Err(error),
            }
        }
        Ok(StoreAnswer::Inserted(ids, None))
    }

    fn insert(&mut self, name: &str, mut document: Document) -> Result<Value, StoreError> {
        let id = match document.remove(ID) {
            Some(id @ (Value::Array(_) | Value::Null)) => return Err(StoreError::Invalid(format!("an _id is no {}", id.kind()))),
            Some(id) => id,
            None => Value::Text(self.identities.next()),
        };
        document.set_first(ID, id.clone());
        let collection = self.collection_made(name)?;
        let stored = self.stored(&document)?;
        let keys = self.keys(&collection, &document, None)?;
        self.connection.prepare_cached(&format!("INSERT INTO d{} (document) VALUES (?)", collection.number))?.execute([&stored])?;
        let n = self.connection.last_insert_rowid();
        for (index, keys) in collection.indexes.iter().zip(&keys) {
            self.add_keys(index, n, keys.iter())?;
        }
        self.record(name, ChangeKind::Insert, &id, Some(&stored))?;
        Ok(id)
    }

    /// The stored form of a document that may be kept.
    fn stored(&self, document: &Document) -> Result<String, StoreError> {
        document.check().map_err(StoreError::Invalid)?;
        let stored = text::write_document(document);
        let most = self.settings.options.max_document.length();
        if stored.len() > most {
            return Err(StoreError::Limit(format!("a document may have {most} bytes, this one has {}", stored.len())));
        }
        Ok(stored)
    }

    /// The keys of a document in every index; an error when another one has one that is unique.
    fn keys(&mut self, collection: &Collection, document: &Document, own: Option<i64>) -> Result<Vec<Vec<Vec<u8>>>, StoreError> {
        let mut all = Vec::with_capacity(collection.indexes.len());
        for index in &collection.indexes {
            let (keys, lists) = index.keys(document)?;
            if lists && !index.lists {
                index.note_lists(&self.connection)?;
                // Read anew by the next call, so that it knows.
                self.collections.retain(|_, kept| kept.number != collection.number);
            }
            if index.spec.unique {
                self.check_unique(collection, index, &keys, document, own)?;
            }
            all.push(keys);
        }
        Ok(all)
    }

    fn check_unique(
        &self,
        collection: &Collection,
        index: &Index,
        keys: &[Vec<u8>],
        document: &Document,
        own: Option<i64>,
    ) -> Result<(), StoreError> {
        let mut statement = self.connection.prepare_cached(&format!("SELECT n FROM i{} WHERE key = ? AND n <> ? LIMIT 1", index.number))?;
        for key in keys {
            let other: Option<i64> = statement.query_row(params![key, own.unwrap_or(-1)], |row| row.get(0)).optional()?;
            if let Some(other) = other {
                return Err(StoreError::Duplicate(self.describe(collection, index, document, other)?));
            }
        }
        Ok(())
    }

    /// Which index, which values, which other document.
    fn describe(&self, collection: &Collection, index: &Index, document: &Document, other: i64) -> Result<String, StoreError> {
        let value = |path: &crate::store::path::Path| path.plain(document).map_or_else(|| "null".to_owned(), ToString::to_string);
        let values: Vec<String> = index.paths.iter().map(|(path, _)| format!("{path}: {}", value(path))).collect();
        let text = format!("{} {{{}}}", index.spec.name, values.join(", "));
        if index.spec.name == ID_INDEX {
            return Ok(text);
        }
        let other = self.document(collection, other)?;
        Ok(format!("{text}, as in the document {}", other.get(ID).unwrap_or(&Value::Null)))
    }

    fn add_keys<'a>(&self, index: &Index, n: i64, keys: impl Iterator<Item = &'a Vec<u8>>) -> Result<(), StoreError> {
        let mut statement = self.connection.prepare_cached(&format!("INSERT INTO i{} (key, n) VALUES (?, ?)", index.number))?;
        for key in keys {
            statement.execute(params![key, n])?;
        }
        Ok(())
    }

    fn remove_keys<'a>(&self, index: &Index, n: i64, keys: impl Iterator<Item = &'a Vec<u8>>) -> Result<(), StoreError> {
        let mut statement = self.connection.prepare_cached(&format!("DELETE FROM i{} WHERE key = ? AND n = ?", index.number))?;
        for key in keys {
            statement.execute(params![key, n])?;
        }
        Ok(())
    }

    fn record(&mut self, name: &str, kind: ChangeKind, id: &Value, stored: Option<&str>) -> Result<(), StoreError> {
        if self.settings.options.changes > 0 {
            self.fresh.push(changes::record(&self.connection, name, kind, id, stored)?);
        }
        Ok(())
    }

    fn update(&mut self, name: &str, filter: &Document, change: &Change<'_>, many: bool, upsert: bool) -> Result<StoreAnswer, StoreError> {
        let filter = Filter::parse(filter).map_err(StoreError::Invalid)?;
        let (mut matched, mut modified) = (0, 0);
        if let Some(collection) = self.collection(name)? {
            for n in self.find(&collection, &filter, many)? {
                matched += 1;
                modified += u64::from(self.modify(name, &collection, n, change)?);
            }
        }
        let upserted = if matched == 0 && upsert { Some(self.upsert(name, &filter, change)?) } else { None };
        Ok(StoreAnswer::Updated { matched, modified, upserted })
    }

    fn upsert(&mut self, name: &str, filter: &Filter, change: &Change<'_>) -> Result<Value, StoreError> {
        let mut document = seed(filter).map_err(StoreError::Invalid)?;
        match change {
            Change::Operators(update) => update.apply(&mut document, true).map_err(StoreError::Invalid)?,
            Change::Replacement(replacement) => {
                let id = document.remove(ID);
                document = (*replacement).clone();
                if let Some(id) = id.filter(|_| document.get(ID).is_none()) {
                    document.set_first(ID, id);
                }
            }
        }
        self.insert(name, document)
    }

    /// Changes one document; whether it is different now.
    fn modify(&mut self, name: &str, collection: &Collection, n: i64, change: &Change<'_>) -> Result<bool, StoreError> {
        let before = self.document(collection, n)?;
        let id = before.get(ID).cloned().unwrap_or(Value::Null);
        let (mut after, kind) = match change {
            Change::Operators(update) => {
                let mut document = before.clone();
                update.apply(&mut document, false).map_err(StoreError::Invalid)?;
                (document, ChangeKind::Update)
            }
            Change::Replacement(document) => ((*document).clone(), ChangeKind::Replace),
        };
        match after.get(ID) {
            None if kind == ChangeKind::Replace => after.set_first(ID, id.clone()),
            Some(other) if other.same(&id) => {}
            _ => return Err(StoreError::Invalid("the _id of a document never changes".to_owned())),
        }
        let stored = self.stored(&after)?;
        if stored == text::write_document(&before) {
            return Ok(false);
        }
        let old: Vec<Vec<Vec<u8>>> =
            collection.indexes.iter().map(|index| Ok(index.keys(&before)?.0)).collect::<Result<_, StoreError>>()?;
        let new = self.keys(collection, &after, Some(n))?;
        for ((index, old), new) in collection.indexes.iter().zip(&old).zip(&new) {
            self.remove_keys(index, n, old.iter().filter(|key| !new.contains(key)))?;
            self.add_keys(index, n, new.iter().filter(|key| !old.contains(key)))?;
        }
        self.connection
            .prepare_cached(&format!("UPDATE d{} SET document = ? WHERE n = ?", collection.number))?
            .execute(params![stored, n])?;
        self.record(name, kind, &id, Some(&stored))?;
        Ok(true)
    }

    fn delete(&mut self, name: &str, collection: &Collection, n: i64) -> Result<(), StoreError> {
        let document = self.document(collection, n)?;
        for index in &collection.indexes {
            self.remove_keys(index, n, index.keys(&document)?.0.iter())?;
        }
        self.connection.prepare_cached(&format!("DELETE FROM d{} WHERE n = ?", collection.number))?.execute([n])?;
        self.record(name, ChangeKind::Delete, document.get(ID).unwrap_or(&Value::Null), None)
    }

    fn create_index(&mut self, name: &str, spec: &IndexSpec) -> Result<StoreAnswer, StoreError> {
        let spec = completed(spec)?;
        let collection = self.collection_made(name)?;
        if let Some(index) = collection.indexes.iter().find(|index| index.spec.name == spec.name) {
            if index.spec == spec {
                return Ok(StoreAnswer::Done(false));
            }
            return Err(StoreError::Invalid(format!("there is another index named {}; drop it first", spec.name)));
        }
        if collection.indexes.len() > MAX_INDEXES {
            return Err(StoreError::Limit(format!("a collection has at most {MAX_INDEXES} indexes")));
        }
        let mut index = Index::create(&self.connection, collection.number, spec)?;
        self.collections.remove(name);
        for n in self.find(&collection, &Filter::And(Vec::new()), true)? {
            let document = self.document(&collection, n)?;
            let (keys, lists) = index.keys(&document)?;
            if lists && !index.lists {
                index.note_lists(&self.connection)?;
                index.lists = true;
            }
            if index.spec.unique {
                self.check_unique(&collection, &index, &keys, &document, Some(n))?;
            }
            self.add_keys(&index, n, keys.iter())?;
        }
        Ok(StoreAnswer::Done(true))
    }

    fn drop_index(&mut self, name: &str, index: &str) -> Result<StoreAnswer, StoreError> {
        if index == ID_INDEX {
            return Err(StoreError::Invalid("the index on _id stays".to_owned()));
        }
        let Some(collection) = self.collection(name)? else { return Ok(StoreAnswer::Done(false)) };
        let Some(index) = collection.indexes.iter().find(|own| own.spec.name == index) else { return Ok(StoreAnswer::Done(false)) };
        index.remove(&self.connection)?;
        self.collections.remove(name);
        Ok(StoreAnswer::Done(true))
    }
}

/// How a document changes.
enum Change<'a> {
    Operators(&'a Update),
    Replacement(&'a Document),
}

fn data_version(connection: &Connection) -> Result<i64, StoreError> {
    Ok(connection.pragma_query_value(None, "data_version", |row| row.get(0))?)
}

/// An index as it is kept: with a name, and with what its options need.
fn completed(spec: &IndexSpec) -> Result<IndexSpec, StoreError> {
    let mut spec = spec.clone();
    if spec.name.is_empty() {
        let number = |direction: &Direction| if *direction == Direction::Up { "1" } else { "-1" };
        let fields: Vec<String> = spec.fields.iter().map(|(path, direction)| format!("{path}_{}", number(direction))).collect();
        spec.name = fields.join("_");
    }
    if spec.expire_after.is_some() {
        match &mut spec.fields[..] {
            [(_, direction)] => *direction = Direction::Up,
            _ => return Err(StoreError::Invalid("an index that removes documents has one field, with a date".to_owned())),
        }
    }
    Ok(spec)
}
