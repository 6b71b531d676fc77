//! Writing a response: its head, then its body in whatever form it comes.

use std::cell::RefCell;
use std::future::poll_fn;
use std::io;
use std::task::{Context, Poll};
use std::time::{Duration, Instant, SystemTime};

use bytes::Bytes;

use super::wire::{OUTPUT, Wire};
use crate::codec::http::http1::write::write_status_line;
use crate::codec::http::{Version, status};
use crate::net::Stream;
use crate::reactor;
use crate::request::{BodyStream, FileRange, Part, Response, ResponseBody, Standing};
use crate::servers::watch::Watch;

/// A body up to this size is copied behind its head; a larger one is written from where it is.
const COPIED: usize = 8 << 10;
/// Bytes of a file handed to the kernel in one call: bounds how long pages that must be read from disk hold the worker.
const FILE_PIECE: u64 = 1 << 20;

/// A file up to this size shares its first segment with its head. The head of a larger one goes ahead, so that the reader is awake when the rest
/// comes, and the rest is gathered into full segments (measured on loopback, 1 MiB: two thirds of the CPU time; only the first of the two leaves
/// it above nginx's, only the second makes the slowest of a hundred take 20 ms, as nginx's do).
const TOGETHER: u64 = 256 << 10;

/// How a response is to be framed.
#[derive(Debug, Clone, Copy)]
pub(super) struct Framing {
    pub(super) version: Version,
    /// The request was HEAD: a length is told and no body sent.
    pub(super) head_only: bool,
    /// The connection is kept for another request.
    pub(super) keep_alive: bool,
    /// The client is HTTP/1.0 and must be told that the connection is kept.
    pub(super) tell_keep_alive: bool,
    /// `Server: skep` is sent.
    pub(super) server_token: bool,
}

/// The lines that end nearly every head in the present second, and when they stop being true.
struct Tail {
    until: Option<Instant>,
    /// `Server: skep`, then `Date: …`, then the empty line.
    lines: Vec<u8>,
}

/// `Server: skep` with its line end.
const SERVER: &[u8] = b"Server: skep\r\n";

thread_local! {
    static TAIL: RefCell<Tail> = const { RefCell::new(Tail { until: None, lines: Vec::new() }) };
}

/// Appends `Server: …` if it is wanted, `Date: …` (RFC 9110 §6.6.1), formatted once a second, and the end of the head unless more fields follow.
fn push_tail(out: &mut Vec<u8>, server: bool, end: bool) {
    TAIL.with_borrow_mut(|tail| {
        let now = reactor::now();
        if tail.until.is_none_or(|until| now >= until) {
            let time = SystemTime::now();
            let into_second = time.duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.subsec_nanos());
            tail.until = Some(now + Duration::from_secs(1).saturating_sub(Duration::from_nanos(into_second.into())));
            tail.lines = [SERVER, b"Date: ", httpdate::fmt_http_date(time).as_bytes(), b"\r\n\r\n"].concat();
        }
        let from = if server { 0 } else { SERVER.len() };
        let to = if end { tail.lines.len() } else { tail.lines.len() - 2 };
        out.extend_from_slice(&tail.lines[from..to]);
    });
}

/// Writes the head of `response` to the output. Whether the connection can be kept after it.
pub(super) fn write_head(wire: &Wire, response: &Response, framing: Framing) -> bool {
    let bodiless = status::is_bodiless(response.status);
    let length = response.body.length();
    let chunked = length.is_none() && !bodiless && framing.version == Version::Http11;
    let keep_alive =
        framing.keep_alive && !response.fields.asks_to_close() && (chunked || length.is_some() || bodiless || framing.head_only);
    wire.with_output(|out| {
        out.reserve(256 + response.fields.block().len());
        write_status_line(response.status, out);
        out.extend_from_slice(response.fields.block());
        if let Some(prepared) = &response.prepared {
            out.extend_from_slice(prepared);
        }
        match length {
            _ if bodiless => {}
            Some(length) => {
                out.extend_from_slice(b"Content-Length: ");
                out.extend_from_slice(itoa::Buffer::new().format(length).as_bytes());
                out.extend_from_slice(b"\r\n");
            }
            None if chunked => out.extend_from_slice(b"Transfer-Encoding: chunked\r\n"),
            None => {}
        }
        let upgrade = matches!(response.body, ResponseBody::Upgrade(_));
        let usual = keep_alive && !framing.tell_keep_alive && !upgrade;
        push_tail(out, framing.server_token, usual);
        if upgrade {
            out.extend_from_slice(b"Connection: Upgrade\r\n\r\n");
        } else if !keep_alive {
            out.extend_from_slice(b"Connection: close\r\n\r\n");
        } else if !usual {
            out.extend_from_slice(b"Connection: keep-alive\r\n\r\n");
        }
    });
    keep_alive
}

/// Writes a reply that stands in the configuration, for a connection that is kept.
pub(super) fn write_standing(wire: &Wire, standing: &Standing, head_only: bool, server_token: bool) {
    wire.with_output(|out| {
        out.reserve(256 + standing.head.len() + standing.body.len());
        out.extend_from_slice(&standing.head);
        push_tail(out, server_token, true);
        if !head_only {
            out.extend_from_slice(&standing.body);
        }
    });
}

/// Writes the body behind the head. What is small stays in the output, for the caller to flush. `watch` looks at who makes a stream.
///
/// # Errors
/// The client is gone or too slow, a file became shorter, a stream broke: the connection cannot be used any more.
pub(super) async fn write_body(
    wire: &Wire,
    response: Response,
    framing: Framing,
    limit: Duration,
    watch: Option<&Watch<'_>>,
) -> io::Result<()> {
    if framing.head_only || status::is_bodiless(response.status) {
        return Ok(());
    }
    match response.body {
        ResponseBody::Empty | ResponseBody::Upgrade(_) => Ok(()),
        ResponseBody::Bytes(bytes) => write_bytes(wire, &bytes, limit).await,
        ResponseBody::File(range) => write_file(wire, range, limit).await,
        ResponseBody::Parts(parts) => {
            for part in parts {
                match part {
                    Part::Bytes(bytes) => write_bytes(wire, &bytes, limit).await?,
                    Part::File(range) => write_file(wire, range, limit).await?,
                }
            }
            Ok(())
        }
        ResponseBody::Stream(stream) => write_stream(wire, stream, framing.version == Version::Http11, limit, watch).await,
        ResponseBody::Measured(stream, _) => write_stream(wire, stream, false, limit, watch).await,
    }
}

async fn write_bytes(wire: &Wire, bytes: &Bytes, limit: Duration) -> io::Result<()> {
    if bytes.len() <= COPIED {
        wire.with_output(|out| out.extend_from_slice(bytes));
        if wire.pending() < OUTPUT {
            return Ok(());
        }
        return wire.flush(&[], limit).await;
    }
    wire.flush(bytes, limit).await
}

async fn write_file(wire: &Wire, range: FileRange, limit: Duration) -> io::Result<()> {
    let mut left = range.length;
    if left == 0 {
        return Ok(());
    }
    let Stream::Plain(socket) = &wire.stream else { return write_file_copied(wire, range, limit).await };
    wire.alarm.set(limit);
    // The promise of more lets head and file share a segment.
    let together = range.length <= TOGETHER;
    wire.alarm.guard(poll_fn(|cx| wire.poll_drain(cx, together))).await??;
    let _cork = (!together).then(|| socket.cork());
    let too_far = |_| io::Error::from(io::ErrorKind::InvalidInput);
    let mut offset = i64::try_from(range.offset).map_err(too_far)?;
    while left > 0 {
        let count = usize::try_from(left.min(FILE_PIECE)).unwrap_or(usize::MAX);
        wire.alarm.set(limit);
        let sent = wire.alarm.guard(socket.send_file(&range.file, &mut offset, count)).await?? as u64;
        if sent == 0 {
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the file became shorter while it was sent"));
        }
        wire.sent.set(wire.sent.get() + sent);
        left -= sent.min(left);
        if left > 0 {
            reactor::yield_now().await;
        }
    }
    Ok(())
}

/// A file over TLS: read in the blocking pool, encrypted here.
async fn write_file_copied(wire: &Wire, range: FileRange, limit: Duration) -> io::Result<()> {
    use std::os::unix::fs::FileExt;
    let file = std::sync::Arc::new(range.file.try_clone()?);
    let (mut offset, mut left) = (range.offset, range.length);
    while left > 0 {
        let count = usize::try_from(left.min(FILE_PIECE)).unwrap_or(usize::MAX);
        let source = file.clone();
        let piece = blocking::unblock(move || {
            let mut piece = vec![0; count];
            let read = source.read_at(&mut piece, offset)?;
            piece.truncate(read);
            io::Result::Ok(piece)
        })
        .await?;
        if piece.is_empty() {
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the file became shorter while it was sent"));
        }
        offset += piece.len() as u64;
        left -= piece.len() as u64;
        wire.flush(&piece, limit).await?;
    }
    Ok(())
}

/// Writes the pieces of a stream as they come. Pieces that are ready at once leave together; what the stream pauses on is on its way.
async fn write_stream(wire: &Wire, mut stream: BodyStream, chunked: bool, limit: Duration, watch: Option<&Watch<'_>>) -> io::Result<()> {
    enum Next {
        Piece(Bytes),
        End,
        /// Nothing is ready: send what there is and wait.
        Pause,
    }
    let mut flushed = false;
    loop {
        wire.alarm.clear();
        if let Some(watch) = watch {
            watch.begin();
        }
        let mut poll_piece = |cx: &mut Context<'_>| match watch {
            Some(watch) => watch.poll(cx, |cx| stream.as_mut().poll_next(cx)),
            None => stream.as_mut().poll_next(cx),
        };
        let next = poll_fn(|cx| match poll_piece(cx) {
            Poll::Ready(Some(Ok(piece))) => Poll::Ready(Ok(Next::Piece(piece))),
            Poll::Ready(Some(Err(error))) => Poll::Ready(Err(error)),
            Poll::Ready(None) => Poll::Ready(Ok(Next::End)),
            Poll::Pending if !flushed => Poll::Ready(Ok(Next::Pause)),
            // The client left, and nobody would see what comes.
            Poll::Pending => wire.stream.poll_hang_up(cx).map(|()| Err(io::ErrorKind::ConnectionReset.into())),
        })
        .await;
        let next = match next {
            Ok(next) => next,
            Err(error) => {
                // What came before the fault is sent, without the end that would make it look whole.
                wire.flush(&[], limit).await?;
                return Err(error);
            }
        };
        match next {
            Next::Piece(piece) if piece.is_empty() => {}
            Next::Piece(piece) => {
                flushed = false;
                push_piece(wire, &piece, chunked, limit).await?;
            }
            Next::Pause => {
                wire.flush(&[], limit).await?;
                wire.release_output();
                flushed = true;
            }
            Next::End => {
                if chunked {
                    wire.with_output(|out| out.extend_from_slice(b"0\r\n\r\n"));
                }
                return Ok(());
            }
        }
    }
}

async fn push_piece(wire: &Wire, piece: &Bytes, chunked: bool, limit: Duration) -> io::Result<()> {
    use std::io::Write;
    if chunked {
        wire.with_output(|out| write!(out, "{:x}\r\n", piece.len()))?;
    }
    if piece.len() > COPIED {
        wire.flush(piece, limit).await?;
    } else {
        wire.with_output(|out| out.extend_from_slice(piece));
    }
    if chunked {
        wire.with_output(|out| out.extend_from_slice(b"\r\n"));
    }
    if wire.pending() >= OUTPUT { wire.flush(&[], limit).await } else { Ok(()) }
}
