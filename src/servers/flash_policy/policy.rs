//! The policy file, read off the loop.

use std::cell::{Cell, RefCell};
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

use bytes::Bytes;

use crate::reactor;

/// The largest file that is served.
const LARGEST: u64 = 64 << 10;
/// How old what is known of the file may be.
const FRESH: Duration = Duration::from_secs(1);

/// What tells one state of the file from another.
type Stamp = (SystemTime, u64);

/// A policy file.
pub(super) struct Policy {
    path: PathBuf,
    /// The file with its NUL byte; none when it cannot be read.
    text: RefCell<Option<Bytes>>,
    stamp: Cell<Option<Stamp>>,
    looked: Cell<Option<Instant>>,
}

impl Policy {
    pub(super) fn new(path: PathBuf) -> Self {
        Self { path, text: RefCell::default(), stamp: Cell::new(None), looked: Cell::new(None) }
    }

    /// The policy with its NUL byte, of this second.
    pub(super) async fn current(&self) -> Option<Bytes> {
        let is_fresh = self.looked.get().is_some_and(|at| reactor::now().saturating_duration_since(at) < FRESH);
        if !is_fresh {
            let (path, known) = (self.path.clone(), self.stamp.get());
            match blocking::unblock(move || read(&path, known)).await {
                Ok(None) => {}
                Ok(Some((text, stamp))) => {
                    self.text.replace(Some(text));
                    self.stamp.set(Some(stamp));
                }
                Err(error) => {
                    if self.looked.get().is_none() || self.text.borrow().is_some() {
                        crate::log_warn!("the policy {} cannot be read: {error}", self.path.display());
                    }
                    self.text.replace(None);
                    self.stamp.set(None);
                }
            }
            self.looked.set(Some(reactor::now()));
        }
        self.text.borrow().clone()
    }
}

/// Reads the file unless it is as it was.
fn read(path: &Path, known: Option<Stamp>) -> io::Result<Option<(Bytes, Stamp)>> {
    let file = File::open(path)?;
    let about = file.metadata()?;
    let stamp = (about.modified()?, about.len());
    if known == Some(stamp) {
        return Ok(None);
    }
    let mut text = Vec::new();
    file.take(LARGEST + 1).read_to_end(&mut text)?;
    if text.len() as u64 > LARGEST {
        return Err(io::Error::other(format!("it has more than {LARGEST} bytes")));
    }
    text.push(0);
    Ok(Some((text.into(), stamp)))
}
