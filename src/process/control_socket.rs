//! The unix socket over which commands reach the master: where it is, and how to bind and reach it however long its path is.
//!
//! A unix socket's path is at most 107 bytes (unix(7)); a directory may be deeper. So both sides go through a descriptor of the
//! directory: `/proc/self/fd/N/control.sock` is short.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

use nix::sys::stat::{Mode, umask};

/// Its name in the run directory.
pub const NAME: &str = "control.sock";
/// The longest command line that is read, bytes.
pub const LONGEST_LINE: usize = 64 << 10;

/// Binds the socket, for the owner only. A socket of an instance that has gone is replaced: the pid file's lock is held, so nobody
/// else can be serving it.
///
/// # Errors
/// The directory cannot be opened or written.
pub fn bind(run: &Path) -> io::Result<UnixListener> {
    let (_directory, path) = short_path(run)?;
    if let Err(error) = fs::remove_file(&path)
        && error.kind() != io::ErrorKind::NotFound
    {
        return Err(error);
    }
    // The mode must be right from the first moment, so it cannot be set afterwards. One thread: the mask is nobody else's.
    let before = umask(Mode::S_IXUSR | Mode::S_IRWXG | Mode::S_IRWXO);
    let bound = UnixListener::bind(&path);
    umask(before);
    let listener = bound?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}

/// Connects to the master whose run directory this is.
///
/// # Errors
/// `NotFound` or `ConnectionRefused` when nobody runs; `PermissionDenied` for another user.
pub fn connect(run: &Path) -> io::Result<UnixStream> {
    let (_directory, path) = short_path(run)?;
    UnixStream::connect(path)
}

/// Removes the socket's file.
///
/// # Errors
/// It is not there, or the directory cannot be written.
pub fn remove(run: &Path) -> io::Result<()> {
    fs::remove_file(run.join(NAME))
}

fn short_path(run: &Path) -> io::Result<(File, PathBuf)> {
    let directory = OpenOptions::new().read(true).custom_flags(libc::O_PATH | libc::O_DIRECTORY).open(run)?;
    let path = run.join(NAME);
    if path.as_os_str().len() < 100 {
        return Ok((directory, path));
    }
    let path = PathBuf::from(format!("/proc/self/fd/{}/{NAME}", directory.as_raw_fd()));
    Ok((directory, path))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn reached_also_where_the_path_is_long_and_only_by_the_owner() {
        let directory = tempfile::tempdir().expect("a directory");
        let run = directory.path().join("d".repeat(120));
        fs::create_dir(&run).expect("made");
        assert_eq!(connect(&run).unwrap_err().kind(), io::ErrorKind::NotFound);
        let listener = bind(&run).expect("bound");
        connect(&run).expect("reached");
        assert_eq!(fs::metadata(run.join(NAME)).expect("there").permissions().mode() & 0o777, 0o600);
        drop(listener);
        assert_eq!(connect(&run).unwrap_err().kind(), io::ErrorKind::ConnectionRefused);
        bind(&run).expect("bound over the stale one");
        remove(&run).expect("removed");
    }
}
