//! Files that a program has sent in the place of its own body, by `X-Sendfile`: from directories of the configuration only.

use std::fmt;
use std::path::PathBuf;
use std::rc::Rc;
use std::time::SystemTime;

use crate::codec::http::{FieldError, Fields, RequestHead};
use crate::request::file::{Content, Describer, Roots, Unopened, respond};
use crate::request::{Response, StartError};

/// The directories, and what is told of files in them.
pub(super) struct SentFiles {
    roots: Roots,
    describer: Describer,
}

/// Why a file is not sent, for the log.
#[derive(Debug)]
pub(super) enum Unsent {
    File(Unopened),
    Field(FieldError),
}

impl fmt::Display for Unsent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(Unopened::Outside(path)) => write!(f, "{path:?} lies in none of `sendfile_roots`"),
            Self::File(why) => why.fmt(f),
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
        let failed = |(path, error): (PathBuf, _)| StartError(format!("cannot open the directory {}: {error}", path.display()));
        Ok(Self { roots: Roots::open(roots).map_err(failed)?, describer: Describer::default() })
    }

    /// Whether there is any.
    pub(super) fn is_on(&self) -> bool {
        !self.roots.is_empty()
    }

    /// The answer with the file at an absolute path: with ranges and conditions where the program's own status is 200, and with its fields.
    pub(super) async fn respond(&self, path: &str, status: u16, head: &RequestHead, fields: &Fields) -> Result<Response, Unsent> {
        let (file, metadata) = self.roots.file(path).await.map_err(Unsent::File)?;
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
}
