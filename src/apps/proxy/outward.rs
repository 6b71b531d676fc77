//! The body of a request on its way to a server: what can be sent again, and what is gone once it was begun.

use std::cell::RefCell;
use std::future::poll_fn;
use std::io;
use std::rc::Rc;
use std::task::Poll;

use bytes::{Bytes, BytesMut};
use futures_lite::stream;

use crate::clients::http::RequestBody;
use crate::codec::http::Method;
use crate::request::{Body, BodyError, Request};

/// A body up to this size that has come with its head is taken at once: it leaves in one write, and can be sent again.
const SMALL: u64 = 16 << 10;

/// A body.
pub(super) struct Outward {
    kind: Kind,
    /// Why the client's side of it failed.
    failure: Option<Rc<RefCell<Option<BodyError>>>>,
}

enum Kind {
    Whole(Bytes),
    /// What was taken already, and the rest.
    Rest(Bytes, Body),
    /// It was begun, and some of it is gone.
    Begun,
}

impl Outward {
    /// Takes what is there of a small body, and leaves everything else with the client. `upgrade`: what follows is no body.
    ///
    /// # Errors
    /// [`BodyError`].
    pub(super) async fn new(request: &Request, upgrade: bool) -> Result<Self, BodyError> {
        let body = request.body.clone();
        // Who waits for 100 Continue is not told before a server is there to take the body.
        let waits = request.head.fields.contains("expect");
        let kind = match body.length() {
            Some(0) => Kind::Whole(Bytes::new()),
            Some(length) if length <= SMALL && !waits => gather(body).await?,
            // Without a body, as a rule, which some transports tell only by its end.
            None if !waits && !upgrade && matches!(request.head.method, Method::Get | Method::Head | Method::Delete | Method::Options) => {
                match body.chunk().await? {
                    None => Kind::Whole(Bytes::new()),
                    Some(first) => Kind::Rest(first, body),
                }
            }
            _ => Kind::Rest(Bytes::new(), body),
        };
        Ok(Self { kind, failure: None })
    }

    /// Whether it can be sent (again) from its first byte on.
    pub(super) fn is_whole(&self) -> bool {
        matches!(self.kind, Kind::Whole(_) | Kind::Rest(..))
    }

    /// The length to announce, of which the client has announced `announced`; `None`: only its end will tell.
    pub(super) fn length(&self, announced: Option<u64>) -> Option<u64> {
        match &self.kind {
            Kind::Whole(bytes) => Some(bytes.len() as u64),
            Kind::Rest(..) | Kind::Begun => announced,
        }
    }

    /// Why it broke off.
    pub(super) fn failure(&self) -> Option<BodyError> {
        self.failure.as_ref().and_then(|failure| failure.borrow().clone())
    }

    /// The body to send now.
    pub(super) fn take(&mut self) -> RequestBody {
        match std::mem::replace(&mut self.kind, Kind::Begun) {
            Kind::Whole(bytes) => {
                self.kind = Kind::Whole(bytes.clone());
                if bytes.is_empty() { RequestBody::Empty } else { RequestBody::Bytes(bytes) }
            }
            Kind::Rest(first, body) => {
                let length = body.length();
                let failure = self.failure.get_or_insert_default().clone();
                let mut first = Some(first).filter(|first| !first.is_empty());
                let pieces = Box::pin(stream::poll_fn(move |cx| {
                    if let Some(first) = first.take() {
                        return Poll::Ready(Some(Ok(first)));
                    }
                    body.poll_chunk(cx).map(|piece| {
                        let told = |error: BodyError| {
                            failure.replace(Some(error.clone()));
                            io::Error::other(error)
                        };
                        piece.map_err(told).transpose()
                    })
                }));
                match length {
                    Some(length) => RequestBody::Sized(pieces, length),
                    None => RequestBody::Stream(pieces),
                }
            }
            Kind::Begun => RequestBody::Empty,
        }
    }
}

/// Takes what has come already, without waiting.
async fn gather(body: Body) -> Result<Kind, BodyError> {
    let mut taken = BytesMut::new();
    let ended = poll_fn(|cx| {
        loop {
            match body.poll_chunk(cx) {
                Poll::Ready(Ok(Some(piece))) => taken.extend_from_slice(&piece),
                Poll::Ready(Ok(None)) => return Poll::Ready(Ok(true)),
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                Poll::Pending => return Poll::Ready(Ok(false)),
            }
        }
    })
    .await?;
    let taken = taken.freeze();
    Ok(if ended { Kind::Whole(taken) } else { Kind::Rest(taken, body) })
}
