//! The one process for what must exist once: the shared cache, elections, events, locks, certificates by ACME, the admin listener.
//!
//! It keeps nothing in memory that must survive it: the store is a file. When it dies the master starts another one; the workers serve on meanwhile, tell the new
//! one what they run, and the cache begins empty.

mod acme;
mod admin;
mod cache;
mod elections;
mod events;
mod locks;
mod store;

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::rc::{Rc, Weak};
use std::time::Duration;

use cache::Cache;
use elections::{Elections, Notice, Worker};
use events::Events;
use locks::Locks;

use crate::clients::dns::System;
use crate::config::{Server, Settings};
use crate::link::locks::Told;
use crate::link::{Call, FromHub, Port, Reply, ToHub};
use crate::process::child::{self, tell};
use crate::process::{ChildContext, ListenSocket, ToChild, ToMaster};
use crate::reactor::{self, Scope};
use crate::request::form::uploads::remove_stale;
use crate::scoreboard::State;
use crate::sys::channel::Channel;
use crate::{log_error, log_info, log_warn, telemetry};

/// How long a hub that was started again waits for the greetings of workers that are there already before it gives offices away.
const HEAR: Duration = Duration::from_secs(2);
/// Messages of one worker taken in a turn of the loop, before it is the turn of the others.
const MESSAGES_A_TURN: usize = 256;

/// Runs the hub until the master has no more use for it; gives the exit code.
#[must_use]
pub fn main(context: ChildContext) -> i32 {
    let slot = context.own_slot();
    slot.set_state(State::Init);
    child::run(slot, serve(context))
}

async fn serve(context: ChildContext) -> i32 {
    let slot = context.own_slot();
    let ChildContext { settings, listeners, control, slot: number, scoreboard, fast_path, right, boot, .. } = context;
    let control = match Port::new(control) {
        Ok(control) => control,
        Err(error) => {
            log_error!("the channel to the master cannot be used: {error}");
            return 1;
        }
    };
    // In a chroot the files themselves cannot be seen any more.
    System::adopt(&boot.hosts, &boot.resolv_conf);
    let hub = Rc::new(Hub {
        workers: RefCell::default(),
        cache: RefCell::new(Cache::new(settings.cache.limits())),
        elections: RefCell::default(),
        events: Events::new(&settings, slot),
        store: store::Store::new(&settings.store),
        locks: Locks::new(locks::Start {
            limits: settings.locks.clone(),
            data: settings.data.clone(),
            board: scoreboard,
            fast_path,
            right,
            instance: format!("{}-{}", boot.master_pid, boot.started_ms),
            orphans_until: boot.leases_until,
        }),
        admin: admin::Admin::new(&settings, control.clone(), slot, number),
        orders: acme::Orders::new(control.clone(), &settings.data),
        uploads: RefCell::new(upload_directories(&settings)),
        scope: Scope::new(),
    });
    let speaker: Weak<dyn locks::Speaker> = Rc::<Hub>::downgrade(&hub);
    hub.locks.speak_through(speaker);
    for socket in listeners {
        hub.listen(socket);
    }
    let hearing = hub.clone();
    hub.scope.spawn(async move {
        if !boot.first_hub {
            reactor::sleep(HEAR).await;
        }
        let notices = hearing.elections.borrow_mut().open();
        hearing.announce(notices);
    });
    hub.scope.spawn(clean_uploads(upload_directories(&settings)));
    slot.set_state(State::Idle);
    tell(&control, &ToMaster::Ready);
    hub.orders.update(&settings);
    let code = hub.clone().obey(&control).await;
    hub.locks.close();
    code
}

/// Where servers keep files of uploads while a request lasts.
fn upload_directories(settings: &Settings) -> BTreeSet<PathBuf> {
    let of = |server: &Server| match server {
        Server::Http(http) => http.uploads.dir.clone(),
        Server::FastCgi(fastcgi) => fastcgi.uploads.dir.clone(),
        _ => None,
    };
    settings.servers.values().filter_map(of).collect()
}

/// Removes what killed workers left of uploads.
async fn clean_uploads(directories: BTreeSet<PathBuf>) {
    for directory in directories {
        let shown = directory.display().to_string();
        match blocking::unblock(move || remove_stale(&directory)).await {
            Ok(0) => {}
            Ok(count) => log_info!("{shown}: {count} files of uploads that were broken off are removed"),
            Err(error) => log_warn!("{shown} cannot be cleaned of old uploads: {error}"),
        }
    }
}

struct Hub {
    workers: RefCell<BTreeMap<Worker, Rc<Port>>>,
    cache: RefCell<Cache>,
    elections: RefCell<Elections>,
    store: store::Store,
    locks: Rc<Locks>,
    events: Rc<Events>,
    admin: Rc<admin::Admin>,
    orders: Rc<acme::Orders>,
    uploads: RefCell<BTreeSet<PathBuf>>,
    scope: Scope,
}

impl Hub {
    /// Does what the master says until it says stop, or is gone.
    async fn obey(self: Rc<Self>, control: &Rc<Port>) -> i32 {
        loop {
            let (body, fds) = match control.receive().await {
                Ok(message) => message,
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return 0,
                Err(error) => {
                    log_error!("the channel to the master broke: {error}");
                    return 1;
                }
            };
            match serde_json::from_slice(&body) {
                Ok(ToChild::Stop) => return 0,
                Ok(ToChild::Drain { .. }) => {
                    tell(control, &ToMaster::Drained);
                    return 0;
                }
                Ok(message) => self.take(control, message, fds),
                Err(error) => log_error!("the master said what the hub does not understand: {error}"),
            }
        }
    }

    fn take(self: &Rc<Self>, control: &Rc<Port>, message: ToChild, mut fds: Vec<OwnedFd>) {
        match message {
            ToChild::WorkerChannel { slot, pid } => {
                let channel = fds.pop().ok_or_else(|| io::ErrorKind::InvalidData.into()).and_then(Channel::from_fd);
                let port = channel.map(Channel::without_descriptors).and_then(Port::new);
                match port {
                    Ok(port) => self.welcome((slot, pid), port),
                    Err(error) => log_error!("worker {slot} cannot be reached: {error}"),
                }
            }
            ToChild::WorkerGone { slot, pid } => {
                self.lose((slot, pid));
                // A channel that broke does not say that the worker's parties hold nothing any more; the master does.
                self.locks.gone((slot, pid));
                // Its process is gone, not only its channel: what it left is nobody's.
                self.scope.spawn(clean_uploads(self.uploads.borrow().clone()));
            }
            ToChild::Update { revision, settings, added, removed } => {
                let result = self.update(&settings);
                if result.is_ok() {
                    for name in &removed {
                        self.admin.unlisten(&name.address);
                    }
                    for (name, fd) in added.into_iter().zip(fds) {
                        self.listen(ListenSocket { server: name.server, address: name.address, fd });
                    }
                }
                tell(control, &ToMaster::Updated { revision, result });
            }
            ToChild::ReopenLogs => {
                if let Err(error) = telemetry::reopen(fds.pop()) {
                    log_error!("the logs cannot be opened again: {error}");
                }
            }
            ToChild::Answer { id, outcome } => self.admin.answer(id, outcome),
            // For workers, or handled before.
            ToChild::HubChannel | ToChild::Stop | ToChild::Drain { .. } => {}
        }
    }

    fn update(&self, settings: &str) -> Result<Vec<String>, String> {
        let settings: Settings = serde_json::from_str(settings).map_err(|error| format!("the settings cannot be read: {error}"))?;
        self.admin.update(&settings);
        self.orders.update(&settings);
        self.uploads.replace(upload_directories(&settings));
        self.locks.update(&settings.locks);
        self.cache.borrow_mut().set_limits(settings.cache.limits());
        telemetry::configure(&settings.log);
        Ok(Vec::new())
    }

    fn listen(&self, socket: ListenSocket) {
        let address = socket.address.clone();
        if let Err(error) = self.admin.listen(socket) {
            log_error!("admin on {address}: {error}");
        }
    }

    /// Takes a worker's channel and serves it until the worker is gone.
    fn welcome(self: &Rc<Self>, worker: Worker, port: Rc<Port>) {
        self.workers.borrow_mut().insert(worker, port.clone());
        self.events.welcome(worker, port.clone());
        let hub = self.clone();
        self.scope.spawn(async move {
            let mut taken = 0_usize;
            while let Ok(message) = port.receive_as(|body| postcard::from_bytes::<ToHub>(body)).await {
                taken += 1;
                if taken.is_multiple_of(MESSAGES_A_TURN) {
                    reactor::yield_now().await;
                }
                match message {
                    Ok(message) => hub.serve(worker, &port, message),
                    Err(error) => {
                        log_error!("worker {} said what the hub does not understand: {error}", worker.0);
                        break;
                    }
                }
            }
            hub.lose(worker);
        });
    }

    fn lose(&self, worker: Worker) {
        if self.workers.borrow_mut().remove(&worker).is_some() {
            let notices = self.elections.borrow_mut().gone(worker);
            self.announce(notices);
            self.events.gone(worker);
        }
    }

    fn serve(&self, worker: Worker, port: &Rc<Port>, message: ToHub) {
        let notices = match message {
            ToHub::Hello(candidates) => {
                self.locks.heard(worker);
                self.elections.borrow_mut().hello(worker, candidates)
            }
            ToHub::Locks(asks) => return self.locks.ask(worker, asks),
            ToHub::LockClaims(claims) => return self.locks.claim(worker, claims),
            ToHub::Campaign(name) => self.elections.borrow_mut().campaign(worker, name),
            ToHub::Resign(name) => self.elections.borrow_mut().resign(worker, &name),
            ToHub::Call { id, call: Call::Store(call) } => {
                self.store.call(id, call, port);
                return;
            }
            ToHub::Events(message) => {
                self.events.take(worker, message);
                return;
            }
            ToHub::Call { id, call: Call::Challenge(token) } => {
                let reply = move |answer| FromHub::Reply { id, reply: Ok(Reply::Challenge(answer)) };
                match self.orders.answer(&token) {
                    Some(answer) => send(port, &reply(Some(answer))),
                    None => {
                        let (port, other) = (port.clone(), self.orders.answer_of_another(token));
                        self.scope.spawn(async move { send(&port, &reply(other.await)) });
                    }
                }
                return;
            }
            ToHub::Call { id, call: Call::Cache(call) } => {
                let reply = self.cache.borrow_mut().call(call, reactor::now());
                send(port, &FromHub::Reply { id, reply });
                return;
            }
        };
        self.announce(notices);
    }

    fn announce(&self, notices: Vec<Notice>) {
        for notice in notices {
            let (worker, message) = match notice {
                Notice::Elected(worker, name) => (worker, FromHub::Elected(name)),
                Notice::Dismissed(worker, name) => (worker, FromHub::Dismissed(name)),
            };
            if let Some(port) = self.workers.borrow().get(&worker) {
                send(port, &message);
            }
        }
    }
}

impl locks::Speaker for Hub {
    fn tell(&self, worker: Worker, all: Vec<Told>) {
        if let Some(port) = self.workers.borrow().get(&worker) {
            send(port, &FromHub::Locks(all));
        }
    }
}

/// Sends to a worker. One that is gone is noticed by the task that receives from it.
fn send(port: &Rc<Port>, message: &FromHub) {
    if let Err(error) = port.send_message(message) {
        log_warn!("a worker cannot be told: {error}");
    }
}
