//! Files that another program names by their whole path: from directories of the configuration only.

use std::fmt;
use std::fs::{File, Metadata};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use nix::fcntl::OFlag;

use super::{Refusal, Root};

/// The directories.
#[derive(Debug, Default)]
pub struct Roots(Vec<(PathBuf, Arc<Root>)>);

/// Why a file is not opened, for the log.
#[derive(Debug)]
pub enum Unopened {
    /// It lies in none of the directories.
    Outside(String),
    /// It cannot be opened.
    Refused(String, Refusal),
}

impl fmt::Display for Unopened {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Outside(path) => write!(f, "{path:?} lies in none of the directories that the configuration names for this"),
            Self::Refused(path, Refusal::Failed(error)) => write!(f, "{path:?} cannot be opened: {error}"),
            Self::Refused(path, Refusal::Forbidden) => write!(f, "{path:?} may not be read"),
            Self::Refused(path, _) => write!(f, "{path:?} is no file there"),
        }
    }
}

impl Roots {
    /// Opens the directories.
    ///
    /// # Errors
    /// One is not there, or not to be had; says which.
    pub fn open(paths: &[PathBuf]) -> Result<Self, (PathBuf, io::Error)> {
        let open = |path: &PathBuf| match Root::open(path, true) {
            Ok(root) => Ok((path.clone(), Arc::new(root))),
            Err(error) => Err((path.clone(), error)),
        };
        paths.iter().map(open).collect::<Result<_, _>>().map(Self)
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Opens the file at an absolute path to read it.
    ///
    /// # Errors
    /// [`Unopened`].
    pub async fn file(&self, path: &str) -> Result<(File, Metadata), Unopened> {
        let below = |(directory, root): &(PathBuf, Arc<Root>)| {
            let rest = Path::new(path).strip_prefix(directory).ok()?.to_str()?.to_owned();
            Some((root.clone(), rest))
        };
        let found: Vec<_> = self.0.iter().filter_map(below).collect();
        if found.is_empty() {
            return Err(Unopened::Outside(path.to_owned()));
        }
        let open = move || {
            let mut last = Refusal::NotFound;
            for (root, rest) in found {
                match root.open_below(&rest, OFlag::O_RDONLY | OFlag::O_NONBLOCK | OFlag::O_NOCTTY, true) {
                    Ok(fd) => {
                        let file = File::from(fd);
                        let metadata = file.metadata()?;
                        return if metadata.is_file() { Ok((file, metadata)) } else { Err(Refusal::NotFound) };
                    }
                    Err(refusal) => last = refusal,
                }
            }
            Err(last)
        };
        blocking::unblock(open).await.map_err(|refusal| Unopened::Refused(path.to_owned(), refusal))
    }
}
