//! Plain fork, allowed only while the process has a single thread.

use std::fs;
use std::io;

use nix::unistd::{ForkResult, Pid};

/// Which side of the fork this is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Forked {
    /// The process that called; the other one's id.
    Parent(Pid),
    /// The new process.
    Child,
}

/// How many threads this process has, from `/proc/self/task`.
///
/// # Errors
/// `/proc` is not mounted.
pub fn threads() -> io::Result<usize> {
    Ok(fs::read_dir("/proc/self/task")?.count())
}

/// Forks. Both sides return; the child must leave with [`exit_now`] so that it runs no exit handlers of the parent.
///
/// # Errors
/// The process has more than one thread (a lock held by another would stay locked for ever in the child), or the kernel refuses.
/// Where `/proc` is not mounted the count cannot be checked and the caller's promise is relied on.
pub fn fork() -> io::Result<Forked> {
    if let Ok(count) = threads()
        && count != 1
    {
        return Err(io::Error::other(format!("cannot fork: {count} threads run, only a single-threaded process may")));
    }
    // SAFETY: there is one thread, so no lock and no allocator state can be held by somebody who does not exist in the child.
    match unsafe { nix::unistd::fork()? } {
        ForkResult::Parent { child } => Ok(Forked::Parent(child)),
        ForkResult::Child => Ok(Forked::Child),
    }
}

/// Ends the process at once: no exit handlers, no destructors.
pub fn exit_now(code: i32) -> ! {
    // SAFETY: `_exit` is always allowed; it only ends this process.
    unsafe { libc::_exit(code) }
}
