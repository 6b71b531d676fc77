//! Bodies in which strings are replaced piece by piece.

use std::io;
use std::os::unix::fs::FileExt;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Poll;

use bytes::Bytes;
use futures_lite::{StreamExt, stream};

use super::replacer::{Replacer, Strings};
use crate::request::{BodyStream, FileRange};

/// Bytes that are read of a file, or looked at in memory, in one go.
const PIECE: usize = 64 << 10;

/// Replaces strings in the pieces of a stream. Only what may be the beginning of a string waits for the next piece.
pub(super) fn of_stream(mut source: BodyStream, strings: Rc<Strings>, once: bool) -> BodyStream {
    let mut replacer = Some(Replacer::default());
    Box::pin(stream::poll_fn(move |cx| {
        loop {
            let Some(replacing) = &mut replacer else { return Poll::Ready(None) };
            let mut out = Vec::new();
            match source.poll_next(cx) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Some(Ok(piece))) => {
                    out.reserve(piece.len());
                    replacing.push(&strings, once, &piece, false, &mut out);
                }
                Poll::Ready(Some(Err(error))) => {
                    replacer = None;
                    return Poll::Ready(Some(Err(error)));
                }
                Poll::Ready(None) => {
                    replacing.push(&strings, once, &[], true, &mut out);
                    replacer = None;
                }
            }
            if !out.is_empty() {
                return Poll::Ready(Some(Ok(out.into())));
            }
        }
    }))
}

/// Replaces strings in bytes that are too many to be looked at in one go.
pub(super) fn of_bytes(mut bytes: Bytes, strings: Rc<Strings>, once: bool) -> BodyStream {
    let pieces = std::iter::from_fn(move || (!bytes.is_empty()).then(|| Ok(bytes.split_to(bytes.len().min(PIECE)))));
    of_stream(Box::pin(stream::iter(pieces)), strings, once)
}

/// Replaces strings in a file, or a part of it, which is read in the blocking pool.
///
/// # Errors
/// The process has no more descriptors.
pub(super) fn of_file(range: &FileRange, strings: Rc<Strings>, once: bool) -> io::Result<BodyStream> {
    let file = Arc::new(range.file.try_clone()?);
    let pieces = stream::try_unfold((file, range.offset, range.length), |(file, offset, left)| async move {
        if left == 0 {
            return Ok(None);
        }
        let read = file.clone();
        let piece = blocking::unblock(move || {
            let mut piece = vec![0; usize::try_from(left).unwrap_or(PIECE).min(PIECE)];
            let count = read.read_at(&mut piece, offset)?;
            piece.truncate(count);
            io::Result::Ok(piece)
        })
        .await?;
        if piece.is_empty() {
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the file became shorter while it was sent"));
        }
        let count = piece.len() as u64;
        Ok(Some((Bytes::from(piece), (file, offset + count, left - count))))
    });
    Ok(of_stream(Box::pin(pieces), strings, once))
}
