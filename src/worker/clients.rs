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
use crate::clients::rtep::RtepClient;
use crate::config::{Client, Settings};
use crate::link::locks::Door;
use crate::net::{Socket, Stream};
use crate::rtep::{Registry, Remote};
use crate::script::LockDoors;

/// A client with the configuration it was made from.
struct Entry {
    config: Client,
    kind: Kind,
}

/// What a client is to those who use it.
enum Kind {
    Lock(Rc<dyn Door>),
    Rtep(Rc<dyn Remote>),
}

/// All clients of this worker.
#[derive(Default)]
pub(super) struct Clients {
    entries: RefCell<BTreeMap<String, Entry>>,
}

impl Clients {
    /// Makes the clients those of `settings`: those that did not change stay the same.
    pub(super) fn apply(&self, settings: &Settings, locks: &LockDoors, rtep: &Registry) {
        let mut before = self.entries.take();
        let mut entries = BTreeMap::new();
        for (name, config) in &settings.clients {
            if let Some(entry) = before.remove(name).filter(|entry| entry.config == *config) {
                entries.insert(name.clone(), entry);
                continue;
            }
            let kind = match config {
                Client::Lock(lock) => Kind::Lock(Rc::new(LockClient::new(lock.clone(), Rc::new(Plain)))),
                Client::Rtep(rtep) => Kind::Rtep(RtepClient::new(rtep.clone(), Rc::new(|address| Plain.connect(address)))),
                // Redis is the hub's.
                Client::Redis(_) => continue,
            };
            entries.insert(name.clone(), Entry { config: config.clone(), kind });
        }
        let (mut doors, mut remotes) = (BTreeMap::new(), BTreeMap::new());
        for (name, entry) in &entries {
            match &entry.kind {
                Kind::Lock(door) => drop(doors.insert(name.clone(), door.clone())),
                Kind::Rtep(remote) => drop(remotes.insert(name.clone(), remote.clone())),
            }
        }
        locks.replace(doors);
        rtep.replace_remotes(remotes);
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
            Ok(Resolver::of_thread().connect(host, port).await?.into())
        })
    }
}
