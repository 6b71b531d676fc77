//! The directory that is served, and opening what lies in it without ever leaving it.

use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;

use nix::errno::Errno;
use nix::fcntl::{OFlag, OpenHow, ResolveFlag, open, openat, openat2};
use nix::sys::stat::Mode;

/// How often a lookup is repeated that a rename elsewhere disturbed (openat2(2), EAGAIN).
const ATTEMPTS: usize = 8;

/// Why something is not opened.
#[derive(Debug)]
pub enum Refusal {
    /// There is nothing, or nothing that may be served: 404.
    NotFound,
    /// The process may not read it, or it is a directory that is not shown: 403.
    Forbidden,
    /// It might wait for a disk: ask again where waiting is allowed.
    Wait,
    /// The system is short of something: 503.
    Failed(io::Error),
}

impl From<Errno> for Refusal {
    fn from(error: Errno) -> Self {
        match error {
            // ELOOP: a link that is not followed, or too many; EXDEV: a link that leads outside; ENXIO: a device or socket.
            Errno::ENOENT | Errno::ENOTDIR | Errno::ENAMETOOLONG | Errno::ELOOP | Errno::EXDEV | Errno::ENXIO | Errno::ENODEV => {
                Self::NotFound
            }
            Errno::EACCES | Errno::EPERM => Self::Forbidden,
            error => Self::Failed(error.into()),
        }
    }
}

impl From<io::Error> for Refusal {
    fn from(error: io::Error) -> Self {
        match error.raw_os_error() {
            Some(code) => Errno::from_raw(code).into(),
            None => Self::Failed(error),
        }
    }
}

/// A directory, opened once.
#[derive(Debug)]
pub struct Root {
    directory: OwnedFd,
    follow_links: bool,
    /// Whether the kernel has `openat2` (Linux 5.6) and lets us use it. Without it links are not followed at all.
    confined: bool,
}

impl Root {
    /// Opens the directory.
    pub fn open(path: &Path, follow_links: bool) -> io::Result<Self> {
        let directory = open(path, OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC, Mode::empty())?;
        let probe = openat2(&directory, ".", how(OFlag::O_PATH, ResolveFlag::RESOLVE_BENEATH));
        // Old sandboxes answer EPERM for a call that they do not know.
        let confined = !matches!(probe, Err(Errno::ENOSYS | Errno::EPERM));
        Ok(Self { directory, follow_links, confined })
    }

    /// Opens a path below the directory (empty: the directory itself). With `wait` false it is opened only if that
    /// cannot wait for a disk, else [`Refusal::Wait`].
    pub fn open_below(&self, path: &str, flags: OFlag, wait: bool) -> Result<OwnedFd, Refusal> {
        let path = if path.is_empty() { "." } else { path };
        if !self.confined {
            return if wait { self.walk(path, flags) } else { Err(Refusal::Wait) };
        }
        let mut resolve = ResolveFlag::RESOLVE_BENEATH | ResolveFlag::RESOLVE_NO_MAGICLINKS;
        if !self.follow_links {
            resolve |= ResolveFlag::RESOLVE_NO_SYMLINKS;
        }
        if !wait {
            resolve |= ResolveFlag::from_bits_retain(libc::RESOLVE_CACHED);
        }
        let mut last = Errno::EAGAIN;
        for _ in 0..ATTEMPTS {
            match openat2(&self.directory, path, how(flags, resolve)) {
                Ok(opened) => return Ok(opened),
                // A kernel before 5.12 does not know RESOLVE_CACHED.
                Err(Errno::EAGAIN | Errno::EINVAL) if !wait => return Err(Refusal::Wait),
                Err(error @ (Errno::EAGAIN | Errno::EINTR)) => last = error,
                Err(error) => return Err(error.into()),
            }
        }
        Err(Refusal::Failed(last.into()))
    }

    /// Opens segment by segment and follows no link: as safe as `openat2`, only poorer.
    fn walk(&self, path: &str, flags: OFlag) -> Result<OwnedFd, Refusal> {
        let common = OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        let mut directory = self.directory.try_clone()?;
        let (parents, last) = path.rsplit_once('/').unwrap_or(("", path));
        for segment in parents.split('/').filter(|segment| !segment.is_empty()) {
            directory = openat(&directory, segment, OFlag::O_PATH | OFlag::O_DIRECTORY | common, Mode::empty())?;
        }
        Ok(openat(&directory, last, flags | common, Mode::empty())?)
    }

    #[cfg(test)]
    pub(super) fn without_openat2(mut self) -> Self {
        self.confined = false;
        self
    }
}

fn how(flags: OFlag, resolve: ResolveFlag) -> OpenHow {
    OpenHow::new().flags(flags | OFlag::O_CLOEXEC).resolve(resolve)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::*;

    fn check(root: &Root, path: &str, wait: bool) -> &'static str {
        match root.open_below(path, OFlag::O_RDONLY | OFlag::O_NONBLOCK, wait) {
            Ok(_) => "open",
            Err(Refusal::NotFound) => "not found",
            Err(Refusal::Forbidden) => "forbidden",
            Err(Refusal::Wait) => "wait",
            Err(Refusal::Failed(_)) => "failed",
        }
    }

    #[test]
    fn nothing_outside_is_opened() {
        let folder = tempfile::tempdir().unwrap();
        let outside = folder.path().join("outside.txt");
        let inside = folder.path().join("root");
        fs::create_dir_all(inside.join("dir")).unwrap();
        fs::write(&outside, "secret").unwrap();
        fs::write(inside.join("dir/file.txt"), "file").unwrap();
        symlink("../../outside.txt", inside.join("dir/out")).unwrap();
        symlink(&outside, inside.join("absolute")).unwrap();
        symlink("dir/file.txt", inside.join("in")).unwrap();
        symlink("dir", inside.join("linked")).unwrap();
        symlink("loop", inside.join("loop")).unwrap();

        let root = Root::open(&inside, true).unwrap();
        let strict = Root::open(&inside, false).unwrap();
        let walking = Root::open(&inside, true).unwrap().without_openat2();
        for (path, expected, without_links) in [
            ("", "open", "open"),
            ("dir/file.txt", "open", "open"),
            ("dir", "open", "open"),
            ("in", "open", "not found"),
            ("linked/file.txt", "open", "not found"),
            ("dir/out", "not found", "not found"),
            ("absolute", "not found", "not found"),
            ("loop", "not found", "not found"),
            ("missing", "not found", "not found"),
            ("dir/file.txt/x", "not found", "not found"),
        ] {
            assert_eq!(check(&root, path, true), expected, "{path}");
            assert_eq!(check(&strict, path, true), without_links, "{path} without links");
            assert_eq!(check(&walking, path, true), without_links, "{path} without openat2");
        }
        assert_eq!(check(&walking, "dir", false), "wait");
        assert_eq!(check(&root, "../outside.txt", true), "not found");
    }

    #[test]
    fn what_the_kernel_has_at_hand_needs_no_wait() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("a"), "a").unwrap();
        let root = Root::open(folder.path(), true).unwrap();
        assert_eq!(check(&root, "a", true), "open");
        // Kernels before 5.12 always wait, and so do some sandboxes.
        assert!(matches!(check(&root, "a", false), "open" | "wait"));
    }
}
