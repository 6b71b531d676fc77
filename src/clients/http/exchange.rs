//! One request and the head of its answer.

use std::cell::Cell;
use std::future::poll_fn;
use std::io;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Buf;

use super::body::{Ending, Incoming, ResponseBody};
use super::pool::{Connection, Pool};
use super::upload::{Unsent, Upload};
use super::{ClientRequest, ClientResponse, HttpError, RequestBody};
use crate::codec::http::http1::{HeadLimits, ParsedResponse, ResponseParser, write};
use crate::codec::http::{Fields, Method, RequestHead, ResponseHead, Version};
use crate::reactor::Alarm;

/// Fields that say how long the body is: ours to write.
const FRAMING: [&str; 4] = ["content-length", "transfer-encoding", "connection", "keep-alive"];

/// A request on its way over one connection.
pub(super) struct Exchange<'a> {
    connection: Connection,
    request: &'a mut ClientRequest,
}

/// What went wrong, and whether another try on a new connection is right: nothing came back over one that was kept, and no harm can be done.
type Unanswered = (HttpError, bool);

impl<'a> Exchange<'a> {
    pub(super) fn new(connection: Connection, request: &'a mut ClientRequest) -> Exchange<'a> {
        Exchange { connection, request }
    }

    /// Sends the request and reads the head of the answer. What is not sent by then goes out while the body of the answer is read, unless the
    /// server says that it will close and that it has no use for it (RFC 9112 section 9.5).
    pub(super) async fn run(self, pool: &Rc<Pool>) -> Result<ClientResponse, Unanswered> {
        let Exchange { connection, request } = self;
        let head = head(request).map_err(|error| (error, false))?;
        let reused = connection.reused;
        let written = Written { head, method: request.method.clone(), body: request.body.taken(), upgrade: false };
        match converse(connection, written, None).await {
            Ok((head, incoming)) => {
                Ok(ClientResponse { head, url: request.url.clone(), body: ResponseBody::new(incoming, pool.clone(), request) })
            }
            Err(failure) => {
                let unanswered = reused && failure.silent && matches!(failure.error, Failed::Io(_));
                // RFC 9110 section 9.2.2: what may have been done must not be done twice, unless twice is the same as once.
                let harmless = request.method.is_idempotent() || failure.unsent;
                Err((failure.error.into_http(request.url.server()), unanswered && harmless))
            }
        }
    }
}

/// A request as it goes out over one connection.
pub struct Written {
    /// Request line and fields with the empty line behind them. The fields of the framing agree with `body`: that is the caller's duty.
    pub head: Vec<u8>,
    /// The method, on which it depends whether an answer has a body.
    pub method: Method,
    /// The body.
    pub body: RequestBody,
    /// Whether another protocol is asked for, so that 101 is an answer.
    pub upgrade: bool,
}

/// How long a server may take. The time in which whoever makes the body lets it wait is not the server's.
#[derive(Clone, Copy, Debug)]
pub struct Patience {
    /// While it takes nothing of the request.
    pub stall: Duration,
    /// From the end of the request to the end of the answer's head.
    pub answer: Duration,
}

/// Why an exchange has no answer.
#[derive(Debug)]
pub struct Failure {
    /// What happened.
    pub error: Failed,
    /// Not a byte came back.
    pub silent: bool,
    /// Not a byte went out.
    pub unsent: bool,
}

/// Sends a request over a connection and reads the head of the answer, for who keeps the connections itself. What is not sent by then goes out
/// while the body is read, unless the server says that it will close and that it has no use for it (RFC 9112 section 9.5).
///
/// # Errors
/// [`Failure`]; the connection is closed then.
pub async fn converse(
    mut connection: Connection,
    written: Written,
    patience: Option<Patience>,
) -> Result<(ResponseHead, Incoming), Failure> {
    let moved = connection.stream.moved();
    let mut outgoing = Outgoing { upload: Some(Upload::new(&connection.stream, written.head, written.body)), failure: None };
    let parser = ResponseParser::new(written.method, written.upgrade, HeadLimits::default());
    match read_head(&mut connection, &mut outgoing, parser, patience).await {
        Ok(parsed) => {
            connection.input.advance(parsed.consumed);
            let keep = parsed.keep_alive && outgoing.failure.is_none();
            let refused = !parsed.keep_alive && parsed.head.status >= 300;
            let upload = outgoing.upload.filter(|_| !refused);
            Ok((parsed.head, Incoming::new(connection, parsed.framing, Ending { keep, upload })))
        }
        Err(error) => {
            let unsent = connection.stream.moved() == moved;
            Err(Failure { error, silent: connection.input.is_empty(), unsent })
        }
    }
}

fn head(request: &ClientRequest) -> Result<Vec<u8>, HttpError> {
    let mut head = RequestHead::new(request.method.clone(), request.url.target(), Version::Http11)
        .map_err(|_| HttpError::Url(super::UrlError::Character(request.url.to_string())))?;
    let mut fields = Fields::new();
    if !request.fields.contains("host") {
        fields.push("host", request.url.authority()).map_err(HttpError::Field)?;
    }
    for (name, value) in request.fields.iter().filter(|(name, _)| !FRAMING.contains(name)) {
        fields.push(name, value).map_err(HttpError::Field)?;
    }
    match &request.body {
        RequestBody::Sized(_, length) => fields.push("content-length", length.to_string()).map_err(HttpError::Field)?,
        RequestBody::Stream(_) => fields.push("transfer-encoding", "chunked").map_err(HttpError::Field)?,
        RequestBody::Bytes(bytes) => fields.push("content-length", bytes.len().to_string()).map_err(HttpError::Field)?,
        RequestBody::Empty if matches!(request.method, Method::Post | Method::Put | Method::Patch) => {
            fields.push("content-length", "0").map_err(HttpError::Field)?;
        }
        RequestBody::Empty => {}
    }
    for (name, value) in fields.iter() {
        head.fields.push(name, value).map_err(HttpError::Field)?;
    }
    let mut out = Vec::with_capacity(256);
    write::write_request_head(&head, &mut out);
    Ok(out)
}

/// What went wrong on a connection.
#[derive(Debug)]
pub enum Failed {
    /// It broke.
    Io(io::Error),
    /// The server was slower than it may be.
    TimedOut,
    /// Anything else.
    Http(HttpError),
}

impl Failed {
    /// As an error of this server.
    #[must_use]
    pub fn into_http(self, server: String) -> HttpError {
        match self {
            Failed::Io(error) => HttpError::Io(error, server),
            Failed::TimedOut => HttpError::TimedOut(server),
            Failed::Http(error) => error,
        }
    }
}

/// What is left of the sending.
struct Outgoing {
    /// `None` when it is over.
    upload: Option<Upload>,
    /// Why it ended too early.
    failure: Option<io::Error>,
}

/// Reads the head of the answer while the request goes out.
async fn read_head(
    connection: &mut Connection,
    outgoing: &mut Outgoing,
    mut parser: ResponseParser,
    patience: Option<Patience>,
) -> Result<ParsedResponse, Failed> {
    let watch = patience.map(|patience| (patience, Watch::default()));
    poll_fn(|cx| {
        if let Some(upload) = &mut outgoing.upload
            && let Poll::Ready(result) = upload.poll(cx)
        {
            outgoing.upload = None;
            match result {
                Ok(()) => {}
                // A server may refuse a body and close: what it has said counts, so reading goes on.
                Err(Unsent::Io(error)) => outgoing.failure = Some(error),
                // The server would wait for the rest.
                Err(Unsent::Body(why)) => return Poll::Ready(Err(Failed::Http(HttpError::Body(why)))),
            }
        }
        loop {
            let read = match connection.poll_fill(cx) {
                Poll::Pending => break,
                Poll::Ready(Ok(read)) => read,
                Poll::Ready(Err(error)) => return Poll::Ready(Err(Failed::Io(error))),
            };
            if read == 0 {
                let silent = || io::Error::new(io::ErrorKind::UnexpectedEof, "the server closed the connection without an answer");
                return Poll::Ready(Err(Failed::Io(outgoing.failure.take().unwrap_or_else(silent))));
            }
            match parser.parse(&connection.input) {
                Ok(Some(parsed)) => return Poll::Ready(Ok(parsed)),
                Ok(None) => {}
                Err(error) => return Poll::Ready(Err(Failed::Http(HttpError::Response(error)))),
            }
        }
        match &watch {
            Some((patience, watch)) => watch.poll(cx, connection, outgoing.upload.as_ref(), *patience).map(|()| Err(Failed::TimedOut)),
            None => Poll::Pending,
        }
    })
    .await
}

/// Looks at how long the server takes.
#[derive(Default)]
struct Watch {
    alarm: Alarm,
    /// What had moved when the alarm was set.
    moved: Cell<u64>,
    /// The whole request is sent.
    sent: Cell<bool>,
}

impl Watch {
    /// Ready when the server has taken too long.
    fn poll(&self, cx: &mut Context<'_>, connection: &Connection, upload: Option<&Upload>, patience: Patience) -> Poll<()> {
        match upload {
            Some(upload) if upload.is_making() => self.alarm.clear(),
            Some(_) => {
                let moved = connection.stream.moved();
                if self.moved.replace(moved) != moved || !self.alarm.is_set() {
                    self.alarm.set(patience.stall);
                }
            }
            None => {
                if !self.sent.replace(true) {
                    self.alarm.set(patience.answer);
                }
            }
        }
        self.alarm.poll(cx)
    }
}
