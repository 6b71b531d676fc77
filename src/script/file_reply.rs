//! A file as a reply: conditional requests, ranges, sent without copying.

use std::fs::{File, Metadata};
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;
use std::rc::Rc;
use std::time::SystemTime;

use mlua::UserData;

use super::context::AppContext;
use crate::codec::http::RequestHead;
use crate::request::Response;
use crate::request::file::{Content, Describer, in_place_of_body};

/// A reply that is made of a file. `response` brings its status and headers.
pub struct FileReply {
    /// The file, as the script wrote it.
    pub path: String,
    /// The status and headers of the reply.
    pub response: Response,
}

impl UserData for FileReply {}

impl FileReply {
    /// Opens the file and answers the request with it.
    pub(super) async fn open(self: Box<Self>, app: &AppContext, head: &RequestHead) -> mlua::Result<Response> {
        let own_type = self.response.fields.get("content-type").map(|value| String::from_utf8_lossy(value).into_owned());
        let describer = Describer::default();
        let (facts, content) = match app.source.inside(&self.path) {
            Some(bytes) => {
                let kind = own_type.unwrap_or_else(|| describer.content_type(&self.path));
                (describer.describe_bytes(kind, &bytes), Content::Memory(bytes.into()))
            }
            None => {
                let path = app.readable(&self.path).map_err(|what| mlua::Error::runtime(format!("file: {what}")))?;
                let kind = own_type.unwrap_or_else(|| describer.content_type(&path.to_string_lossy()));
                let opened = blocking::unblock(move || open(path)).await;
                let (file, metadata) = opened.map_err(|error| mlua::Error::runtime(format!("file: {}: {error}", self.path)))?;
                (describer.describe_as(kind, &metadata, SystemTime::now()), Content::Disk(Rc::new(file)))
            }
        };
        let facts = facts.map_err(mlua::Error::external)?;
        in_place_of_body(&self.response, head, &facts, &content).map_err(mlua::Error::external)
    }
}

fn open(path: PathBuf) -> std::io::Result<(File, Metadata)> {
    // Without O_NONBLOCK a pipe would wait for its writer.
    let file = File::options().read(true).custom_flags(libc::O_NONBLOCK).open(path)?;
    let metadata = file.metadata()?;
    if !metadata.is_file() {
        return Err(std::io::Error::new(std::io::ErrorKind::InvalidInput, "not a file"));
    }
    Ok((file, metadata))
}
