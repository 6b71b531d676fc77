//! Connections: TCP and unix sockets, with or without TLS.

use std::cell::RefCell;
use std::future::{Future, poll_fn};
use std::io::{self, IoSlice};
use std::pin::{Pin, pin};
use std::task::{Context, Poll};
use std::time::Duration;

use futures_lite::io::{AsyncRead, AsyncWrite};

use super::peer::Peer;
use super::socket::Socket;
use crate::reactor::sleep;

/// A connection. Methods take `&self`: one task may read while another writes.
pub enum Stream {
    /// A bare socket.
    Plain(Socket),
    /// TLS, as the client or as the server.
    Tls(RefCell<Box<futures_rustls::TlsStream<Socket>>>),
    /// One of several within a connection.
    Sub(Box<dyn Substream>),
}

/// A stream within a connection that has several: of HTTP/2. The methods are those of [`Stream`].
pub trait Substream {
    /// Reads into `buffer`; 0 is the end of the stream.
    fn poll_read(&self, cx: &mut Context<'_>, buffer: &mut [u8]) -> Poll<io::Result<usize>>;
    /// Writes some of `bytes`.
    fn poll_write(&self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>>;
    /// Says that nothing more is sent.
    fn poll_shutdown_write(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>>;
    /// Ready when the peer has broken the stream off.
    fn poll_hang_up(&self, cx: &mut Context<'_>) -> Poll<()>;
    /// Bytes that went either way.
    fn moved(&self) -> u64;
    /// Where it came from, and our own address.
    fn ends(&self) -> (Peer, Peer);
}

impl From<Socket> for Stream {
    fn from(socket: Socket) -> Self {
        Self::Plain(socket)
    }
}

impl Stream {
    /// The socket under it; a stream within a connection has none of its own.
    fn with_socket<R>(&self, f: impl FnOnce(&Socket) -> R) -> Option<R> {
        match self {
            Self::Plain(socket) => Some(f(socket)),
            Self::Tls(tls) => Some(f(tls.borrow().get_ref().0)),
            Self::Sub(_) => None,
        }
    }

    /// Bytes that went either way so far.
    pub fn moved(&self) -> u64 {
        match self {
            Self::Sub(stream) => stream.moved(),
            stream => stream.with_socket(Socket::moved).unwrap_or_default(),
        }
    }

    /// Where it came from, and our own address.
    pub fn ends(&self) -> (Peer, Peer) {
        match self {
            Self::Sub(stream) => stream.ends(),
            stream => stream.with_socket(|socket| (socket.peer(), socket.local())).unwrap_or((Peer::Unknown, Peer::Unknown)),
        }
    }

    /// Says that a read is worth trying: what has come since the loop last asked the kernel is not known yet.
    pub fn recheck(&self) {
        self.with_socket(Socket::recheck);
    }

    /// Has loaded what the next read or write looks at.
    pub fn prefetch(&self) {
        if let Self::Plain(socket) = self {
            socket.prefetch();
        }
    }

    /// Lets the task that waits to read look around once.
    pub fn wake_reader(&self) {
        self.with_socket(Socket::wake_reader);
    }

    /// Whether this protocol was agreed upon in the TLS handshake (RFC 7301).
    pub fn speaks(&self, protocol: &[u8]) -> bool {
        match self {
            Self::Plain(_) | Self::Sub(_) => false,
            Self::Tls(tls) => tls.borrow().get_ref().1.alpn_protocol() == Some(protocol),
        }
    }

    /// The certificate, in DER, that the client has shown in the TLS handshake; `None` where it was not asked for one, or has none.
    pub fn client_certificate(&self) -> Option<Vec<u8>> {
        match self {
            Self::Plain(_) | Self::Sub(_) => None,
            Self::Tls(tls) => tls.borrow().get_ref().1.peer_certificates()?.first().map(|der| der.to_vec()),
        }
    }

    /// Reads into `buffer`; 0 is the end of the stream (of a buffer that is not empty).
    pub fn poll_read(&self, cx: &mut Context<'_>, buffer: &mut [u8]) -> Poll<io::Result<usize>> {
        match self {
            Self::Plain(socket) => socket.poll_read(cx, buffer),
            Self::Tls(tls) => Pin::new(tls.borrow_mut().as_mut()).poll_read(cx, buffer),
            Self::Sub(stream) => stream.poll_read(cx, buffer),
        }
    }

    /// Writes some of `slices`.
    pub fn poll_write_vectored(&self, cx: &mut Context<'_>, slices: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        match self {
            Self::Plain(socket) => socket.poll_write_vectored(cx, slices),
            Self::Tls(tls) => Pin::new(tls.borrow_mut().as_mut()).poll_write_vectored(cx, slices),
            Self::Sub(stream) => stream.poll_write(cx, slices.iter().find(|slice| !slice.is_empty()).map_or(&[], |slice| slice)),
        }
    }

    /// Sends what TLS has taken and not sent yet; a bare socket keeps nothing back.
    pub fn poll_flush(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Self::Plain(_) | Self::Sub(_) => Poll::Ready(Ok(())),
            Self::Tls(tls) => Pin::new(tls.borrow_mut().as_mut()).poll_flush(cx),
        }
    }

    /// Reads into `buffer`; 0 is the end of the stream.
    ///
    /// # Errors
    /// What the socket or TLS says.
    pub async fn read(&self, buffer: &mut [u8]) -> io::Result<usize> {
        poll_fn(|cx| self.poll_read(cx, buffer)).await
    }

    /// Writes all of `bytes`.
    ///
    /// # Errors
    /// What the socket or TLS says; `WriteZero` when it takes no more.
    pub async fn write_all(&self, bytes: &[u8]) -> io::Result<()> {
        self.write_all_vectored(&mut [IoSlice::new(bytes)]).await
    }

    /// Writes all of `slices`, in as few calls as the socket allows. The slices are advanced on the way.
    ///
    /// # Errors
    /// What the socket or TLS says; `WriteZero` when it takes no more.
    pub async fn write_all_vectored(&self, mut slices: &mut [IoSlice<'_>]) -> io::Result<()> {
        IoSlice::advance_slices(&mut slices, 0);
        while !slices.is_empty() {
            let written = poll_fn(|cx| self.poll_write_vectored(cx, slices)).await?;
            if written == 0 {
                return Err(io::ErrorKind::WriteZero.into());
            }
            IoSlice::advance_slices(&mut slices, written);
        }
        poll_fn(|cx| self.poll_flush(cx)).await
    }

    /// Runs `future`, which uses this stream, until it ends or nothing went either way for `idle`.
    pub async fn until_idle(&self, idle: Duration, future: impl Future<Output = ()>) {
        let mut future = pin!(future);
        loop {
            let before = self.moved();
            let mut pause = sleep(idle);
            let over = poll_fn(|cx| match future.as_mut().poll(cx) {
                Poll::Ready(()) => Poll::Ready(true),
                Poll::Pending => Pin::new(&mut pause).poll(cx).map(|()| false),
            });
            if over.await || self.moved() == before {
                return;
            }
        }
    }

    /// Ready when the peer has closed its side or the connection broke.
    pub fn poll_hang_up(&self, cx: &mut Context<'_>) -> Poll<()> {
        match self {
            Self::Sub(stream) => stream.poll_hang_up(cx),
            stream => stream.with_socket(|socket| socket.poll_hang_up(cx)).unwrap_or(Poll::Pending),
        }
    }

    /// Says to the peer that nothing more is sent; reading goes on.
    ///
    /// # Errors
    /// What the socket or TLS says.
    pub async fn shutdown_write(&self) -> io::Result<()> {
        poll_fn(|cx| self.poll_shutdown_write(cx)).await
    }

    /// As [`Stream::shutdown_write`], for who polls.
    pub fn poll_shutdown_write(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Self::Plain(socket) => Poll::Ready(socket.shutdown_write()),
            Self::Tls(tls) => Pin::new(tls.borrow_mut().as_mut()).poll_close(cx),
            Self::Sub(stream) => stream.poll_shutdown_write(cx),
        }
    }
}
