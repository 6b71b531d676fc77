//! The servers of a worker and the listeners they take connections from.

use std::collections::BTreeMap;
use std::os::fd::{AsRawFd, OwnedFd};
use std::rc::Rc;

use nix::sys::socket::{SockaddrStorage, getsockname};

use super::apps::Environment;
use super::challenges::Challenges;
use super::crew::Crew;
use crate::config::{Server, Settings};
use crate::events::Events;
use crate::limiter::Limiter;
use crate::link::HubLink;
use crate::link::locks::Parties;
use crate::net::acme::Challenge;
use crate::net::{Accepted, Address, Balance, Listener, Peer};
use crate::process::ListenerName;
use crate::reactor::{Task, spawn};
use crate::request::Handler;
use crate::rtep::Registry;
use crate::scoreboard::Slot;
use crate::servers::fastcgi::FastCgiServer;
use crate::servers::flash_policy::FlashPolicyServer;
use crate::servers::host::RequestIds;
use crate::servers::http::HttpServer;
use crate::servers::http::config::Http;
use crate::servers::live::{Given, Live, Terms};
use crate::servers::lock::LockServer;
use crate::servers::rtep::RtepServer;
use crate::servers::script::RawServer;
use crate::telemetry::AccessLog;
use crate::{log_error, log_warn};

/// The applications by name.
pub(super) type Handlers = BTreeMap<String, Rc<dyn Handler>>;

/// One server of a kind.
#[derive(Clone)]
enum Kind {
    FastCgi(Rc<FastCgiServer>),
    FlashPolicy(Rc<FlashPolicyServer>),
    Http(Rc<HttpServer>),
    Lock(Rc<LockServer>),
    Rtep(Rc<RtepServer>),
    Raw(Rc<RawServer>),
}

/// A server with its listeners; dropping a listener's task closes the worker's end of it.
struct Running {
    kind: Kind,
    listeners: BTreeMap<Address, Task<()>>,
}

/// All servers of this worker.
pub(super) struct Servers {
    running: BTreeMap<String, Running>,
    crew: Crew,
    slot: Slot,
    ids: Rc<RequestIds>,
    limiter: Rc<Limiter>,
    parties: Rc<Parties>,
    events: Rc<Events>,
    registry: Registry,
    hub: Rc<HubLink>,
}

impl Servers {
    pub(super) fn new(crew: Crew, slot: Slot, ids: Rc<RequestIds>, limiter: Rc<Limiter>, environment: &Environment) -> Self {
        let (parties, events, registry) = (environment.hub.locks().clone(), environment.events.clone(), environment.rtep.clone());
        Self { running: BTreeMap::new(), crew, slot, ids, limiter, parties, events, registry, hub: environment.hub.clone() }
    }

    /// Makes the servers those of `settings`: new ones come, changed ones serve otherwise from the next request on, what is gone is
    /// left to end by itself. Listeners are not touched. Gives the servers that are gone.
    pub(super) fn apply(&mut self, settings: &Settings, apps: &Handlers, access: Option<&Rc<AccessLog>>) -> Vec<Ending> {
        let mut gone = Vec::new();
        let names: Vec<String> = self.running.keys().cloned().collect();
        for name in names {
            let stays = matches!(
                (settings.servers.get(&name), self.running.get(&name).map(|running| &running.kind)),
                (Some(Server::Http(_)), Some(Kind::Http(_)))
                    | (Some(Server::FastCgi(_)), Some(Kind::FastCgi(_)))
                    | (Some(Server::Lock(_)), Some(Kind::Lock(_)))
                    | (Some(Server::Rtep(_)), Some(Kind::Rtep(_)))
                    | (Some(Server::FlashPolicy(_)), Some(Kind::FlashPolicy(_)))
                    | (Some(Server::Script(_)), Some(Kind::Raw(_)))
            );
            if !stays && let Some(running) = self.running.remove(&name) {
                gone.push(Ending(running.kind));
            }
        }
        // Only where certificates are ordered: elsewhere that path is an application's.
        let asks = |way: Challenge| settings.ordered().any(|(_, acme)| acme.challenge == way);
        let first = asks(Challenge::Http01).then(|| Challenges::first(&self.hub));
        let proves = asks(Challenge::TlsAlpn01);
        let limiter = self.limiter.clone();
        let given = Given { apps, files: &settings.secrets, access, limiter: Some(&limiter) };
        let slot = self.slot;
        let live = |name: &str, config: &Http| {
            let terms = Terms { first: first.clone(), limiter: Some((&limiter, name)), ..config.terms(&settings.secrets) };
            Live::new(terms, apps, access.cloned(), slot)
        };
        for (name, server) in &settings.servers {
            let tls = match server.tls().map(|files| settings.tls(files, server.protocols())).transpose() {
                Ok(tls) => tls.map(|tls| if proves { tls.proving(Challenges::proofs(&self.hub)) } else { tls }),
                Err(error) => {
                    // The check of the configuration has ruled it out. It must not speak in clear instead.
                    log_error!("server `{name}`: no TLS with its certificates: {error}");
                    continue;
                }
            };
            match (server, self.running.get(name).map(|running| running.kind.clone())) {
                (Server::Http(config), Some(Kind::Http(http))) => {
                    http.replace(live(name, config));
                    http.speak(tls);
                }
                (Server::Http(config), _) => {
                    let http = HttpServer::new(name, live(name, config), self.slot, self.ids.clone());
                    http.speak(tls);
                    self.running.insert(name.clone(), Running { kind: Kind::Http(http), listeners: BTreeMap::new() });
                }
                (Server::FastCgi(config), Some(Kind::FastCgi(fastcgi))) => {
                    fastcgi.replace(config.clone(), given);
                }
                (Server::FastCgi(config), _) => {
                    let fastcgi = FastCgiServer::new(name, config.clone(), given, self.slot, self.ids.clone());
                    self.running.insert(name.clone(), Running { kind: Kind::FastCgi(fastcgi), listeners: BTreeMap::new() });
                }
                (Server::Lock(config), Some(Kind::Lock(lock))) => lock.replace(config.clone()),
                (Server::Lock(config), _) => {
                    let lock = LockServer::new(name, config.clone(), self.parties.clone(), self.slot);
                    self.running.insert(name.clone(), Running { kind: Kind::Lock(lock), listeners: BTreeMap::new() });
                }
                (Server::FlashPolicy(config), Some(Kind::FlashPolicy(policy))) => policy.replace(config.clone()),
                (Server::FlashPolicy(config), _) => {
                    let policy = FlashPolicyServer::new(config.clone(), self.slot);
                    self.running.insert(name.clone(), Running { kind: Kind::FlashPolicy(policy), listeners: BTreeMap::new() });
                }
                (Server::Rtep(config), Some(Kind::Rtep(rtep))) => rtep.replace(config.clone()),
                (Server::Rtep(config), _) => {
                    let rtep = RtepServer::new(name, config.clone(), self.events.clone(), self.registry.clone(), self.slot);
                    self.running.insert(name.clone(), Running { kind: Kind::Rtep(rtep), listeners: BTreeMap::new() });
                }
                (Server::Script(config), kind) => {
                    let Some(app) = apps.get(&config.app).cloned() else {
                        // The configuration is checked: the application exists, so it is one that could not be started in production.
                        log_error!("server `{name}`: its application `{}` is not running", config.app);
                        continue;
                    };
                    if let Some(Kind::Raw(raw)) = kind {
                        raw.replace(config.clone(), app);
                        raw.speak(tls);
                    } else {
                        let raw = RawServer::new(name, config.clone(), app, self.slot);
                        raw.speak(tls);
                        self.running.insert(name.clone(), Running { kind: Kind::Raw(raw), listeners: BTreeMap::new() });
                    }
                }
            }
        }
        gone
    }

    /// Takes connections from a listening socket.
    ///
    /// # Errors
    /// When there is no such server or the reactor cannot register the socket.
    pub(super) fn listen(&mut self, name: ListenerName, fd: OwnedFd) -> std::io::Result<()> {
        let Some(running) = self.running.get_mut(&name.server) else { return Err(std::io::ErrorKind::NotFound.into()) };
        let local = getsockname::<SockaddrStorage>(fd.as_raw_fd()).map_or(Peer::Unknown, |address| Peer::from_storage(&address));
        let listener = Listener::new(fd)?;
        let place = Place { kind: running.kind.clone(), crew: self.crew };
        running.listeners.insert(name.address.clone(), spawn(accept(listener, place, local, name)));
        Ok(())
    }

    /// Takes no more connections from a listening socket. Those that are open go on.
    pub(super) fn unlisten(&mut self, name: &ListenerName) {
        if let Some(running) = self.running.get_mut(&name.server) {
            running.listeners.remove(&name.address);
        }
    }

    /// Takes no more connections at all.
    pub(super) fn unlisten_all(&mut self) {
        self.running.values_mut().for_each(|running| running.listeners.clear());
    }

    /// Every server, to wait for its end.
    pub(super) fn endings(&self) -> Vec<Ending> {
        self.running.values().map(|running| Ending(running.kind.clone())).collect()
    }
}

/// A server that takes nothing new.
#[derive(Clone)]
pub(super) struct Ending(Kind);

impl Ending {
    /// Waits until its last connection has ended.
    pub(super) async fn wait(self) {
        match self.0 {
            Kind::Http(http) => http.drain().await,
            Kind::FlashPolicy(policy) => policy.drain().await,
            Kind::FastCgi(fastcgi) => fastcgi.drain().await,
            Kind::Lock(lock) => lock.drain().await,
            Kind::Rtep(rtep) => rtep.drain().await,
            Kind::Raw(raw) => raw.drain().await,
        }
    }

    /// Breaks off every connection that is left; gives their number.
    pub(super) async fn cut(self) -> u64 {
        let left = self.connections();
        match self.0 {
            Kind::Http(http) => http.stop().await,
            Kind::FlashPolicy(policy) => policy.stop().await,
            Kind::FastCgi(fastcgi) => fastcgi.stop().await,
            Kind::Lock(lock) => lock.stop().await,
            Kind::Rtep(rtep) => rtep.stop().await,
            Kind::Raw(raw) => raw.stop().await,
        }
        left
    }

    fn connections(&self) -> u64 {
        match &self.0 {
            Kind::Http(http) => http.connections() as u64,
            Kind::FlashPolicy(policy) => policy.connections() as u64,
            Kind::FastCgi(fastcgi) => fastcgi.connections() as u64,
            Kind::Lock(lock) => lock.connections() as u64,
            Kind::Rtep(rtep) => rtep.connections() as u64,
            Kind::Raw(raw) => raw.connections(),
        }
    }
}

/// Where a server of this worker stands.
struct Place {
    kind: Kind,
    crew: Crew,
}

impl Balance for Place {
    fn is_loaded(&self) -> bool {
        self.crew.is_loaded()
    }

    fn has_room(&self) -> bool {
        match &self.kind {
            Kind::Http(http) => http.has_room(),
            Kind::FlashPolicy(_) => true,
            Kind::FastCgi(fastcgi) => fastcgi.has_room(),
            Kind::Lock(lock) => lock.has_room(),
            Kind::Rtep(rtep) => rtep.has_room(),
            Kind::Raw(raw) => raw.has_room(),
        }
    }
}

async fn accept(listener: Listener, place: Place, local: Peer, name: ListenerName) {
    loop {
        let exhausted =
            |error: &std::io::Error| log_warn!("{} on {}: no connection can be taken for now: {error}", name.server, name.address);
        let accepted: Accepted = match listener.accept(&place, exhausted).await {
            Ok(accepted) => accepted,
            Err(error) => {
                log_error!("{} on {}: the listener failed: {error}", name.server, name.address);
                return;
            }
        };
        let served = match &place.kind {
            Kind::Http(http) => http.serve(accepted, &local),
            Kind::FlashPolicy(policy) => policy.serve(accepted, &local),
            Kind::FastCgi(fastcgi) => fastcgi.serve(accepted, &local),
            Kind::Lock(lock) => lock.serve(accepted, &local),
            Kind::Rtep(rtep) => rtep.serve(accepted, &local),
            Kind::Raw(raw) => raw.serve(accepted, &local),
        };
        if let Err(error) = served {
            log_warn!("{} on {}: a connection was dropped: {error}", name.server, name.address);
        }
    }
}
