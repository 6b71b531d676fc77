//! The folders that answers lie in, one of each worker, and what is left in those of workers that are gone.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use nix::fcntl::{Flock, FlockArg};

use crate::log_debug;

/// The folder of one worker.
pub(super) struct Folder {
    path: PathBuf,
    keep: Duration,
    lock: Option<Flock<File>>,
}

impl Drop for Folder {
    fn drop(&mut self) {
        // What the front may still be about to open is left to who comes next.
        self.lock = None;
        remove_abandoned(&self.path, self.keep);
    }
}

impl Folder {
    /// Makes a folder with a name that nobody can guess, in a directory that is made too when it is not there.
    ///
    /// # Errors
    /// It cannot be made.
    pub(super) fn make(directory: &Path, keep: Duration) -> io::Result<Self> {
        // Passed by the front, listed by nobody else.
        match DirBuilder::new().recursive(true).mode(0o711).create(directory) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
            _ => {}
        }
        let path = directory.join(unguessable()?);
        DirBuilder::new().mode(0o711).create(&path)?;
        let lock = Flock::lock(File::open(&path)?, FlockArg::LockExclusiveNonblock).map_err(|(_, error)| error)?;
        Ok(Self { path, keep, lock: Some(lock) })
    }

    /// Makes a file under a name that nobody can guess.
    ///
    /// # Errors
    /// It cannot be made.
    pub(super) fn create(&self) -> io::Result<(File, PathBuf)> {
        let path = self.path.join(unguessable()?);
        // Readable to all who know the name: the front runs as somebody else.
        let file = OpenOptions::new().read(true).write(true).create_new(true).mode(0o644).open(&path)?;
        Ok((file, path))
    }
}

/// Removes the folders of workers that are gone, except what is so young that the front may be about to open it; gives how many files.
pub(super) fn sweep(directory: &Path, keep: Duration) -> u64 {
    let mut removed = 0;
    let Ok(entries) = fs::read_dir(directory) else { return removed };
    for entry in entries.flatten() {
        // Only what has a name of ours: the directory may have been there before us.
        let name = entry.file_name();
        if name.to_str().is_some_and(|name| name.len() == 32 && name.bytes().all(|byte| byte.is_ascii_hexdigit())) {
            removed += remove_abandoned(&entry.path(), keep);
        }
    }
    removed
}

/// Removes old files of a folder that nobody holds, and the folder with the last one.
fn remove_abandoned(folder: &Path, keep: Duration) -> u64 {
    let mut removed = 0;
    let Ok(opened) = File::open(folder) else { return removed };
    let Ok(_lock) = Flock::lock(opened, FlockArg::LockExclusiveNonblock) else { return removed };
    let Ok(entries) = fs::read_dir(folder) else { return removed };
    let now = SystemTime::now();
    for entry in entries.flatten() {
        let age = entry.metadata().and_then(|metadata| metadata.modified()).ok().and_then(|time| now.duration_since(time).ok());
        if age.is_none_or(|age| age < keep) {
            continue;
        }
        match fs::remove_file(entry.path()) {
            Ok(()) => removed += 1,
            Err(error) => log_debug!("{}: {error}", entry.path().display()),
        }
    }
    // Not empty yet: somebody else comes by.
    let _ = fs::remove_dir(folder);
    removed
}

fn unguessable() -> io::Result<String> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).map_err(io::Error::other)?;
    Ok(format!("{:032x}", u128::from_ne_bytes(bytes)))
}
