//! The pid file: who runs, and the lock that lets only one run.
//!
//! The lock (flock(2)) is what counts; the number in the file is for people and scripts. A file whose owner has died is not locked,
//! so it stops nobody.

use std::fmt;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// A held pid file. Dropping it leaves the file: [`PidFile::remove`] takes it away. The lock ends with the last process that has the
/// descriptor open, so a forked child that drops its copy does not unlock it.
#[derive(Debug)]
pub struct PidFile {
    path: PathBuf,
    file: File,
}

/// Why a pid file could not be taken.
#[derive(Debug)]
pub enum PidFileError {
    /// Another instance holds it; its process id as far as the file says.
    Running(Option<i32>),
    /// The file cannot be made or written.
    Io(PathBuf, io::Error),
}

impl fmt::Display for PidFileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            PidFileError::Running(Some(pid)) => write!(f, "already running, process {pid}"),
            PidFileError::Running(None) => write!(f, "already running"),
            PidFileError::Io(path, error) => write!(f, "cannot use the pid file {}: {error}", path.display()),
        }
    }
}

impl std::error::Error for PidFileError {}

impl PidFile {
    /// Takes the file for this process.
    ///
    /// # Errors
    /// Another instance holds it, or it cannot be written.
    pub fn take(path: &Path) -> Result<PidFile, PidFileError> {
        let failed = |error: io::Error| PidFileError::Io(path.to_owned(), error);
        loop {
            let mut file = OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o644).open(path).map_err(failed)?;
            match file.try_lock() {
                Ok(()) => {}
                Err(TryLockError::WouldBlock) => return Err(PidFileError::Running(read_pid(&mut file))),
                Err(TryLockError::Error(error)) => return Err(failed(error)),
            }
            // The instance before may have removed the file between our open and our lock: then this is a file nobody finds.
            let ours = file.metadata().map_err(failed)?;
            if !fs::metadata(path).is_ok_and(|there| there.ino() == ours.ino() && there.dev() == ours.dev()) {
                continue;
            }
            let written = file.set_len(0).and_then(|()| file.rewind()).and_then(|()| writeln!(file, "{}", std::process::id()));
            written.map_err(failed)?;
            return Ok(PidFile { path: path.to_owned(), file });
        }
    }

    /// The process id of the instance that holds the file; `None` when nobody does.
    #[must_use]
    pub fn owner(path: &Path) -> Option<i32> {
        let mut file = File::open(path).ok()?;
        match file.try_lock_shared() {
            Ok(()) => None,
            Err(_) => read_pid(&mut file),
        }
    }

    /// Lets go of the lock and leaves the file to the instance that takes over.
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn hand_over(self) -> io::Result<()> {
        self.file.unlock()
    }

    /// Removes a file that still names this process, which no longer holds it.
    pub fn remove_own(path: &Path) {
        let own = File::open(path).is_ok_and(|mut file| read_pid(&mut file) == i32::try_from(std::process::id()).ok());
        if own && let Err(error) = fs::remove_file(path) {
            crate::log_warn!("cannot remove the pid file {}: {error}", path.display());
        }
    }

    /// Removes the file and lets go of the lock, in this order: nobody can take a file that is about to vanish.
    pub fn remove(self) {
        if let Err(error) = fs::remove_file(&self.path) {
            crate::log_warn!("cannot remove the pid file {}: {error}", self.path.display());
        }
        drop(self.file);
    }
}

fn read_pid(file: &mut File) -> Option<i32> {
    let mut text = String::new();
    file.take(32).read_to_string(&mut text).ok()?;
    text.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_holder_at_a_time_and_a_stale_file_stops_nobody() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("skep.pid");
        fs::write(&path, "999999\n").expect("a stale file");
        assert_eq!(PidFile::owner(&path), None);
        let held = PidFile::take(&path).expect("free");
        let own = i32::try_from(std::process::id()).expect("small");
        assert_eq!(fs::read_to_string(&path).expect("there").trim(), own.to_string());
        assert!(matches!(PidFile::take(&path), Err(PidFileError::Running(Some(pid))) if pid == own));
        assert_eq!(PidFile::owner(&path), Some(own));
        drop(held);
        assert!(path.exists());
        PidFile::take(&path).expect("free again").remove();
        assert!(!path.exists());
    }

    #[test]
    fn a_directory_that_is_not_there_is_named() {
        let error = PidFile::take(Path::new("/no-such-directory/skep.pid")).unwrap_err();
        assert!(error.to_string().contains("/no-such-directory/skep.pid"), "{error}");
    }
}
