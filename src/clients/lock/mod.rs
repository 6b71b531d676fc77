//! Locks of lock servers, of this program or the original: docs/locks.md.
//!
//! A name belongs to one server, by its hash. A connection has to do with a name once at a time, as the protocol has it; who wants a name that
//! a connection is busy with gets another connection. With a connection goes what was held through it, and whoever held it is told.

pub mod config;

mod connection;
mod member;

use std::cell::{Cell, RefCell};
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::rc::{Rc, Weak};
use std::time::{Duration, Instant};

use config::LockClient as Config;
use connection::Connection;
use member::{Member, MemberHandle};

use crate::link::locks::{Act, Door, Hearer, Name, Party, Said, Tell};
use crate::net::Stream;

/// Connects to an address of the configuration.
pub trait Connector {
    /// A connection, or why there is none.
    fn connect(&self, address: &str) -> Pin<Box<dyn Future<Output = io::Result<Stream>>>>;
}

/// A client of one or more lock servers. Dropping it ends what it holds.
pub struct LockClient {
    config: Rc<Config>,
    servers: Vec<Rc<Server>>,
}

/// One server.
struct Server {
    address: String,
    config: Rc<Config>,
    connector: Rc<dyn Connector>,
    connections: RefCell<Vec<Rc<Connection>>>,
    /// Connections that could not be made in a row, and when to try again.
    failures: Cell<u32>,
    again: Cell<Option<Instant>>,
}

impl LockClient {
    /// A client that connects when something is asked for.
    #[must_use]
    pub fn new(config: Config, connector: Rc<dyn Connector>) -> Self {
        let config = Rc::new(config);
        let server = |address: &String| {
            Rc::new(Server {
                address: address.clone(),
                config: config.clone(),
                connector: connector.clone(),
                connections: RefCell::default(),
                failures: Cell::new(0),
                again: Cell::new(None),
            })
        };
        let servers = config.servers.iter().map(server).collect();
        Self { config, servers }
    }

    fn name(&self, name: &[u8]) -> Name {
        [self.config.prefix.as_bytes(), name].concat().as_slice().into()
    }

    fn server(&self, name: &[u8]) -> Option<&Rc<Server>> {
        self.servers.get(place(name, self.config.tags, self.servers.len())?)
    }
}

/// Which of so many servers has a name.
fn place(name: &[u8], tags: bool, servers: usize) -> Option<usize> {
    let key = if tags { tag(name).unwrap_or(name) } else { name };
    (crc32(key) as usize).checked_rem(servers)
}

/// The part of a name in brackets.
fn tag(name: &[u8]) -> Option<&[u8]> {
    let from = memchr::memchr(b'[', name)? + 1;
    let to = memchr::memchr(b']', name)?;
    name.get(from..to)
}

/// CRC-32 as in ISO 3309 and zlib: what the original hashes with.
fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(u32::MAX, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| if crc & 1 == 1 { crc >> 1 ^ 0xedb8_8320 } else { crc >> 1 })
    })
}

impl Door for LockClient {
    fn enter(&self, name: &Name, hearer: Rc<dyn Hearer>) -> Box<dyn Party> {
        let own = self.name(name);
        let server = self.server(&own).cloned();
        Box::new(MemberHandle::new(server, Member::new(own, name.clone(), hearer)))
    }

    fn enter_everywhere(&self, hearer: Rc<dyn Hearer>) -> Vec<Box<dyn Party>> {
        let lister = |server: &Rc<Server>| -> Box<dyn Party> {
            Box::new(Lister { server: server.clone(), prefix: self.config.prefix.clone(), hearer: hearer.clone() })
        };
        self.servers.iter().map(lister).collect()
    }
}

/// Asks one server for a list.
struct Lister {
    server: Rc<Server>,
    prefix: String,
    hearer: Rc<dyn Hearer>,
}

impl Party for Lister {
    fn ask(&self, act: Act) {
        let Act::List { prefix, limit } = act else { return };
        match self.server.any() {
            Some(connection) => connection.list([self.prefix.as_bytes(), &prefix].concat(), limit, self.hearer.clone(), self.prefix.len()),
            None => tell(&*self.hearer, &Name::default(), Said::Unavailable),
        }
    }
}

/// Tells somebody something that no hub said.
fn tell(hearer: &dyn Hearer, name: &Name, said: Said) {
    hearer.hear(&Tell { party: 0, answers: None, name: name.clone(), said });
}

impl Server {
    /// A connection that has nothing to do with this name.
    fn free_for(self: &Rc<Self>, name: &Name) -> Option<Rc<Connection>> {
        let free = self.connections.borrow().iter().find(|connection| !connection.knows(name)).cloned();
        free.or_else(|| self.open())
    }

    fn any(self: &Rc<Self>) -> Option<Rc<Connection>> {
        let first = self.connections.borrow().first().cloned();
        first.or_else(|| self.open())
    }

    /// Another connection, unless there are too many or the server could not be reached just now.
    fn open(self: &Rc<Self>) -> Option<Rc<Connection>> {
        let paused = self.again.get().is_some_and(|again| Instant::now() < again);
        if paused || self.connections.borrow().len() >= self.config.max_connections as usize {
            return None;
        }
        let connection = Connection::open(self);
        self.connections.borrow_mut().push(connection.clone());
        Some(connection)
    }

    fn reached(&self) {
        self.failures.set(0);
        self.again.set(None);
    }

    fn failed(&self) {
        let failures = self.failures.get();
        self.failures.set(failures.saturating_add(1));
        let pause = self.config.shortest_pause.saturating_mul(1 << failures.min(16)).min(*self.config.longest_pause);
        self.again.set(Instant::now().checked_add(pause));
    }

    fn forget(&self, connection: &Connection) {
        self.connections.borrow_mut().retain(|other| !std::ptr::eq(&raw const **other, connection));
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.connections.take().into_iter().for_each(|connection| connection.close());
    }
}

/// What a connection knows of its server without keeping it.
type WeakServer = Weak<Server>;

/// How long nothing may come before a server is taken for gone.
fn patience(ping: Duration) -> Duration {
    ping.saturating_mul(2)
}

#[cfg(test)]
mod tests;
