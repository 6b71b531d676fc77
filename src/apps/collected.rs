//! A request body whose length only its end tells, in a file: a program that is to know its length starts with that.

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

use crate::request::{Body, BodyError, BodySource};

/// What is written to the file, and read of it, at once.
const PIECE: usize = 256 << 10;

/// What happens to a request body of unknown length.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Chunked {
    /// The program starts at once and reads to the end of its input. It gets no CONTENT_LENGTH.
    Stream,
    /// The body is written to a temporary file first, and the program starts with its CONTENT_LENGTH, as RFC 3875 has it.
    Collect,
}

/// Why there is no file.
pub(super) enum Uncollected {
    Body(BodyError),
    Io(io::Error),
}

/// A body in a file without a name, which stands at its start.
pub(super) struct Collected {
    pub(super) file: File,
    /// In bytes.
    pub(super) length: u64,
}

/// Reads the body to its end into a file.
pub(super) async fn collect(body: &Body, directory: &Path) -> Result<Collected, Uncollected> {
    let directory = directory.to_owned();
    let made = blocking::unblock(move || {
        std::fs::create_dir_all(&directory)?;
        tempfile::tempfile_in(&directory)
    });
    let mut file = made.await.map_err(Uncollected::Io)?;
    let mut length = 0;
    let mut piece = BytesMut::new();
    loop {
        let chunk = body.chunk().await.map_err(Uncollected::Body)?;
        let ended = chunk.is_none();
        if let Some(chunk) = chunk {
            length += chunk.len() as u64;
            piece.extend_from_slice(&chunk);
        }
        if ended || piece.len() >= PIECE {
            let bytes = piece.split().freeze();
            let written = blocking::unblock(move || {
                file.write_all(&bytes)?;
                if ended {
                    file.rewind()?;
                }
                io::Result::Ok(file)
            });
            file = written.await.map_err(Uncollected::Io)?;
        }
        if ended {
            return Ok(Collected { file, length });
        }
    }
}

impl Collected {
    /// The same as a body.
    pub(super) fn into_body(self) -> Body {
        let length = self.length;
        Body::from_source(Rc::new(FileBody(RefCell::new(read(self.file)))), Some(length))
    }
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
