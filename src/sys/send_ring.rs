//! Sends to many sockets with one call of the kernel, where it has io_uring and lets us use it.
//!
//! Only that: everything else goes through the event loop. What a send costs in the kernel stays the same, the way there and back is paid once.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

use io_uring::squeue::Entry;
use io_uring::{IoUring, opcode, types};

/// Sends of one call.
pub const MOST: usize = 64;

/// The ring, for one thread.
pub struct SendRing {
    ring: IoUring,
    entries: Vec<Entry>,
}

impl SendRing {
    /// A ring for the thread that calls.
    ///
    /// # Errors
    /// Where the kernel is older than 6.1, was built without io_uring, or does not let this process use it (`kernel.io_uring_disabled`, seccomp).
    pub fn open() -> io::Result<Self> {
        let ring = IoUring::builder().setup_single_issuer().setup_defer_taskrun().dontfork().build(MOST as u32)?;
        Ok(Self { ring, entries: Vec::with_capacity(MOST) })
    }

    /// Sends some of the bytes of each, of the first [`MOST`], without waiting for room. `sent` gets as many results, in the same order: what `send(2)` would say.
    ///
    /// # Errors
    /// When the kernel failed before all were done: then `sent` has `WouldBlock` for those that were not sent, and the ring must not be used again.
    pub fn send<'a>(
        &mut self,
        what: impl Iterator<Item = (BorrowedFd<'a>, &'a [u8])>,
        sent: &mut Vec<io::Result<usize>>,
    ) -> io::Result<()> {
        self.entries.clear();
        self.entries.extend(what.take(MOST).enumerate().map(|(place, (fd, bytes))| {
            let length = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
            let send = opcode::Send::new(types::Fd(fd.as_raw_fd()), bytes.as_ptr(), length);
            // Without this flag the kernel would wait for room by itself, with a pointer to bytes that are ours only for now.
            send.flags(libc::MSG_NOSIGNAL | libc::MSG_DONTWAIT).build().user_data(place as u64)
        }));
        sent.clear();
        sent.extend(self.entries.iter().map(|_| Err(io::ErrorKind::WouldBlock.into())));
        // SAFETY: the descriptors and the bytes are borrowed for longer than this call. A send that must not wait is done while the kernel takes it from
        // the ring (it either moves bytes or fails), so none of those that were taken is under way when this function returns; those that were not
        // taken are read by nobody, as after an error the ring is not used again.
        let pushed = unsafe { self.ring.submission().push_multiple(&self.entries) };
        pushed.map_err(io::Error::other)?;
        let mut left = self.entries.len();
        while left > 0 {
            let submitted = self.ring.submit_and_wait(left);
            for done in self.ring.completion() {
                if let Some(result) = usize::try_from(done.user_data()).ok().and_then(|place| sent.get_mut(place)) {
                    *result = usize::try_from(done.result()).map_err(|_| io::Error::from_raw_os_error(-done.result()));
                    left = left.saturating_sub(1);
                }
            }
            if let Err(error) = submitted
                && error.kind() != io::ErrorKind::Interrupted
            {
                return Err(error);
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::os::fd::AsFd;
    use std::os::unix::net::UnixStream;

    use super::*;

    /// The kernel of a container may refuse; what it then says is looked at.
    fn ring() -> Option<SendRing> {
        match SendRing::open() {
            Ok(ring) => Some(ring),
            Err(error) => {
                assert!(matches!(error.raw_os_error(), Some(libc::EPERM | libc::ENOSYS | libc::EINVAL | libc::ENOMEM)), "{error}");
                None
            }
        }
    }

    #[test]
    fn each_gets_its_own_bytes_and_its_own_error() {
        let Some(mut ring) = ring() else { return };
        let pairs: Vec<_> = (0..MOST + 3).map(|_| UnixStream::pair().unwrap()).collect();
        // One is full, one has nobody at the other end.
        pairs[1].0.set_nonblocking(true).unwrap();
        while (&pairs[1].0).write(&[0; 4096]).is_ok() {}
        pairs[2].1.shutdown(std::net::Shutdown::Both).unwrap();
        let texts: Vec<String> = (0..pairs.len()).map(|at| format!("for {at}")).collect();
        let mut sent = Vec::new();
        for _ in 0..2 {
            let what = pairs.iter().zip(&texts).map(|((near, _), text)| (near.as_fd(), text.as_bytes()));
            ring.send(what, &mut sent).unwrap();
            assert_eq!(sent.len(), MOST, "no more than go in one call");
            for (at, ((_, far), text)) in pairs.iter().zip(&texts).enumerate().take(MOST) {
                match (at, &sent[at]) {
                    (1, Err(error)) => assert_eq!(error.kind(), io::ErrorKind::WouldBlock),
                    (2, Err(error)) => assert_eq!(error.kind(), io::ErrorKind::BrokenPipe),
                    (_, result) => {
                        assert_eq!(*result.as_ref().unwrap(), text.len());
                        let mut read = vec![0; text.len()];
                        (&*far).read_exact(&mut read).unwrap();
                        assert_eq!(read, text.as_bytes());
                    }
                }
            }
        }
    }
}
