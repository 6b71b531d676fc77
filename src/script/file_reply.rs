//! A file as a reply: conditional requests, one range, sent without copying.

use std::fs::{File, Metadata};
use std::ops::Range;
use std::path::PathBuf;
use std::rc::Rc;
use std::time::SystemTime;

use mlua::UserData;

use super::context::AppContext;
use crate::codec::http::conditional::{self, Validators, Verdict};
use crate::codec::http::etag::EntityTag;
use crate::codec::http::range::{self, Requested};
use crate::codec::http::{Method, RequestHead, date};
use crate::request::{FileRange, Response, ResponseBody};

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
    pub(super) async fn open(mut self: Box<Self>, app: &AppContext, head: &RequestHead) -> mlua::Result<Response> {
        let path = app.readable(&self.path).map_err(|what| mlua::Error::runtime(format!("file: {what}")))?;
        let kind = mime_guess::from_path(&path).first_raw();
        let opened = blocking::unblock(move || open(path)).await;
        let (file, metadata) = opened.map_err(|error| mlua::Error::runtime(format!("file: {}: {error}", self.path)))?;
        let modified = metadata.modified().unwrap_or(SystemTime::UNIX_EPOCH);
        let length = metadata.len();
        let opaque = format!("{:x}-{length:x}", date::seconds(modified));
        let mut part = 0..length;
        let response = &mut self.response;
        if response.fields.get("content-type").is_none() {
            let kind = kind.unwrap_or("application/octet-stream");
            let kind = if kind.starts_with("text/") { format!("{kind}; charset=utf-8") } else { kind.to_owned() };
            response.fields.push("Content-Type", kind).map_err(mlua::Error::external)?;
        }
        response.fields.push("ETag", format!("\"{opaque}\"")).map_err(mlua::Error::external)?;
        response.fields.push("Last-Modified", date::format(modified)).map_err(mlua::Error::external)?;
        response.fields.push_static("Accept-Ranges", "bytes");
        if response.status == 200 {
            let current = Validators { etag: Some(EntityTag { weak: false, opaque: opaque.as_bytes() }), modified: Some(modified) };
            if let Some(response) = answer_conditions(&mut self.response, head, &current, length, &mut part)? {
                return Ok(response);
            }
        }
        self.response.body = ResponseBody::File(FileRange { file: Rc::new(file), offset: part.start, length: part.end - part.start });
        Ok(self.response)
    }
}

/// The whole answer when the conditions or the range leave nothing to send; else sets the status.
fn answer_conditions(
    response: &mut Response,
    head: &RequestHead,
    current: &Validators<'_>,
    length: u64,
    part: &mut Range<u64>,
) -> mlua::Result<Option<Response>> {
    match conditional::evaluate(&head.method, &head.fields, current) {
        Verdict::Proceed => {}
        Verdict::NotModified => {
            response.status = 304;
            return Ok(Some(std::mem::take(response)));
        }
        Verdict::Failed => return Ok(Some(Response::error(412, "the file has changed"))),
    }
    if !conditional::range_applies(&head.fields, current) {
        return Ok(None);
    }
    let Some(value) = head.fields.get("range").filter(|_| head.method == Method::Get) else { return Ok(None) };
    match range::parse(value, length) {
        Requested::Unsatisfiable => {
            let mut refused = Response::error(416, "the file is shorter");
            refused.fields.push("Content-Range", format!("bytes */{length}")).map_err(mlua::Error::external)?;
            return Ok(Some(refused));
        }
        Requested::Ranges(ranges) if ranges.len() == 1 => {
            let Range { start, end } = ranges[0].clone();
            response.status = 206;
            response.fields.push("Content-Range", format!("bytes {start}-{}/{length}", end - 1)).map_err(mlua::Error::external)?;
            *part = start..end;
        }
        // Several ranges in one reply are for the file server; whoever asks a script gets the whole.
        Requested::Whole | Requested::Ranges(_) => {}
    }
    Ok(None)
}

fn open(path: PathBuf) -> std::io::Result<(File, Metadata)> {
    let file = File::open(path)?;
    let metadata = file.metadata()?;
    if !metadata.is_file() {
        return Err(std::io::Error::new(std::io::ErrorKind::InvalidInput, "not a file"));
    }
    Ok((file, metadata))
}
