//! What must be known of locks after the hub, the master or the machine has ended: which tokens may have been given, and until when
//! lasting leases may run.
//!
//! `locks.state` in the data directory is written anew and renamed into place, each time for a block of tokens and a span of
//! time in advance, and is on the disk before any of it is used. Only the hub of the instance that has the right to grant writes it.

use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

const STATE: &str = "locks.state";
/// What the state begins with.
const TITLE: &str = "skep locks 1";

/// What is kept.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct State {
    /// No token from here on has been given.
    pub tokens: u64,
    /// Until when lasting leases may run, milliseconds since the Unix epoch.
    pub leases_until: u64,
    /// The instance that wrote it: leases of the same one are known otherwise.
    pub instance: String,
}

/// Where it is kept.
pub(super) struct Record {
    directory: PathBuf,
}

impl Record {
    /// In the data directory of the instance.
    ///
    /// # Errors
    /// It is not there and cannot be made.
    pub(super) fn open(directory: &Path) -> io::Result<Record> {
        fs::create_dir_all(directory)?;
        Ok(Record { directory: directory.to_owned() })
    }

    /// What was kept last; nothing at the first start.
    ///
    /// # Errors
    /// It cannot be read, or is not what this wrote: then nobody knows which tokens were given.
    pub(super) fn read(&self) -> io::Result<State> {
        match fs::read_to_string(self.directory.join(STATE)) {
            Ok(text) => parse(&text).ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, format!("{STATE} is damaged"))),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(State { tokens: 1, ..State::default() }),
            Err(error) => Err(error),
        }
    }

    /// Keeps a state; it is on the disk when this returns.
    ///
    /// # Errors
    /// The disk's; then the earlier state is kept.
    pub(super) fn write(&self, state: &State) -> io::Result<()> {
        let unfinished = self.directory.join("locks.state.new");
        let mut file = fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&unfinished)?;
        let State { tokens, leases_until, instance } = state;
        write!(file, "{TITLE}\ntokens {tokens}\nleases {leases_until}\ninstance {instance}\nend\n")?;
        file.sync_all()?;
        fs::rename(&unfinished, self.directory.join(STATE))?;
        File::open(&self.directory)?.sync_all()
    }
}

fn parse(text: &str) -> Option<State> {
    let mut lines = text.lines();
    if lines.next()? != TITLE {
        return None;
    }
    let tokens = lines.next()?.strip_prefix("tokens ")?.parse().ok()?;
    let leases_until = lines.next()?.strip_prefix("leases ")?.parse().ok()?;
    let instance = lines.next()?.strip_prefix("instance ")?.to_owned();
    (lines.next()? == "end").then_some(State { tokens, leases_until, instance })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_is_read_again_and_damage_is_noticed() {
        let folder = tempfile::tempdir().unwrap();
        let record = Record::open(folder.path()).unwrap();
        assert_eq!(record.read().unwrap().tokens, 1);
        let state = State { tokens: 77, leases_until: 5, instance: "1 2".into() };
        record.write(&state).unwrap();
        assert_eq!(record.read().unwrap(), state);
        fs::write(folder.path().join(STATE), "skep locks 1\ntokens 7").unwrap();
        assert_eq!(record.read().unwrap_err().kind(), io::ErrorKind::InvalidData);
    }
}
