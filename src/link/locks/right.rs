//! The right to grant locks, which one instance on a data directory has at a time.
//!
//! It is a lock of flock(2) on the data directory. Such a lock belongs to the open file, not to a process: the master opens the directory before
//! its first fork, and every process of the instance has the same open file. The hub takes the lock; it stands until the last of them all has
//! ended, whoever was killed before. So another instance grants nothing while a worker lives that may have told somebody of a lock, and a hub
//! that takes the place of another finds the right where that one left it.

use std::fs::{File, TryLockError};
use std::io;
use std::path::Path;
use std::sync::Arc;

/// The open file that the right goes with. What it is cloned to, in this process or a forked one, keeps the right as well.
#[derive(Clone, Debug)]
pub struct Right(Result<Arc<File>, Failure>);

/// Why the directory could not be opened.
#[derive(Clone, Debug)]
struct Failure {
    kind: io::ErrorKind,
    text: Arc<str>,
}

impl Right {
    /// For one more instance on a data directory. Where it cannot be opened there are no locks, which is said when somebody wants one.
    #[must_use]
    pub fn open(directory: &Path) -> Self {
        // Close-on-exec, as the standard library opens everything: programs that are started do not keep it.
        let opened = File::open(directory).map(Arc::new);
        Self(opened.map_err(|error| Failure { kind: error.kind(), text: error.to_string().into() }))
    }

    /// Takes the right, unless another instance has it. Who has it already has it once more.
    ///
    /// # Errors
    /// The directory could not be opened at the start, or cannot be locked.
    pub fn take(&self) -> io::Result<bool> {
        let file = self.0.as_ref().map_err(|failure| io::Error::new(failure.kind, &*failure.text))?;
        match file.try_lock() {
            Ok(()) => Ok(true),
            Err(TryLockError::WouldBlock) => Ok(false),
            Err(TryLockError::Error(error)) => Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_instance_has_it_until_the_last_of_its_processes_has_ended() {
        let folder = tempfile::tempdir().unwrap();
        let (master, other) = (Right::open(folder.path()), Right::open(folder.path()));
        let (hub, worker) = (master.clone(), master.clone());
        assert!(hub.take().unwrap());
        assert!(!other.take().unwrap());
        drop(hub);
        let next_hub = master.clone();
        assert!(next_hub.take().unwrap(), "it is the instance's");
        drop((next_hub, master));
        assert!(!other.take().unwrap(), "a worker may have told somebody of a lock");
        drop(worker);
        assert!(other.take().unwrap());
    }

    #[test]
    fn without_a_directory_it_is_said_why() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(Right::open(&folder.path().join("none")).take().unwrap_err().kind(), io::ErrorKind::NotFound);
    }
}
