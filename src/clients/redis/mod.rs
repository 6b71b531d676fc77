//! Redis, as far as skep itself needs it: one connection that asks and is answered in order, or listens. RESP2 over our own streams: the
//! driver of that name brings a second reactor and a second executor.

pub mod config;

use std::cell::{Cell, RefCell};
use std::fmt;
use std::future::poll_fn;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::task::{Poll, ready};
use std::time::Duration;

use bytes::BytesMut;
use config::{Place, Target};

use crate::codec::resp::{self, Decoder, Value};
use crate::net::{Socket, Stream, connect_any, connect_tls};
use crate::reactor::timeout;

/// How long connecting may take, and an answer.
const PATIENCE: Duration = Duration::from_secs(5);
/// How much is read at once.
const PIECE: usize = 16 << 10;

/// What went wrong with Redis.
#[derive(Debug)]
pub enum RedisError {
    /// The connection.
    Io(io::Error),
    /// Redis refused; says why.
    Refused(String),
    /// It did not answer in time.
    TimedOut,
    /// It said what is not its protocol.
    Protocol,
}

impl fmt::Display for RedisError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io(error) => error.fmt(f),
            Self::Refused(why) => f.write_str(why),
            Self::TimedOut => f.write_str("timed out"),
            Self::Protocol => f.write_str("it does not speak the protocol of Redis"),
        }
    }
}

impl std::error::Error for RedisError {}

impl From<io::Error> for RedisError {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

/// A connection to a Redis server. One task may write while another reads.
pub struct Connection {
    stream: Stream,
    input: RefCell<Input>,
    /// Something could not be written whole: nothing can follow.
    broken: Cell<bool>,
}

/// What has come and is not taken yet.
#[derive(Default)]
struct Input {
    decoder: Decoder,
    bytes: BytesMut,
}

impl Input {
    fn take(&mut self) -> Result<Option<Value>, RedisError> {
        self.decoder.take(&mut self.bytes).map_err(|_| RedisError::Protocol)
    }
}

impl Connection {
    /// Connects, logs in and chooses the database. `names` gives the addresses of a host.
    ///
    /// # Errors
    /// [`RedisError`].
    pub async fn open(target: &Target, names: impl AsyncFn(&str) -> io::Result<Vec<IpAddr>>) -> Result<Self, RedisError> {
        let connecting = async {
            let stream = connect(target, names).await?;
            let connection = Self { stream, input: RefCell::default(), broken: Cell::new(false) };
            if let Some(password) = &target.password {
                let password = password.reveal().as_bytes();
                match &target.user {
                    Some(user) => connection.call(&[b"AUTH", user.as_bytes(), password]).await?,
                    None => connection.call(&[b"AUTH", password]).await?,
                };
            }
            if target.database > 0 {
                connection.call(&[b"SELECT", target.database.to_string().as_bytes()]).await?;
            }
            Ok(connection)
        };
        timeout(PATIENCE, connecting).await.unwrap_or(Err(RedisError::TimedOut))
    }

    /// Sends commands as they are.
    ///
    /// # Errors
    /// [`RedisError::Io`], [`RedisError::TimedOut`] when Redis does not read.
    pub async fn send(&self, commands: &[u8]) -> Result<(), RedisError> {
        if self.broken.replace(true) {
            return Err(RedisError::Io(io::ErrorKind::BrokenPipe.into()));
        }
        timeout(PATIENCE, self.stream.write_all(commands)).await.map_err(|_| RedisError::TimedOut)??;
        self.broken.set(false);
        Ok(())
    }

    /// The next value that Redis says, errors included.
    ///
    /// # Errors
    /// [`RedisError::Io`], [`RedisError::Protocol`].
    pub async fn receive(&self) -> Result<Value, RedisError> {
        loop {
            if let Some(value) = self.input.borrow_mut().take()? {
                return Ok(value);
            }
            let read = poll_fn(|cx| {
                let mut buffer = [0; PIECE];
                let read = ready!(self.stream.poll_read(cx, &mut buffer))?;
                self.input.borrow_mut().bytes.extend_from_slice(&buffer[..read]);
                Poll::Ready(io::Result::Ok(read))
            });
            if read.await? == 0 {
                return Err(RedisError::Io(io::ErrorKind::UnexpectedEof.into()));
            }
        }
    }

    /// Asks, and waits for the answer.
    ///
    /// # Errors
    /// [`RedisError`].
    pub async fn call(&self, parts: &[&[u8]]) -> Result<Value, RedisError> {
        let mut command = Vec::new();
        resp::command(&mut command, parts);
        self.send(&command).await?;
        match timeout(PATIENCE, self.receive()).await.map_err(|_| RedisError::TimedOut)?? {
            Value::Error(why) => Err(RedisError::Refused(String::from_utf8_lossy(&why).into_owned())),
            value => Ok(value),
        }
    }
}

async fn connect(target: &Target, names: impl AsyncFn(&str) -> io::Result<Vec<IpAddr>>) -> Result<Stream, RedisError> {
    let (host, port) = match &target.place {
        Place::Unix(path) => return Ok(Stream::from(Socket::connect_unix(path).await?)),
        Place::Tcp(host, port) => (host, *port),
    };
    let addresses: Vec<SocketAddr> = names(host).await?.into_iter().map(|ip| SocketAddr::new(ip, port)).collect();
    let socket = connect_any(&addresses).await.map_err(|(error, _)| error)?;
    Ok(if target.tls { connect_tls(socket, host).await? } else { Stream::from(socket) })
}
