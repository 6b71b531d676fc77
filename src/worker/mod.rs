//! The process that accepts, parses and runs applications: the one wiring point.
//!
//! | file | what it is |
//! |---|---|
//! | `apps` | the applications of the configuration, made and replaced |
//! | `challenges` | what an authority asks before it gives a certificate |
//! | `clients` | the clients of the configuration, made and replaced |
//! | `scripts` | Luau applications that follow their files |
//! | `servers` | the servers and the listeners they take connections from |
//! | `crew` | where this worker stands among the others |

mod apps;
mod challenges;
mod clients;
mod crew;
mod scripts;
mod servers;

use std::cell::RefCell;
use std::io;
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use apps::Apps;
use clients::Clients;
use crew::Crew;
use servers::Servers;

use crate::clients::dns::System;
use crate::config::Settings;
use crate::events::Events;
use crate::limiter::Limiter;
use crate::link::{HubLink, Port};
use crate::process::child::{self, tell};
use crate::process::{ChildContext, ListenerName, ToChild, ToMaster};
use crate::reactor::{self, Scope};
use crate::rtep::Registry;
use crate::scoreboard::{Scoreboard, Slot, State};
use crate::script::LockDoors;
use crate::script::services::store_of_worker;
use crate::servers::host::RequestIds;
use crate::sys::channel::Channel;
use crate::sys::memory;
use crate::telemetry::{self, AccessLog};
use crate::{log_error, log_info, log_warn};

/// How long before it would be killed a draining worker ends by itself.
const PARTING: Duration = Duration::from_secs(1);

/// Runs a worker until the master has no more use for it; gives the exit code.
#[must_use]
pub fn main(context: ChildContext) -> i32 {
    let slot = context.own_slot();
    slot.set_state(State::WaitInit);
    child::run(slot, serve(context))
}

async fn serve(context: ChildContext) -> i32 {
    let ChildContext { slot, settings, listeners, control, hub, scoreboard, limiter, fast_path, boot, .. } = context;
    let control = match Port::new(control) {
        Ok(control) => control,
        Err(error) => {
            log_error!("the channel to the master cannot be used: {error}");
            return 1;
        }
    };
    if boot.chroot {
        // The files themselves cannot be seen any more.
        System::adopt(&boot.hosts, &boot.resolv_conf);
    }
    let link = HubLink::new();
    link.locks().share(fast_path, slot);
    let started = Worker::start(slot, scoreboard, Rc::new(limiter.of_process(slot)), settings, link, hub).await;
    let worker = match started {
        Ok(worker) => worker,
        Err(why) => {
            log_error!("{why}");
            tell(&control, &ToMaster::Failed { why });
            return 1;
        }
    };
    for socket in listeners {
        let name = ListenerName { server: socket.server, address: socket.address };
        if let Err(error) = worker.servers.borrow_mut().listen(name.clone(), socket.fd) {
            let why = format!("{} on {}: {error}", name.server, name.address);
            log_error!("{why}");
            tell(&control, &ToMaster::Failed { why });
            return 1;
        }
    }
    worker.slot.set_state(State::Idle);
    // Starting touched much code that is not needed again for days.
    memory::trim();
    tell(&control, &ToMaster::Ready);
    worker.obey(control).await
}

/// A worker that serves.
struct Worker {
    slot: Slot,
    settings: RefCell<Rc<Settings>>,
    apps: RefCell<Apps>,
    servers: RefCell<Servers>,
    access: RefCell<Option<Rc<AccessLog>>>,
    hub: Rc<HubLink>,
    clients: Clients,
    locks: LockDoors,
    rtep: Registry,
    /// What goes on beside requests: servers that end, the drain.
    scope: Scope,
}

impl Worker {
    async fn start(
        number: usize,
        board: Scoreboard,
        limiter: Rc<Limiter>,
        settings: Settings,
        link: Rc<HubLink>,
        hub: Option<Channel>,
    ) -> Result<Rc<Self>, String> {
        let slot = board.slot(number);
        link.locks().show(slot);
        let events = Events::of_worker(&link, Some(slot));
        events.set_shared(matches!(settings.events, crate::config::Events::Redis(_)));
        if let Some(channel) = hub {
            link.connect(channel).map_err(|error| format!("the hub cannot be reached: {error}"))?;
        }
        slot.set_state(State::Init);
        let access = open_access_log(&settings)?;
        let locks = LockDoors::new(Rc::new(link.locks().clone()));
        let clients = Clients::default();
        let crate::config::Store::Embedded(store) = &settings.store;
        let store = store_of_worker(&link, store);
        let rtep = Registry::default();
        clients.apply(&settings, &locks, &rtep);
        let environment = apps::Environment { number, hub: link.clone(), events, locks: locks.clone(), store, rtep: rtep.clone() };
        let apps = Apps::start(environment.clone(), &settings).await?;
        let crew = Crew::new(board, number);
        let ids = Rc::new(RequestIds::new(number, std::process::id()));
        let mut servers = Servers::new(crew, slot, ids, limiter, &environment);
        servers.apply(&settings, &apps.handlers(), access.as_ref());
        slot.applications().store(apps.handlers().len() as u64, Relaxed);
        Ok(Rc::new(Self {
            slot,
            settings: RefCell::new(Rc::new(settings)),
            apps: RefCell::new(apps),
            servers: RefCell::new(servers),
            access: RefCell::new(access),
            hub: link,
            clients,
            locks,
            rtep,
            scope: Scope::new(),
        }))
    }

    /// Does what the master says until it says stop, or is gone.
    async fn obey(self: Rc<Self>, control: Rc<Port>) -> i32 {
        let (finished, end) = async_channel::bounded::<()>(1);
        let drained = async {
            // The sender lives as long as this function, so an error cannot come.
            let _ = end.recv().await;
            None
        };
        let mut drained = std::pin::pin!(drained);
        loop {
            let message = futures_lite::future::or(async { Some(control.receive().await) }, drained.as_mut()).await;
            let (body, fds) = match message {
                None => {
                    tell(&control, &ToMaster::Drained);
                    return 0;
                }
                Some(Ok(message)) => message,
                Some(Err(error)) if error.kind() == io::ErrorKind::UnexpectedEof => {
                    log_warn!("the master is gone");
                    return 0;
                }
                Some(Err(error)) => {
                    log_error!("the channel to the master broke: {error}");
                    return 1;
                }
            };
            match serde_json::from_slice(&body) {
                Ok(ToChild::Stop) => return 0,
                Ok(ToChild::Drain { limit_ms }) => self.begin_drain(Duration::from_millis(limit_ms), &finished),
                Ok(message) => self.take(&control, message, fds).await,
                Err(error) => log_error!("the master said what this worker does not understand: {error}"),
            }
        }
    }

    async fn take(self: &Rc<Self>, control: &Rc<Port>, message: ToChild, mut fds: Vec<OwnedFd>) {
        match message {
            ToChild::Update { revision, settings, added, removed } => {
                let result = self.update(&settings, added.into_iter().zip(fds).collect(), &removed).await;
                if let Err(why) = &result {
                    log_error!("the configuration was not changed: {why}");
                }
                tell(control, &ToMaster::Updated { revision, result });
            }
            ToChild::ReopenLogs => {
                if let Err(error) = telemetry::reopen(fds.pop()) {
                    log_error!("the logs cannot be opened again: {error}");
                }
            }
            ToChild::HubChannel => {
                let connected = fds.pop().ok_or_else(|| io::ErrorKind::InvalidData.into()).and_then(Channel::from_fd);
                match connected.and_then(|channel| self.hub.connect(channel)) {
                    Ok(()) => log_info!("connected to the new hub"),
                    Err(error) => log_error!("the new hub cannot be reached: {error}"),
                }
            }
            // For the hub, or handled before.
            ToChild::WorkerChannel { .. } | ToChild::WorkerGone { .. } | ToChild::Answer { .. } | ToChild::Stop | ToChild::Drain { .. } => {
            }
        }
    }

    /// Changes over to another configuration: everything that can fail is done first.
    async fn update(&self, settings: &str, added: Vec<(ListenerName, OwnedFd)>, removed: &[ListenerName]) -> Result<Vec<String>, String> {
        let settings: Settings = serde_json::from_str(settings).map_err(|error| format!("the settings cannot be read: {error}"))?;
        let before = self.settings.borrow().clone();
        let access = if settings.access_log == before.access_log { self.access.borrow().clone() } else { open_access_log(&settings)? };
        let next = self.apps.borrow().updated(&settings);
        let apps = next.await?;
        self.clients.apply(&settings, &self.locks, &self.rtep);
        let handlers = apps.handlers();
        let replaced = self.apps.replace(apps);
        for drain in replaced.retire(&handlers) {
            self.scope.spawn(drain);
        }
        self.access.replace(access.clone());
        let gone = self.servers.borrow_mut().apply(&settings, &handlers, access.as_ref());
        for ending in gone {
            self.scope.spawn(ending.wait());
        }
        for name in removed {
            self.servers.borrow_mut().unlisten(name);
        }
        let mut notes = Vec::new();
        for (name, fd) in added {
            if let Err(error) = self.servers.borrow_mut().listen(name.clone(), fd) {
                notes.push(format!("{} on {}: {error}", name.server, name.address));
            }
        }
        self.slot.applications().store(handlers.len() as u64, Relaxed);
        telemetry::configure(&settings.log);
        self.settings.replace(Rc::new(settings));
        Ok(notes)
    }

    /// Lets what is under way end, for as long as there is time; then breaks off what is left, so that the master need not kill.
    fn begin_drain(self: &Rc<Self>, limit: Duration, finished: &async_channel::Sender<()>) {
        self.slot.set_state(State::Shutdown);
        self.servers.borrow_mut().unlisten_all();
        let endings = self.servers.borrow().endings();
        let waits = Scope::new();
        self.apps.borrow().drain().into_iter().for_each(|drain| waits.spawn(drain));
        endings.iter().cloned().for_each(|ending| waits.spawn(ending.wait()));
        let finished = finished.clone();
        self.scope.spawn(async move {
            if reactor::timeout(limit.saturating_sub(PARTING.min(limit / 4)), waits.wait()).await.is_err() {
                let mut cut = 0;
                for ending in endings {
                    cut += ending.cut().await;
                }
                log_warn!("the time to drain is over: {cut} connections were broken off");
            }
            // The receiver is gone only when the worker ends anyway.
            let _ = finished.try_send(());
        });
    }
}

fn open_access_log(settings: &Settings) -> Result<Option<Rc<AccessLog>>, String> {
    match &settings.access_log {
        None => Ok(None),
        Some(config) => match AccessLog::open(config) {
            Ok(log) => Ok(Some(Rc::new(log))),
            Err(error) => Err(format!("access_log: {error}")),
        },
    }
}
