//! What a worker asks the hub of the store, and what it answers. Reading needs no question: every process reads the file itself.

use serde::{Deserialize, Serialize};

use super::value::{Document, Value};
use super::view::Fields;

/// A question to the process that writes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum StoreCall {
    /// Makes the file if there is none. → [`StoreAnswer::Done`].
    Open,
    /// Changes a collection.
    Write {
        /// Its name.
        collection: String,
        /// What to do.
        write: Write,
    },
    /// Waits until a change after this number is on disk, for at most half a minute. → [`StoreAnswer::Changed`].
    Wait {
        /// The last change that is known.
        after: u64,
    },
}

/// A change of a collection.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Write {
    /// Adds documents, one after the other until one cannot be added. → [`StoreAnswer::Inserted`].
    Insert(Vec<Document>),
    /// Changes documents by operators, all or none. → [`StoreAnswer::Updated`].
    Update {
        /// Which.
        filter: Document,
        /// The operators.
        update: Document,
        /// All of them, not only the first.
        many: bool,
        /// Inserts one if there is none.
        upsert: bool,
    },
    /// Puts a document in the place of the first that is meant. → [`StoreAnswer::Updated`].
    Replace {
        /// Which.
        filter: Document,
        /// What is there then; it keeps the `_id`.
        document: Document,
        /// Inserts it if there is none.
        upsert: bool,
    },
    /// Removes documents. → [`StoreAnswer::Deleted`].
    Delete {
        /// Which.
        filter: Document,
        /// All of them, not only the first.
        many: bool,
    },
    /// Makes an index. → [`StoreAnswer::Done`]: whether it was not there.
    CreateIndex(IndexSpec),
    /// Removes the index of this name. → [`StoreAnswer::Done`]: whether there was one.
    DropIndex(String),
    /// Removes the collection with its indexes. → [`StoreAnswer::Done`]: whether there was one.
    Drop,
}

impl Write {
    /// About how many bytes it takes.
    #[must_use]
    pub fn size(&self) -> usize {
        match self {
            Self::Insert(documents) => documents.iter().map(Document::size).sum(),
            Self::Update { filter, update, .. } => filter.size() + update.size(),
            Self::Replace { filter, document, .. } => filter.size() + document.size(),
            Self::Delete { filter, .. } => filter.size(),
            Self::CreateIndex(_) | Self::DropIndex(_) | Self::Drop => 0,
        }
    }
}

/// An index as it is asked for.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct IndexSpec {
    /// Its name; empty: made of its fields, `room_1_at_-1`.
    pub name: String,
    /// The fields, the first the most important.
    pub fields: Fields,
    /// No two documents have the same values.
    pub unique: bool,
    /// A document is removed this many seconds after the date in the field.
    pub expire_after: Option<u64>,
}

/// An answer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum StoreAnswer {
    /// Whether it had an effect.
    Done(bool),
    /// The `_id`s in order; fewer than were asked for when one could not be added, and why.
    Inserted(Vec<Value>, Option<String>),
    /// What an update did.
    Updated {
        /// Documents that were meant.
        matched: u64,
        /// Documents that are different now.
        modified: u64,
        /// The `_id` of the one that was inserted.
        upserted: Option<Value>,
    },
    /// How many documents are gone.
    Deleted(u64),
    /// The number of the last change on disk.
    Changed(u64),
}

/// What happened to a document.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChangeKind {
    /// It is new.
    Insert,
    /// Operators changed it.
    Update,
    /// Another took its place.
    Replace,
    /// It is gone, by a call or because its time was over.
    Delete,
    /// The whole collection is gone.
    Drop,
}

impl ChangeKind {
    /// Its name for scripts, which is MongoDB's.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Insert => "insert",
            Self::Update => "update",
            Self::Replace => "replace",
            Self::Delete => "delete",
            Self::Drop => "drop",
        }
    }

    /// The kind of this name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        [Self::Insert, Self::Update, Self::Replace, Self::Delete, Self::Drop].into_iter().find(|kind| kind.name() == name)
    }
}

/// One change of a collection.
#[derive(Clone, Debug, PartialEq)]
pub struct Change {
    /// The place in the order of all changes.
    pub number: u64,
    /// What happened.
    pub kind: ChangeKind,
    /// The `_id` of the document; null for the whole collection.
    pub id: Value,
    /// The document as it was then; none of one that is gone.
    pub document: Option<Document>,
}
