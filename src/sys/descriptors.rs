//! Descriptors that come from elsewhere: in a message, or inherited over exec.

use std::collections::VecDeque;
use std::io::{self, IoSliceMut};
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

use nix::fcntl::{FcntlArg, FdFlag, OFlag, fcntl};
use nix::sys::socket::{ControlMessageOwned, MsgFlags, recvmsg};

use super::channel::MAX_FDS;

/// Reads once from a unix stream socket; descriptors that came along are appended to `fds`, close-on-exec. Returns the bytes read.
///
/// # Errors
/// As recvmsg(2); `InvalidData` when the kernel had to drop descriptors for lack of room.
pub fn receive(socket: BorrowedFd<'_>, buffer: IoSliceMut<'_>, fds: &mut VecDeque<OwnedFd>) -> io::Result<usize> {
    let mut space = nix::cmsg_space!([RawFd; MAX_FDS]);
    let mut buffers = [buffer];
    let flags = MsgFlags::MSG_CMSG_CLOEXEC | MsgFlags::MSG_DONTWAIT;
    let message = recvmsg::<()>(socket.as_raw_fd(), &mut buffers, Some(&mut space), flags)?;
    for control in message.cmsgs()? {
        if let ControlMessageOwned::ScmRights(received) = control {
            for raw in received {
                // SAFETY: the kernel has just made this descriptor for us alone; nobody else knows its number.
                fds.push_back(unsafe { OwnedFd::from_raw_fd(raw) });
            }
        }
    }
    if message.flags.contains(MsgFlags::MSG_CTRUNC) {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "descriptors lost on a channel"));
    }
    Ok(message.bytes)
}

/// Takes a descriptor that this program was started with (its number came in the environment) into ownership.
///
/// # Errors
/// No descriptor of that number is open, or it is one of the three standard ones.
pub fn inherited(number: RawFd) -> io::Result<OwnedFd> {
    if number <= 2 {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "a standard descriptor cannot be taken over"));
    }
    // SAFETY: only for the length of this check, which fails when the number is not open.
    let borrowed = unsafe { BorrowedFd::borrow_raw(number) };
    fcntl(borrowed, FcntlArg::F_SETFD(FdFlag::FD_CLOEXEC))?;
    // SAFETY: it is open (just checked), was given to this process by its parent over exec, and this is called once a number.
    Ok(unsafe { OwnedFd::from_raw_fd(number) })
}

/// Whether the descriptor survives an exec.
///
/// # Errors
/// As fcntl(2).
pub fn keep_over_exec(fd: BorrowedFd<'_>, keep: bool) -> io::Result<()> {
    let flags = if keep { FdFlag::empty() } else { FdFlag::FD_CLOEXEC };
    fcntl(fd, FcntlArg::F_SETFD(flags))?;
    Ok(())
}

/// Makes the descriptor's open file non-blocking.
///
/// # Errors
/// As fcntl(2).
pub fn set_nonblocking(fd: BorrowedFd<'_>) -> io::Result<()> {
    let flags = OFlag::from_bits_truncate(fcntl(fd, FcntlArg::F_GETFL)?);
    fcntl(fd, FcntlArg::F_SETFL(flags | OFlag::O_NONBLOCK))?;
    Ok(())
}

/// Points the three standard descriptors to `/dev/null`, for a process that has left its terminal. Where there is no `/dev/null` (an
/// empty chroot) they are left as they are.
///
/// # Errors
/// As dup2(2).
pub fn detach_standard() -> io::Result<()> {
    let Ok(null) = std::fs::OpenOptions::new().read(true).write(true).open("/dev/null") else { return Ok(()) };
    nix::unistd::dup2_stdin(&null)?;
    nix::unistd::dup2_stdout(&null)?;
    nix::unistd::dup2_stderr(&null)?;
    Ok(())
}

/// Closes what was inherited without anybody's asking, from descriptor 3 on, except `kept`.
///
/// # Errors
/// As close_range(2).
pub fn close_others(kept: &[RawFd]) -> io::Result<()> {
    let mut kept: Vec<u32> = kept.iter().filter_map(|fd| u32::try_from(*fd).ok()).collect();
    kept.sort_unstable();
    let mut first = 3;
    for fd in kept.into_iter().chain([u32::MAX]) {
        if fd > first {
            close_range(first, if fd == u32::MAX { fd } else { fd - 1 })?;
        }
        first = first.max(fd.saturating_add(1));
    }
    Ok(())
}

fn close_range(first: u32, last: u32) -> io::Result<()> {
    // SAFETY: it takes numbers only. The caller gives descriptors that nothing in this process owns.
    let closed = unsafe { libc::syscall(libc::SYS_close_range, first, last, 0) };
    match closed {
        0 => Ok(()),
        // A kernel before 5.9: what was inherited stays open, as it was.
        _ => match io::Error::last_os_error() {
            error if error.raw_os_error() == Some(libc::ENOSYS) => Ok(()),
            error => Err(error),
        },
    }
}
