//! The one call of this room that the safe wrappers lack: accept a connection and learn who it is from, in one go.

use std::mem::{MaybeUninit, size_of};
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use nix::errno::Errno;
use nix::libc;
use nix::sys::socket::{SockaddrLike, SockaddrStorage};

use super::{Accepted, Peer};

/// Takes the next connection of a listening socket: non-blocking and closed on exec.
///
/// # Errors
/// What `accept4(2)` says; `EAGAIN` when the queue is empty.
pub(super) fn accept(listener: BorrowedFd<'_>) -> Result<Accepted, Errno> {
    let mut address = MaybeUninit::<libc::sockaddr_storage>::zeroed();
    let mut length = size_of::<libc::sockaddr_storage>() as libc::socklen_t;
    // SAFETY: `address` has room for any socket address and `length` says how much; both outlive the call.
    let fd = unsafe {
        libc::accept4(listener.as_raw_fd(), address.as_mut_ptr().cast(), &raw mut length, libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC)
    };
    let fd = Errno::result(fd)?;
    // SAFETY: the kernel has just given us this descriptor, and nobody else knows it.
    let fd = unsafe { OwnedFd::from_raw_fd(fd) };
    // SAFETY: the kernel wrote `length` bytes of an address there, over zeroes.
    let address = unsafe { SockaddrStorage::from_raw(address.as_ptr().cast(), Some(length)) };
    Ok(Accepted { fd, peer: address.map_or(Peer::Unix(None), |address| Peer::from_storage(&address)) })
}
