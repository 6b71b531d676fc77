//! Seeing that a configuration was saved, without a thread and without asking again and again.
//!
//! Directories are watched, not files: editors save by writing another file and renaming it over the old one, and a watch on the old file would
//! go with it. Links are followed on both ends: the directory of the name and that of the file it leads to (a mounted secret is a link that moves).

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::{OsStr, OsString};
use std::fs;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify, InotifyEvent, WatchDescriptor};

/// How long nothing may happen before a change is told: editors write in several steps.
const QUIET: Duration = Duration::from_millis(100);

/// A change is told after this long, even when changes keep coming.
const PATIENCE: Duration = Duration::from_secs(2);

/// Watches files for changes.
#[derive(Debug)]
pub struct Watch {
    inotify: Inotify,
    /// The watched directories, and which names in them are of interest (they may hold a `*`), each with the file as it was given.
    directories: BTreeMap<WatchDescriptor, Vec<(OsString, PathBuf)>>,
    files: Vec<PathBuf>,
    pending: Option<Pending>,
}

#[derive(Debug)]
struct Pending {
    files: BTreeSet<PathBuf>,
    first: Instant,
    last: Instant,
}

impl Watch {
    /// Watches these files, as [`super::Loaded::files_read`] or [`super::ConfigErrors::files_read`] list them. They need not exist; of a name
    /// with a `*` every file it may mean is watched.
    ///
    /// # Errors
    /// The kernel gives no inotify instance or watch: `fs.inotify.max_user_instances` or `max_user_watches` is reached.
    pub fn new(files: &[PathBuf]) -> io::Result<Self> {
        let inotify = Inotify::init(InitFlags::IN_NONBLOCK | InitFlags::IN_CLOEXEC)?;
        let mut watch = Self { inotify, directories: BTreeMap::new(), files: Vec::new(), pending: None };
        watch.watch(files)?;
        Ok(watch)
    }

    /// Watches other files from now on; a change that was not told yet stays one.
    ///
    /// # Errors
    /// As [`Watch::new`].
    pub fn replace(&mut self, files: &[PathBuf]) -> io::Result<()> {
        let before = std::mem::take(&mut self.directories);
        let result = self.watch(files);
        for descriptor in before.into_keys().filter(|descriptor| !self.directories.contains_key(descriptor)) {
            match self.inotify.rm_watch(descriptor) {
                // The directory is gone, and its watch with it.
                Ok(()) | Err(Errno::EINVAL) => {}
                Err(errno) => return Err(errno.into()),
            }
        }
        result
    }

    fn watch(&mut self, files: &[PathBuf]) -> io::Result<()> {
        self.files = files.to_vec();
        for file in files {
            self.watch_name(file, file)?;
            if let Ok(target) = fs::canonicalize(file)
                && target != *file
            {
                self.watch_name(&target, file)?;
            }
        }
        Ok(())
    }

    /// Watches the directory of `path` for its name, or the nearest directory above that exists; what happens there is told as `file`.
    fn watch_name(&mut self, path: &Path, file: &Path) -> io::Result<()> {
        let flags = AddWatchFlags::IN_CLOSE_WRITE
            | AddWatchFlags::IN_MOVED_TO
            | AddWatchFlags::IN_MOVED_FROM
            | AddWatchFlags::IN_CREATE
            | AddWatchFlags::IN_DELETE
            | AddWatchFlags::IN_ATTRIB
            | AddWatchFlags::IN_DELETE_SELF
            | AddWatchFlags::IN_MOVE_SELF
            | AddWatchFlags::IN_ONLYDIR;
        let mut name = path.file_name().unwrap_or(OsStr::new("")).to_owned();
        for directory in path.ancestors().skip(1) {
            match self.inotify.add_watch(directory, flags) {
                Ok(descriptor) => {
                    self.directories.entry(descriptor).or_default().push((name, file.to_owned()));
                    return Ok(());
                }
                Err(Errno::ENOENT | Errno::ENOTDIR) => directory.file_name().unwrap_or(OsStr::new("")).clone_into(&mut name),
                Err(Errno::EACCES) => return Ok(()),
                Err(errno) => return Err(errno.into()),
            }
        }
        Ok(())
    }

    /// Reads what happened and tells which files changed, once nothing more happens for a tenth of a second. Call it when the descriptor is readable
    /// and when [`Watch::wait`] has passed. Tells each change once; a file that was removed counts as changed.
    ///
    /// # Errors
    /// The kernel's queue cannot be read.
    pub fn changed(&mut self) -> io::Result<Vec<PathBuf>> {
        self.changed_at(Instant::now())
    }

    /// [`Watch::changed`] without waiting until nothing more happens: for who would rather look twice than late.
    ///
    /// # Errors
    /// As [`Watch::changed`].
    pub fn changed_so_far(&mut self) -> io::Result<Vec<PathBuf>> {
        let mut files = self.changed()?;
        files.extend(self.pending.take().into_iter().flat_map(|pending| pending.files));
        Ok(files)
    }

    fn changed_at(&mut self, now: Instant) -> io::Result<Vec<PathBuf>> {
        let mut moved = false;
        loop {
            match self.inotify.read_events() {
                Ok(events) => {
                    for event in events {
                        moved |= self.event(&event, now);
                    }
                }
                Err(Errno::EAGAIN) => break,
                Err(Errno::EINTR) => {}
                Err(errno) => return Err(errno.into()),
            }
        }
        if moved {
            // A directory came or went, or a link leads elsewhere: the watches are set anew.
            let files = self.files.clone();
            self.replace(&files)?;
        }
        let due = self.pending.as_ref().is_some_and(|pending| pending.due() <= now);
        match self.pending.take_if(|_| due) {
            Some(pending) => Ok(pending.files.into_iter().collect()),
            None => Ok(Vec::new()),
        }
    }

    /// How long until [`Watch::changed`] should be called even if the descriptor is not readable: a change waits to be told. None: no need.
    #[must_use]
    pub fn wait(&self) -> Option<Duration> {
        self.pending.as_ref().map(|pending| pending.due().saturating_duration_since(Instant::now()))
    }

    /// Notes an event; whether the watches must be set anew.
    fn event(&mut self, event: &InotifyEvent, now: Instant) -> bool {
        if event.mask.contains(AddWatchFlags::IN_Q_OVERFLOW) {
            self.note(self.files.clone(), now);
            return true;
        }
        let Some(names) = self.directories.get(&event.wd) else { return false };
        let gone = AddWatchFlags::IN_DELETE_SELF | AddWatchFlags::IN_MOVE_SELF | AddWatchFlags::IN_IGNORED;
        if event.mask.intersects(gone) {
            let files = names.iter().map(|(_, file)| file.clone()).collect();
            self.note(files, now);
            return true;
        }
        let Some(name) = &event.name else { return false };
        let files: Vec<PathBuf> = names.iter().filter(|(watched, _)| is_meant(watched, name)).map(|(_, file)| file.clone()).collect();
        // An empty new file is not a saved one yet: its end of writing follows.
        let only_created = event.mask.contains(AddWatchFlags::IN_CREATE) && !event.mask.contains(AddWatchFlags::IN_ISDIR);
        let link = files.iter().any(|file| file.is_symlink());
        if files.is_empty() || (only_created && !link) {
            return false;
        }
        self.note(files, now);
        event.mask.contains(AddWatchFlags::IN_ISDIR) || link
    }

    fn note(&mut self, files: Vec<PathBuf>, now: Instant) {
        let pending = self.pending.get_or_insert_with(|| Pending { files: BTreeSet::new(), first: now, last: now });
        pending.files.extend(files);
        pending.last = now;
    }
}

impl Pending {
    fn due(&self) -> Instant {
        (self.last + QUIET).min(self.first + PATIENCE)
    }
}

impl AsFd for Watch {
    /// Readable when something happened: then call [`Watch::changed`].
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.inotify.as_fd()
    }
}

/// Whether a name is the watched one, or one that its `*` may mean.
fn is_meant(watched: &OsStr, name: &OsStr) -> bool {
    if watched == name {
        return true;
    }
    let (Some(watched), Some(name)) = (watched.to_str(), name.to_str()) else { return false };
    match (watched.split_once('*'), watched.rsplit_once('*')) {
        (Some((start, _)), Some((_, end))) => name.starts_with(start) && name.ends_with(end) && !name.starts_with('.'),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

    use super::*;

    /// Waits as the master does until a change is told, for at most ten seconds.
    fn next(watch: &mut Watch) -> Vec<PathBuf> {
        let start = Instant::now();
        while start.elapsed() < Duration::from_secs(10) {
            let wait = watch.wait().unwrap_or(Duration::from_secs(10));
            let timeout = PollTimeout::try_from(wait).unwrap();
            poll(&mut [PollFd::new(watch.as_fd(), PollFlags::POLLIN)], timeout).unwrap();
            let changed = watch.changed().unwrap();
            if !changed.is_empty() {
                return changed;
            }
        }
        panic!("no change was told");
    }

    #[test]
    fn tells_every_way_of_saving() {
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name);
        fs::write(path("config.ron"), "1").unwrap();
        let file = path("config.ron");
        let mut watch = Watch::new(std::slice::from_ref(&file)).unwrap();
        // In place.
        fs::write(&file, "2").unwrap();
        assert_eq!(next(&mut watch), std::slice::from_ref(&file));
        // By a new file that takes the name, twice, as vim and others do it.
        for _ in 0..2 {
            fs::write(path(".config.ron.swp"), "3").unwrap();
            fs::rename(path(".config.ron.swp"), &file).unwrap();
            assert_eq!(next(&mut watch), std::slice::from_ref(&file));
        }
        // By moving the old one away first.
        fs::rename(&file, path("config.ron~")).unwrap();
        fs::write(&file, "4").unwrap();
        assert_eq!(next(&mut watch), std::slice::from_ref(&file));
        fs::remove_file(&file).unwrap();
        assert_eq!(next(&mut watch), std::slice::from_ref(&file));
    }

    #[test]
    fn tells_only_what_is_asked_for() {
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name);
        fs::create_dir(path("conf.d")).unwrap();
        let files = [path("config.ron"), path("conf.d/*.ron"), path("later/secret")];
        let mut watch = Watch::new(&files).unwrap();
        fs::write(path("other"), "1").unwrap();
        fs::write(path("conf.d/readme"), "1").unwrap();
        fs::write(path("conf.d/new.ron"), "1").unwrap();
        assert_eq!(next(&mut watch), [path("conf.d/*.ron")]);
        // A directory that comes later is a change, and watched from then on.
        fs::create_dir(path("later")).unwrap();
        assert_eq!(next(&mut watch), [path("later/secret")]);
        fs::write(path("later/secret"), "1").unwrap();
        assert_eq!(next(&mut watch), [path("later/secret")]);
        watch.replace(&[path("other")]).unwrap();
        fs::write(path("config.ron"), "1").unwrap();
        fs::write(path("other"), "2").unwrap();
        assert_eq!(next(&mut watch), [path("other")]);
    }

    #[test]
    fn follows_links() {
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().canonicalize().unwrap().join(name);
        for version in ["one", "two"] {
            fs::create_dir(path(version)).unwrap();
            fs::write(path(version).join("secret"), version).unwrap();
        }
        symlink("one", path("current")).unwrap();
        symlink("current/secret", path("secret")).unwrap();
        let mut watch = Watch::new(&[path("secret")]).unwrap();
        fs::write(path("one/secret"), "new").unwrap();
        assert_eq!(next(&mut watch), [path("secret")]);
        // As mounted secrets change: the link moves, the old directory goes.
        symlink("two", path("next")).unwrap();
        fs::rename(path("next"), path("current")).unwrap();
        fs::remove_dir_all(path("one")).unwrap();
        assert_eq!(next(&mut watch), [path("secret")]);
        fs::write(path("two/secret"), "newer").unwrap();
        assert_eq!(next(&mut watch), [path("secret")]);
    }
}
