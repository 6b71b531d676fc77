//! A buffer of whole lines and the file, pipe or terminal behind it.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};
use std::path::Path;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::atomic::{AtomicBool, AtomicU64};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{MsgFlags, send};

use super::config::LogFile;

/// A buffer this long is written at once.
const WRITE_AT: usize = 32 << 10;
/// What may wait for a slow reader; lines beyond it are dropped and counted.
const MOST_WAITING: usize = 1 << 20;
/// What a pipe takes in one piece, pipe(7).
const PIPE_BUF: usize = 4096;

/// Whether any sink of this process holds something: [`flush`] costs one load when none does.
static PENDING: AtomicBool = AtomicBool::new(false);
static DROPPED: AtomicU64 = AtomicU64::new(0);
static SINKS: Mutex<Vec<Weak<Sink>>> = Mutex::new(Vec::new());

/// An open log file, shared by all who write to it in this process.
#[derive(Debug)]
pub struct Sink {
    target: LogFile,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    file: File,
    kind: Kind,
    buffer: Vec<u8>,
    dropped: u64,
}

/// What is behind the descriptor decides how it may be written to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// Never blocks for long, appends atomically.
    File,
    /// Opened anew for ourselves, non-blocking.
    Pipe,
    /// A pipe or terminal whose open file others share: asked first whether it would block.
    Shared,
    /// The journal's socket.
    Socket,
}

impl Sink {
    /// Opens a log and remembers it for [`flush`] and [`reopen_all`]. The same file opened twice is one sink.
    ///
    /// # Errors
    /// The file cannot be opened.
    pub fn open(target: &LogFile) -> io::Result<Arc<Sink>> {
        let mut sinks = lock(&SINKS);
        sinks.retain(|sink| sink.strong_count() > 0);
        if let Some(sink) = sinks.iter().filter_map(Weak::upgrade).find(|sink| sink.target == *target) {
            return Ok(sink);
        }
        let file = open_target(target)?;
        let kind = Kind::of(&file)?;
        let state = State { file, kind, buffer: Vec::new(), dropped: 0 };
        let sink = Arc::new(Sink { target: target.clone(), state: Mutex::new(state) });
        sinks.push(Arc::downgrade(&sink));
        Ok(sink)
    }

    /// What it was opened as.
    #[must_use]
    pub fn target(&self) -> LogFile {
        self.target.clone()
    }

    /// Appends one line. `format` is given the buffer to append to and the most bytes the line may have; the line break is added.
    pub fn line(&self, format: impl FnOnce(&mut Vec<u8>, usize)) {
        let mut state = lock(&self.state);
        if state.buffer.len() >= MOST_WAITING {
            state.write();
            if state.buffer.len() >= MOST_WAITING {
                state.dropped += 1;
                DROPPED.fetch_add(1, Relaxed);
                return;
            }
        }
        state.report_dropped();
        let most = if state.kind == Kind::File { usize::MAX } else { PIPE_BUF - 1 };
        let from = state.buffer.len();
        format(&mut state.buffer, most);
        let end = state.buffer.len().min(from.saturating_add(most));
        state.buffer.truncate(end);
        state.buffer.push(b'\n');
        PENDING.store(true, Relaxed);
        if state.buffer.len() >= WRITE_AT {
            state.write();
        }
    }

    /// Writes what waits, as far as it goes without waiting.
    pub fn flush(&self) {
        lock(&self.state).write();
    }

    /// Goes on in another file; what waits is written to the old one first.
    pub fn replace(&self, fd: OwnedFd) {
        let mut state = lock(&self.state);
        state.write();
        let file = File::from(fd);
        // A descriptor that cannot be looked at is written to like a shared one: the careful way.
        state.kind = Kind::of(&file).unwrap_or(Kind::Shared);
        state.file = file;
    }

    fn reopen(&self) -> io::Result<()> {
        if let LogFile::Path(path) = &self.target {
            self.replace(open_file(path)?.into());
        }
        Ok(())
    }
}

impl Drop for Sink {
    fn drop(&mut self) {
        self.flush();
    }
}

impl Kind {
    fn of(file: &File) -> io::Result<Kind> {
        let kind = file.metadata()?.file_type();
        if kind.is_file() {
            return Ok(Kind::File);
        }
        if kind.is_socket() {
            return Ok(Kind::Socket);
        }
        let flags = nix::fcntl::fcntl(file, nix::fcntl::FcntlArg::F_GETFL)?;
        let nonblocking = nix::fcntl::OFlag::from_bits_truncate(flags).contains(nix::fcntl::OFlag::O_NONBLOCK);
        Ok(if nonblocking { Kind::Pipe } else { Kind::Shared })
    }
}

impl State {
    fn write(&mut self) {
        let mut done = 0;
        while done < self.buffer.len() {
            let piece = self.piece(done);
            match self.write_piece(&self.buffer[done..done + piece]) {
                Ok(written) => done += written,
                Err(Errno::EINTR) => {}
                Err(Errno::EAGAIN) => break,
                Err(_) => {
                    // A full disk or a reader that went: these lines have no other place to go. They are counted, and the
                    // count is written once something can be written again.
                    let lost = memchr::memchr_iter(b'\n', &self.buffer[done..]).count() as u64;
                    self.dropped += lost;
                    DROPPED.fetch_add(lost, Relaxed);
                    done = self.buffer.len();
                }
            }
        }
        self.buffer.drain(..done);
        if self.buffer.capacity() > 2 * WRITE_AT && self.buffer.len() < WRITE_AT {
            self.buffer.shrink_to(WRITE_AT);
        }
    }

    /// How much to write in one call: everything to a file; to others as many whole lines as are taken in one piece.
    fn piece(&self, from: usize) -> usize {
        let waiting = &self.buffer[from..];
        if self.kind == Kind::File || waiting.len() <= PIPE_BUF {
            return waiting.len();
        }
        memchr::memrchr(b'\n', &waiting[..PIPE_BUF]).map_or(PIPE_BUF, |at| at + 1)
    }

    fn write_piece(&self, piece: &[u8]) -> Result<usize, Errno> {
        match self.kind {
            Kind::File | Kind::Pipe => nix::unistd::write(&self.file, piece),
            Kind::Socket => send(self.file.as_raw_fd(), piece, MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL),
            Kind::Shared => {
                let mut ready = [PollFd::new(self.file.as_fd(), PollFlags::POLLOUT)];
                if poll(&mut ready, PollTimeout::ZERO)? == 0 {
                    return Err(Errno::EAGAIN);
                }
                nix::unistd::write(&self.file, piece)
            }
        }
    }

    fn report_dropped(&mut self) {
        if self.dropped > 0 && self.buffer.len() < MOST_WAITING / 2 {
            let time = super::clock::iso(super::clock::epoch_ms());
            self.buffer.extend_from_slice(&time);
            let text = format!(" WARN  {} lines were dropped here: the log could not be written fast enough\n", self.dropped);
            self.buffer.extend_from_slice(text.as_bytes());
            self.dropped = 0;
        }
    }
}

/// Writes what all logs of this process hold, without waiting for anybody. The loop calls it before it sleeps.
#[inline]
pub fn flush() {
    if PENDING.load(Relaxed) {
        flush_all();
    }
}

#[cold]
fn flush_all() {
    PENDING.store(false, Relaxed);
    for sink in lock(&SINKS).iter().filter_map(Weak::upgrade) {
        let mut state = lock(&sink.state);
        state.write();
        if !state.buffer.is_empty() {
            PENDING.store(true, Relaxed);
        }
    }
}

/// Opens all logs but `except` again by their names.
///
/// # Errors
/// The first that could not be; it goes on in its old file, the others are opened.
pub fn reopen_all(except: Option<&Arc<Sink>>) -> io::Result<()> {
    let sinks: Vec<Arc<Sink>> = lock(&SINKS).iter().filter_map(Weak::upgrade).collect();
    let mut result = Ok(());
    for sink in sinks.iter().filter(|sink| except.is_none_or(|other| !Arc::ptr_eq(sink, other))) {
        result = result.and(sink.reopen());
    }
    result
}

/// In a forked child: the parent's unwritten lines are not ours.
pub(super) fn forget_buffered() {
    for sink in lock(&SINKS).iter().filter_map(Weak::upgrade) {
        let mut state = lock(&sink.state);
        state.buffer = Vec::new();
        state.dropped = 0;
    }
}

pub(super) fn dropped() -> u64 {
    DROPPED.load(Relaxed)
}

/// A log file, made when it is not there, appended to, readable by its owner and group only.
pub(super) fn open_file(path: &Path) -> io::Result<File> {
    OpenOptions::new()
        .append(true)
        .create(true)
        .mode(0o640)
        // A FIFO without a reader would make this wait.
        .custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY)
        .open(path)
        .map_err(|e| io::Error::new(e.kind(), format!("cannot open the log {}: {e}", path.display())))
}

fn open_target(target: &LogFile) -> io::Result<File> {
    match target {
        LogFile::Path(path) => open_file(path),
        LogFile::Stderr => {
            let own = File::from(io::stderr().as_fd().try_clone_to_owned()?);
            let kind = own.metadata()?.file_type();
            if kind.is_file() || kind.is_socket() {
                return Ok(own);
            }
            // Opened anew, it can be made non-blocking without changing the terminal for whoever started us.
            let anew = OpenOptions::new().append(true).custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY).open("/proc/self/fd/2");
            Ok(anew.unwrap_or(own))
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;

    fn target(directory: &tempfile::TempDir, name: &str) -> LogFile {
        LogFile::Path(directory.path().join(name))
    }

    fn put(sink: &Sink, text: &str) {
        sink.line(|out, _| out.extend_from_slice(text.as_bytes()));
    }

    #[test]
    fn lines_are_written_whole_on_flush_and_to_the_new_file_after_reopening() {
        let directory = tempfile::tempdir().expect("a directory");
        let sink = Sink::open(&target(&directory, "a.log")).expect("opened");
        let path = directory.path().join("a.log");
        put(&sink, "one");
        assert_eq!(std::fs::read_to_string(&path).expect("there"), "");
        sink.flush();
        assert_eq!(std::fs::read_to_string(&path).expect("there"), "one\n");
        std::fs::rename(&path, directory.path().join("a.log.1")).expect("rotated");
        put(&sink, "two");
        sink.reopen().expect("opened again");
        put(&sink, "three");
        sink.flush();
        assert_eq!(std::fs::read_to_string(directory.path().join("a.log.1")).expect("there"), "one\ntwo\n");
        assert_eq!(std::fs::read_to_string(&path).expect("there"), "three\n");
    }

    #[test]
    fn the_same_file_is_one_sink() {
        let directory = tempfile::tempdir().expect("a directory");
        let one = Sink::open(&target(&directory, "same.log")).expect("opened");
        let two = Sink::open(&target(&directory, "same.log")).expect("opened");
        assert!(Arc::ptr_eq(&one, &two));
    }

    #[test]
    fn a_reader_that_does_not_read_costs_lines_but_never_time_and_they_are_counted() {
        let (reader, writer) = nix::unistd::pipe2(nix::fcntl::OFlag::O_NONBLOCK).expect("a pipe");
        let directory = tempfile::tempdir().expect("a directory");
        let sink = Sink::open(&target(&directory, "pipe.log")).expect("opened");
        sink.replace(writer);
        let line = "x".repeat(999);
        for _ in 0..3000 {
            put(&sink, &line);
        }
        let mut text = Vec::new();
        let mut reader = File::from(reader);
        let mut drain = |text: &mut Vec<u8>| match reader.read_to_end(text) {
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => {}
            other => panic!("the pipe ended: {other:?}"),
        };
        for _ in 0..200 {
            drain(&mut text);
            sink.flush();
        }
        put(&sink, "last");
        sink.flush();
        drain(&mut text);
        let text = String::from_utf8(text).expect("ASCII");
        let whole = text.lines().filter(|l| *l == line).count() as u64;
        let told: u64 = text.lines().filter_map(|l| l.split("WARN  ").nth(1)?.split(' ').next()?.parse::<u64>().ok()).sum();
        assert!(told > 0 && text.ends_with("last\n"));
        assert_eq!(whole + told, 3000);
        assert_eq!(text.lines().count() as u64, whole + 2, "no line is torn");
    }

    #[test]
    fn processes_share_a_file_without_tearing_lines() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("shared.log");
        std::thread::scope(|scope| {
            for name in ["a", "b", "c"] {
                let path = &path;
                scope.spawn(move || {
                    let file = open_file(path).expect("opened");
                    let mut state = State { file, kind: Kind::File, buffer: Vec::new(), dropped: 0 };
                    for _ in 0..2000 {
                        state.buffer.extend_from_slice(name.repeat(99).as_bytes());
                        state.buffer.push(b'\n');
                        if state.buffer.len() > 7000 {
                            state.write();
                        }
                    }
                    state.write();
                });
            }
        });
        let text = std::fs::read_to_string(&path).expect("there");
        assert_eq!(text.lines().count(), 6000);
        assert!(text.lines().all(|l| l.len() == 99 && l.bytes().all(|b| b == l.as_bytes()[0])));
    }
}
