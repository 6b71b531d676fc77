//! The two files that say how names are looked up, read again when they change.

use std::cell::{Cell, RefCell};
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::{Duration, Instant};

use super::System;

/// How often a change is looked for at most.
const EVERY: Duration = Duration::from_secs(1);
/// What is read of one file at most.
const MOST: u64 = 4 << 20;

/// What tells one state of a file from another: inode, size, time of change in nanoseconds. `None` when there is no file.
type Stamp = Option<(u64, u64, i64, i64)>;

/// Where the settings of a resolver come from.
pub(super) enum Origin {
    /// They stay as they are.
    Fixed(Rc<System>),
    /// From the files, as they are now.
    Files(Files),
}

impl Origin {
    /// The settings that hold now, and whether they are others than the last time.
    pub(super) fn system(&self, now: Instant) -> (Rc<System>, bool) {
        match self {
            Origin::Fixed(system) => (system.clone(), false),
            Origin::Files(files) => files.system(now),
        }
    }
}

/// The files, and what they said when they were read last.
pub(super) struct Files {
    hosts: PathBuf,
    resolv: PathBuf,
    checked: Cell<Instant>,
    stamps: Cell<(Stamp, Stamp)>,
    system: RefCell<Rc<System>>,
}

impl Files {
    /// Reads the files. One that is not there is empty.
    pub(super) fn read(hosts: &Path, resolv: &Path, now: Instant) -> Files {
        let stamps = (stamp(hosts), stamp(resolv));
        let system = Rc::new(System::parse(&text(hosts), &text(resolv)));
        Files { hosts: hosts.into(), resolv: resolv.into(), checked: now.into(), stamps: stamps.into(), system: system.into() }
    }

    /// As [`Origin::system`].
    pub(super) fn system(&self, now: Instant) -> (Rc<System>, bool) {
        if now.saturating_duration_since(self.checked.get()) < EVERY {
            return (self.system.borrow().clone(), false);
        }
        self.checked.set(now);
        // The state before the reading: a change in between is seen the next time.
        let stamps = (stamp(&self.hosts), stamp(&self.resolv));
        if self.stamps.replace(stamps) == stamps {
            return (self.system.borrow().clone(), false);
        }
        let system = Rc::new(System::parse(&text(&self.hosts), &text(&self.resolv)));
        let before = self.system.replace(system.clone());
        let changed = before != system;
        (system, changed)
    }
}

fn stamp(path: &Path) -> Stamp {
    let metadata = fs::metadata(path).ok()?;
    Some((metadata.ino(), metadata.len(), metadata.mtime(), metadata.mtime_nsec()))
}

/// The text of a file; empty when it is not there, or larger than such a file can sensibly be.
fn text(path: &Path) -> String {
    let sensible = fs::metadata(path).is_ok_and(|metadata| metadata.is_file() && metadata.len() <= MOST);
    if !sensible {
        return String::new();
    }
    fs::read(path).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default()
}
