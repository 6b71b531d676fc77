//! Bodies compressed piece by piece, the work of large pieces in the blocking pool.

use std::future::poll_fn;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::task::Poll;

use bytes::Bytes;
use futures_lite::stream;

use super::encoder::Encoder;
use crate::request::{BodyStream, FileRange};

/// Bytes of a file that are read and compressed in one go.
const PIECE: usize = 128 << 10;

/// Does something with an encoder, here or, where that takes longer, in the pool; gives the encoder back.
async fn work<T: Send + 'static>(
    encoder: Encoder,
    amount: usize,
    job: impl FnOnce(&mut Encoder) -> io::Result<T> + Send + 'static,
) -> io::Result<(Encoder, T)> {
    let at_once = encoder.at_once();
    let run = move || {
        let mut encoder = encoder;
        let done = job(&mut encoder)?;
        Ok((encoder, done))
    };
    if amount <= at_once { run() } else { blocking::unblock(run).await }
}

async fn finish(encoder: Encoder, amount: usize) -> io::Result<Bytes> {
    let rest = if amount <= encoder.at_once() { encoder.finish() } else { blocking::unblock(move || encoder.finish()).await };
    rest.map(Bytes::from)
}

/// What is left to do of a body.
struct Rest<S> {
    source: S,
    encoder: Encoder,
    /// Bytes that went in since the last flush, as far as the encoder may hold them back.
    held: usize,
}

/// What a source has next.
enum Next {
    Piece(Bytes),
    /// Nothing yet: what there is should be on its way.
    Pause,
    End,
}

/// Compresses the pieces of a stream. When there is no next one yet, all that came before can be read by the client.
pub(super) fn of_stream(source: BodyStream, encoder: Encoder) -> BodyStream {
    Box::pin(stream::unfold(Some(Rest { source, encoder, held: 0 }), |rest| async move {
        let mut rest = rest?;
        loop {
            let next = poll_fn(|cx| match rest.source.as_mut().poll_next(cx) {
                Poll::Ready(Some(Ok(piece))) => Poll::Ready(Ok(Next::Piece(piece))),
                Poll::Ready(Some(Err(error))) => Poll::Ready(Err(error)),
                Poll::Ready(None) => Poll::Ready(Ok(Next::End)),
                Poll::Pending if rest.held > 0 => Poll::Ready(Ok(Next::Pause)),
                Poll::Pending => Poll::Pending,
            })
            .await;
            let (encoder, held) = (rest.encoder, rest.held);
            let done = match next {
                Err(error) => Err(error),
                Ok(Next::End) => return Some((finish(encoder, held).await, None)),
                Ok(Next::Pause) => {
                    rest.held = 0;
                    work(encoder, held, Encoder::flush).await
                }
                Ok(Next::Piece(piece)) => {
                    // Brotli holds back what it is given until it has a block.
                    rest.held = held.saturating_add(piece.len());
                    work(encoder, piece.len(), move |encoder| encoder.write(&piece)).await
                }
            };
            match done {
                Err(error) => return Some((Err(error), None)),
                Ok((encoder, out)) => {
                    rest.encoder = encoder;
                    if !out.is_empty() {
                        return Some((Ok(out.into()), Some(rest)));
                    }
                }
            }
        }
    }))
}

/// Compresses bytes in memory that are too many to be compressed at once.
pub(super) fn of_bytes(source: Bytes, encoder: Encoder) -> BodyStream {
    Box::pin(stream::unfold(Some(Rest { source, encoder, held: 0 }), |rest| async move {
        let mut rest = rest?;
        loop {
            if rest.source.is_empty() {
                return Some((finish(rest.encoder, PIECE).await, None));
            }
            let piece = rest.source.split_to(rest.source.len().min(PIECE));
            match work(rest.encoder, PIECE, move |encoder| encoder.write(&piece)).await {
                Err(error) => return Some((Err(error), None)),
                Ok((encoder, out)) => {
                    rest.encoder = encoder;
                    if !out.is_empty() {
                        return Some((Ok(out.into()), Some(rest)));
                    }
                }
            }
        }
    }))
}

/// Compresses a file or a part of it.
///
/// # Errors
/// The process has no more descriptors.
pub(super) fn of_file(range: &FileRange, encoder: Encoder) -> io::Result<BodyStream> {
    let source = (Arc::new(range.file.try_clone()?), range.offset, range.length);
    Ok(Box::pin(stream::unfold(Some(Rest { source, encoder, held: 0 }), |rest| async move {
        let mut rest = rest?;
        loop {
            let (file, offset, left) = rest.source;
            if left == 0 {
                return Some((finish(rest.encoder, PIECE).await, None));
            }
            let read = file.clone();
            let job = move |encoder: &mut Encoder| {
                let mut piece = vec![0; usize::try_from(left).unwrap_or(PIECE).min(PIECE)];
                let count = read.read_at(&mut piece, offset)?;
                if count == 0 {
                    return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the file became shorter while it was sent"));
                }
                Ok((encoder.write(&piece[..count])?, count as u64))
            };
            match work(rest.encoder, PIECE, job).await {
                Err(error) => return Some((Err(error), None)),
                Ok((encoder, (out, count))) => {
                    rest = Rest { source: (file, offset + count, left - count), encoder, held: 0 };
                    if !out.is_empty() {
                        return Some((Ok(out.into()), Some(rest)));
                    }
                }
            }
        }
    })))
}
