//! What a script gets from the process it runs in.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::time::{Duration, Instant};

use crate::events::Events;
use crate::link::locks::{Door, Parties};
use crate::link::{CacheCall, CacheValue, Call, Candidacy as LinkCandidacy, HubLink, LinkError, Reply};
use crate::request::file::SentFiles;
use crate::rtep::Registry;
use crate::store::client::Answering;
use crate::store::{EmbeddedSettings, Store, StoreCall, StoreError, Writing};

/// A future of this thread.
pub type Local<'a, T> = Pin<Box<dyn Future<Output = T> + 'a>>;

/// How long a call to the shared cache may take.
const CACHE_TIMEOUT: Duration = Duration::from_secs(5);

/// The cache that all workers share.
pub trait CacheClient {
    /// Does what is asked; an error is in words.
    fn call(&self, call: CacheCall) -> Local<'_, Result<Reply, String>>;
}

/// Tasks that one worker of the machine runs.
pub trait Elections {
    /// Stands for the task of this name.
    fn campaign(&self, name: &str) -> Box<dyn Candidacy>;
}

/// Standing for a task. Dropping it resigns.
pub trait Candidacy {
    /// Whether this worker runs the task now.
    fn is_elected(&self) -> bool;
    /// Waits until that is so, or no more.
    fn until(&self, elected: bool) -> Local<'_, ()>;
}

impl CacheClient for Rc<HubLink> {
    fn call(&self, call: CacheCall) -> Local<'_, Result<Reply, String>> {
        Box::pin(async move { HubLink::call(self, Call::Cache(call), CACHE_TIMEOUT).await.map_err(|error| error.to_string()) })
    }
}

/// The store of a worker, which the hub writes.
#[must_use]
pub fn store_of_worker(link: &Rc<HubLink>, settings: &EmbeddedSettings) -> Rc<Store> {
    Store::new(settings, Box::new(ThroughHub(link.clone())))
}

/// The way to the writing of the store that leads through the hub.
struct ThroughHub(Rc<HubLink>);

impl Writing for ThroughHub {
    fn ask(&self, call: StoreCall, limit: Duration) -> Answering<'_> {
        Box::pin(async move {
            let changes = matches!(call, StoreCall::Write { .. });
            match HubLink::call(&self.0, Call::Store(call), limit).await {
                Ok(Reply::Store(answer)) => Ok(answer),
                Ok(_) => Err(StoreError::Refused("the hub gave an answer to another question".to_owned())),
                Err(error @ (LinkError::Lost | LinkError::TimedOut)) if changes => {
                    Err(StoreError::Refused(format!("{error}; whether the change was made is not known")))
                }
                Err(error) => Err(StoreError::Refused(error.to_string())),
            }
        })
    }
}

impl Elections for Rc<HubLink> {
    fn campaign(&self, name: &str) -> Box<dyn Candidacy> {
        Box::new(HubLink::campaign(self, name))
    }
}

impl Candidacy for LinkCandidacy {
    fn is_elected(&self) -> bool {
        LinkCandidacy::is_elected(self)
    }

    fn until(&self, elected: bool) -> Local<'_, ()> {
        Box::pin(LinkCandidacy::until(self, elected))
    }
}

/// Where locks are: here, and where clients of the configuration lead. Clones share everything.
#[derive(Clone)]
pub struct LockDoors {
    here: Rc<dyn Door>,
    named: Rc<RefCell<BTreeMap<String, Rc<dyn Door>>>>,
}

impl LockDoors {
    /// The locks of this machine, and no others yet.
    #[must_use]
    pub fn new(here: Rc<dyn Door>) -> Self {
        Self { here, named: Rc::default() }
    }

    /// The clients of the configuration, from now on.
    pub fn replace(&self, named: BTreeMap<String, Rc<dyn Door>>) {
        self.named.replace(named);
    }

    /// The locks of a client, or those here.
    #[must_use]
    pub fn find(&self, client: Option<&str>) -> Option<Rc<dyn Door>> {
        match client {
            None => Some(self.here.clone()),
            Some(name) => self.named.borrow().get(name).cloned(),
        }
    }
}

/// What an application is given. Clones share everything.
#[derive(Clone)]
pub struct Services {
    /// The shared cache.
    pub cache: Rc<dyn CacheClient>,
    /// Once-a-machine tasks.
    pub elections: Rc<dyn Elections>,
    /// The store of documents.
    pub store: Rc<Store>,
    /// Locks.
    pub locks: LockDoors,
    /// Events.
    pub events: Rc<Events>,
    /// What applications add to RTEP.
    pub rtep: Registry,
    /// The number of this worker, from 1; 0 where there are no workers.
    pub worker: u32,
    /// What it may name by `X-Sendfile`.
    pub sent: Rc<SentFiles>,
}

impl Services {
    /// Services of a worker with a link to the hub.
    #[must_use]
    pub fn of_worker(
        link: &Rc<HubLink>,
        events: &Rc<Events>,
        locks: &LockDoors,
        store: &Rc<Store>,
        rtep: &Registry,
        worker: u32,
    ) -> Services {
        let (events, locks, store, rtep) = (events.clone(), locks.clone(), store.clone(), rtep.clone());
        Services { cache: Rc::new(link.clone()), elections: Rc::new(link.clone()), events, locks, store, rtep, worker, sent: Rc::default() }
    }

    /// Services of a process that stands alone: an own cache, own events, own locks, a store that is gone with them, and every election is won.
    #[must_use]
    pub fn alone() -> Services {
        let locks = LockDoors::new(Rc::new(Parties::alone()));
        let (events, store, rtep) = (Events::alone(), Store::temporary(), Registry::default());
        Services {
            cache: Rc::new(OwnCache::default()),
            elections: Rc::new(Unopposed),
            events,
            locks,
            store,
            rtep,
            worker: 0,
            sent: Rc::default(),
        }
    }
}

/// A value and when it ends.
type Kept = (CacheValue, Option<Instant>);

/// A cache of this process only.
#[derive(Default)]
struct OwnCache {
    entries: RefCell<BTreeMap<(String, String), Kept>>,
}

fn deadline(ttl_ms: Option<u64>) -> Option<Instant> {
    ttl_ms.and_then(|milliseconds| Instant::now().checked_add(Duration::from_millis(milliseconds)))
}

impl OwnCache {
    fn answer(&self, call: CacheCall) -> Result<Reply, String> {
        let mut entries = self.entries.borrow_mut();
        let now = Instant::now();
        entries.retain(|_, (_, expires)| expires.is_none_or(|at| at > now));
        Ok(match call {
            CacheCall::Get { key } => Reply::Value(entries.get(&key).map(|(value, _)| value.clone())),
            CacheCall::Set { key, only_new: true, .. } if entries.contains_key(&key) => Reply::Done(false),
            CacheCall::Set { key, value, ttl_ms, .. } => {
                entries.insert(key, (value, deadline(ttl_ms)));
                Reply::Done(true)
            }
            CacheCall::Delete { key } => Reply::Done(entries.remove(&key).is_some()),
            CacheCall::Add { key, by, ttl_ms } => {
                let entry = entries.entry(key).or_insert_with(|| (CacheValue::Count(0), deadline(ttl_ms)));
                let CacheValue::Count(count) = &mut entry.0 else { return Err("the value is no counter".to_owned()) };
                *count = count.checked_add(by).ok_or("the counter would leave the range of 64 bits")?;
                Reply::Count(*count)
            }
            CacheCall::Touch { key, ttl_ms } => Reply::Done(entries.get_mut(&key).map(|entry| entry.1 = deadline(ttl_ms)).is_some()),
            CacheCall::Ttl { key } => Reply::Ttl(
                entries
                    .get(&key)
                    .map(|(_, expires)| expires.map(|at| u64::try_from(at.saturating_duration_since(now).as_millis()).unwrap_or(u64::MAX))),
            ),
        })
    }
}

impl CacheClient for OwnCache {
    fn call(&self, call: CacheCall) -> Local<'_, Result<Reply, String>> {
        Box::pin(std::future::ready(self.answer(call)))
    }
}

/// Where there are no others.
struct Unopposed;

impl Elections for Unopposed {
    fn campaign(&self, _: &str) -> Box<dyn Candidacy> {
        Box::new(Unopposed)
    }
}

impl Candidacy for Unopposed {
    fn is_elected(&self) -> bool {
        true
    }

    fn until(&self, elected: bool) -> Local<'_, ()> {
        if elected { Box::pin(std::future::ready(())) } else { Box::pin(std::future::pending()) }
    }
}
