//! Where an application's files come from: a directory, one file, or what is built into the binary.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::SystemTime;

use include_dir::Dir;

/// The longest source file that is read, in bytes.
const MAX_FILE: u64 = 8 << 20;
/// Reads an application's files by paths relative to its directory, and remembers what it read.
pub struct Source {
    origin: Origin,
    /// The one file, when the application is just that.
    entry: Option<String>,
    read: Mutex<Vec<PathBuf>>,
}

enum Origin {
    Directory(PathBuf),
    Embedded(&'static Dir<'static>),
    Memory(BTreeMap<String, String>),
}

/// Why a file could not be read.
#[derive(Debug)]
pub enum SourceError {
    /// The path leads out of the application's directory.
    Outside(String),
    /// The file is there but cannot be read.
    Unreadable(String, std::io::Error),
    /// The file is not UTF-8 text, or too long.
    NotText(String),
}

impl std::fmt::Display for SourceError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            SourceError::Outside(path) => write!(f, "{path}: outside of the application's directory"),
            SourceError::Unreadable(path, error) => write!(f, "{path}: {error}"),
            SourceError::NotText(path) => write!(f, "{path}: not a UTF-8 text of at most {} MiB", MAX_FILE >> 20),
        }
    }
}

impl std::error::Error for SourceError {}

impl Source {
    fn new(origin: Origin, entry: Option<String>) -> Source {
        Source { origin, entry, read: Mutex::new(Vec::new()) }
    }

    /// An application's directory.
    #[must_use]
    pub fn directory(path: impl Into<PathBuf>) -> Source {
        Source::new(Origin::Directory(path.into()), None)
    }

    /// An application's directory, or the one Luau file that is the application.
    #[must_use]
    pub fn path(path: &Path) -> Source {
        match (path.parent(), path.file_name().and_then(|name| name.to_str())) {
            (Some(directory), Some(name)) if path.extension().is_some_and(|kind| kind == "luau") => {
                Source::new(Origin::Directory(directory.to_owned()), Some(name.to_owned()))
            }
            _ => Source::directory(path),
        }
    }

    /// A directory built into the binary.
    #[must_use]
    pub fn embedded(directory: &'static Dir<'static>) -> Source {
        Source::new(Origin::Embedded(directory), None)
    }

    /// Files given by name and text, for tests and code typed by people.
    #[must_use]
    pub fn memory<N: Into<String>, T: Into<String>>(files: impl IntoIterator<Item = (N, T)>) -> Source {
        Source::new(Origin::Memory(files.into_iter().map(|(name, text)| (name.into(), text.into())).collect()), None)
    }

    /// The application's directory on disk, if it is one.
    #[must_use]
    pub fn root(&self) -> Option<&Path> {
        match &self.origin {
            Origin::Directory(path) => Some(path),
            _ => None,
        }
    }

    /// The files read so far, and those looked for in vain: what to watch for changes.
    #[must_use]
    pub fn files_read(&self) -> Vec<PathBuf> {
        self.read.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The file that is loaded first, with its text: the one file, `main.luau` or `init.luau`.
    ///
    /// # Errors
    /// As [`Source::read`].
    pub fn entry(&self) -> Result<Option<(String, String)>, SourceError> {
        let names = match &self.entry {
            Some(entry) => std::slice::from_ref(entry).to_vec(),
            None => super::config::ENTRIES.map(str::to_owned).to_vec(),
        };
        for name in names {
            if let Some(text) = self.read(&name)? {
                return Ok(Some((name, text)));
            }
        }
        Ok(None)
    }

    /// When a file was changed last; `None` for what is not on disk.
    #[must_use]
    pub fn modified(&self, path: &str) -> Option<SystemTime> {
        self.root()?.join(path).metadata().ok()?.modified().ok()
    }

    /// The text of a file; `None` when there is none.
    ///
    /// # Errors
    /// When the path leads outside, or the file is unreadable or no text.
    pub fn read(&self, path: &str) -> Result<Option<String>, SourceError> {
        let bytes = match &self.origin {
            Origin::Directory(root) => self.read_disk(root, path)?,
            Origin::Embedded(_) | Origin::Memory(_) => self.inside(path),
        };
        bytes.map(|bytes| String::from_utf8(bytes).map_err(|_| SourceError::NotText(path.to_owned()))).transpose()
    }

    /// The bytes of a file that is part of this program; `None` where there is none, and for an application in a directory.
    #[must_use]
    pub fn inside(&self, path: &str) -> Option<Vec<u8>> {
        let path = resolve("", path)?;
        match &self.origin {
            Origin::Directory(_) => None,
            // Names inside a directory of the binary count from the root of all.
            Origin::Embedded(directory) => directory.get_file(directory.path().join(path)).map(|file| file.contents().to_vec()),
            Origin::Memory(files) => files.get(&path).map(|text| text.clone().into_bytes()),
        }
    }

    fn read_disk(&self, root: &Path, path: &str) -> Result<Option<Vec<u8>>, SourceError> {
        let full = root.join(path);
        let mut read = self.read.lock().unwrap_or_else(PoisonError::into_inner);
        if !read.contains(&full) {
            read.push(full.clone());
        }
        drop(read);
        let unreadable = |error| SourceError::Unreadable(path.to_owned(), error);
        let metadata = match full.metadata() {
            Ok(metadata) if metadata.is_file() => metadata,
            Ok(_) => return Ok(None),
            Err(error) if matches!(error.kind(), std::io::ErrorKind::NotFound | std::io::ErrorKind::NotADirectory) => return Ok(None),
            Err(error) => return Err(unreadable(error)),
        };
        let inside = full.canonicalize().and_then(|real| Ok(real.starts_with(root.canonicalize()?))).map_err(unreadable)?;
        if !inside {
            return Err(SourceError::Outside(path.to_owned()));
        }
        if metadata.len() > MAX_FILE {
            return Err(SourceError::NotText(path.to_owned()));
        }
        std::fs::read(&full).map(Some).map_err(unreadable)
    }
}

/// Joins a path as written in a script to the directory of the file that names it, both relative to the application's directory.
/// `None` when it leads outside.
#[must_use]
pub fn resolve(directory: &str, path: &str) -> Option<String> {
    let mut parts: Vec<&str> = directory.split('/').filter(|part| !part.is_empty()).collect();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop()?;
            }
            part if part.contains(['\0', '\\']) => return None,
            part => parts.push(part),
        }
    }
    Some(parts.join("/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_resolve_inside_only() {
        assert_eq!(resolve("", "./a").as_deref(), Some("a"));
        assert_eq!(resolve("lib", "./a/../b").as_deref(), Some("lib/b"));
        assert_eq!(resolve("lib/deep", "../a").as_deref(), Some("lib/a"));
        assert_eq!(resolve("", "../a"), None);
        assert_eq!(resolve("lib", "../../a"), None);
        assert_eq!(resolve("", "a\0b"), None);
    }

    #[test]
    fn links_out_of_the_directory_are_refused_and_reads_are_remembered() {
        let directory = tempfile::tempdir().expect("a directory");
        let root = directory.path().join("app");
        std::fs::create_dir(&root).expect("create");
        std::fs::write(directory.path().join("secret.luau"), "return 1").expect("write");
        std::fs::write(root.join("a.luau"), "return 1").expect("write");
        std::os::unix::fs::symlink("../secret.luau", root.join("b.luau")).expect("link");
        let source = Source::directory(&root);
        assert_eq!(source.read("a.luau").expect("readable").as_deref(), Some("return 1"));
        assert!(matches!(source.read("b.luau"), Err(SourceError::Outside(_))));
        assert!(source.read("c.luau").expect("no error").is_none());
        assert_eq!(source.files_read(), ["a.luau", "b.luau", "c.luau"].map(|name| root.join(name)));
    }
}
