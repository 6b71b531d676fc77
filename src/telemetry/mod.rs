//! Logs: levels, text or JSON lines, access logs.
//!
//! Every process appends whole lines to a buffer of its own and writes it with one call: when the loop is about to sleep
//! ([`flush`]), when the buffer is long, and at once for an error. Files are opened to append, so processes share one and no
//! line is torn. A pipe or terminal gets at most `PIPE_BUF` bytes at a time and is never waited for.
//!
//! ```ignore
//! log_info!("listens on {address}");
//! log_warn!(request = id, app = name; "took {micros} µs");
//! ```

pub mod access;
pub mod clock;
pub mod config;
mod escape;
mod line;
mod panics;
mod sink;

pub use access::{AccessLog, Record};
pub use config::Level;
pub use panics::install_panic_hook;
pub use sink::{Sink, flush, reopen_all};

use std::cell::Cell;
use std::fmt;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::atomic::AtomicU8;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex, PoisonError};

use config::{Log, LogFile, LogFormat};

/// The least important level that is written, as a number; read before anything is formatted.
static LEVEL: AtomicU8 = AtomicU8::new(Level::Info as u8);
static LOGGER: Mutex<Option<Logger>> = Mutex::new(None);

/// Where the lines of this process go, and how they look.
struct Logger {
    sink: Arc<Sink>,
    format: LogFormat,
    process: String,
}

/// What a line says beside its text.
#[derive(Clone, Copy, Debug, Default)]
pub struct Fields<'a> {
    /// The request it is about.
    pub request: Option<&'a str>,
    /// The application it comes from.
    pub app: Option<&'a str>,
}

/// Opens the log and takes it into use, under the name of the process that writes (`"master"`, `"worker 3"`). Called again with
/// another configuration, it changes over; the sink is kept while the file is the same.
///
/// # Errors
/// The file cannot be opened; the log stays as it was.
pub fn init(log: &Log, process: &str) -> io::Result<()> {
    let mut logger = LOGGER.lock().unwrap_or_else(PoisonError::into_inner);
    let kept = logger.as_ref().map(|l| l.sink.clone()).filter(|sink| sink.target() == log.file);
    let sink = match kept {
        Some(sink) => sink,
        None => Sink::open(&log.file)?,
    };
    LEVEL.store(log.level as u8, Relaxed);
    *logger = Some(Logger { sink, format: log.format, process: process.to_owned() });
    Ok(())
}

/// Changes level and format; where the lines go stays as it is (the master sends a child another file with `ReopenLogs`).
pub fn configure(log: &Log) {
    LEVEL.store(log.level as u8, Relaxed);
    if let Some(logger) = &mut *LOGGER.lock().unwrap_or_else(PoisonError::into_inner) {
        logger.format = log.format;
    }
}

/// In a forked child: a new name; what the parent had not written yet stays the parent's to write.
pub fn after_fork(process: &str) {
    sink::forget_buffered();
    if let Some(logger) = &mut *LOGGER.lock().unwrap_or_else(PoisonError::into_inner) {
        process.clone_into(&mut logger.process);
    }
}

/// Changes over to the log file `fd`, opened anew by the master (a child may not be allowed to); access logs are opened again by
/// their names. `None`: the log is stderr, only the access logs are opened.
///
/// # Errors
/// An access log cannot be opened again; it goes on in the old file.
pub fn reopen(fd: Option<OwnedFd>) -> io::Result<()> {
    let own = LOGGER.lock().unwrap_or_else(PoisonError::into_inner).as_ref().map(|l| l.sink.clone());
    if let (Some(sink), Some(fd)) = (&own, fd) {
        sink.replace(fd);
    }
    reopen_all(own.as_ref())
}

/// The log file opened anew, for the master to use itself and to send to its children; `None` when the log is stderr.
///
/// # Errors
/// The file cannot be opened.
pub fn open_again() -> io::Result<Option<OwnedFd>> {
    let target = LOGGER.lock().unwrap_or_else(PoisonError::into_inner).as_ref().map(|l| l.sink.target());
    match target {
        Some(LogFile::Path(path)) => Ok(Some(sink::open_file(&path)?.into())),
        Some(LogFile::Stderr) | None => Ok(None),
    }
}

/// Whether lines of this level are written.
#[inline]
#[must_use]
pub fn enabled(level: Level) -> bool {
    level as u8 <= LEVEL.load(Relaxed)
}

/// How many lines this process had to drop because the reader of a pipe was too slow or the disk was full.
#[must_use]
pub fn dropped_lines() -> u64 {
    sink::dropped()
}

/// Writes one line. Use the macros: they format only what is written.
pub fn write(level: Level, fields: Fields<'_>, text: fmt::Arguments<'_>) {
    let text = line::bounded(text);
    let Some(_writing) = Writing::begin() else {
        // A fault in the log itself is being reported.
        let _ = io::Write::write_fmt(&mut io::stderr(), format_args!("skep: {text}\n"));
        return;
    };
    let logger = LOGGER.lock().unwrap_or_else(PoisonError::into_inner);
    let Some(logger) = &*logger else {
        // Before `init` (a command that only talks to the user): straight to the terminal. Nobody is left to tell of a failure.
        let _ = io::Write::write_fmt(&mut io::stderr(), format_args!("skep: {text}\n"));
        return;
    };
    line::append(&logger.sink, logger.format, &logger.process, level, fields, &text);
    if level == Level::Error {
        logger.sink.flush();
    }
}

thread_local! {
    static WRITING: Cell<bool> = const { Cell::new(false) };
}

/// Held while this thread writes a line: a panic in there must not wait for the lock that the same thread holds.
struct Writing;

impl Writing {
    fn begin() -> Option<Writing> {
        (!WRITING.replace(true)).then_some(Writing)
    }
}

impl Drop for Writing {
    fn drop(&mut self) {
        WRITING.set(false);
    }
}

/// Logs at a level: `log_at!(level, "…")` or `log_at!(level, request = id, app = name; "…")`; either field may be left out.
#[macro_export]
macro_rules! log_at {
    ($level:expr, request = $request:expr, app = $app:expr; $($text:tt)+) => {
        $crate::log_at!(@ $level, $crate::telemetry::Fields { request: Some($request), app: Some($app) }, $($text)+)
    };
    ($level:expr, request = $request:expr; $($text:tt)+) => {
        $crate::log_at!(@ $level, $crate::telemetry::Fields { request: Some($request), app: None }, $($text)+)
    };
    ($level:expr, app = $app:expr; $($text:tt)+) => {
        $crate::log_at!(@ $level, $crate::telemetry::Fields { request: None, app: Some($app) }, $($text)+)
    };
    (@ $level:expr, $fields:expr, $($text:tt)+) => {
        if $crate::telemetry::enabled($level) {
            $crate::telemetry::write($level, $fields, format_args!($($text)+));
        }
    };
    ($level:expr, $($text:tt)+) => {
        $crate::log_at!(@ $level, $crate::telemetry::Fields::default(), $($text)+)
    };
}

/// Something failed and somebody should look.
#[macro_export]
macro_rules! log_error { ($($all:tt)+) => { $crate::log_at!($crate::telemetry::Level::Error, $($all)+) }; }

/// Something is not as it should be, and the work goes on.
#[macro_export]
macro_rules! log_warn { ($($all:tt)+) => { $crate::log_at!($crate::telemetry::Level::Warn, $($all)+) }; }

/// What happened.
#[macro_export]
macro_rules! log_info { ($($all:tt)+) => { $crate::log_at!($crate::telemetry::Level::Info, $($all)+) }; }

/// How it happened.
#[macro_export]
macro_rules! log_debug { ($($all:tt)+) => { $crate::log_at!($crate::telemetry::Level::Debug, $($all)+) }; }

/// Every step.
#[macro_export]
macro_rules! log_trace { ($($all:tt)+) => { $crate::log_at!($crate::telemetry::Level::Trace, $($all)+) }; }
