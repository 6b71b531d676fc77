//! Opening the file.

use std::fs;
use std::path::Path;
use std::time::Duration;

use rusqlite::limits::Limit;
use rusqlite::{Connection, OpenFlags};

use crate::store::StoreError;
use crate::store::config::Sync;

/// What the file says of itself, so that it is not taken for another program's: "skep".
const APPLICATION: i64 = 0x736B_6570;
/// The version of the tables.
const VERSION: i64 = 1;
/// How long to wait for another process, which holds the file only for moments.
const BUSY: Duration = Duration::from_secs(5);
/// What the log of SQLite is cut to after it was used up, bytes.
const WAL_BYTES: i64 = 64 << 20;
/// Statements that are kept prepared.
const STATEMENTS: usize = 256;

const TABLES: &str = "
    CREATE TABLE meta (name TEXT PRIMARY KEY, value) WITHOUT ROWID;
    CREATE TABLE collections (number INTEGER PRIMARY KEY AUTOINCREMENT, name TEXT NOT NULL UNIQUE);
    CREATE TABLE indexes (
        number INTEGER PRIMARY KEY AUTOINCREMENT, collection INTEGER NOT NULL, name TEXT NOT NULL, fields TEXT NOT NULL,
        is_unique INTEGER NOT NULL, expire_after INTEGER, lists INTEGER NOT NULL, UNIQUE (collection, name)
    );
    CREATE TABLE changes (
        number INTEGER PRIMARY KEY AUTOINCREMENT, collection TEXT NOT NULL, kind TEXT NOT NULL, id TEXT NOT NULL, document TEXT
    );
";

/// Opens the file to write, and makes it when there is none.
pub(super) fn open_writer(path: &Path, sync: Sync) -> Result<Connection, StoreError> {
    if let Some(directory) = path.parent() {
        fs::create_dir_all(directory)
            .map_err(|error| StoreError::Unavailable(format!("{} cannot be made: {error}", directory.display())))?;
    }
    let connection = open(path, OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE)?;
    prepare(&connection, sync).map_err(|error| unusable(path, &error))?;
    check(path, &connection)?;
    Ok(connection)
}

/// Opens the file to read.
pub(super) fn open_reader(path: &Path) -> Result<Connection, StoreError> {
    // A reader takes part in the bookkeeping of the log beside the file, which needs the right to write; `query_only` keeps it from more.
    let connection = open(path, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
    connection.pragma_update(None, "query_only", true).map_err(|error| unusable(path, &error))?;
    Ok(connection)
}

fn open(path: &Path, flags: OpenFlags) -> Result<Connection, StoreError> {
    let flags = flags | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags).map_err(|error| unusable(path, &error))?;
    connection.busy_timeout(BUSY).map_err(|error| unusable(path, &error))?;
    connection.set_prepared_statement_cache_capacity(STATEMENTS);
    // Nothing is attached, and the file is not trusted to have honest triggers.
    connection.set_limit(Limit::SQLITE_LIMIT_ATTACHED, 0).map_err(|error| unusable(path, &error))?;
    connection.pragma_update(None, "trusted_schema", false).map_err(|error| unusable(path, &error))?;
    Ok(connection)
}

fn prepare(connection: &Connection, sync: Sync) -> rusqlite::Result<()> {
    connection.pragma_update(None, "journal_mode", "wal")?;
    connection.pragma_update(None, "synchronous", if sync == Sync::Full { "full" } else { "normal" })?;
    connection.pragma_update(None, "journal_size_limit", WAL_BYTES)?;
    connection.pragma_update(None, "temp_store", "memory")
}

fn check(path: &Path, connection: &Connection) -> Result<(), StoreError> {
    let number = |name: &str| connection.pragma_query_value(None, name, |row| row.get::<_, i64>(0)).map_err(|error| unusable(path, &error));
    match (number("application_id")?, number("user_version")?) {
        (APPLICATION, VERSION) => Ok(()),
        (APPLICATION, version) => {
            Err(StoreError::Unavailable(format!("{} is of version {version}, this program knows {VERSION}", path.display())))
        }
        (0, 0) if number("schema_version")? == 0 => make(connection).map_err(|error| unusable(path, &error)),
        _ => Err(StoreError::Unavailable(format!("{} is a database of another program", path.display()))),
    }
}

fn make(connection: &Connection) -> rusqlite::Result<()> {
    let epoch = getrandom::u64().unwrap_or_default() >> 1;
    connection.execute_batch(&format!(
        "BEGIN IMMEDIATE; {TABLES} INSERT INTO meta VALUES ('epoch', {epoch});
         PRAGMA application_id = {APPLICATION}; PRAGMA user_version = {VERSION}; COMMIT;"
    ))
}

fn unusable(path: &Path, error: &rusqlite::Error) -> StoreError {
    StoreError::Unavailable(format!("{}: {error}", path.display()))
}
