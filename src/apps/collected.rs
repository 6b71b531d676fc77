//! A request body whose length only its end tells, read first: a program that is to know its length starts with that.

use std::cell::RefCell;
use std::fs::File;
use std::future::Future;
use std::io::{self, Read, Seek, Write};
use std::path::Path;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use bytes::{Bytes, BytesMut};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::request::{Body, BodyError, BodySource, Request};

/// What is written to the file, and read of it, at once. A body that is smaller needs none.
const PIECE: usize = 256 << 10;

/// What happens to a request body of unknown length.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Chunked {
    /// The program starts at once and reads to the end of its input. It gets no CONTENT_LENGTH.
    Stream,
    /// The body is read first, to a temporary file if it is large, and the program starts with its CONTENT_LENGTH, as RFC 3875 has it.
    Collect,
}

/// Why a body could not be collected.
pub(super) enum Uncollected {
    Body(BodyError),
    Io(io::Error),
}

/// The body of a request for a program, collected first if its length is not known and `chunked` says so.
pub(super) async fn body(request: &Request, chunked: Chunked) -> Result<Body, Uncollected> {
    match (request.body.length(), chunked) {
        (None, Chunked::Collect) => collect(&request.body, &request.uploads.directory).await,
        _ => Ok(request.body.clone()),
    }
}

/// Reads a body to its end, so that its length is known. A small one stays in memory, a larger one goes to a file without a name.
async fn collect(body: &Body, directory: &Path) -> Result<Body, Uncollected> {
    let (mut file, mut length, mut piece) = (None, 0, BytesMut::new());
    loop {
        let chunk = body.chunk().await.map_err(Uncollected::Body)?;
        let ended = chunk.is_none();
        if let Some(chunk) = chunk {
            length += chunk.len() as u64;
            piece.extend_from_slice(&chunk);
        }
        if ended && file.is_none() {
            return Ok(Body::full(piece.freeze()));
        }
        if ended || piece.len() >= PIECE {
            let (bytes, directory) = (piece.split().freeze(), directory.to_owned());
            let written = blocking::unblock(move || write(file, &bytes, ended, &directory));
            let written = written.await.map_err(Uncollected::Io)?;
            if ended {
                return Ok(Body::from_source(Rc::new(FileBody(RefCell::new(read(written)))), Some(length)));
            }
            file = Some(written);
        }
    }
}

/// Adds to the file, which is made if there is none; behind the last piece it stands at its start.
fn write(file: Option<File>, bytes: &[u8], last: bool, directory: &Path) -> io::Result<File> {
    let mut file = match file {
        Some(file) => file,
        None => {
            std::fs::create_dir_all(directory)?;
            tempfile::tempfile_in(directory)?
        }
    };
    file.write_all(bytes)?;
    if last {
        file.rewind()?;
    }
    Ok(file)
}

type Reading = Pin<Box<dyn Future<Output = io::Result<(File, Bytes)>>>>;

/// The next piece of a file; an empty one at its end.
fn read(mut file: File) -> Reading {
    Box::pin(blocking::unblock(move || {
        let mut piece = vec![0; PIECE];
        let count = file.read(&mut piece)?;
        piece.truncate(count);
        Ok((file, piece.into()))
    }))
}

struct FileBody(RefCell<Reading>);

impl BodySource for FileBody {
    fn poll_chunk(&self, cx: &mut Context<'_>) -> Poll<Result<Option<Bytes>, BodyError>> {
        let mut reading = self.0.borrow_mut();
        let (file, piece) = ready!(reading.as_mut().poll(cx)).map_err(|error| BodyError::Malformed(error.to_string()))?;
        *reading = read(file);
        Poll::Ready(Ok(Some(piece).filter(|piece| !piece.is_empty())))
    }
}
