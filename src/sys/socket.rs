//! Sockets: what nix does not offer, and reading and writing without the C library's cancellation points.
//!
//! In a process with threads glibc brackets `recv` and `send` with two atomic exchanges each, for `pthread_cancel`, which nothing here uses.
//! At a few microseconds a request that is seen; a plain system call has none.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

/// Receives into `buffer`; 0 is the end of the stream (of a buffer that is not empty). See `recv(2)`.
///
/// # Errors
/// What the kernel says.
#[inline]
pub fn recv(fd: BorrowedFd<'_>, buffer: &mut [u8]) -> io::Result<usize> {
    let nothing = std::ptr::null_mut::<libc::c_void>();
    // SAFETY: the kernel writes at most `buffer.len()` bytes into `buffer`, which lives through the call; no address is asked for.
    let received = unsafe { libc::syscall(libc::SYS_recvfrom, fd.as_raw_fd(), buffer.as_mut_ptr(), buffer.len(), 0, nothing, nothing) };
    usize::try_from(received).map_err(|_| io::Error::last_os_error())
}

/// Sends some of `bytes`. See `send(2)`.
///
/// # Errors
/// What the kernel says.
#[inline]
pub fn send(fd: BorrowedFd<'_>, bytes: &[u8], flags: libc::c_int) -> io::Result<usize> {
    let nothing = std::ptr::null::<libc::c_void>();
    // SAFETY: the kernel reads at most `bytes.len()` bytes of `bytes`, which live through the call; no address is given.
    let sent = unsafe { libc::syscall(libc::SYS_sendto, fd.as_raw_fd(), bytes.as_ptr(), bytes.len(), flags, nothing, 0) };
    usize::try_from(sent).map_err(|_| io::Error::last_os_error())
}

/// Lets the kernel hold back incomplete segments, or sends what it held back. See `TCP_CORK` in `tcp(7)`.
///
/// # Errors
/// When it is no TCP socket.
pub fn set_cork(fd: BorrowedFd<'_>, on: bool) -> io::Result<()> {
    let value = libc::c_int::from(on);
    let length = size_of_val(&value) as libc::socklen_t;
    // SAFETY: the kernel reads an integer of that length, which lives through the call.
    let set = unsafe { libc::setsockopt(fd.as_raw_fd(), libc::IPPROTO_TCP, libc::TCP_CORK, (&raw const value).cast(), length) };
    if set == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}
