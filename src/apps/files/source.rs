//! Looking things up and reading them: what may wait for a disk, and so runs in the thread pool too.

use std::fs::{File, Metadata};
use std::io::{self, Read, Seek};
use std::os::unix::fs::MetadataExt;

use nix::fcntl::OFlag;

use super::listing;
use crate::apps::target::Target;
use crate::request::compression::Coding;
use crate::request::file::{Refusal, Root};

/// How often a small file is read again that changed while it was read.
const ATTEMPTS: usize = 3;

/// The directory and what of it is shown. Shared with the thread pool.
#[derive(Debug)]
pub(super) struct Source {
    pub(super) root: Root,
    /// Files that answer for a directory, the first that exists.
    pub(super) index: Vec<String>,
    pub(super) listing: bool,
    /// Files up to this size are read into memory.
    pub(super) small: u64,
}

/// What a target is.
#[derive(Debug)]
pub(super) enum Found {
    File(Box<Opened>),
    /// A directory, and the target has no slash at its end.
    NeedsSlash,
    /// A directory without an index file.
    Directory,
}

/// An open regular file.
#[derive(Debug)]
pub(super) struct Opened {
    pub(super) file: File,
    pub(super) metadata: Metadata,
    /// Its path below the directory: of the index file, where that answers; of the original, where this is compressed.
    pub(super) path: String,
    /// How it is compressed.
    pub(super) coding: Option<Coding>,
}

/// What a target is, with the content where that is kept in memory.
#[derive(Debug)]
pub(super) enum Loaded {
    File {
        opened: Box<Opened>,
        content: Option<Vec<u8>>,
    },
    NeedsSlash,
    /// The listing, as HTML.
    Listing(Vec<u8>),
}

/// What tells one state of a file from another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Identity([i64; 4], [u64; 3]);

impl Identity {
    pub(super) fn of(metadata: &Metadata) -> Self {
        let times = [metadata.mtime(), metadata.mtime_nsec(), metadata.ctime(), metadata.ctime_nsec()];
        Self(times, [metadata.dev(), metadata.ino(), metadata.size()])
    }
}

impl Source {
    /// Opens what a target names. With `wait` false, [`Refusal::Wait`] when that might wait for a disk.
    pub(super) fn find(&self, target: &Target, wait: bool) -> Result<Found, Refusal> {
        let opened = self.open(&target.path, wait)?;
        if opened.metadata.is_file() {
            return if target.slash { Err(Refusal::NotFound) } else { Ok(Found::File(Box::new(opened))) };
        }
        if !opened.metadata.is_dir() {
            return Err(Refusal::NotFound);
        }
        if !target.slash {
            return Ok(Found::NeedsSlash);
        }
        for name in &self.index {
            match self.open(&target.join(name), wait) {
                Ok(opened) if opened.metadata.is_file() => return Ok(Found::File(Box::new(opened))),
                Ok(_) | Err(Refusal::NotFound) => {}
                Err(refusal) => return Err(refusal),
            }
        }
        if self.listing { Ok(Found::Directory) } else { Err(Refusal::Forbidden) }
    }

    /// Opens what a target names, reads it if it is small, lists it if it is a directory. May wait for a disk.
    /// Of a file the first of these codings that lies beside it is taken.
    pub(super) fn load(&self, target: &Target, codings: &[Coding]) -> Result<Loaded, Refusal> {
        match self.find(target, true)? {
            Found::NeedsSlash => Ok(Loaded::NeedsSlash),
            Found::Directory => listing::render(&self.root, target).map(Loaded::Listing),
            Found::File(opened) => {
                let mut opened = self.beside(opened, codings)?;
                let content = if opened.metadata.len() <= self.small { self.read(&mut opened)? } else { None };
                Ok(Loaded::File { opened, content })
            }
        }
    }

    /// A compressed file that lies beside another and is no older, or that other.
    fn beside(&self, original: Box<Opened>, codings: &[Coding]) -> Result<Box<Opened>, Refusal> {
        let changed = |opened: &Opened| (opened.metadata.mtime(), opened.metadata.mtime_nsec());
        for &coding in codings {
            match self.open(&format!("{}{}", original.path, coding.ending()), true) {
                Ok(found) if found.metadata.is_file() && changed(&found) >= changed(&original) => {
                    return Ok(Box::new(Opened { path: original.path, coding: Some(coding), ..found }));
                }
                Ok(_) | Err(Refusal::NotFound) => {}
                Err(refusal) => return Err(refusal),
            }
        }
        Ok(original)
    }

    fn open(&self, path: &str, wait: bool) -> Result<Opened, Refusal> {
        // Without O_NONBLOCK a pipe would wait for its writer.
        let flags = OFlag::O_RDONLY | OFlag::O_NONBLOCK | OFlag::O_NOCTTY;
        let file = File::from(self.root.open_below(path, flags, wait)?);
        let metadata = file.metadata()?;
        Ok(Opened { file, metadata, path: path.to_owned(), coding: None })
    }

    /// The content, or `None` when the file grows or keeps changing: then it is sent from disk.
    fn read(&self, opened: &mut Opened) -> io::Result<Option<Vec<u8>>> {
        for _ in 0..ATTEMPTS {
            let mut content = Vec::with_capacity(usize::try_from(opened.metadata.len()).unwrap_or(0) + 1);
            opened.file.rewind()?;
            (&opened.file).take(self.small + 1).read_to_end(&mut content)?;
            let after = opened.file.metadata()?;
            let unchanged = Identity::of(&after) == Identity::of(&opened.metadata);
            opened.metadata = after;
            if unchanged && content.len() as u64 == opened.metadata.len() {
                return Ok(Some(content));
            }
        }
        Ok(None)
    }
}
