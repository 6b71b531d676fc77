//! What is sent to the peer: how it is queued, and how it leaves.

use std::cell::RefCell;
use std::rc::Rc;
use std::task::{Context, Poll};

use bytes::Bytes;

use super::{Ended, Phase, Session};
use crate::codec::websocket::close::{self, Close};
use crate::codec::websocket::deflate::{self, Agreement, MOST_WINDOW};
use crate::codec::websocket::frame::{Head, encode};
use crate::codec::websocket::{Kind, Opcode, Role};
use crate::net::Stream;
use crate::websocket::config::Settings;
use crate::websocket::flush;
use crate::websocket::moment::Moment;
use crate::websocket::output::{Bounds, Cause, Output};
use crate::websocket::shared::Shared;

thread_local! {
    /// Frames that leave together, copied behind each other.
    static GATHERED: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

impl Session {
    /// Sends a message.
    ///
    /// # Errors
    /// [`Ended`]; also when too much waited for the peer already, which closes the connection.
    pub fn send(self: &Rc<Self>, kind: Kind, payload: &[u8]) -> Result<(), Ended> {
        let opcode = Opcode::from(kind);
        let frame = match self.deflate {
            Some(Agreement { window }) if payload.len() >= self.settings.compression_min => {
                let deflated = deflate::deflate(payload, window);
                if deflated.len() < payload.len() {
                    encode(Head { opcode, last: true, compressed: true }, &deflated, self.mask())
                } else {
                    encode(Head::whole(opcode), payload, self.mask())
                }
            }
            _ => encode(Head::whole(opcode), payload, self.mask()),
        };
        self.push_message(frame, Cause::Said).map(|_| ())
    }

    /// Sends a message that goes to many; it may be dropped when the peer cannot follow and the settings say so. For servers, which do not mask.
    ///
    /// # Errors
    /// As [`Session::send`].
    pub fn publish(self: &Rc<Self>, message: &Shared) -> Result<u64, Ended> {
        let frame = if self.compresses(message.payload().len()) { message.compressed_frame() } else { message.frame() };
        self.publish_frame(frame)
    }

    /// As [`Session::publish`], of a whole frame that was made for all: compressed with the largest window or not at all, not masked.
    /// Gives how many messages were dropped for it.
    ///
    /// # Errors
    /// As [`Session::send`].
    pub fn publish_frame(self: &Rc<Self>, frame: Bytes) -> Result<u64, Ended> {
        self.push_message(frame, Cause::Published)
    }

    /// As [`Session::publish_frame`], of a message that this peer has missed: it is not dropped, and needs no room that others want.
    ///
    /// # Errors
    /// [`Ended`].
    pub fn recover_frame(self: &Rc<Self>, frame: Bytes) -> Result<(), Ended> {
        self.push_message(frame, Cause::Recovered).map(|_| ())
    }

    /// Whether a message of so many bytes, compressed for all, is for this connection.
    #[must_use]
    pub fn compresses(&self, length: usize) -> bool {
        length >= self.settings.compression_min && self.deflate.is_some_and(|deflate| deflate.window == MOST_WINDOW)
    }

    fn push_message(self: &Rc<Self>, frame: Bytes, cause: Cause) -> Result<u64, Ended> {
        if self.phase.get() != Phase::Open {
            return Err(Ended);
        }
        let Settings { queue, queue_messages, overflow, .. } = *self.settings;
        let pushed = self.output.borrow_mut().push_within(frame, cause, Bounds { bytes: queue, messages: queue_messages, overflow });
        match pushed {
            Ok(dropped) => {
                self.dropped.set(self.dropped.get() + dropped);
                self.note();
                Ok(dropped)
            }
            Err(_) => {
                self.output.borrow_mut().clear_unsent();
                self.fail(close::POLICY, "too slow");
                Err(Ended)
            }
        }
    }

    pub(super) fn push_control(self: &Rc<Self>, opcode: Opcode, payload: &[u8]) {
        let frame = encode(Head::whole(opcode), payload, self.mask());
        self.output.borrow_mut().push(frame);
        self.note();
    }

    /// A fresh mask for each frame of a client (RFC 6455 §5.3).
    pub(super) fn mask(&self) -> Option<[u8; 4]> {
        (self.role == Role::Client).then(|| {
            let mut mask = [0; 4];
            // Without randomness from the kernel the mask is zeros: it protects proxies, not the message.
            let _ = getrandom::fill(&mut mask);
            mask
        })
    }

    pub(super) fn note(self: &Rc<Self>) {
        if !self.noted.replace(true) {
            flush::note(self.clone());
        }
    }

    /// Has loaded what the session, which is in the caches itself, needs to write.
    pub(in crate::websocket) fn prefetch(&self) {
        if let Some(stream) = self.stream.borrow().as_ref() {
            stream.prefetch();
        }
    }

    pub(in crate::websocket) fn unnote(&self) {
        self.noted.set(false);
    }

    fn advance(&self, output: &mut Output, count: usize) {
        self.sent.set(self.sent.get() + count as u64);
        output.advance(count);
        output.since = None;
    }

    /// Writes what waits; pending while the peer takes no more.
    pub(in crate::websocket) fn poll_flush(self: &Rc<Self>, cx: &mut Context<'_>) -> Poll<()> {
        let behind = self.is_behind();
        let result = if self.send_only() { Poll::Ready(true) } else { self.poll_write(cx) };
        if behind && !self.is_behind() {
            self.wake_driver();
        }
        match result {
            Poll::Pending => Poll::Pending,
            Poll::Ready(false) => {
                self.end(&Close { code: close::ABNORMAL, reason: "the connection broke".to_owned() });
                Poll::Ready(())
            }
            Poll::Ready(true) => Poll::Ready(()),
        }
    }

    /// Sends the one frame that waits, which is what a connection mostly has, without more ado. Whether that was all: if not, `poll_write` does the
    /// rest, meets an error again and handles it.
    fn send_only(&self) -> bool {
        let stream = self.stream.borrow();
        let (Phase::Open, Some(Stream::Plain(socket))) = (self.phase.get(), stream.as_ref()) else { return false };
        let mut output = self.output.borrow_mut();
        let Some(frame) = output.only() else { return output.is_empty() };
        let Ok(count) = socket.try_send(frame) else { return false };
        self.advance(&mut output, count);
        output.is_empty()
    }

    /// `false` when the connection is broken, or over because everything is done.
    fn poll_write(&self, cx: &mut Context<'_>) -> Poll<bool> {
        let stream = self.stream.borrow();
        let Some(stream) = stream.as_ref() else { return Poll::Ready(true) };
        let mut output = self.output.borrow_mut();
        GATHERED
            .with_borrow_mut(|scratch| {
                while !output.is_empty() {
                    let bytes = output.next(scratch);
                    match stream.poll_write_vectored(cx, &[std::io::IoSlice::new(bytes)]) {
                        Poll::Ready(Ok(count)) if count > 0 => self.advance(&mut output, count),
                        Poll::Ready(_) => return Poll::Ready(false),
                        Poll::Pending => {
                            output.since.get_or_insert_with(Moment::now);
                            return Poll::Pending;
                        }
                    }
                }
                match stream.poll_flush(cx) {
                    Poll::Ready(flushed) => {
                        output.since = None;
                        Poll::Ready(flushed.is_ok())
                    }
                    Poll::Pending => {
                        output.since.get_or_insert_with(Moment::now);
                        Poll::Pending
                    }
                }
            })
            .map(|written| written && self.shut_when_done(cx, stream))
    }

    /// After the last frame our side is shut. `false` when nothing more can come of it.
    fn shut_when_done(&self, cx: &mut Context<'_>, stream: &Stream) -> bool {
        if !matches!(self.phase.get(), Phase::Last(_)) || self.shut.replace(true) {
            return true;
        }
        // The peer reads our end, and shuts its side: until then what it still sends is read, so that no reset takes our close with it.
        // A client leaves it to the server to close first (RFC 6455 §7.1.1).
        self.role == Role::Client || !matches!(stream.poll_shutdown_write(cx), Poll::Ready(Err(_)))
    }
}
