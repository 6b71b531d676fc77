//! The request on its way out. It goes on while the answer is read: a server may answer before it has the whole request (RFC 9112 section 9.5).

use std::cell::Cell;
use std::future::{Future, poll_fn};
use std::io::{self, IoSlice};
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use futures_lite::StreamExt;

use super::RequestBody;
use crate::codec::http::http1::chunked;
use crate::net::{Socket, Stream};
use crate::reactor::sleep;

/// A server that has answered and takes nothing more of the request for so long will not.
const STALL: Duration = Duration::from_secs(2);

/// Why a request did not go out whole.
pub(super) enum Unsent {
    /// The connection took no more.
    Io(io::Error),
    /// Whoever makes the body failed.
    Body(String),
}

impl From<io::Error> for Unsent {
    fn from(error: io::Error) -> Unsent {
        Unsent::Io(error)
    }
}

/// A request that is being sent, for as long as it is polled.
pub(super) struct Upload {
    stream: Rc<Stream>,
    sending: Pin<Box<dyn Future<Output = Result<(), Unsent>>>>,
    /// Whether whoever makes the body is waited for, and not the server.
    making: Rc<Cell<bool>>,
}

impl Upload {
    pub(super) fn new(stream: &Rc<Stream>, head: Vec<u8>, body: RequestBody) -> Upload {
        let making = Rc::new(Cell::new(false));
        let sending = Box::pin(send(stream.clone(), head, body, making.clone()));
        Upload { stream: stream.clone(), sending, making }
    }

    /// Sends what can be sent now.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Unsent>> {
        self.sending.as_mut().poll(cx)
    }

    /// Sends the rest when the whole answer is there, so that the connection can serve another request.
    pub(super) async fn finish(mut self) -> Result<(), Unsent> {
        loop {
            let before = self.stream.with_socket(Socket::moved);
            let mut pause = pin!(sleep(STALL));
            let ended = poll_fn(|cx| match self.sending.as_mut().poll(cx) {
                Poll::Ready(result) => Poll::Ready(Some(result)),
                Poll::Pending => pause.as_mut().poll(cx).map(|()| None),
            });
            if let Some(result) = ended.await {
                return result;
            }
            if !self.making.get() && self.stream.with_socket(Socket::moved) == before {
                return Err(io::Error::from(io::ErrorKind::TimedOut).into());
            }
        }
    }
}

async fn send(stream: Rc<Stream>, head: Vec<u8>, body: RequestBody, making: Rc<Cell<bool>>) -> Result<(), Unsent> {
    let mut pieces = match body {
        RequestBody::Empty => return Ok(stream.write_all(&head).await?),
        RequestBody::Bytes(bytes) => return Ok(stream.write_all_vectored(&mut [IoSlice::new(&head), IoSlice::new(&bytes)]).await?),
        RequestBody::Stream(pieces) => pieces,
    };
    stream.write_all(&head).await?;
    loop {
        making.set(true);
        let piece = next(&mut pieces).await.map_err(|error| Unsent::Body(error.to_string()))?;
        making.set(false);
        let Some(piece) = piece else { break };
        let mut size = Vec::with_capacity(18);
        chunked::chunk_header(piece.len(), &mut size);
        stream.write_all_vectored(&mut [IoSlice::new(&size), IoSlice::new(&piece), IoSlice::new(b"\r\n")]).await?;
    }
    Ok(stream.write_all(b"0\r\n\r\n").await?)
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
