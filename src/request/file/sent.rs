//! Files that an answer has sent in the place of its own body, by `X-Sendfile`: from directories of the configuration only.

use std::fmt;
use std::path::PathBuf;
use std::rc::Rc;
use std::time::SystemTime;

use super::{Content, Describer, Roots, Unopened, in_place_of_body};
use crate::codec::http::{FieldError, RequestHead};
use crate::request::{Response, ResponseFields, StartError};

/// The field that names a file, in lower case.
pub const X_SENDFILE: &str = "x-sendfile";

/// The directories, and what is told of files in them.
#[derive(Debug, Default)]
pub struct SentFiles {
    roots: Roots,
    describer: Describer,
}

/// Why a file is not sent, for the log.
#[derive(Debug)]
enum Unsent {
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

impl SentFiles {
    /// Opens the directories.
    ///
    /// # Errors
    /// One is not there.
    pub fn open(roots: &[PathBuf]) -> Result<Self, StartError> {
        let failed = |(path, error): (PathBuf, _)| StartError(format!("cannot open the directory {}: {error}", path.display()));
        Ok(Self { roots: Roots::open(roots).map_err(failed)?, describer: Describer::default() })
    }

    /// Whether there is any; without one `X-Sendfile` is a field like others.
    #[must_use]
    pub fn is_on(&self) -> bool {
        !self.roots.is_empty()
    }

    /// The answer with the file that a response names: with ranges and conditions where its status is 200, and with its fields. Else 404, and `log` is
    /// told why.
    pub async fn follow(&self, response: Response, head: &RequestHead, log: impl FnOnce(&str)) -> Response {
        match self.found(response, head).await {
            Ok(answer) => answer,
            Err(why) => {
                log(&format!("X-Sendfile: {why}"));
                Response::error(404, "there is no such file")
            }
        }
    }

    async fn found(&self, mut response: Response, head: &RequestHead) -> Result<Response, Unsent> {
        let path = response.field(X_SENDFILE).map(|path| String::from_utf8_lossy(path).into_owned()).unwrap_or_default();
        let (file, metadata) = self.roots.file(&path).await.map_err(Unsent::File)?;
        let kind = response.field("content-type").map(|kind| String::from_utf8_lossy(kind).into_owned());
        let kind = kind.unwrap_or_else(|| self.describer.content_type(&path));
        let facts = self.describer.describe_as(kind, &metadata, SystemTime::now()).map_err(Unsent::Field)?;
        let mut fields = ResponseFields::default();
        // The coding was that of the body in whose place the file is.
        let stays = |name: &[u8]| ![X_SENDFILE, "content-encoding"].iter().any(|own| name.eq_ignore_ascii_case(own.as_bytes()));
        for (name, value) in response.fields.iter().filter(|(name, _)| stays(name)) {
            fields.push(name, value).map_err(Unsent::Field)?;
        }
        response.fields = fields;
        in_place_of_body(&response, head, &facts, &Content::Disk(Rc::new(file))).map_err(Unsent::Field)
    }
}
