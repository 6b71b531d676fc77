//! `@skep/net`: TCP, unix sockets, TLS and UDP.

use std::cell::RefCell;
use std::io;
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::net::UnixListener;
use std::rc::Rc;
use std::time::Duration;

use event_listener::Event;
use mlua::{AnyUserData, Lua, LuaString, Table, UserData, UserDataFields, UserDataMethods, Value};

use super::AppContext;
use crate::net::{Address, Peer, Socket, Stream, connect_tls};
use crate::reactor::{Io, timeout};
use crate::request;
use crate::script::arguments::Options;
use crate::script::connection::{Connection, ConnectionHandle, reason};
use crate::script::dial::{CONNECT_TIMEOUT, DialError, split_host};
use crate::script::gauge::Permit;
use crate::script::iteration;
use crate::script::request::peer;

/// The largest datagram.
const MAX_DATAGRAM: usize = 65_535;
/// How long `receive` and `accept` wait if nothing else is said.
const WAIT: Duration = Duration::from_mins(5);

pub(super) fn open(lua: &Lua, app: &Rc<AppContext>) -> mlua::Result<Table> {
    let module = lua.create_table()?;
    let context = app.clone();
    module.raw_set(
        "connect",
        lua.create_async_function(move |_, (address, options): (String, Options)| {
            let app = context.clone();
            async move { connect(&app, &address, &options).await }
        })?,
    )?;
    let context = app.clone();
    module.raw_set("listen", lua.create_function(move |_, address: String| listen(&context, &address))?)?;
    let context = app.clone();
    module.raw_set("udp", lua.create_function(move |_, address: Option<String>| udp(&context, address.as_deref()))?)?;
    Ok(module)
}

fn fail(what: impl std::fmt::Display) -> mlua::Error {
    mlua::Error::runtime(format!("net: {what}"))
}

async fn connect(app: &AppContext, address: &str, options: &Options) -> mlua::Result<ConnectionHandle> {
    options.only(&["timeout", "tls"])?;
    let limit = options.span("timeout", CONNECT_TIMEOUT)?;
    let (socket, permit) = app.dial(address, limit).await.map_err(fail)?;
    let stream = match tls_name(address, options)? {
        None => Stream::from(socket),
        Some(name) => match timeout(limit, connect_tls(socket, &name)).await {
            Ok(Ok(stream)) => stream,
            Ok(Err(error)) => return Err(fail(format_args!("{} ({address})", reason(&error)))),
            Err(_) => return Err(fail(DialError::TimedOut(address.to_owned()))),
        },
    };
    Ok(ConnectionHandle(Rc::new(Connection::of_stream("net", stream, permit))))
}

/// The name that the certificate must be for: `tls` is true, or that name.
fn tls_name(address: &str, options: &Options) -> mlua::Result<Option<String>> {
    match options.get::<Value>("tls")? {
        None | Some(Value::Nil | Value::Boolean(false)) => Ok(None),
        Some(Value::Boolean(true)) => Ok(Some(split_host(address).map_err(fail)?.0.to_owned())),
        Some(Value::String(name)) => Ok(Some(name.to_str()?.to_owned())),
        Some(other) => Err(fail(format_args!("tls is true or a host name, not a {}", crate::script::arguments::kind(&other)))),
    }
}

/// A connection of the configuration's listeners, for `app.connection`.
pub(in crate::script) fn accepted(lua: &Lua, connection: request::Connection) -> mlua::Result<AnyUserData> {
    let request::Connection { stream, origin } = connection;
    lua.create_userdata(ConnectionHandle(Rc::new(Connection::of_listener(stream, &origin))))
}

/// Closes it when its handler has ended.
pub(in crate::script) fn close(connection: &AnyUserData) {
    if let Ok(handle) = connection.borrow::<ConnectionHandle>() {
        handle.0.close();
    }
}

enum Accepting {
    Tcp(Io<TcpListener>),
    Unix(Io<UnixListener>),
}

impl Accepting {
    /// Ends listening at once, though a coroutine that waits may hold the socket for a moment longer.
    fn stop(&self) {
        let fd = match self {
            Accepting::Tcp(listener) => listener.as_fd(),
            Accepting::Unix(listener) => listener.as_fd(),
        };
        // It can only fail on a socket that does not listen any more.
        let _ = nix::sys::socket::shutdown(fd.as_raw_fd(), nix::sys::socket::Shutdown::Both);
    }

    async fn accept(&self) -> io::Result<Socket> {
        let fd: OwnedFd = match self {
            Accepting::Tcp(listener) => {
                let (stream, _) = listener.read_with(TcpListener::accept).await?;
                stream.set_nodelay(true)?;
                stream.set_nonblocking(true)?;
                stream.into()
            }
            Accepting::Unix(listener) => {
                let (stream, _) = listener.read_with(UnixListener::accept).await?;
                stream.set_nonblocking(true)?;
                stream.into()
            }
        };
        Socket::new(fd)
    }
}

struct Listener {
    app: Rc<AppContext>,
    shown: String,
    address: Peer,
    accepting: RefCell<Option<Rc<Accepting>>>,
    closed: Event,
    permit: RefCell<Option<Permit>>,
}

fn listen(app: &Rc<AppContext>, address: &str) -> mlua::Result<ListenerHandle> {
    let permit = app.sockets.take().map_err(fail)?;
    let own = app.own_address(address).map_err(fail)?;
    let opened: io::Result<(Accepting, Peer)> = (|| match &own {
        Address::Tcp(tcp) => {
            let listener = TcpListener::bind(tcp)?;
            listener.set_nonblocking(true)?;
            let address = Peer::Ip(listener.local_addr()?);
            Ok((Accepting::Tcp(Io::new(listener)?), address))
        }
        Address::Unix(path) => {
            let listener = UnixListener::bind(path)?;
            listener.set_nonblocking(true)?;
            Ok((Accepting::Unix(Io::new(listener)?), Peer::Unix(Some(path.clone()))))
        }
    })();
    let (listener, bound) = opened.map_err(|error| fail(format_args!("{} ({address})", reason(&error))))?;
    Ok(ListenerHandle(Rc::new(Listener {
        app: app.clone(),
        shown: address.to_owned(),
        address: bound,
        accepting: RefCell::new(Some(Rc::new(listener))),
        closed: Event::new(),
        permit: RefCell::new(Some(permit)),
    })))
}

impl Listener {
    /// The next connection; `None` when the listener was closed.
    async fn accept(&self, limit: Option<Duration>) -> mlua::Result<Option<ConnectionHandle>> {
        let Some(listener) = self.accepting.borrow().clone() else { return Ok(None) };
        let closed = self.closed.listen();
        let accepting = async { Some(listener.accept().await) };
        let closed = async {
            closed.await;
            None
        };
        let either = futures_lite::future::or(closed, accepting);
        let accepted = match limit {
            Some(limit) => timeout(limit, either).await.map_err(|_| fail(format_args!("timed out ({})", self.shown)))?,
            None => either.await,
        };
        let Some(accepted) = accepted else { return Ok(None) };
        let socket = accepted.map_err(|error| fail(format_args!("{} ({})", reason(&error), self.shown)))?;
        let permit = self.app.sockets.take().map_err(fail)?;
        Ok(Some(ConnectionHandle(Rc::new(Connection::of_stream("net", Stream::from(socket), permit)))))
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        if let Peer::Unix(Some(path)) = &self.address {
            // Somebody may have removed it already; then there is nothing to do.
            let _ = std::fs::remove_file(path);
        }
    }
}

struct ListenerHandle(Rc<Listener>);

impl UserData for ListenerHandle {
    fn add_fields<F: UserDataFields<Self>>(fields: &mut F) {
        fields.add_field_method_get("address", |lua, this| peer(lua, &this.0.address));
    }

    fn add_methods<M: UserDataMethods<Self>>(methods: &mut M) {
        methods.add_async_method("accept", |_, this, options: Options| {
            let listener = this.0.clone();
            async move {
                options.only(&["timeout"])?;
                listener.accept(Some(options.span("timeout", WAIT)?)).await
            }
        });
        methods.add_method("connections", |lua, this, ()| {
            let listener = this.0.clone();
            iteration::function(lua, move |_| {
                let listener = listener.clone();
                async move { listener.accept(None).await }
            })
        });
        methods.add_method("close", |_, this, ()| {
            if let Some(listener) = this.0.accepting.take() {
                listener.stop();
            }
            this.0.permit.take();
            this.0.closed.notify(usize::MAX);
            Ok(())
        });
    }
}

struct Udp {
    app: Rc<AppContext>,
    socket: RefCell<Option<Rc<Io<UdpSocket>>>>,
    address: Peer,
    permit: RefCell<Option<Permit>>,
}

struct UdpHandle(Rc<Udp>);

fn udp(app: &Rc<AppContext>, address: Option<&str>) -> mlua::Result<UdpHandle> {
    let permit = app.sockets.take().map_err(fail)?;
    let address = address.unwrap_or("0.0.0.0:0");
    // The address to send from by default is every one: what is sent to is checked at each datagram.
    let own = match address {
        "0.0.0.0:0" => Address::Tcp(SocketAddr::from(([0, 0, 0, 0], 0))),
        address => app.own_address(address).map_err(fail)?,
    };
    let Address::Tcp(own) = own else { return Err(fail("datagrams go over IP only")) };
    let opened = UdpSocket::bind(own).and_then(|socket| {
        socket.set_nonblocking(true)?;
        let address = Peer::Ip(socket.local_addr()?);
        Ok((Io::new(socket)?, address))
    });
    let (socket, bound) = opened.map_err(|error| fail(format_args!("{} ({address})", reason(&error))))?;
    let udp = Udp { app: app.clone(), socket: RefCell::new(Some(Rc::new(socket))), address: bound, permit: RefCell::new(Some(permit)) };
    Ok(UdpHandle(Rc::new(udp)))
}

impl Udp {
    fn socket(&self) -> mlua::Result<Rc<Io<UdpSocket>>> {
        self.socket.borrow().clone().ok_or_else(|| fail("the socket is closed"))
    }

    async fn send(&self, address: &str, data: &[u8]) -> mlua::Result<()> {
        let (host, port) = split_host(address).map_err(fail)?;
        let own_family = matches!(&self.address, Peer::Ip(own) if own.is_ipv6());
        let addresses = self.app.addresses(host).await.map_err(fail)?;
        let ip = addresses.into_iter().find(|ip| ip.is_ipv6() == own_family);
        let ip = ip.ok_or_else(|| fail(format_args!("no address of this family ({address})")))?;
        if !self.app.limits.allow(ip) {
            return Err(fail(DialError::Forbidden(address.to_owned())));
        }
        let sent = self.socket()?.write_with(|socket| socket.send_to(data, (ip, port))).await;
        sent.map(|_| ()).map_err(|error| fail(format_args!("{} ({address})", reason(&error))))
    }

    async fn receive(&self, limit: Duration) -> mlua::Result<(Vec<u8>, SocketAddr)> {
        let socket = self.socket()?;
        let mut buffer = vec![0; MAX_DATAGRAM];
        let received = timeout(limit, socket.read_with(|socket| socket.recv_from(&mut buffer))).await;
        let (length, from) = received.map_err(|_| fail("timed out"))?.map_err(|error| fail(reason(&error)))?;
        buffer.truncate(length);
        Ok((buffer, from))
    }
}

impl UserData for UdpHandle {
    fn add_fields<F: UserDataFields<Self>>(fields: &mut F) {
        fields.add_field_method_get("address", |lua, this| peer(lua, &this.0.address));
    }

    fn add_methods<M: UserDataMethods<Self>>(methods: &mut M) {
        methods.add_async_method("send", |_, this, (address, data): (String, LuaString)| {
            let udp = this.0.clone();
            async move { udp.send(&address, &data.as_bytes()).await }
        });
        methods.add_async_method("receive", |lua, this, options: Options| {
            let udp = this.0.clone();
            async move {
                options.only(&["timeout"])?;
                let (data, from) = udp.receive(options.span("timeout", WAIT)?).await?;
                Ok((lua.create_string(data)?, from.to_string()))
            }
        });
        methods.add_method("close", |_, this, ()| {
            this.0.socket.take();
            this.0.permit.take();
            Ok(())
        });
    }
}
