//! What one application may use.

use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::config::ScriptLimits;
use crate::net::Network;

/// Limits of one application, checked: the paths are absolute, the numbers sane. Every worker applies them to its own copy of the application.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Memory of the VM in bytes. Beyond it the script gets an "out of memory" error.
    pub memory: usize,
    /// How long the script may run without waiting.
    pub step: Duration,
    /// Sockets (connections and listeners) open at once.
    pub sockets: usize,
    /// Tasks and timers alive at once.
    pub tasks: usize,
    /// Subscriptions to events at once.
    pub subscriptions: usize,
    /// Bytes that a request's body may have when the script asks for it whole.
    pub body: usize,
    /// Directories below which files may be read. The application's own directory always may.
    pub read: Vec<PathBuf>,
    /// Directories below which files may be written.
    pub write: Vec<PathBuf>,
    /// Child processes at once; 0 means that none may be run.
    pub processes: usize,
    /// The networks that the application may talk to. Unix sockets are files and count as those.
    pub networks: Vec<Network>,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            memory: 64 << 20,
            step: Duration::from_secs(2),
            sockets: 1024,
            tasks: 1024,
            subscriptions: 10_000,
            body: 16 << 20,
            read: Vec::new(),
            write: Vec::new(),
            processes: 0,
            networks: Network::everywhere(),
        }
    }
}

impl Limits {
    /// The limits of an application as configured; its paths are already absolute.
    #[must_use]
    pub fn from_config(limits: &ScriptLimits) -> Limits {
        Limits {
            memory: limits.memory.length(),
            step: limits.step.get(),
            sockets: limits.sockets as usize,
            subscriptions: limits.subscriptions as usize,
            tasks: limits.tasks as usize,
            body: limits.body.length(),
            read: limits.read.clone(),
            write: limits.write.clone(),
            processes: if limits.processes { limits.max_processes as usize } else { 0 },
            networks: limits.networks.clone(),
        }
    }

    /// Whether the application may talk to this address.
    #[must_use]
    pub fn allow(&self, address: IpAddr) -> bool {
        self.networks.iter().any(|network| network.contains(address))
    }

    /// The real path of a file that may be read, if it may.
    #[must_use]
    pub fn readable(&self, path: &Path, own: Option<&Path>) -> Option<PathBuf> {
        confine(path, self.read.iter().chain(&self.write).map(PathBuf::as_path).chain(own))
    }

    /// The real path of a file that may be written, if it may.
    #[must_use]
    pub fn writable(&self, path: &Path) -> Option<PathBuf> {
        confine(path, self.write.iter().map(PathBuf::as_path))
    }
}

/// Where a path that a script named really is, if it is below one of the roots. Symbolic links are followed before the comparison; of a file
/// that does not exist yet, the directory counts.
#[must_use]
pub fn confine<'a>(path: &Path, roots: impl IntoIterator<Item = &'a Path>) -> Option<PathBuf> {
    let real = match path.canonicalize() {
        Ok(real) => real,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            // A dangling link would lead elsewhere once its target appears.
            if path.is_symlink() {
                return None;
            }
            path.parent()?.canonicalize().ok()?.join(path.file_name()?)
        }
        Err(_) => return None,
    };
    let below = |root: &Path| root.canonicalize().is_ok_and(|root| real.starts_with(root));
    roots.into_iter().any(below).then_some(real)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_confined_to_their_roots() {
        let directory = tempfile::tempdir().expect("a directory");
        let root = directory.path().join("root");
        let outside = directory.path().join("outside");
        std::fs::create_dir_all(&root).expect("create");
        std::fs::create_dir_all(&outside).expect("create");
        std::fs::write(outside.join("secret"), "x").expect("write");
        std::os::unix::fs::symlink(&outside, root.join("link")).expect("link");
        std::os::unix::fs::symlink(outside.join("new"), root.join("dangling")).expect("link");
        let roots = [root.as_path()];
        assert!(confine(&root.join("new"), roots).is_some());
        assert!(confine(&root.join("../root/new"), roots).is_some());
        for bad in ["../outside/secret", "link/secret", "dangling", "missing/file", "../new"] {
            assert_eq!(confine(&root.join(bad), roots), None, "{bad}");
        }
    }
}
