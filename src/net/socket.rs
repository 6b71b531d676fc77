//! A stream socket of the reactor: TCP or unix.

use std::cell::Cell;
use std::fs::File;
use std::io::{self, IoSlice, IoSliceMut};
use std::net::SocketAddr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::pin::Pin;
use std::task::{Context, Poll};

use futures_lite::io::{AsyncRead, AsyncWrite};
use nix::errno::Errno;
use nix::sys::sendfile::sendfile64;
use nix::sys::socket::{
    AddressFamily, MsgFlags, Shutdown, SockFlag, SockType, SockaddrStorage, UnixAddr, connect, getpeername, getsockname, getsockopt,
    sendmsg, setsockopt, shutdown, socket, sockopt,
};

use super::Peer;
use crate::reactor::Io;
use crate::sys::socket::{recv, send, set_cork};

/// A connected stream socket.
pub struct Socket {
    io: Io<OwnedFd>,
    /// Bytes that went either way.
    moved: Cell<u64>,
}

/// While it lives, incomplete segments wait for what follows.
#[must_use = "what was held back goes out when it is dropped"]
pub struct Cork<'a>(Option<&'a Socket>);

impl Drop for Cork<'_> {
    fn drop(&mut self) {
        if let Some(socket) = self.0 {
            // A connection that is gone holds nothing back.
            let _gone = set_cork(socket.io.as_fd(), false);
        }
    }
}

impl Socket {
    /// Takes a connected, non-blocking stream socket.
    ///
    /// # Errors
    /// When the reactor cannot register it.
    pub fn new(fd: OwnedFd) -> io::Result<Self> {
        Ok(Self { io: Io::new(fd)?, moved: Cell::new(0) })
    }

    /// Connects over TCP, without Nagle's delay. The caller bounds the time.
    ///
    /// # Errors
    /// What the network says.
    pub async fn connect_tcp(address: SocketAddr) -> io::Result<Self> {
        let family = if address.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 };
        let fd = open(family)?;
        setsockopt(&fd, sockopt::TcpNoDelay, &true)?;
        Self::connect(fd, &SockaddrStorage::from(address)).await
    }

    /// Connects to a unix socket. The caller bounds the time.
    ///
    /// # Errors
    /// What the system says; `WouldBlock` when the listener's queue is full.
    pub async fn connect_unix(path: &Path) -> io::Result<Self> {
        Self::connect(open(AddressFamily::Unix)?, &UnixAddr::new(path)?).await
    }

    async fn connect(fd: OwnedFd, address: &dyn nix::sys::socket::SockaddrLike) -> io::Result<Self> {
        match connect(fd.as_raw_fd(), address) {
            Ok(()) => return Self::new(fd),
            Err(Errno::EINPROGRESS) => {}
            Err(error) => return Err(error.into()),
        }
        let socket = Self::new(fd)?;
        // A fresh source counts as writable until tried; asking for the peer's name is the try that costs no byte.
        socket
            .io
            .write_with(|fd| {
                let error = getsockopt(fd, sockopt::SocketError)?;
                if error != 0 {
                    return Err(io::Error::from_raw_os_error(error));
                }
                match getpeername::<SockaddrStorage>(fd.as_raw_fd()) {
                    Ok(_) => Ok(()),
                    Err(Errno::ENOTCONN) => Err(io::ErrorKind::WouldBlock.into()),
                    Err(error) => Err(error.into()),
                }
            })
            .await?;
        Ok(socket)
    }

    /// Has loaded what the next read or write looks at.
    pub fn prefetch(&self) {
        self.io.prefetch();
    }

    /// Reads into `buffer`; 0 is the end of the stream (of a buffer that is not empty).
    pub fn poll_read(&self, cx: &mut Context<'_>, buffer: &mut [u8]) -> Poll<io::Result<usize>> {
        let read = self.io.poll_read_with(cx, |fd| recv(fd.as_fd(), buffer));
        if let Poll::Ready(Ok(read)) = read {
            self.moved.set(self.moved.get() + read as u64);
            if read < buffer.len() {
                self.io.drained();
            }
        }
        read
    }

    /// The first byte that waits to be read, which stays; `None` at the end of the stream.
    ///
    /// # Errors
    /// What the socket says.
    pub async fn first_byte(&self) -> io::Result<Option<u8>> {
        let mut byte = [0];
        let read = self.io.read_with(|fd| Ok(nix::sys::socket::recv(fd.as_raw_fd(), &mut byte, MsgFlags::MSG_PEEK)?)).await?;
        Ok((read > 0).then_some(byte[0]))
    }

    /// Waits until more than `seen` bytes are there to be read and copies as many as fit into `buffer`; they stay. How many there are; no more than
    /// `seen` at the end of the stream.
    ///
    /// # Errors
    /// What the socket says.
    pub async fn peek(&self, buffer: &mut [u8], seen: usize) -> io::Result<usize> {
        loop {
            let there = self.io.read_with(|fd| Ok(nix::sys::socket::recv(fd.as_raw_fd(), buffer, MsgFlags::MSG_PEEK)?)).await?;
            if there > seen || there == 0 || self.io.is_hung_up() {
                return Ok(there);
            }
            // The next edge is of new bytes.
            self.io.drained();
        }
    }

    /// Ready when a read may succeed: for who wants no buffer before there is something to put in it.
    pub fn poll_readable(&self, cx: &mut Context<'_>) -> Poll<()> {
        self.io.poll_readable(cx)
    }

    /// Writes some of `slices`. A peer that is gone is an error, never a signal.
    pub fn poll_write_vectored(&self, cx: &mut Context<'_>, slices: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        self.poll_send(cx, slices, false)
    }

    /// Writes some of `slices`; `more` promises that more follows at once, so that the kernel holds back a partial segment.
    pub fn poll_send(&self, cx: &mut Context<'_>, slices: &[IoSlice<'_>], more: bool) -> Poll<io::Result<usize>> {
        let flags = if more { MsgFlags::MSG_NOSIGNAL | MsgFlags::from_bits_retain(libc::MSG_MORE) } else { MsgFlags::MSG_NOSIGNAL };
        let sent = self.io.poll_write_with(cx, |fd| {
            // One slice needs no message header, which the kernel would have to read and check.
            let sent = match slices {
                [slice] => send(fd.as_fd(), slice, flags.bits())?,
                slices => sendmsg::<()>(fd.as_raw_fd(), slices, &[], flags, None)?,
            };
            Ok(sent)
        });
        if let Poll::Ready(Ok(sent)) = sent {
            self.moved.set(self.moved.get() + sent as u64);
        }
        sent
    }

    /// Writes some of `bytes` if there is room for them, for who does not wait.
    ///
    /// # Errors
    /// `WouldBlock` when there is no room; what the socket says.
    pub fn try_send(&self, bytes: &[u8]) -> io::Result<usize> {
        let sent = self.io.try_write_with(|fd| send(fd.as_fd(), bytes, MsgFlags::MSG_NOSIGNAL.bits()))?;
        self.moved.set(self.moved.get() + sent as u64);
        Ok(sent)
    }

    /// Sends up to `count` bytes of `file` from `offset` without copying them through this process; moves `offset`.
    /// 0 means that the file ends there.
    ///
    /// # Errors
    /// What the socket or the file says.
    pub async fn send_file(&self, file: &File, offset: &mut i64, count: usize) -> io::Result<usize> {
        self.io.write_with(|fd| Ok(sendfile64(fd, file, Some(offset), count)?)).await
    }

    /// Lets the kernel gather full segments until the returned value goes; does nothing where there are none (a unix socket).
    pub fn cork(&self) -> Cork<'_> {
        Cork(set_cork(self.io.as_fd(), true).is_ok().then_some(self))
    }

    /// Lets the next read ask the kernel, whatever it has told before.
    pub fn recheck(&self) {
        self.io.recheck();
    }

    /// Ready when the peer has closed its side or the connection broke.
    pub fn poll_hang_up(&self, cx: &mut Context<'_>) -> Poll<()> {
        self.io.poll_hang_up(cx)
    }

    /// Lets the task that waits to read look around once, for a reason other than readiness.
    pub fn wake_reader(&self) {
        self.io.wake_reader();
    }

    /// Whether the peer has closed its side or the connection broke, as far as is known.
    #[must_use]
    pub fn is_hung_up(&self) -> bool {
        self.io.is_hung_up()
    }

    /// How many bytes went either way so far: who sees no change for a while has an idle connection.
    #[must_use]
    pub fn moved(&self) -> u64 {
        self.moved.get()
    }

    /// Says to the peer that nothing more is sent; reading goes on.
    ///
    /// # Errors
    /// When the connection is gone already.
    pub fn shutdown_write(&self) -> io::Result<()> {
        Ok(shutdown(self.io.as_fd().as_raw_fd(), Shutdown::Write)?)
    }

    /// Who is at the other end.
    #[must_use]
    pub fn peer(&self) -> Peer {
        getpeername::<SockaddrStorage>(self.io.as_fd().as_raw_fd()).map_or(Peer::Unknown, |address| Peer::from_storage(&address))
    }

    /// Our own address of this connection.
    #[must_use]
    pub fn local(&self) -> Peer {
        getsockname::<SockaddrStorage>(self.io.as_fd().as_raw_fd()).map_or(Peer::Unknown, |address| Peer::from_storage(&address))
    }
}

fn open(family: AddressFamily) -> io::Result<OwnedFd> {
    Ok(socket(family, SockType::Stream, SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC, None)?)
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.io.as_fd()
    }
}

impl AsyncRead for Socket {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut [u8]) -> Poll<io::Result<usize>> {
        Self::poll_read(&self, cx, buffer)
    }

    fn poll_read_vectored(self: Pin<&mut Self>, cx: &mut Context<'_>, buffers: &mut [IoSliceMut<'_>]) -> Poll<io::Result<usize>> {
        match buffers.iter_mut().find(|buffer| !buffer.is_empty()) {
            Some(buffer) => Self::poll_read(&self, cx, buffer),
            None => Poll::Ready(Ok(0)),
        }
    }
}

impl AsyncWrite for Socket {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Self::poll_write_vectored(&self, cx, &[IoSlice::new(bytes)])
    }

    fn poll_write_vectored(self: Pin<&mut Self>, cx: &mut Context<'_>, slices: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        Self::poll_write_vectored(&self, cx, slices)
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_close(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(self.shutdown_write())
    }
}
