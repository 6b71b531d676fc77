//! HTTP/1.1 as the client (RFC 9110, RFC 9112): kept connections, redirects, bodies that stream both ways, limits on everything.

mod body;
mod exchange;
mod pool;
mod upload;
mod url;

use std::any::Any;
use std::fmt;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use futures_lite::Stream as BytesStream;

pub use body::{Incoming, ResponseBody};
pub use exchange::{Failed, Failure, Patience, Written, converse};
pub use pool::Connection;
pub use url::{Url, UrlError};

use crate::codec::http::http1::{ChunkError, ResponseError};
use crate::codec::http::{FieldError, Fields, Method, ResponseHead};
use crate::net::Stream;
use crate::reactor::timeout;
use exchange::Exchange;
use pool::Pool;

/// Redirects followed if nothing else is said.
pub const REDIRECTS: u32 = 10;

/// Why there is no answer. The message ends with the address.
#[derive(Debug)]
pub enum HttpError {
    /// The address is none.
    Url(UrlError),
    /// A header cannot be sent.
    Field(FieldError),
    /// No connection; says why.
    Connect(String),
    /// The connection broke, at this server.
    Io(io::Error, String),
    /// What came is no HTTP.
    Response(ResponseError),
    /// The body's chunks are broken.
    Chunk(ChunkError),
    /// The body ended too early.
    Truncated,
    /// No answer in time, from this server.
    TimedOut(String),
    /// More redirects than allowed.
    TooManyRedirects(u32),
    /// The body is larger than allowed, in bytes.
    TooLarge(usize),
    /// Whoever makes the request's body failed; says why.
    Body(String),
    /// Another coroutine reads the body, or it was closed.
    Taken,
}

impl fmt::Display for HttpError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            HttpError::Url(error) => error.fmt(f),
            HttpError::Field(error) => error.fmt(f),
            HttpError::Connect(why) | HttpError::Body(why) => f.write_str(why),
            HttpError::Io(error, server) => write!(f, "{error} ({server})"),
            HttpError::Response(error) => error.fmt(f),
            HttpError::Chunk(error) => f.write_str(error.reason()),
            HttpError::Truncated => f.write_str("the answer ended too early"),
            HttpError::TimedOut(server) => write!(f, "timed out ({server})"),
            HttpError::TooManyRedirects(limit) => write!(f, "more than {limit} redirects"),
            HttpError::TooLarge(limit) => write!(f, "the answer is larger than {limit} bytes"),
            HttpError::Taken => f.write_str("the body was closed, or is being read already"),
        }
    }
}

impl std::error::Error for HttpError {}

/// A connection, with what is to be dropped when it is.
pub struct Connected {
    /// The connection, TLS where that was asked for.
    pub stream: Stream,
    /// Kept with it: the place in somebody's count of sockets.
    pub kept: Box<dyn Any>,
}

/// Makes the connections of a client: names, permissions and TLS are its business.
pub trait Connector {
    /// Connects; an error in words, with the address. A certificate must be of the `authorities` (PEM), where there are any.
    fn connect<'a>(&'a self, url: &'a Url, authorities: Option<&'a str>) -> Pin<Box<dyn Future<Output = Result<Connected, String>> + 'a>>;
}

/// Pieces of a request's body as they come.
pub type BodyPieces = Pin<Box<dyn BytesStream<Item = io::Result<Bytes>>>>;

/// What a request carries.
#[derive(Default)]
pub enum RequestBody {
    /// Nothing.
    #[default]
    Empty,
    /// These bytes.
    Bytes(Bytes),
    /// Pieces as they come, in the chunked coding. Such a request is never sent twice.
    Stream(BodyPieces),
    /// Pieces as they come, of so many bytes together. Such a request is never sent twice either.
    Sized(BodyPieces, u64),
}

impl RequestBody {
    /// Whether it can be sent again.
    fn is_replayable(&self) -> bool {
        matches!(self, RequestBody::Empty | RequestBody::Bytes(_))
    }

    /// The body to send now. Bytes stay for another try; a stream is gone then.
    fn taken(&mut self) -> RequestBody {
        match self {
            RequestBody::Bytes(bytes) => RequestBody::Bytes(bytes.clone()),
            other => std::mem::take(other),
        }
    }
}

/// A request to be sent.
pub struct ClientRequest {
    /// The method.
    pub method: Method,
    /// Where to.
    pub url: Url,
    /// The fields, without `Host` and those of the framing.
    pub fields: Fields,
    /// The body.
    pub body: RequestBody,
    /// How long the answer's head may take, connecting and redirects included, and then each piece of its body.
    pub timeout: Duration,
    /// Certificates in PEM to trust instead of the public ones.
    pub authorities: Option<Rc<str>>,
    /// How many redirects are followed.
    pub redirects: u32,
}

/// An answer. Its body comes as it is read.
pub struct ClientResponse {
    /// Status and fields.
    pub head: ResponseHead,
    /// Where it came from in the end.
    pub url: Url,
    /// The body.
    pub body: ResponseBody,
}

/// A client with its kept connections.
pub struct Client {
    connector: Box<dyn Connector>,
    pool: Rc<Pool>,
}

impl Client {
    /// A client that connects this way.
    #[must_use]
    pub fn new(connector: Box<dyn Connector>) -> Client {
        Client { connector, pool: Rc::default() }
    }

    /// Sends a request, and follows redirects.
    ///
    /// # Errors
    /// [`HttpError`].
    pub async fn send(&self, request: ClientRequest) -> Result<ClientResponse, HttpError> {
        let (limit, server) = (request.timeout, request.url.server());
        match timeout(limit, self.follow(request)).await {
            Ok(result) => result,
            Err(_) => Err(HttpError::TimedOut(server)),
        }
    }

    async fn follow(&self, mut request: ClientRequest) -> Result<ClientResponse, HttpError> {
        let mut followed = 0;
        // A stream is gone once it was sent.
        let mut replayable = request.body.is_replayable();
        loop {
            let response = self.exchange(&mut request).await?;
            let Some(next) = redirect(&response, &request, replayable)? else { return Ok(response) };
            if followed == request.redirects {
                return if request.redirects == 0 { Ok(response) } else { Err(HttpError::TooManyRedirects(request.redirects)) };
            }
            followed += 1;
            response.body.finish_small().await;
            replayable |= prepare_redirect(&mut request, response.head.status, next);
        }
    }

    /// Closes the connection that has been kept for longest without use; whether there was one.
    pub fn close_idle(&self) -> bool {
        self.pool.close_oldest()
    }

    /// One request and its answer, over a kept connection if there is one. When the server closes that one at the same time, the request is sent
    /// once more on a new connection if nothing of it was done or if its method may be repeated (RFC 9110 section 9.2.2).
    async fn exchange(&self, request: &mut ClientRequest) -> Result<ClientResponse, HttpError> {
        let replayable = request.body.is_replayable();
        if replayable {
            // One more try, not one for every kept connection: a server that dies on this request would else see it many times.
            if let Some(kept) = self.pool.take(&request.url, request.authorities.as_ref()) {
                match Exchange::new(kept, request).run(&self.pool).await {
                    Ok(response) => return Ok(response),
                    Err((_, true)) => {}
                    Err((error, false)) => return Err(error),
                }
            }
        }
        let url = &request.url;
        let connected = self.connector.connect(url, request.authorities.as_deref()).await.map_err(HttpError::Connect)?;
        Exchange::new(Connection::new(connected), request).run(&self.pool).await.map_err(|(error, _)| error)
    }
}

/// Where an answer sends us (RFC 9110 section 15.4).
fn redirect(response: &ClientResponse, request: &ClientRequest, replayable: bool) -> Result<Option<Url>, HttpError> {
    let keeps_body = matches!(response.head.status, 307 | 308);
    if !matches!(response.head.status, 301 | 302 | 303 | 307 | 308) {
        return Ok(None);
    }
    if keeps_body && !replayable {
        return Ok(None);
    }
    match response.head.fields.get_str("location") {
        Some(location) => request.url.join(location).map(Some).map_err(HttpError::Url),
        None => Ok(None),
    }
}

/// Makes the request that follows a redirect; whether that is one without a body.
fn prepare_redirect(request: &mut ClientRequest, status: u16, next: Url) -> bool {
    let to_get = status == 303 && request.method != Method::Head || matches!(status, 301 | 302) && request.method == Method::Post;
    if to_get {
        request.method = Method::Get;
        request.body = RequestBody::Empty;
        for name in ["content-type", "content-encoding", "content-language"] {
            request.fields.remove(name);
        }
    }
    if next.origin() != request.url.origin() {
        // What was meant for one server is not shown to another.
        for name in ["authorization", "cookie", "proxy-authorization", "host"] {
            request.fields.remove(name);
        }
    }
    request.url = next;
    to_get
}

#[cfg(test)]
mod tests;
