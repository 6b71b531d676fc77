//! One request and the head of its answer.

use std::future::poll_fn;
use std::io;
use std::rc::Rc;
use std::task::Poll;

use super::body::{Ending, ResponseBody};
use super::pool::{Connection, Pool};
use super::upload::{Unsent, Upload};
use super::{ClientRequest, ClientResponse, HttpError, RequestBody};
use crate::codec::http::http1::{HeadLimits, ParsedResponse, ResponseParser, write};
use crate::codec::http::{Fields, Method, RequestHead, Version};
use crate::net::Socket;

/// Fields that say how long the body is: ours to write.
const FRAMING: [&str; 4] = ["content-length", "transfer-encoding", "connection", "keep-alive"];

/// A request on its way over one connection.
pub(super) struct Exchange<'a> {
    connection: Connection,
    request: &'a mut ClientRequest,
}

/// What went wrong, and whether another try on a new connection is right: nothing came back over one that was kept, and no harm can be done.
type Failure = (HttpError, bool);

impl<'a> Exchange<'a> {
    pub(super) fn new(connection: Connection, request: &'a mut ClientRequest) -> Exchange<'a> {
        Exchange { connection, request }
    }

    /// Sends the request and reads the head of the answer. What is not sent by then goes out while the body of the answer is read, unless the
    /// server says that it will close and that it has no use for it (RFC 9112 section 9.5).
    pub(super) async fn run(self, pool: &Rc<Pool>) -> Result<ClientResponse, Failure> {
        let Exchange { mut connection, request } = self;
        let head = head(request).map_err(|error| (error, false))?;
        let server = request.url.server();
        let moved = connection.stream.with_socket(Socket::moved);
        let mut outgoing = Outgoing { upload: Some(Upload::new(&connection.stream, head, request.body.taken())), failure: None };
        let parsed = match read_head(&mut connection, &mut outgoing, &request.method).await {
            Ok(parsed) => parsed,
            Err(error) => {
                let unanswered = connection.reused && connection.input.is_empty() && matches!(error, Failed::Io(_));
                // RFC 9110 section 9.2.2: what may have been done must not be done twice, unless twice is the same as once.
                let harmless = request.method.is_idempotent() || connection.stream.with_socket(Socket::moved) == moved;
                return Err((error.into_http(server), unanswered && harmless));
            }
        };
        let _ = connection.input.split_to(parsed.consumed);
        let keep = parsed.keep_alive && outgoing.failure.is_none();
        let refused = !parsed.keep_alive && parsed.head.status >= 300;
        let upload = outgoing.upload.filter(|_| !refused);
        let body = ResponseBody::new(connection, parsed.framing, Ending { keep, upload }, pool.clone(), request);
        Ok(ClientResponse { head: parsed.head, url: request.url.clone(), body })
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

enum Failed {
    Io(io::Error),
    Http(HttpError),
}

impl Failed {
    fn into_http(self, server: String) -> HttpError {
        match self {
            Failed::Io(error) => HttpError::Io(error, server),
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
async fn read_head(connection: &mut Connection, outgoing: &mut Outgoing, method: &Method) -> Result<ParsedResponse, Failed> {
    let Connection { stream, input, .. } = connection;
    let mut parser = ResponseParser::new(method.clone(), false, HeadLimits::default());
    let mut buffer = [0; 4096];
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
            let read = match stream.poll_read(cx, &mut buffer) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Ok(read)) => read,
                Poll::Ready(Err(error)) => return Poll::Ready(Err(Failed::Io(error))),
            };
            if read == 0 {
                let silent = || io::Error::new(io::ErrorKind::UnexpectedEof, "the server closed the connection without an answer");
                return Poll::Ready(Err(Failed::Io(outgoing.failure.take().unwrap_or_else(silent))));
            }
            input.extend_from_slice(&buffer[..read]);
            match parser.parse(input) {
                Ok(Some(parsed)) => return Poll::Ready(Ok(parsed)),
                Ok(None) => {}
                Err(error) => return Poll::Ready(Err(Failed::Http(HttpError::Response(error)))),
            }
        }
    })
    .await
}
