//! The request on its way out. It goes on while the answer is read: a server may answer before it has the whole request (RFC 9112 section 9.5).

use std::cell::Cell;
use std::future::{Future, poll_fn};
use std::io::{self, IoSlice};
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use futures_lite::StreamExt;

use super::{BodyPieces, RequestBody};
use crate::codec::http::http1::chunked;
use crate::net::Stream;
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
    sending: Sending,
}

/// How far it is.
enum Sending {
    /// A head alone over a bare socket, which is what most requests are, and how much of it is sent.
    Head(Vec<u8>, usize),
    /// Anything else, and whether whoever makes the body is waited for, and not the server.
    Whole(Pin<Box<dyn Future<Output = Result<(), Unsent>>>>, Rc<Cell<bool>>),
}

impl Upload {
    pub(super) fn new(stream: &Rc<Stream>, head: Vec<u8>, body: RequestBody) -> Upload {
        let sending = match (&**stream, body) {
            (Stream::Plain(_), RequestBody::Empty) => Sending::Head(head, 0),
            (_, body) => {
                let making = Rc::new(Cell::new(false));
                Sending::Whole(Box::pin(send(stream.clone(), head, body, making.clone())), making)
            }
        };
        Upload { stream: stream.clone(), sending }
    }

    /// Whether whoever makes the body is waited for, and not the server.
    pub(super) fn is_making(&self) -> bool {
        matches!(&self.sending, Sending::Whole(_, making) if making.get())
    }

    /// Sends what can be sent now.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Unsent>> {
        match &mut self.sending {
            Sending::Head(head, sent) => {
                while *sent < head.len() {
                    match ready!(self.stream.poll_write_vectored(cx, &[IoSlice::new(&head[*sent..])]))? {
                        0 => return Poll::Ready(Err(io::Error::from(io::ErrorKind::WriteZero).into())),
                        written => *sent += written,
                    }
                }
                Poll::Ready(Ok(()))
            }
            Sending::Whole(sending, _) => sending.as_mut().poll(cx),
        }
    }

    /// Sends the rest when the whole answer is there, so that the connection can serve another request.
    pub(super) async fn finish(mut self) -> Result<(), Unsent> {
        loop {
            let before = self.stream.moved();
            let mut pause = pin!(sleep(STALL));
            let ended = poll_fn(|cx| match self.poll(cx) {
                Poll::Ready(result) => Poll::Ready(Some(result)),
                Poll::Pending => pause.as_mut().poll(cx).map(|()| None),
            });
            if let Some(result) = ended.await {
                return result;
            }
            if !self.is_making() && self.stream.moved() == before {
                return Err(io::Error::from(io::ErrorKind::TimedOut).into());
            }
        }
    }
}

async fn send(stream: Rc<Stream>, head: Vec<u8>, body: RequestBody, making: Rc<Cell<bool>>) -> Result<(), Unsent> {
    let mut pieces = match body {
        RequestBody::Empty => return Ok(stream.write_all(&head).await?),
        RequestBody::Bytes(bytes) => return Ok(stream.write_all_vectored(&mut [IoSlice::new(&head), IoSlice::new(&bytes)]).await?),
        RequestBody::Sized(pieces, length) => return send_sized(&stream, &head, pieces, length, &making).await,
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

/// Sends a body whose length stands in the head. One that is shorter or longer would make the server take something else for the next request.
async fn send_sized(stream: &Stream, head: &[u8], mut pieces: BodyPieces, length: u64, making: &Cell<bool>) -> Result<(), Unsent> {
    stream.write_all(head).await?;
    let mut left = length;
    loop {
        making.set(true);
        let piece = next(&mut pieces).await.map_err(|error| Unsent::Body(error.to_string()))?;
        making.set(false);
        let Some(piece) = piece else { break };
        left = left.checked_sub(piece.len() as u64).ok_or_else(|| Unsent::Body("the body is longer than announced".to_owned()))?;
        stream.write_all(&piece).await?;
    }
    if left == 0 { Ok(()) } else { Err(Unsent::Body("the body is shorter than announced".to_owned())) }
}

/// The next piece that is not empty: an empty chunk would end the body.
async fn next(pieces: &mut BodyPieces) -> io::Result<Option<Bytes>> {
    loop {
        match pieces.next().await.transpose()? {
            Some(piece) if piece.is_empty() => {}
            piece => return Ok(piece),
        }
    }
}
