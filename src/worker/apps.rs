//! The applications of the configuration, made and replaced.

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;

use super::scripts::{Following, LiveScript};
use super::servers::Handlers;
use crate::apps::cgi::CgiFolder;
use crate::apps::fastcgi::Upstream;
use crate::apps::files::Folder;
use crate::apps::proxy::ReverseProxy;
use crate::config::{App, Settings};
use crate::events::Events;
use crate::link::HubLink;
use crate::request::file::SentFiles;
use crate::request::{Handler, registry};
use crate::rtep::Registry;
use crate::script::{LockDoors, Services};
use crate::store::Store;

/// What an application does about its end.
pub(super) type Drain = Pin<Box<dyn Future<Output = ()>>>;

/// What every application of this worker is given.
#[derive(Clone)]
pub(super) struct Environment {
    pub(super) number: usize,
    pub(super) hub: Rc<HubLink>,
    pub(super) store: Rc<Store>,
    pub(super) events: Rc<Events>,
    pub(super) locks: LockDoors,
    pub(super) rtep: Registry,
}

/// An application with the configuration it was made from.
#[derive(Clone)]
struct Entry {
    config: App,
    handler: Rc<dyn Handler>,
}

/// All applications.
pub(super) struct Apps {
    environment: Environment,
    entries: BTreeMap<String, Entry>,
    /// The worker serves: from now on settings with an application that does not start are refused as a whole.
    started: bool,
}

impl Apps {
    /// Starts every application. A Luau application that does not load is not an error here: its routes say so until it does.
    ///
    /// # Errors
    /// In words, with the application's name; what was started is dropped again.
    pub(super) async fn start(environment: Environment, settings: &Settings) -> Result<Self, String> {
        Self { environment, entries: BTreeMap::new(), started: false }.updated(settings).await
    }

    /// The applications of other settings: those that did not change stay the same, the others are started.
    pub(super) fn updated(&self, settings: &Settings) -> impl Future<Output = Result<Self, String>> + use<> {
        let (environment, before, wanted) = (self.environment.clone(), self.entries.clone(), settings.apps.clone());
        let following = Following { dev: settings.dev, follow: settings.auto_reload || settings.dev, strict: self.started };
        async move {
            let mut entries = BTreeMap::new();
            for (name, config) in wanted {
                let entry = match before.get(&name) {
                    Some(entry) if entry.config == config => entry.clone(),
                    _ => {
                        let handler =
                            make(&environment, &name, &config, following).await.map_err(|why| format!("application `{name}`: {why}"))?;
                        Entry { config, handler }
                    }
                };
                entries.insert(name, entry);
            }
            Ok(Self { environment, entries, started: true })
        }
    }

    pub(super) fn handlers(&self) -> Handlers {
        self.entries.iter().map(|(name, entry)| (name.clone(), entry.handler.clone())).collect()
    }

    /// Tells every application that the worker ends; gives what they do about that.
    pub(super) fn drain(&self) -> Vec<Drain> {
        self.entries.values().map(|entry| entry.handler.clone().drain()).collect()
    }

    /// Tells those that are not among `kept` that they end.
    pub(super) fn retire(&self, kept: &Handlers) -> Vec<Drain> {
        let goes = |name: &str, handler: &Rc<dyn Handler>| !kept.get(name).is_some_and(|kept| Rc::ptr_eq(kept, handler));
        self.entries.iter().filter(|(name, entry)| goes(name, &entry.handler)).map(|(_, entry)| entry.handler.clone().drain()).collect()
    }
}

async fn make(environment: &Environment, name: &str, config: &App, following: Following) -> Result<Rc<dyn Handler>, String> {
    match config {
        App::Files(files) => Ok(Rc::new(Folder::open(files).map_err(|error| error.to_string())?)),
        App::Cgi(cgi) => Ok(Rc::new(CgiFolder::open(name, cgi).map_err(|error| error.to_string())?)),
        App::FastCgiUpstream(upstream) => Ok(Rc::new(Upstream::new(name, upstream).map_err(|error| error.to_string())?)),
        App::Proxy(proxy) => Ok(ReverseProxy::start(name, proxy).await.map_err(|error| error.to_string())?),
        App::Native(native) => registry::start(&native.kind, native.config.clone()).await.map_err(|error| error.to_string()),
        App::Script(script) => {
            // The hub has slot 0, so the slots of workers are their numbers from 1.
            let worker = u32::try_from(environment.number).unwrap_or(0);
            let Environment { hub, events, locks, store, rtep, .. } = environment;
            let sent = Rc::new(SentFiles::open(&script.sendfile_roots).map_err(|error| error.to_string())?);
            let services = Services { sent, ..Services::of_worker(hub, events, locks, store, rtep, worker) };
            Ok(LiveScript::start(name, script, following, services).await?)
        }
    }
}
