//! A request body whose length only its end tells, in a file: a program that is to know its length starts with that.

use std::fs::File;
use std::io::{self, Seek, Write};
use std::path::Path;

use bytes::BytesMut;

use crate::request::{Body, BodyError};

/// What is written to the file at once.
const PIECE: usize = 256 << 10;

/// Why there is no file.
pub(super) enum Uncollected {
    Body(BodyError),
    Io(io::Error),
}

/// Reads the body to its end into a file without a name; gives the file, at its start, and its length in bytes.
pub(super) async fn collect(body: &Body, directory: &Path) -> Result<(File, u64), Uncollected> {
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
            return Ok((file, length));
        }
    }
}
