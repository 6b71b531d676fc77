//! Files that a program has sent in the place of its own body, by `X-Sendfile`: from directories of the configuration only.

use std::fmt;
use std::fs::{File, Metadata};
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;
use std::time::SystemTime;

use nix::fcntl::OFlag;

use super::root::{Refusal, Root};
use crate::codec::http::{FieldError, Fields, RequestHead};
use crate::request::file::{Content, Describer, respond};
use crate::request::{Response, StartError};

/// The directories.
pub(super) struct SentFiles {
    roots: Vec<(PathBuf, Arc<Root>)>,
    describer: Describer,
}

/// Why a file is not sent, for the log.
#[derive(Debug)]
pub(super) enum Unsent {
    /// It lies in none of the directories.
    Outside(String),
    /// It cannot be opened.
    Refused(String, Refusal),
    Field(FieldError),
}

impl fmt::Display for Unsent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Outside(path) => write!(f, "{path:?} lies in none of `sendfile_roots`"),
            Self::Refused(path, Refusal::Failed(error)) => write!(f, "{path:?} cannot be opened: {error}"),
            Self::Refused(path, Refusal::Forbidden) => write!(f, "{path:?} may not be read"),
            Self::Refused(path, _) => write!(f, "{path:?} is no file there"),
            Self::Field(error) => error.fmt(f),
        }
    }
}

/// What the file says better than the program.
const OF_THE_FILE: [&str; 4] = ["x-sendfile", "content-type", "content-length", "content-encoding"];

impl SentFiles {
    /// Opens the directories.
    ///
    /// # Errors
    /// One is not there.
    pub(super) fn open(roots: &[PathBuf]) -> Result<Self, StartError> {
        let open = |path: &PathBuf| match Root::open(path, true) {
            Ok(root) => Ok((path.clone(), Arc::new(root))),
            Err(error) => Err(StartError(format!("cannot open the directory {}: {error}", path.display()))),
        };
        let roots = roots.iter().map(open).collect::<Result<_, _>>()?;
        Ok(Self { roots, describer: Describer::default() })
    }

    /// Whether there is any.
    pub(super) fn is_on(&self) -> bool {
        !self.roots.is_empty()
    }

    /// The answer with the file at an absolute path: with ranges and conditions where the program's own status is 200, and with its fields.
    pub(super) async fn respond(&self, path: &str, status: u16, head: &RequestHead, fields: &Fields) -> Result<Response, Unsent> {
        let (file, metadata) = self.file(path).await?;
        let kind = fields.get_str("content-type").map_or_else(|| self.describer.content_type(path), str::to_owned);
        let facts = self.describer.describe_as(kind, &metadata, SystemTime::now()).map_err(Unsent::Field)?;
        let mut response = if status == 200 {
            respond(head, &facts, &Content::Disk(Rc::new(file))).map_err(Unsent::Field)?
        } else {
            let mut plain = head.clone();
            plain.fields.clear();
            let response = respond(&plain, &facts, &Content::Disk(Rc::new(file))).map_err(Unsent::Field)?;
            Response { status, ..response }
        };
        for (name, value) in
            fields.iter().filter(|(name, _)| !OF_THE_FILE.contains(name) && response.field(name).is_none()).collect::<Vec<_>>()
        {
            response.fields.push(name, value).map_err(Unsent::Field)?;
        }
        Ok(response)
    }

    async fn file(&self, path: &str) -> Result<(File, Metadata), Unsent> {
        let below = |(directory, root): &(PathBuf, Arc<Root>)| {
            let rest = Path::new(path).strip_prefix(directory).ok()?.to_str()?.to_owned();
            Some((root.clone(), rest))
        };
        let found: Vec<_> = self.roots.iter().filter_map(below).collect();
        if found.is_empty() {
            return Err(Unsent::Outside(path.to_owned()));
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
        blocking::unblock(open).await.map_err(|refusal| Unsent::Refused(path.to_owned(), refusal))
    }
}
