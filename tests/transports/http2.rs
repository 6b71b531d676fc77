//! An exchange over a connection of HTTP/2, without TLS ("prior knowledge").

use std::future::Future;
use std::io::{self, Error, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::fd::AsFd;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::task::{Context, Poll, Wake, Waker};

use bytes::Bytes;
use h2::client::{Connection, ResponseFuture, SendRequest};
use h2::{RecvStream, SendStream};
use nix::poll::{PollFd, PollFlags, PollTimeout};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::exchange::{Announced, Asked, Exchange, HOST};
use crate::support::client::Reply;

/// Longest silence that is not a failure, in milliseconds.
const SILENCE: u16 = 20_000;

pub struct Http2 {
    driver: Driver,
    /// Kept: without it the connection would say goodbye.
    _asking: SendRequest<Bytes>,
    answer: ResponseFuture,
    sending: Option<SendStream<Bytes>>,
    receiving: Option<RecvStream>,
}

/// Moves the bytes of the connection whenever somebody waits for something.
struct Driver {
    socket: Arc<TcpStream>,
    connection: Option<Connection<Socket>>,
    woken: Arc<Woken>,
    blocked: Arc<AtomicBool>,
}

/// Notes that somebody is to be asked again.
#[derive(Default)]
struct Woken(AtomicBool);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.store(true, SeqCst);
    }
}

impl Driver {
    /// Waits for a future, and moves bytes meanwhile.
    fn wait<T>(&mut self, future: impl Future<Output = T>) -> io::Result<T> {
        let waker = Waker::from(self.woken.clone());
        let mut cx = Context::from_waker(&waker);
        let mut future = pin!(future);
        loop {
            self.woken.0.store(false, SeqCst);
            let done = future.as_mut().poll(&mut cx);
            let over = self.connection.as_mut().is_some_and(|connection| Pin::new(connection).poll(&mut cx).is_ready());
            if let Poll::Ready(done) = done {
                return Ok(done);
            }
            if over {
                self.connection = None;
                self.woken.0.store(true, SeqCst);
            }
            if !self.woken.0.load(SeqCst) {
                let blocked = self.blocked.load(SeqCst);
                let interest = if blocked { PollFlags::POLLIN | PollFlags::POLLOUT } else { PollFlags::POLLIN };
                let mut polled = [PollFd::new(self.socket.as_fd(), interest)];
                if nix::poll::poll(&mut polled, PollTimeout::from(SILENCE))? == 0 {
                    return Err(ErrorKind::TimedOut.into());
                }
            }
        }
    }
}

/// A socket that does not block.
struct Socket {
    stream: Arc<TcpStream>,
    /// It took no more of what was to be written.
    blocked: Arc<AtomicBool>,
}

fn ready<T>(done: io::Result<T>) -> Poll<io::Result<T>> {
    match done {
        Err(error) if error.kind() == ErrorKind::WouldBlock => Poll::Pending,
        done => Poll::Ready(done),
    }
}

impl AsyncRead for Socket {
    fn poll_read(self: Pin<&mut Self>, _: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        ready((&*self.stream).read(buffer.initialize_unfilled()).map(|read| buffer.advance(read)))
    }
}

impl AsyncWrite for Socket {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let written = ready((&*self.stream).write(bytes));
        self.blocked.store(written.is_pending(), SeqCst);
        written
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(self.stream.shutdown(std::net::Shutdown::Write))
    }
}

/// A stream that was reset, or whose connection ended, broke off.
fn broken(error: h2::Error) -> Error {
    Error::new(ErrorKind::UnexpectedEof, error)
}

impl Http2 {
    pub fn open(address: SocketAddr, asked: Asked<'_>) -> io::Result<Self> {
        let stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        stream.set_nonblocking(true)?;
        let socket = Arc::new(stream);
        let blocked = Arc::<AtomicBool>::default();
        let mut driver = Driver { socket: socket.clone(), connection: None, woken: Arc::default(), blocked: blocked.clone() };
        let mut builder = h2::client::Builder::new();
        builder.initial_window_size(1 << 20).initial_connection_window_size(4 << 20);
        let (mut asking, connection) = driver.wait(builder.handshake(Socket { stream: socket, blocked }))?.map_err(broken)?;
        driver.connection = Some(connection);
        let Asked { method, target, fields, body } = asked;
        let mut request = http::Request::builder().method(method).uri(format!("http://{HOST}{target}"));
        for (name, value) in fields {
            request = request.header(*name, *value);
        }
        if let Announced::Length(length) = body {
            request = request.header("content-length", length);
        }
        let request = request.body(()).map_err(Error::other)?;
        let ends = matches!(body, Announced::None | Announced::Length(0));
        let (answer, sending) = asking.send_request(request, ends).map_err(broken)?;
        // What was asked goes out.
        driver.wait(std::future::ready(()))?;
        Ok(Self { driver, _asking: asking, answer, sending: (!ends).then_some(sending), receiving: None })
    }
}

impl Exchange for Http2 {
    fn send(&mut self, piece: &[u8]) -> io::Result<()> {
        let Some(sending) = &mut self.sending else { return Ok(()) };
        let mut bytes = Bytes::copy_from_slice(piece);
        while !bytes.is_empty() {
            sending.reserve_capacity(bytes.len());
            let room = self.driver.wait(std::future::poll_fn(|cx| sending.poll_capacity(cx)))?;
            let room = room.ok_or(ErrorKind::BrokenPipe)?.map_err(broken)?;
            sending.send_data(bytes.split_to(room.min(bytes.len())), false).map_err(broken)?;
        }
        self.driver.wait(std::future::ready(()))
    }

    fn finish(&mut self) -> io::Result<()> {
        let Some(mut sending) = self.sending.take() else { return Ok(()) };
        sending.send_data(Bytes::new(), true).map_err(broken)?;
        self.driver.wait(std::future::ready(()))
    }

    fn head(&mut self) -> io::Result<Reply> {
        let (head, body) = self.driver.wait(&mut self.answer)?.map_err(broken)?.into_parts();
        self.receiving = Some(body);
        let text = |value: &http::HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
        let headers = head.headers.iter().map(|(name, value)| (name.as_str().to_owned(), text(value))).collect();
        Ok(Reply { status: head.status.as_u16(), headers, body: Vec::new() })
    }

    fn piece(&mut self) -> io::Result<Option<Vec<u8>>> {
        let Some(receiving) = &mut self.receiving else { return Ok(None) };
        match self.driver.wait(receiving.data())? {
            None => Ok(None),
            Some(piece) => {
                let piece = piece.map_err(broken)?;
                receiving.flow_control().release_capacity(piece.len()).map_err(broken)?;
                Ok(Some(piece.to_vec()))
            }
        }
    }
}
