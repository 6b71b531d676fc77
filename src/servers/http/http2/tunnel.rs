//! A stream on which another protocol is spoken: WebSocket (RFC 8441).

use std::cell::{Cell, RefCell};
use std::io;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use h2::{RecvStream, SendStream};

use crate::net::{Peer, Substream};
use crate::request::Origin;

/// The bytes of a stream, both ways. What is not read fills its window, what the client does not take fills the other: neither is more than the
/// server's settings say.
pub(super) struct Tunnel {
    receiving: RefCell<RecvStream>,
    /// Of a frame that was larger than the reader's buffer.
    rest: RefCell<Bytes>,
    sending: RefCell<SendStream<Bytes>>,
    shut: Cell<bool>,
    moved: Cell<u64>,
    origin: Rc<Origin>,
}

impl Tunnel {
    pub(super) fn new(receiving: RecvStream, sending: SendStream<Bytes>, origin: &Rc<Origin>) -> Self {
        Self {
            receiving: RefCell::new(receiving),
            rest: RefCell::default(),
            sending: RefCell::new(sending),
            shut: Cell::new(false),
            moved: Cell::new(0),
            origin: origin.clone(),
        }
    }

    fn count(&self, bytes: usize) {
        self.moved.set(self.moved.get() + bytes as u64);
    }
}

impl Substream for Tunnel {
    fn poll_read(&self, cx: &mut Context<'_>, buffer: &mut [u8]) -> Poll<io::Result<usize>> {
        let mut rest = self.rest.borrow_mut();
        while rest.is_empty() {
            let mut receiving = self.receiving.borrow_mut();
            match ready!(receiving.poll_data(cx)) {
                Some(Ok(data)) => *rest = data,
                Some(Err(error)) => return Poll::Ready(Err(io::Error::other(error))),
                None => return Poll::Ready(Ok(0)),
            }
        }
        let count = rest.len().min(buffer.len());
        rest.copy_to_slice(&mut buffer[..count]);
        self.count(count);
        // The window opens again for as much as was taken out of it.
        let released = self.receiving.borrow_mut().flow_control().release_capacity(count);
        Poll::Ready(released.map(|()| count).map_err(io::Error::other))
    }

    fn poll_write(&self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let mut sending = self.sending.borrow_mut();
        sending.reserve_capacity(bytes.len());
        let room = match sending.capacity() {
            0 => match ready!(sending.poll_capacity(cx)) {
                Some(room) => room.map_err(io::Error::other)?,
                None => return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into())),
            },
            room => room,
        };
        let count = room.min(bytes.len());
        sending.send_data(Bytes::copy_from_slice(&bytes[..count]), false).map_err(io::Error::other)?;
        self.count(count);
        Poll::Ready(Ok(count))
    }

    fn poll_shutdown_write(&self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.shut.replace(true) {
            return Poll::Ready(Ok(()));
        }
        Poll::Ready(self.sending.borrow_mut().send_data(Bytes::new(), true).map_err(io::Error::other))
    }

    fn poll_hang_up(&self, cx: &mut Context<'_>) -> Poll<()> {
        self.sending.borrow_mut().poll_reset(cx).map(|_| ())
    }

    fn moved(&self) -> u64 {
        self.moved.get()
    }

    fn ends(&self) -> (Peer, Peer) {
        (self.origin.peer.clone(), self.origin.local.clone())
    }
}
