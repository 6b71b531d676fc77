//! Reading: in every process, beside the one that writes.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use rusqlite::Connection;

use super::catalog::Collection;
use super::changes;
use super::file;
use super::scan::Scan;
use crate::reactor;
use crate::store::call::{Change, IndexSpec};
use crate::store::filter::Filter;
use crate::store::path::Path;
use crate::store::value::{Document, Value};
use crate::store::view::{FindOptions, Projection, Sort};
use crate::store::{EmbeddedSettings, StoreError, key};

/// Reads that run at once in one process; others wait.
const READERS: usize = 4;

/// Reads the file in the background. Clones share everything.
#[derive(Clone)]
pub struct Reader {
    shared: Arc<Shared>,
    turns: (async_channel::Sender<()>, async_channel::Receiver<()>),
}

struct Shared {
    settings: EmbeddedSettings,
    idle: Mutex<Vec<Connection>>,
}

impl Reader {
    /// A reader of a file that exists when the first question comes.
    #[must_use]
    pub fn new(settings: &EmbeddedSettings) -> Self {
        let turns = async_channel::bounded(READERS);
        Self { shared: Arc::new(Shared { settings: settings.clone(), idle: Mutex::default() }), turns }
    }

    async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Connection, &EmbeddedSettings, Instant) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let limit = self.shared.settings.options.timeout.get().min(Duration::from_hours(1));
        let deadline = Instant::now() + limit;
        // The receiver lives as long as this, so that a turn always comes.
        let turn = reactor::timeout(limit, self.turns.0.send(())).await;
        turn.map_err(|_| StoreError::TimedOut)?.map_err(|_| StoreError::TimedOut)?;
        let turn = Turn(self.turns.1.clone());
        let shared = self.shared.clone();
        let result = blocking::unblock(move || {
            let connection = shared.connection()?;
            let result = read(&connection, |connection| work(connection, &shared.settings, deadline));
            if !matches!(result, Err(StoreError::Unavailable(_))) {
                shared.idle.lock().unwrap_or_else(PoisonError::into_inner).push(connection);
            }
            drop(turn);
            result
        });
        result.await
    }

    /// The documents that a filter means.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn find(&self, collection: String, filter: Document, options: FindOptions) -> Result<Vec<Document>, StoreError> {
        let query = Query::parse(&filter, &options)?;
        self.run(move |connection, settings, deadline| {
            let Some(collection) = Collection::load(connection, &collection)? else { return Ok(Vec::new()) };
            query.run(connection, &collection, settings, deadline)
        })
        .await
    }

    /// How many documents a filter means.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn count(&self, collection: String, filter: Document) -> Result<u64, StoreError> {
        let filter = Filter::parse(&filter).map_err(StoreError::Invalid)?;
        self.run(move |connection, _, deadline| {
            let Some(collection) = Collection::load(connection, &collection)? else { return Ok(0) };
            if filter == Filter::And(Vec::new()) {
                let mut statement = connection.prepare_cached(&format!("SELECT count(*) FROM d{}", collection.number))?;
                return Ok(statement.query_row([], |row| row.get::<_, i64>(0))? as u64);
            }
            let mut count = 0;
            Scan::new(connection, &collection, &filter, &Sort(Vec::new()), deadline).run(&mut |_, _| {
                count += 1;
                Ok(true)
            })?;
            Ok(count)
        })
        .await
    }

    /// The different values that a field has in the documents that a filter means, the elements of lists one by one, in order.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn distinct(&self, collection: String, path: String, filter: Document) -> Result<Vec<Value>, StoreError> {
        let path = Path::parse(&path).map_err(StoreError::Invalid)?;
        let filter = Filter::parse(&filter).map_err(StoreError::Invalid)?;
        self.run(move |connection, settings, deadline| {
            let Some(collection) = Collection::load(connection, &collection)? else { return Ok(Vec::new()) };
            let (mut values, mut bytes) = (std::collections::BTreeMap::new(), 0);
            Scan::new(connection, &collection, &filter, &Sort(Vec::new()), deadline).run(&mut |_, document| {
                path.any(&document, &mut |value| {
                    if let Some(value) = value.filter(|value| !matches!(value, Value::Array(_))) {
                        values.entry(key::encode(value)).or_insert_with(|| {
                            bytes += value.size();
                            value.clone()
                        });
                    }
                    false
                });
                within(bytes, settings)?;
                Ok(true)
            })?;
            Ok(values.into_values().collect())
        })
        .await
    }

    /// The indexes of a collection.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn indexes(&self, collection: String) -> Result<Vec<IndexSpec>, StoreError> {
        self.run(move |connection, _, _| {
            let collection = Collection::load(connection, &collection)?;
            Ok(collection.map(|collection| collection.indexes.into_iter().map(|index| index.spec).collect()).unwrap_or_default())
        })
        .await
    }

    /// The epoch of the file and the number of its last change: the point after which everything is new.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn now(&self) -> Result<(u64, u64), StoreError> {
        self.run(|connection, _, _| Ok((changes::epoch(connection)?, changes::last(connection)?))).await
    }

    /// Changes of a collection after a point, and the number to go on after.
    ///
    /// # Errors
    /// [`StoreError`]; `TooOld` when the point is not known any more.
    pub async fn changes(&self, collection: String, epoch: u64, after: u64) -> Result<(Vec<Change>, u64), StoreError> {
        self.run(move |connection, _, _| {
            if changes::epoch(connection)? != epoch {
                return Err(StoreError::TooOld);
            }
            changes::after(connection, &collection, after)
        })
        .await
    }
}

impl Shared {
    fn connection(&self) -> Result<Connection, StoreError> {
        let idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
        idle.map_or_else(|| file::open_reader(&self.settings.path), Ok)
    }
}

/// Everything that is read is of one moment.
fn read<T>(connection: &Connection, work: impl FnOnce(&Connection) -> Result<T, StoreError>) -> Result<T, StoreError> {
    connection.prepare_cached("BEGIN")?.execute([])?;
    let result = work(connection);
    connection.prepare_cached("COMMIT")?.execute([])?;
    result
}

/// A place among those who read at once.
struct Turn(async_channel::Receiver<()>);

impl Drop for Turn {
    fn drop(&mut self) {
        // There is one for each turn.
        let _ = self.0.try_recv();
    }
}

/// A question as understood.
struct Query {
    filter: Filter,
    sort: Sort,
    skip: usize,
    limit: Option<usize>,
    fields: Option<Projection>,
}

/// A document that was found: its place in the order, and its size.
struct Found {
    key: Vec<u8>,
    n: i64,
    document: Document,
    size: usize,
}

impl Query {
    fn parse(filter: &Document, options: &FindOptions) -> Result<Self, StoreError> {
        let parse = || {
            Ok(Self {
                filter: Filter::parse(filter)?,
                sort: Sort::parse(&options.sort)?,
                skip: usize::try_from(options.skip).unwrap_or(usize::MAX),
                limit: options.limit.map(|limit| usize::try_from(limit).unwrap_or(usize::MAX)),
                fields: options.fields.as_ref().map(Projection::parse).transpose()?,
            })
        };
        parse().map_err(StoreError::Invalid)
    }

    fn run(
        &self,
        connection: &Connection,
        collection: &Collection,
        settings: &EmbeddedSettings,
        deadline: Instant,
    ) -> Result<Vec<Document>, StoreError> {
        let scan = Scan::new(connection, collection, &self.filter, &self.sort, deadline);
        let found = if scan.plan.ordered || self.sort.0.is_empty() { self.stream(&scan, settings)? } else { self.sorted(&scan, settings)? };
        Ok(match &self.fields {
            Some(fields) => found.into_iter().map(|document| fields.apply(document)).collect(),
            None => found,
        })
    }

    /// As they come.
    fn stream(&self, scan: &Scan<'_>, settings: &EmbeddedSettings) -> Result<Vec<Document>, StoreError> {
        let (mut found, mut skipped, mut bytes) = (Vec::new(), 0, 0);
        if self.limit == Some(0) {
            return Ok(found);
        }
        scan.run(&mut |_, document| {
            if skipped < self.skip {
                skipped += 1;
                return Ok(true);
            }
            bytes += document.size();
            within(bytes, settings)?;
            found.push(document);
            Ok(self.limit.is_none_or(|limit| found.len() < limit))
        })?;
        Ok(found)
    }

    /// All of them, of which the first are kept.
    fn sorted(&self, scan: &Scan<'_>, settings: &EmbeddedSettings) -> Result<Vec<Document>, StoreError> {
        let most = self.limit.map_or(usize::MAX, |limit| limit.saturating_add(self.skip));
        let (mut found, mut bytes): (Vec<Found>, usize) = (Vec::new(), 0);
        let put_in_order = |found: &mut Vec<Found>, bytes: &mut usize| {
            found.sort_by(|a, b| {
                let ties = if scan.ties == key::Direction::Up { a.n.cmp(&b.n) } else { b.n.cmp(&a.n) };
                a.key.cmp(&b.key).then(ties)
            });
            *bytes -= found.drain(most.min(found.len())..).map(|found| found.size).sum::<usize>();
        };
        scan.run(&mut |n, document| {
            let size = document.size();
            found.push(Found { key: self.sort.key(&document), n, document, size });
            bytes += size;
            if found.len() >= most.saturating_mul(2).max(64) || bytes > settings.options.max_result.length() {
                put_in_order(&mut found, &mut bytes);
            }
            within(bytes, settings)?;
            Ok(true)
        })?;
        put_in_order(&mut found, &mut bytes);
        Ok(found.into_iter().skip(self.skip).map(|found| found.document).collect())
    }
}

fn within(bytes: usize, settings: &EmbeddedSettings) -> Result<(), StoreError> {
    let most = settings.options.max_result.length();
    if bytes > most {
        return Err(StoreError::Limit(format!("the answer would have more than {most} bytes: ask for less, with `limit`")));
    }
    Ok(())
}
