//! Who the workers are, and where they write.

use std::path::{Path, PathBuf};

use nix::unistd::Uid;

use super::Checker;
use super::disk::{self, Reader};
use crate::config::problem::Problem;
use crate::config::tree::Place;
use crate::config::written::Config;
use crate::telemetry::config::{AccessLog, Log, LogFile};

impl Checker<'_> {
    /// `user` and `group` exist; a normal user is told that they are of no use.
    pub(super) fn users(&mut self, written: &Config) {
        let top = Place::top();
        let user = written.user.as_deref().and_then(|name| {
            let user = self.accounts.user(name);
            if user.is_none() {
                self.error(&top.name("user"), format!("there is no user `{name}` on this machine"));
            }
            user
        });
        let gid = written.group.as_deref().and_then(|name| {
            let gid = self.accounts.group(name);
            if gid.is_none() {
                self.error(&top.name("group"), format!("there is no group `{name}` on this machine"));
            }
            gid
        });
        let root = Uid::effective().is_root();
        if root {
            self.reader = user.map(|user| {
                let gids = self.accounts.groups_of(&user.name, gid.unwrap_or(user.gid));
                Reader { name: user.name, uid: user.uid, gids }
            });
            return;
        }
        let options = [("user", written.user.is_some()), ("group", written.group.is_some()), ("chroot", written.chroot.is_some())];
        for (option, _) in options.into_iter().filter(|(_, written)| *written) {
            self.warning(&top.name(option), format!("`{option}` needs root; started by a normal user it is ignored"));
        }
    }

    /// The root of the workers.
    pub(super) fn chroot(&mut self, place: &Place, path: PathBuf) -> PathBuf {
        let path = self.absolute(place, &path);
        if let Err(message) = disk::readable_directory(&path) {
            self.error(place, message);
        }
        // A normal user cannot change the root, so that nothing has to be inside.
        self.chroot = Uid::effective().is_root().then(|| path.clone());
        path
    }

    /// The working directory of the workers: under the chroot when there is one.
    pub(super) fn cwd(&mut self, place: &Place, path: PathBuf) -> PathBuf {
        let (seen, real) = match &self.chroot {
            None => {
                let path = self.absolute(place, &path);
                (path.clone(), path)
            }
            Some(root) => {
                let seen = Path::new("/").join(&path);
                let real = root.join(seen.strip_prefix("/").unwrap_or(&seen));
                (seen, real)
            }
        };
        if let Err(message) = disk::readable_directory(&real) {
            self.error(place, message);
        }
        seen
    }

    fn log_file(&mut self, place: &Place, file: LogFile) -> LogFile {
        match file {
            LogFile::Stderr => LogFile::Stderr,
            LogFile::Path(path) => LogFile::Path(self.file_to_write(place, &path)),
        }
    }

    /// The log.
    pub(super) fn log(&mut self, log: Log) -> Log {
        let file = self.log_file(&Place::top().name("log").name("file"), log.file);
        Log { file, ..log }
    }

    /// The log of requests.
    pub(super) fn access_log(&mut self, log: AccessLog) -> AccessLog {
        let file = self.log_file(&Place::top().name("access_log").name("file"), log.file);
        AccessLog { file, ..log }
    }

    /// Reports a list that must not be empty.
    pub(super) fn not_empty(&mut self, place: &Place, empty: bool, message: &str, help: &str) {
        if empty {
            let problem = Problem::error(message, self.sources.value(place)).help(help);
            self.problems.push(problem);
        }
    }
}
