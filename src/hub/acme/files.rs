//! What is kept in the data directory: written whole or not at all, for its owner alone.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};

use super::error::AcmeError;

/// The right to order one certificate, which one process has: during an upgrade there are two hubs. The kernel takes it back from who has ended.
pub(super) struct Turn(#[expect(dead_code, reason = "it is the lock that counts, which ends with this")] Flock<File>);

/// Takes the right to order; `None` while another process has it.
pub(super) async fn turn(path: PathBuf) -> Result<Option<Turn>, AcmeError> {
    let shown = path.display().to_string();
    blocking::unblock(move || turn_now(&path)).await.map_err(|error| AcmeError::Files(error, shown))
}

fn turn_now(path: &Path) -> io::Result<Option<Turn>> {
    make_directory(path)?;
    let file = OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).custom_flags(libc::O_NOFOLLOW).open(path)?;
    match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
        Ok(lock) => Ok(Some(Turn(lock))),
        Err((_, Errno::EWOULDBLOCK)) => Ok(None),
        Err((_, error)) => Err(error.into()),
    }
}

/// Takes a file away, if it is there.
pub(super) async fn remove(path: PathBuf) -> Result<(), AcmeError> {
    let shown = path.display().to_string();
    blocking::unblock(move || remove_now(&path)).await.map_err(|error| AcmeError::Files(error, shown))
}

fn remove_now(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

fn make_directory(of: &Path) -> io::Result<&Path> {
    let directory = of.parent().ok_or(io::ErrorKind::InvalidInput)?;
    DirBuilder::new().recursive(true).mode(0o700).create(directory)?;
    Ok(directory)
}

/// The bytes of a file; `None` when there is none.
pub(super) async fn read(path: PathBuf) -> Result<Option<Vec<u8>>, AcmeError> {
    let shown = path.display().to_string();
    let read = blocking::unblock(move || match fs::read(path) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    });
    read.await.map_err(|error| AcmeError::Files(error, shown))
}

/// Writes a file beside its place and puts it there.
pub(super) async fn write(path: PathBuf, bytes: Vec<u8>) -> Result<(), AcmeError> {
    let shown = path.display().to_string();
    blocking::unblock(move || write_now(&path, &bytes)).await.map_err(|error| AcmeError::Files(error, shown))
}

fn write_now(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let directory = make_directory(path)?;
    let beside = path.with_extension("new");
    // One that was left half written has no use.
    remove_now(&beside)?;
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&beside)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(&beside, path)?;
    File::open(directory)?.sync_all()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn one_has_its_turn_at_a_time() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("acme/one.lock");
        let turn = turn_now(&path).unwrap();
        assert!(turn.is_some() && turn_now(&path).unwrap().is_none());
        drop(turn);
        assert!(turn_now(&path).unwrap().is_some());
    }

    #[test]
    fn a_file_is_its_owners_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("acme/one.pem");
        for text in ["first", "second"] {
            write_now(&path, text.as_bytes()).unwrap();
            assert_eq!(fs::read(&path).unwrap(), text.as_bytes());
        }
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(&path), mode(path.parent().unwrap())), (0o600, 0o700));
        assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 1);
    }
}
