//! The body of a request as it comes over an HTTP/2 stream.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use h2::RecvStream;
use h2::server::SendResponse;

use crate::reactor::Alarm;
use crate::request::{BodyError, BodySource};

/// A body. What nobody reads fills its window, and then stays with the client.
pub(super) struct StreamBody {
    /// `None` once the exchange is over: a script may keep its request until the VM cleans up, and that must not keep the stream.
    stream: RefCell<Option<RecvStream>>,
    /// For who waits for `100 Continue`.
    asks: RefCell<Option<Rc<RefCell<SendResponse<Bytes>>>>>,
    failed: RefCell<Option<BodyError>>,
    ended: Cell<bool>,
    received: Cell<u64>,
    alarm: Alarm,
    /// The largest size in bytes, and the longest time without a byte.
    most: u64,
    limit: Duration,
}

impl StreamBody {
    pub(super) fn new(stream: RecvStream, asks: Option<Rc<RefCell<SendResponse<Bytes>>>>, most: u64, limit: Duration) -> Self {
        let ended = Cell::new(stream.is_end_stream());
        Self {
            stream: RefCell::new(Some(stream)),
            asks: RefCell::new(asks),
            failed: RefCell::default(),
            ended,
            received: Cell::new(0),
            alarm: Alarm::new(),
            most,
            limit,
        }
    }

    /// Bytes that were received and taken.
    pub(super) fn received(&self) -> u64 {
        self.received.get()
    }

    /// Reads the rest away, until its end, a fault, or more than `most` bytes.
    pub(super) async fn discard(&self, most: u64) {
        // It need not be told to come.
        self.asks.take();
        let mut seen = 0;
        while let Ok(Some(piece)) = poll_fn(|cx| self.poll_chunk(cx)).await {
            seen += piece.len() as u64;
            if seen > most {
                return;
            }
        }
    }

    /// Ends it, and the stream with it.
    fn close(&self) {
        self.stream.take();
        self.asks.take();
    }

    fn fail(&self, error: BodyError) -> Poll<Result<Option<Bytes>, BodyError>> {
        self.failed.replace(Some(error.clone()));
        Poll::Ready(Err(error))
    }
}

/// Ends a body with its exchange, however that ends.
pub(super) struct Closing(pub(super) Rc<StreamBody>);

impl Drop for Closing {
    fn drop(&mut self) {
        self.0.close();
    }
}

impl BodySource for StreamBody {
    fn poll_chunk(&self, cx: &mut Context<'_>) -> Poll<Result<Option<Bytes>, BodyError>> {
        if let Some(error) = &*self.failed.borrow() {
            return Poll::Ready(Err(error.clone()));
        }
        if self.ended.get() {
            return Poll::Ready(Ok(None));
        }
        if let Some(asks) = self.asks.take() {
            let tell = http::Response::builder().status(100).body(());
            // A stream that is gone says so to who reads it.
            let _gone = tell.map(|tell| asks.borrow_mut().send_informational(tell));
        }
        let mut stream = self.stream.borrow_mut();
        let Some(stream) = stream.as_mut() else { return self.fail(BodyError::Gone) };
        match stream.poll_data(cx) {
            Poll::Ready(Some(Ok(piece))) => {
                self.alarm.clear();
                // The window opens again for as much as was taken out of it.
                if stream.flow_control().release_capacity(piece.len()).is_err() {
                    return self.fail(BodyError::Gone);
                }
                self.received.set(self.received.get() + piece.len() as u64);
                if self.received.get() > self.most { self.fail(BodyError::TooLarge(self.most)) } else { Poll::Ready(Ok(Some(piece))) }
            }
            Poll::Ready(None) => {
                self.ended.set(true);
                Poll::Ready(Ok(None))
            }
            Poll::Ready(Some(Err(error))) => {
                let malformed = error.is_reset() && error.reason() == Some(h2::Reason::PROTOCOL_ERROR);
                self.fail(if malformed {
                    BodyError::Malformed("it does not have the announced length".to_owned())
                } else {
                    BodyError::Gone
                })
            }
            Poll::Pending => {
                if !self.alarm.is_set() {
                    self.alarm.set(self.limit);
                }
                if self.alarm.poll(cx).is_ready() { self.fail(BodyError::TimedOut) } else { Poll::Pending }
            }
        }
    }
}
