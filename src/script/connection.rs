//! A connection as scripts hold it: a socket, TLS, or one end of a pipe.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::io;
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Buf, BytesMut};
use event_listener::Event;
use mlua::{IntoLua, Lua, LuaString, UserData, UserDataFields, UserDataMethods, Value, Variadic};
use nix::errno::Errno;

use super::arguments::{Options, Span};
use super::gauge::Permit;
use super::iteration;
use super::request;
use super::services::Local;
use crate::net::{ClientCertificate, Peer, Stream};
use crate::reactor::{Io, timeout};
use crate::request::Origin;

/// How long a read waits if nothing else is said.
const READ_TIMEOUT: Duration = Duration::from_mins(5);
/// How long a write waits if nothing else is said.
const WRITE_TIMEOUT: Duration = Duration::from_mins(1);
/// How much is read at once.
const PIECE: usize = 16 << 10;
/// The longest line if nothing else is said.
const MAX_LINE: usize = 64 << 10;
/// The most that `read_all` and `read_exact` take if nothing else is said.
const MAX_READ: usize = 16 << 20;

/// What bytes go over.
pub(super) trait Channel {
    /// Reads some bytes; 0 at the end.
    fn poll_read(&self, cx: &mut Context<'_>, buffer: &mut [u8]) -> Poll<io::Result<usize>>;
    /// Writes all bytes.
    fn write<'a>(&'a self, bytes: &'a [u8]) -> Local<'a, io::Result<()>>;
    /// Says that nothing more will be written.
    fn shutdown(&self) -> Local<'_, io::Result<()>>;
}

impl Channel for Stream {
    fn poll_read(&self, cx: &mut Context<'_>, buffer: &mut [u8]) -> Poll<io::Result<usize>> {
        Stream::poll_read(self, cx, buffer)
    }

    fn write<'a>(&'a self, bytes: &'a [u8]) -> Local<'a, io::Result<()>> {
        Box::pin(Stream::write_all(self, bytes))
    }

    fn shutdown(&self) -> Local<'_, io::Result<()>> {
        Box::pin(Stream::shutdown_write(self))
    }
}

/// A connection given to the application by a listener of the configuration.
impl Channel for Rc<Stream> {
    fn poll_read(&self, cx: &mut Context<'_>, buffer: &mut [u8]) -> Poll<io::Result<usize>> {
        Stream::poll_read(self, cx, buffer)
    }

    fn write<'a>(&'a self, bytes: &'a [u8]) -> Local<'a, io::Result<()>> {
        Channel::write(&**self, bytes)
    }

    fn shutdown(&self) -> Local<'_, io::Result<()>> {
        Channel::shutdown(&**self)
    }
}

/// One or both ends of a pipe, or a terminal.
#[derive(Default)]
pub(super) struct Pipe {
    pub input: Option<Io<OwnedFd>>,
    pub output: RefCell<Option<Rc<Io<OwnedFd>>>>,
}

impl Channel for Pipe {
    fn poll_read(&self, cx: &mut Context<'_>, buffer: &mut [u8]) -> Poll<io::Result<usize>> {
        let Some(input) = &self.input else { return Poll::Ready(Err(io::Error::other("cannot be read"))) };
        input.poll_read_with(cx, |fd| Ok(nix::unistd::read(fd, buffer)?))
    }

    fn write<'a>(&'a self, mut bytes: &'a [u8]) -> Local<'a, io::Result<()>> {
        Box::pin(async move {
            let Some(output) = self.output.borrow().clone() else { return Err(Errno::EPIPE.into()) };
            while !bytes.is_empty() {
                let written = output.write_with(|fd| Ok(nix::unistd::write(fd, bytes)?)).await?;
                bytes = &bytes[written..];
            }
            Ok(())
        })
    }

    fn shutdown(&self) -> Local<'_, io::Result<()>> {
        self.output.take();
        Box::pin(std::future::ready(Ok(())))
    }
}

/// The connection. Everything works on a shared reference: one coroutine may read while another writes.
pub(super) struct Connection {
    /// The module's name and the other end, for messages.
    module: &'static str,
    shown: String,
    remote: Peer,
    local: Peer,
    certificate: Option<Rc<ClientCertificate>>,
    channel: RefCell<Option<Rc<dyn Channel>>>,
    input: RefCell<BytesMut>,
    ended: Cell<bool>,
    reading: Cell<bool>,
    writing: Cell<bool>,
    closed: Event,
    read_timeout: Cell<Duration>,
    write_timeout: Cell<Duration>,
    permit: RefCell<Option<Permit>>,
}

impl Connection {
    pub(super) fn new(module: &'static str, shown: String, channel: Rc<dyn Channel>, permit: Option<Permit>) -> Connection {
        Connection {
            module,
            shown,
            remote: Peer::Unknown,
            local: Peer::Unknown,
            certificate: None,
            channel: RefCell::new(Some(channel)),
            input: RefCell::default(),
            ended: Cell::new(false),
            reading: Cell::new(false),
            writing: Cell::new(false),
            closed: Event::new(),
            read_timeout: Cell::new(READ_TIMEOUT),
            write_timeout: Cell::new(WRITE_TIMEOUT),
            permit: RefCell::new(permit),
        }
    }

    /// A connection over a socket.
    pub(super) fn of_stream(module: &'static str, stream: Stream, permit: Permit) -> Connection {
        let (remote, local) = stream.ends();
        Connection { remote: remote.clone(), local, ..Connection::new(module, remote.to_string(), Rc::new(stream), Some(permit)) }
    }

    /// A connection that somebody else accepted.
    pub(super) fn of_listener(stream: Rc<Stream>, origin: &Origin) -> Connection {
        let (remote, local, certificate) = (origin.peer.clone(), origin.local.clone(), origin.certificate.clone());
        Connection { remote, local, certificate, ..Connection::new("net", origin.peer.to_string(), Rc::new(stream), None) }
    }

    pub(super) fn close(&self) {
        self.channel.take();
        self.permit.take();
        self.closed.notify(usize::MAX);
    }

    fn fail(&self, what: impl std::fmt::Display) -> mlua::Error {
        mlua::Error::runtime(format!("{}: {what} ({})", self.module, self.shown))
    }

    fn channel(&self) -> mlua::Result<Rc<dyn Channel>> {
        self.channel.borrow().clone().ok_or_else(|| self.fail("the connection is closed"))
    }

    /// Waits for an operation, its time limit, or the end of the connection by another coroutine.
    async fn bounded<T>(&self, limit: Duration, operation: impl Future<Output = io::Result<T>>) -> mlua::Result<T> {
        let closed = self.closed.listen();
        let closed = async {
            closed.await;
            Err(io::Error::other("closed meanwhile"))
        };
        match timeout(limit, futures_lite::future::or(operation, closed)).await {
            Ok(Ok(value)) => Ok(value),
            Ok(Err(error)) => Err(self.fail(reason(&error))),
            Err(_) => Err(self.fail("timed out")),
        }
    }

    /// Reads more into the buffer; `false` at the end.
    async fn fill(&self, limit: Duration) -> mlua::Result<bool> {
        if self.ended.get() {
            return Ok(false);
        }
        let channel = self.channel()?;
        let _busy = Busy::of(&self.reading).ok_or_else(|| self.fail("another coroutine is reading"))?;
        // The buffer is on the stack while there is something to read: a connection that waits has none.
        let reading = poll_fn(|cx| {
            let mut buffer = [0; PIECE];
            let read = ready!(channel.poll_read(cx, &mut buffer))?;
            self.input.borrow_mut().extend_from_slice(&buffer[..read]);
            Poll::Ready(Ok(read))
        });
        let read = self.bounded(limit, reading).await?;
        self.ended.set(read == 0);
        Ok(read > 0)
    }

    /// Some bytes as they come; `None` at the end.
    async fn read(&self, most: usize, limit: Duration) -> mlua::Result<Option<BytesMut>> {
        if self.input.borrow().is_empty() && !self.fill(limit).await? {
            return Ok(None);
        }
        let mut input = self.input.borrow_mut();
        let count = input.len().min(most);
        Ok(Some(input.split_to(count)))
    }

    async fn read_exact(&self, count: usize, limit: Duration) -> mlua::Result<BytesMut> {
        if count > MAX_READ {
            return Err(self.fail(format_args!("at most {MAX_READ} bytes can be read at once")));
        }
        while self.input.borrow().len() < count {
            if !self.fill(limit).await? {
                let had = self.input.borrow().len();
                return Err(self.fail(format_args!("the connection ended after {had} of {count} bytes")));
            }
        }
        Ok(self.input.borrow_mut().split_to(count))
    }

    /// Everything until the end.
    pub(super) async fn read_all(&self, most: usize, limit: Duration) -> mlua::Result<BytesMut> {
        while self.fill(limit).await? {
            if self.input.borrow().len() > most {
                return Err(self.fail(format_args!("more than {most} bytes came")));
            }
        }
        Ok(self.input.take())
    }

    /// A line without its end, LF or CR LF; `None` at the end of the stream. What stands there without a line end is a line.
    pub(super) async fn line(&self, most: usize, limit: Duration) -> mlua::Result<Option<BytesMut>> {
        let mut searched = 0;
        loop {
            let found = memchr::memchr(b'\n', &self.input.borrow()[searched..]).map(|at| searched + at);
            if let Some(end) = found {
                let mut input = self.input.borrow_mut();
                let mut line = input.split_to(end);
                input.advance(1);
                if line.last() == Some(&b'\r') {
                    line.truncate(line.len() - 1);
                }
                return if line.len() > most { Err(self.fail(format_args!("a line is longer than {most} bytes"))) } else { Ok(Some(line)) };
            }
            searched = self.input.borrow().len();
            // One more for the CR that may end the line.
            if searched > most + 1 {
                return Err(self.fail(format_args!("a line is longer than {most} bytes")));
            }
            if !self.fill(limit).await? {
                let rest = self.input.take();
                return Ok((!rest.is_empty()).then_some(rest));
            }
        }
    }

    pub(super) async fn write(&self, bytes: &[u8], limit: Duration) -> mlua::Result<()> {
        let channel = self.channel()?;
        let _busy = Busy::of(&self.writing).ok_or_else(|| self.fail("another coroutine is writing"))?;
        self.bounded(limit, channel.write(bytes)).await
    }

    fn read_limit(&self, options: &Options) -> mlua::Result<Duration> {
        options.span("timeout", self.read_timeout.get())
    }
}

/// One coroutine at a time.
struct Busy<'a>(&'a Cell<bool>);

impl<'a> Busy<'a> {
    fn of(flag: &'a Cell<bool>) -> Option<Busy<'a>> {
        (!flag.replace(true)).then_some(Busy(flag))
    }
}

impl Drop for Busy<'_> {
    fn drop(&mut self) {
        self.0.set(false);
    }
}

/// The cause of an error in the words of this system, without numbers.
pub(super) fn reason(error: &io::Error) -> String {
    use io::ErrorKind as Kind;
    let known = match error.kind() {
        Kind::ConnectionRefused => "connection refused",
        Kind::ConnectionReset => "connection reset by the other side",
        Kind::ConnectionAborted => "connection aborted",
        Kind::BrokenPipe => "the other side has closed the connection",
        Kind::TimedOut => "timed out",
        Kind::NotFound => "no such file",
        Kind::PermissionDenied => "permission denied",
        Kind::AddrInUse => "the address is in use",
        Kind::AddrNotAvailable => "the address is not of this machine",
        Kind::HostUnreachable => "host unreachable",
        Kind::NetworkUnreachable => "network unreachable",
        Kind::UnexpectedEof => "the connection ended too early",
        _ => {
            let text = error.to_string();
            return match text.find(" (os error") {
                Some(end) => text[..end].to_lowercase(),
                None => text,
            };
        }
    };
    known.to_owned()
}

fn bytes(lua: &Lua, bytes: Option<BytesMut>) -> mlua::Result<Value> {
    bytes.map_or(Ok(Value::Nil), |bytes| lua.create_string(bytes)?.into_lua(lua))
}

/// The connection in the hands of a script.
#[derive(Clone)]
pub(super) struct ConnectionHandle(pub(super) Rc<Connection>);

impl UserData for ConnectionHandle {
    fn add_fields<F: UserDataFields<Self>>(fields: &mut F) {
        fields.add_field_method_get("remote", |lua, this| request::peer(lua, &this.0.remote));
        fields.add_field_method_get("local_address", |lua, this| request::peer(lua, &this.0.local));
        fields.add_field_method_get("client_certificate", |lua, this| {
            this.0.certificate.as_deref().map_or(Ok(Value::Nil), |shown| request::certificate(lua, shown))
        });
        fields.add_field_method_get("is_open", |_, this| Ok(this.0.channel.borrow().is_some()));
    }

    fn add_methods<M: UserDataMethods<Self>>(methods: &mut M) {
        reading(methods);
        methods.add_async_method("write", |_, this, parts: Variadic<LuaString>| {
            let connection = this.0.clone();
            async move {
                let whole: Vec<u8> = parts.iter().flat_map(|part| part.as_bytes().to_vec()).collect();
                connection.write(&whole, connection.write_timeout.get()).await
            }
        });
        methods.add_method("set_timeout", |_, this, (read, write): (Option<Span>, Option<Span>)| {
            this.0.read_timeout.set(read.map_or(READ_TIMEOUT, |span| span.0));
            this.0.write_timeout.set(write.map_or(WRITE_TIMEOUT, |span| span.0));
            Ok(())
        });
        methods.add_async_method("shutdown", |_, this, ()| {
            let connection = this.0.clone();
            async move {
                let channel = connection.channel()?;
                connection.bounded(connection.write_timeout.get(), channel.shutdown()).await
            }
        });
        methods.add_method("close", |_, this, ()| {
            this.0.close();
            Ok(())
        });
    }
}

fn reading<M: UserDataMethods<ConnectionHandle>>(methods: &mut M) {
    methods.add_async_method("read", |lua, this, (most, options): (Option<usize>, Options)| {
        let connection = this.0.clone();
        async move {
            let limit = connection.read_limit(&options)?;
            bytes(&lua, connection.read(most.unwrap_or(MAX_LINE).max(1), limit).await?)
        }
    });
    methods.add_async_method("read_exact", |lua, this, (count, options): (usize, Options)| {
        let connection = this.0.clone();
        async move { lua.create_string(connection.read_exact(count, connection.read_limit(&options)?).await?) }
    });
    methods.add_async_method("read_all", |lua, this, options: Options| {
        let connection = this.0.clone();
        async move {
            options.only(&["max", "timeout"])?;
            lua.create_string(connection.read_all(options.size(&lua, "max", MAX_READ)?, connection.read_limit(&options)?).await?)
        }
    });
    methods.add_async_method("line", |lua, this, options: Options| {
        let connection = this.0.clone();
        async move {
            options.only(&["max", "timeout"])?;
            bytes(&lua, connection.line(options.size(&lua, "max", MAX_LINE)?, connection.read_limit(&options)?).await?)
        }
    });
    methods.add_method("lines", |lua, this, options: Options| {
        options.only(&["max", "timeout"])?;
        let (connection, most, limit) = (this.0.clone(), options.size(lua, "max", MAX_LINE)?, this.0.read_limit(&options)?);
        iteration::function(lua, move |lua| {
            let connection = connection.clone();
            async move { bytes(&lua, connection.line(most, limit).await?) }
        })
    });
}
