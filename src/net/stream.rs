//! Connections: TCP and unix sockets, with or without TLS.

use std::cell::RefCell;
use std::future::{Future, poll_fn};
use std::io::{self, IoSlice};
use std::pin::{Pin, pin};
use std::task::{Context, Poll};
use std::time::Duration;

use futures_lite::io::{AsyncRead, AsyncWrite};

use super::socket::Socket;
use crate::reactor::sleep;

/// A connection. Methods take `&self`: one task may read while another writes.
pub enum Stream {
    /// A bare socket.
    Plain(Socket),
    /// TLS, as the client or as the server.
    Tls(RefCell<Box<futures_rustls::TlsStream<Socket>>>),
}

impl From<Socket> for Stream {
    fn from(socket: Socket) -> Self {
        Self::Plain(socket)
    }
}

impl Stream {
    /// The socket under it.
    pub fn with_socket<R>(&self, f: impl FnOnce(&Socket) -> R) -> R {
        match self {
            Self::Plain(socket) => f(socket),
            Self::Tls(tls) => f(tls.borrow().get_ref().0),
        }
    }

    /// Whether this protocol was agreed upon in the TLS handshake (RFC 7301).
    pub fn speaks(&self, protocol: &[u8]) -> bool {
        match self {
            Self::Plain(_) => false,
            Self::Tls(tls) => tls.borrow().get_ref().1.alpn_protocol() == Some(protocol),
        }
    }

    /// Reads into `buffer`; 0 is the end of the stream (of a buffer that is not empty).
    pub fn poll_read(&self, cx: &mut Context<'_>, buffer: &mut [u8]) -> Poll<io::Result<usize>> {
        match self {
            Self::Plain(socket) => socket.poll_read(cx, buffer),
            Self::Tls(tls) => Pin::new(tls.borrow_mut().as_mut()).poll_read(cx, buffer),
        }
    }

    /// Writes some of `slices`.
    pub fn poll_write_vectored(&self, cx: &mut Context<'_>, slices: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        match self {
            Self::Plain(socket) => socket.poll_write_vectored(cx, slices),
            Self::Tls(tls) => Pin::new(tls.borrow_mut().as_mut()).poll_write_vectored(cx, slices),
        }
    }

    /// Sends what TLS has taken and not sent yet; a bare socket keeps nothing back.
    pub fn poll_flush(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Self::Plain(_) => Poll::Ready(Ok(())),
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
            let before = self.with_socket(Socket::moved);
            let mut pause = sleep(idle);
            let over = poll_fn(|cx| match future.as_mut().poll(cx) {
                Poll::Ready(()) => Poll::Ready(true),
                Poll::Pending => Pin::new(&mut pause).poll(cx).map(|()| false),
            });
            if over.await || self.with_socket(Socket::moved) == before {
                return;
            }
        }
    }

    /// Ready when the peer has closed its side or the connection broke.
    pub fn poll_hang_up(&self, cx: &mut Context<'_>) -> Poll<()> {
        self.with_socket(|socket| socket.poll_hang_up(cx))
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
        }
    }
}
