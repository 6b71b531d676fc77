//! One request and the head of its answer.

use std::future::{Future, poll_fn};
use std::io;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::Poll;

use bytes::Bytes;
use futures_lite::StreamExt;

use super::body::ResponseBody;
use super::pool::{Connection, Pool};
use super::{ClientRequest, ClientResponse, HttpError, RequestBody};
use crate::codec::http::http1::{HeadLimits, ParsedResponse, ResponseParser, chunked, write};
use crate::codec::http::{Fields, Method, RequestHead, Version};

/// Fields that say how long the body is: ours to write.
const FRAMING: [&str; 4] = ["content-length", "transfer-encoding", "connection", "keep-alive"];

/// A request on its way over one connection.
pub(super) struct Exchange<'a> {
    connection: Connection,
    request: &'a mut ClientRequest,
}

/// What went wrong, and whether it is worth another try on a new connection: nothing came back over one that was kept.
type Failure = (HttpError, bool);

impl<'a> Exchange<'a> {
    pub(super) fn new(connection: Connection, request: &'a mut ClientRequest) -> Exchange<'a> {
        Exchange { connection, request }
    }

    /// Sends the request and reads the head of the answer. An answer that comes before the request is out ends the sending.
    pub(super) async fn run(self, pool: &Rc<Pool>) -> Result<ClientResponse, Failure> {
        let Exchange { mut connection, request } = self;
        let head = head(request).map_err(|error| (error, false))?;
        let server = request.url.server();
        let mut body = std::mem::take(&mut request.body);
        let outcome = send_and_read(&mut connection, &head, &mut body, &request.method).await;
        // Used up or not: a redirect must know that there was a stream, which cannot be sent again.
        request.body = body;
        let (parsed, sent) = match outcome {
            Ok(outcome) => outcome,
            Err(error) => {
                let again = connection.reused && connection.input.is_empty() && matches!(error, Failed::Io(_));
                return Err((error.into_http(server), again));
            }
        };
        let _ = connection.input.split_to(parsed.consumed);
        let keep = parsed.keep_alive && sent;
        let body = ResponseBody::new(connection, parsed.framing, keep, pool.clone(), request);
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

/// The head, and whether the whole request was sent.
async fn send_and_read(
    connection: &mut Connection,
    head: &[u8],
    body: &mut RequestBody,
    method: &Method,
) -> Result<(ParsedResponse, bool), Failed> {
    let Connection { stream, input, .. } = connection;
    let mut sent = None;
    let mut parser = ResponseParser::new(method.clone(), false, HeadLimits::default());
    let mut sending = pin!(async { send(stream, head, body).await });
    let mut buffer = [0; 4096];
    poll_fn(|cx| {
        if sent.is_none()
            && let Poll::Ready(result) = sending.as_mut().poll(cx)
        {
            // A server may refuse a body and close: what it has said counts, so reading goes on after a failure too.
            if let Err(Unsent::Body(why)) = result {
                // The server would wait for the rest.
                return Poll::Ready(Err(Failed::Http(HttpError::Body(why))));
            }
            sent = Some(result);
        }
        loop {
            let read = match stream.poll_read(cx, &mut buffer) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Ok(read)) => read,
                Poll::Ready(Err(error)) => return Poll::Ready(Err(Failed::Io(error))),
            };
            if read == 0 {
                let error = match sent.take() {
                    Some(Err(Unsent::Io(error))) => error,
                    _ => io::Error::new(io::ErrorKind::UnexpectedEof, "the server closed the connection without an answer"),
                };
                return Poll::Ready(Err(Failed::Io(error)));
            }
            input.extend_from_slice(&buffer[..read]);
            match parser.parse(input) {
                Ok(Some(parsed)) => return Poll::Ready(Ok((parsed, matches!(sent, Some(Ok(())))))),
                Ok(None) => {}
                Err(error) => return Poll::Ready(Err(Failed::Http(HttpError::Response(error)))),
            }
        }
    })
    .await
}

/// Why a request did not go out whole.
enum Unsent {
    Io(io::Error),
    /// Whoever makes the body failed.
    Body(String),
}

impl From<io::Error> for Unsent {
    fn from(error: io::Error) -> Unsent {
        Unsent::Io(error)
    }
}

async fn send(stream: &crate::net::Stream, head: &[u8], body: &mut RequestBody) -> Result<(), Unsent> {
    match body {
        RequestBody::Empty => Ok(stream.write_all(head).await?),
        RequestBody::Bytes(bytes) => Ok(stream.write_all_vectored(&mut [io::IoSlice::new(head), io::IoSlice::new(bytes)]).await?),
        RequestBody::Stream(pieces) => {
            stream.write_all(head).await?;
            while let Some(piece) = next(pieces).await.map_err(|error| Unsent::Body(error.to_string()))? {
                let mut size = Vec::with_capacity(18);
                chunked::chunk_header(piece.len(), &mut size);
                stream.write_all_vectored(&mut [io::IoSlice::new(&size), io::IoSlice::new(&piece), io::IoSlice::new(b"\r\n")]).await?;
            }
            Ok(stream.write_all(b"0\r\n\r\n").await?)
        }
    }
}

/// The next piece that is not empty: an empty chunk would end the body.
async fn next(pieces: &mut Pin<Box<dyn futures_lite::Stream<Item = io::Result<Bytes>>>>) -> io::Result<Option<Bytes>> {
    loop {
        match pieces.next().await.transpose()? {
            Some(piece) if piece.is_empty() => {}
            piece => return Ok(piece),
        }
    }
}
