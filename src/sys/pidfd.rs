//! A descriptor that becomes readable when a process ends. See pidfd_open(2).

use std::io;
use std::os::fd::{FromRawFd, OwnedFd};

use nix::libc;

/// Opens a descriptor for a child of this process that has not been reaped. Close-on-exec by nature, non-blocking.
///
/// # Errors
/// No such process, or no descriptor left.
pub fn open(pid: u32) -> io::Result<OwnedFd> {
    let pid = libc::pid_t::try_from(pid).map_err(|_| io::Error::from(io::ErrorKind::InvalidInput))?;
    // SAFETY: the call takes two numbers and gives a new descriptor or -1.
    let fd = unsafe { libc::syscall(libc::SYS_pidfd_open, pid, libc::O_NONBLOCK) };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the kernel has just made this descriptor for us alone; descriptors fit an int.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as libc::c_int) })
}
