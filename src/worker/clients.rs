//! The clients of the configuration, made and replaced.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::pin::Pin;
use std::rc::Rc;

use crate::clients::dns::Resolver;
use crate::clients::lock::{Connector, LockClient};
use crate::config::{Client, Settings};
use crate::link::locks::Door;
use crate::net::{Socket, Stream};
use crate::script::LockDoors;

/// A client with the configuration it was made from.
struct Entry {
    config: Client,
    door: Rc<dyn Door>,
}

/// All clients of this worker.
#[derive(Default)]
pub(super) struct Clients {
    entries: RefCell<BTreeMap<String, Entry>>,
}

impl Clients {
    /// Makes the clients those of `settings`: those that did not change stay the same.
    pub(super) fn apply(&self, settings: &Settings, locks: &LockDoors) {
        let mut before = self.entries.take();
        let mut entries = BTreeMap::new();
        for (name, config) in &settings.clients {
            // Redis is the hub's.
            let Client::Lock(lock) = config else { continue };
            let entry = match before.remove(name) {
                Some(entry) if entry.config == *config => entry,
                _ => Entry { config: config.clone(), door: Rc::new(LockClient::new(lock.clone(), Rc::new(Plain))) },
            };
            entries.insert(name.clone(), entry);
        }
        locks.replace(entries.iter().map(|(name, entry)| (name.clone(), entry.door.clone())).collect());
        self.entries.replace(entries);
    }
}

/// Connections without TLS, to addresses of the configuration.
struct Plain;

impl Connector for Plain {
    fn connect(&self, address: &str) -> Pin<Box<dyn Future<Output = io::Result<Stream>>>> {
        let address = address.to_owned();
        Box::pin(async move {
            if let Some(path) = address.strip_prefix("unix:") {
                return Ok(Socket::connect_unix(Path::new(path)).await?.into());
            }
            if let Ok(address) = address.parse::<SocketAddr>() {
                return Ok(Socket::connect_tcp(address).await?.into());
            }
            let (host, port) = address.rsplit_once(':').ok_or(io::ErrorKind::InvalidInput)?;
            let port = port.parse().map_err(io::Error::other)?;
            let mut last = io::Error::from(io::ErrorKind::NotFound);
            for ip in Resolver::of_thread().lookup(host).await.map_err(io::Error::other)? {
                match Socket::connect_tcp(SocketAddr::new(ip, port)).await {
                    Ok(socket) => return Ok(socket.into()),
                    Err(error) => last = error,
                }
            }
            Err(last)
        })
    }
}
