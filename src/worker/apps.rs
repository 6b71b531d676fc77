//! The applications of the configuration, made and replaced.

use std::collections::BTreeMap;
use std::future::Future;
use std::rc::Rc;

use super::servers::Handlers;
use crate::apps::files::Folder;
use crate::config::{App, Settings};
use crate::link::HubLink;
use crate::process::BootInfo;
use crate::request::{Handler, registry};
use crate::scoreboard::Slot;

/// What every application of this worker is given.
#[derive(Clone)]
pub(super) struct Environment {
    pub(super) number: usize,
    pub(super) boot: Rc<BootInfo>,
    pub(super) hub: Rc<HubLink>,
    pub(super) slot: Slot,
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
}

impl Apps {
    /// Starts every application.
    ///
    /// # Errors
    /// In words, with the application's name; what was started is dropped again.
    pub(super) async fn start(environment: Environment, settings: &Settings) -> Result<Self, String> {
        Self { environment, entries: BTreeMap::new() }.updated(settings).await
    }

    /// The applications of other settings: those that did not change stay the same, the others are started.
    pub(super) fn updated(&self, settings: &Settings) -> impl Future<Output = Result<Self, String>> + use<> {
        let (environment, before, wanted) = (self.environment.clone(), self.entries.clone(), settings.apps.clone());
        let dev = settings.dev;
        async move {
            let mut entries = BTreeMap::new();
            for (name, config) in wanted {
                let entry = match before.get(&name) {
                    Some(entry) if entry.config == config => entry.clone(),
                    _ => {
                        let handler =
                            make(&environment, &name, &config, dev).await.map_err(|why| format!("application `{name}`: {why}"))?;
                        Entry { config, handler }
                    }
                };
                entries.insert(name, entry);
            }
            Ok(Self { environment, entries })
        }
    }

    pub(super) fn handlers(&self) -> Handlers {
        self.entries.iter().map(|(name, entry)| (name.clone(), entry.handler.clone())).collect()
    }

    /// Tells every application that the worker ends.
    pub(super) fn drain(&self) {
        self.entries.values().for_each(|entry| entry.handler.drain());
    }

    /// Tells those that are not among `kept` that they end.
    pub(super) fn retire(&self, kept: &Handlers) {
        for (name, entry) in &self.entries {
            if !kept.get(name).is_some_and(|handler| Rc::ptr_eq(handler, &entry.handler)) {
                entry.handler.drain();
            }
        }
    }
}

async fn make(environment: &Environment, name: &str, config: &App, dev: bool) -> Result<Rc<dyn Handler>, String> {
    match config {
        App::Files(files) => Ok(Rc::new(Folder::open(files).map_err(|error| error.to_string())?)),
        App::Native(native) => registry::start(&native.kind, native.config.clone()).await.map_err(|error| error.to_string()),
        App::Script(_) => {
            let _ = (environment.number, &environment.boot, &environment.hub, environment.slot, dev);
            Err(format!("`{name}` cannot be started yet"))
        }
    }
}
