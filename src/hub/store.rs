//! The one process that writes the store: calls of workers go into group commits.

use std::rc::Rc;

use crate::config::Store as Settings;
use crate::link::{FromHub, Port, Reply};
use crate::reactor::Scope;
use crate::store::StoreCall;
use crate::store::embedded::Commits;

/// The store in the hub.
pub(super) struct Store {
    commits: Rc<Commits>,
    scope: Scope,
}

impl Store {
    /// Nothing is opened before the first call.
    pub(super) fn new(settings: &Settings) -> Self {
        let Settings::Embedded(settings) = settings;
        Self { commits: Commits::new(settings), scope: Scope::new() }
    }

    /// Does what is asked, in the order of the calls, and answers when it is on disk.
    pub(super) fn call(&self, id: u64, call: StoreCall, port: &Rc<Port>) {
        let (answer, port) = (self.commits.submit(call), Rc::downgrade(port));
        self.scope.spawn(async move {
            let reply = answer.await.map(Reply::Store).map_err(|error| error.to_string());
            // Who asked may be gone.
            if let Some(port) = port.upgrade() {
                super::send(&port, &FromHub::Reply { id, reply });
            }
        });
    }
}
