//! Writing a response to a stream.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::io;
use std::os::unix::fs::FileExt;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Poll;
use std::time::{Duration, Instant, SystemTime};

use bytes::Bytes;
use h2::server::SendResponse;
use h2::{Reason, SendStream};
use http::{HeaderName, HeaderValue};

use crate::codec::http::status;
use crate::reactor::{self, Alarm};
use crate::request::{BodyStream, FileRange, Part, Response, ResponseBody};
use crate::servers::watch::Watch;

/// What is read of a file at once: there may be many streams, each with a piece that waits for its window.
const FILE_PIECE: u64 = 64 << 10;

/// A body that is handed over whole.
const SMALL: usize = 4 << 10;

thread_local! {
    /// The present second as a field, and when it stops being true.
    static DATE: RefCell<Option<(Instant, HeaderValue)>> = const { RefCell::new(None) };
}

/// `Date` (RFC 9110 §6.6.1), formatted once a second.
fn date() -> Option<HeaderValue> {
    DATE.with_borrow_mut(|date| {
        let now = reactor::now();
        if date.as_ref().is_none_or(|(until, _)| now >= *until) {
            let time = SystemTime::now();
            let into_second = time.duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.subsec_nanos());
            let until = now + Duration::from_secs(1).saturating_sub(Duration::from_nanos(into_second.into()));
            *date = HeaderValue::from_str(&httpdate::fmt_http_date(time)).ok().map(|value| (until, value));
        }
        date.as_ref().map(|(_, value)| value.clone())
    })
}

/// Fields that belong to a connection of HTTP/1.1 (RFC 9113 §8.2.2).
const OF_CONNECTIONS: [&str; 5] = ["connection", "keep-alive", "proxy-connection", "transfer-encoding", "upgrade"];

pub(super) struct Reply {
    respond: Rc<RefCell<SendResponse<Bytes>>>,
    /// The request was HEAD: a length is told and no body sent.
    head_only: bool,
    server_token: bool,
    /// How long the client may take nothing.
    limit: Duration,
    sent: Cell<u64>,
}

impl Reply {
    /// With which another protocol begins (RFC 8441 §5): it stands for the 101 of HTTP/1.1, which HTTP/2 does not have.
    pub(super) const BEGUN: u16 = 200;

    pub(super) fn new(respond: Rc<RefCell<SendResponse<Bytes>>>, head_only: bool, server_token: bool, limit: Duration) -> Self {
        Self { respond, head_only, server_token, limit, sent: Cell::new(0) }
    }

    /// Bytes of the body so far.
    pub(super) fn sent(&self) -> u64 {
        self.sent.get()
    }

    /// Breaks the stream off.
    pub(super) fn reset(&self, reason: Reason) {
        self.respond.borrow_mut().send_reset(reason);
    }

    /// Writes a response. `watch` looks at who makes a stream.
    ///
    /// # Errors
    /// The stream or its connection is gone, or takes nothing; a file became shorter; a stream of the application broke.
    pub(super) async fn write(&self, response: Response, watch: Option<&Watch<'_>>) -> io::Result<()> {
        let bodiless = self.head_only || status::is_bodiless(response.status);
        let head = self.head(&response);
        let ends = bodiless || response.body.length() == Some(0);
        let mut stream = self.respond.borrow_mut().send_response(head, ends).map_err(io::Error::other)?;
        if ends {
            return Ok(());
        }
        match response.body {
            ResponseBody::Empty | ResponseBody::Upgrade(_) => {}
            // A small answer needs no wait: what a closed window holds back of such is bounded by the number of streams, and goes with the connection.
            ResponseBody::Bytes(bytes) if bytes.len() <= SMALL => {
                self.sent.set(bytes.len() as u64);
                return stream.send_data(bytes, true).map_err(io::Error::other);
            }
            ResponseBody::Bytes(bytes) => return self.bytes(&mut stream, bytes, true).await,
            ResponseBody::File(range) => self.file(&mut stream, range).await?,
            ResponseBody::Parts(parts) => {
                for part in parts {
                    match part {
                        Part::Bytes(bytes) => self.bytes(&mut stream, bytes, false).await?,
                        Part::File(range) => self.file(&mut stream, range).await?,
                    }
                }
            }
            ResponseBody::Stream(body) | ResponseBody::Measured(body, _) => self.stream(&mut stream, body, watch).await?,
        }
        stream.send_data(Bytes::new(), true).map_err(io::Error::other)
    }

    /// Sends bytes as the windows let them.
    async fn bytes(&self, stream: &mut SendStream<Bytes>, mut bytes: Bytes, end: bool) -> io::Result<()> {
        let stalled = Alarm::new();
        while !bytes.is_empty() {
            stream.reserve_capacity(bytes.len());
            stalled.set(self.limit);
            let room = poll_fn(|cx| match stream.poll_capacity(cx) {
                Poll::Ready(Some(Ok(room))) => Poll::Ready(Ok(room)),
                Poll::Ready(Some(Err(error))) => Poll::Ready(Err(io::Error::other(error))),
                Poll::Ready(None) => Poll::Ready(Err(io::ErrorKind::ConnectionReset.into())),
                Poll::Pending => match stream.poll_reset(cx) {
                    Poll::Ready(_) => Poll::Ready(Err(io::ErrorKind::ConnectionReset.into())),
                    Poll::Pending => stalled.poll(cx).map(|()| Err(io::ErrorKind::TimedOut.into())),
                },
            })
            .await?;
            let piece = bytes.split_to(room.min(bytes.len()));
            self.sent.set(self.sent.get() + piece.len() as u64);
            stream.send_data(piece, end && bytes.is_empty()).map_err(io::Error::other)?;
        }
        Ok(())
    }

    async fn file(&self, stream: &mut SendStream<Bytes>, range: FileRange) -> io::Result<()> {
        let file = Arc::new(range.file.try_clone()?);
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
            self.bytes(stream, piece.into(), false).await?;
        }
        Ok(())
    }

    async fn stream(&self, stream: &mut SendStream<Bytes>, mut body: BodyStream, watch: Option<&Watch<'_>>) -> io::Result<()> {
        loop {
            if let Some(watch) = watch {
                watch.begin();
            }
            let piece = poll_fn(|cx| {
                let polled = match watch {
                    Some(watch) => watch.poll(cx, |cx| body.as_mut().poll_next(cx)),
                    None => body.as_mut().poll_next(cx),
                };
                if polled.is_pending() && stream.poll_reset(cx).is_ready() {
                    return Poll::Ready(Some(Err(io::ErrorKind::ConnectionReset.into())));
                }
                polled
            })
            .await;
            match piece {
                Some(piece) => self.bytes(stream, piece?, false).await?,
                None => return Ok(()),
            }
        }
    }

    /// Says that another protocol begins on the stream, with [`Reply::BEGUN`].
    ///
    /// # Errors
    /// The stream or its connection is gone.
    pub(super) fn begin_tunnel(&self, response: &Response) -> io::Result<SendStream<Bytes>> {
        let mut head = self.head(response);
        *head.status_mut() = http::StatusCode::from_u16(Self::BEGUN).map_err(io::Error::other)?;
        head.headers_mut().remove(http::header::SEC_WEBSOCKET_ACCEPT);
        head.headers_mut().remove(http::header::CONTENT_LENGTH);
        self.respond.borrow_mut().send_response(head, false).map_err(io::Error::other)
    }

    fn head(&self, response: &Response) -> http::Response<()> {
        let mut head = http::Response::new(());
        *head.status_mut() = http::StatusCode::from_u16(response.status).unwrap_or(http::StatusCode::INTERNAL_SERVER_ERROR);
        let fields = head.headers_mut();
        for (name, value) in response.all_fields() {
            // They were checked when they were made.
            let (Ok(name), Ok(value)) = (HeaderName::from_bytes(name), HeaderValue::from_bytes(value)) else { continue };
            if !OF_CONNECTIONS.contains(&name.as_str()) {
                fields.append(name, value);
            }
        }
        if let Some(length) = response.body.length().filter(|_| !status::is_bodiless(response.status)) {
            fields.insert(http::header::CONTENT_LENGTH, length.into());
        }
        if self.server_token {
            fields.insert(http::header::SERVER, HeaderValue::from_static("skep"));
        }
        if let Some(date) = date() {
            fields.insert(http::header::DATE, date);
        }
        head
    }
}
