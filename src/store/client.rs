//! The store as a process uses it: it reads the file itself and asks one process to write.

use std::cell::Cell;
use std::future::Future;
use std::path::PathBuf;
use std::pin::Pin;
use std::rc::Rc;
use std::time::Duration;

use super::call::{Change, IndexSpec, StoreAnswer, StoreCall, Write};
use super::config::{EmbeddedStore, Sync};
use super::embedded::{Commits, Reader};
use super::value::{Document, Value};
use super::view::FindOptions;
use super::{EmbeddedSettings, StoreError, check_name};

/// The most bytes of one call that writes; what goes between processes is bounded.
const MAX_CALL: usize = 8 << 20;
/// How long to pause after the process that writes was not there.
const PAUSE: Duration = Duration::from_millis(100);

/// An answer to come.
pub type Answering<'a> = Pin<Box<dyn Future<Output = Result<StoreAnswer, StoreError>> + 'a>>;

/// The way to the process that writes.
pub trait Writing {
    /// Asks it; the answer comes when what changed is on disk.
    fn ask(&self, call: StoreCall, limit: Duration) -> Answering<'_>;
}

impl Writing for Rc<Commits> {
    fn ask(&self, call: StoreCall, _: Duration) -> Answering<'_> {
        Box::pin(self.submit(call))
    }
}

/// The store of this machine.
pub struct Store {
    reader: Reader,
    writing: Box<dyn Writing>,
    limit: Duration,
    /// The file is there.
    opened: Cell<bool>,
    /// The directory that goes with this.
    temporary: Option<PathBuf>,
}

impl Drop for Store {
    fn drop(&mut self) {
        if let Some(directory) = self.temporary.take().filter(|_| self.opened.get()) {
            // Nobody reads it any more; what cannot be removed is the business of who cleans that directory.
            let _ = std::fs::remove_dir_all(directory);
        }
    }
}

/// A point in the order of changes, to go on after it: also after a restart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Point {
    /// Of which file.
    pub epoch: u64,
    /// The last change before it.
    pub number: u64,
}

impl Point {
    /// Reads what [`Point`] is shown as.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (epoch, number) = text.split_once('-')?;
        Some(Self { epoch: u64::from_str_radix(epoch, 16).ok()?, number: number.parse().ok()? })
    }
}

impl std::fmt::Display for Point {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:x}-{}", self.epoch, self.number)
    }
}

impl Store {
    /// The store of a file that this process reads and `writing` writes. Nothing happens before the first use.
    #[must_use]
    pub fn new(settings: &EmbeddedSettings, writing: Box<dyn Writing>) -> Rc<Self> {
        let limit = settings.options.timeout.get();
        Rc::new(Self { reader: Reader::new(settings), writing, limit, opened: Cell::new(false), temporary: None })
    }

    /// A store that this process writes itself.
    #[must_use]
    pub fn alone(settings: &EmbeddedSettings) -> Rc<Self> {
        Self::new(settings, Box::new(Commits::new(settings)))
    }

    /// A store that this process writes itself, in a new directory that is removed with the store.
    #[must_use]
    pub fn temporary() -> Rc<Self> {
        let name = format!("skep-store-{}-{:x}", std::process::id(), getrandom::u64().unwrap_or_default());
        let directory = std::env::temp_dir().join(name);
        let options = EmbeddedStore { sync: Sync::Normal, ..EmbeddedStore::default() };
        let settings = EmbeddedSettings { path: directory.join("store.db"), options };
        let (reader, limit) = (Reader::new(&settings), settings.options.timeout.get());
        let writing = Box::new(Commits::new(&settings));
        Rc::new(Self { reader, writing, limit, opened: Cell::new(false), temporary: Some(directory) })
    }

    async fn open(&self) -> Result<(), StoreError> {
        if !self.opened.get() {
            self.writing.ask(StoreCall::Open, self.limit).await?;
            self.opened.set(true);
        }
        Ok(())
    }

    /// Changes a collection; it is on disk then.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn write(&self, collection: &str, write: Write) -> Result<StoreAnswer, StoreError> {
        check_name(collection)?;
        if write.size() > MAX_CALL {
            return Err(StoreError::Limit(format!("one call may write {MAX_CALL} bytes: insert fewer at once")));
        }
        let answer = self.writing.ask(StoreCall::Write { collection: collection.to_owned(), write }, self.limit).await?;
        self.opened.set(true);
        Ok(answer)
    }

    /// The documents that a filter means.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn find(&self, collection: &str, filter: Document, options: FindOptions) -> Result<Vec<Document>, StoreError> {
        check_name(collection)?;
        self.open().await?;
        self.reader.find(collection.to_owned(), filter, options).await
    }

    /// How many documents a filter means.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn count(&self, collection: &str, filter: Document) -> Result<u64, StoreError> {
        check_name(collection)?;
        self.open().await?;
        self.reader.count(collection.to_owned(), filter).await
    }

    /// The different values of a field, in order.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn distinct(&self, collection: &str, path: &str, filter: Document) -> Result<Vec<Value>, StoreError> {
        check_name(collection)?;
        self.open().await?;
        self.reader.distinct(collection.to_owned(), path.to_owned(), filter).await
    }

    /// The indexes of a collection.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn indexes(&self, collection: &str) -> Result<Vec<IndexSpec>, StoreError> {
        check_name(collection)?;
        self.open().await?;
        self.reader.indexes(collection.to_owned()).await
    }

    /// The point after the last change there is.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn now(&self) -> Result<Point, StoreError> {
        self.open().await?;
        let (epoch, number) = self.reader.now().await?;
        Ok(Point { epoch, number })
    }

    /// The changes of a collection after a point, waiting for the first as long as it takes, and the point to go on after. Over restarts of
    /// the process that writes none is lost and none comes twice.
    ///
    /// # Errors
    /// [`StoreError`]; `TooOld` when changes after the point are not kept any more.
    pub async fn changes(&self, collection: &str, after: Point) -> Result<(Vec<Change>, Point), StoreError> {
        check_name(collection)?;
        self.open().await?;
        let mut point = after;
        loop {
            let (changes, number) = self.reader.changes(collection.to_owned(), point.epoch, point.number).await?;
            point.number = number;
            if !changes.is_empty() {
                return Ok((changes, point));
            }
            let waited = self.writing.ask(StoreCall::Wait { after: number }, self.limit.max(PAUSE * 100)).await;
            if waited.is_err() {
                // It is started again meanwhile; what it wrote is in the file.
                crate::reactor::sleep(PAUSE).await;
            }
        }
    }
}
