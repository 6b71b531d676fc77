//! The end of a proxy: what goes on for long is told, one after the other.

use std::cell::Cell;
use std::rc::Rc;
use std::time::{Duration, Instant};

use event_listener::{Event, EventListener};

use crate::reactor;

/// Whether the proxy ends, and what goes on for long meanwhile.
#[derive(Default)]
pub(super) struct Draining {
    since: Cell<Option<Instant>>,
    begins: Event,
    /// Connections that speak another protocol.
    tunnels: Cell<u32>,
    /// How many of those know when they end.
    told: Cell<u32>,
}

impl Draining {
    /// The proxy ends from now on.
    pub(super) fn begin(&self) {
        if self.since.get().is_none() {
            self.since.set(Some(reactor::now()));
            self.begins.notify(usize::MAX);
        }
    }

    /// Whether it ends.
    pub(super) fn has_begun(&self) -> bool {
        self.since.get().is_some()
    }

    /// Tells when it begins. Who listens looks at [`Self::has_begun`] afterwards.
    pub(super) fn listen(&self) -> EventListener {
        self.begins.listen()
    }

    /// Counts a connection that speaks another protocol.
    pub(super) fn enter(self: &Rc<Self>) -> Tunnel {
        self.tunnels.set(self.tunnels.get() + 1);
        Tunnel(self.clone())
    }
}

/// A connection that speaks another protocol, among the others.
pub(super) struct Tunnel(Rc<Draining>);

impl Tunnel {
    /// Waits until this connection is to end: the proxy ends, and it is this one's turn within `spread`.
    pub(super) async fn turn(&self, spread: Duration) {
        while !self.0.has_begun() {
            let begins = self.0.listen();
            if !self.0.has_begun() {
                begins.await;
            }
        }
        let place = self.0.told.replace(self.0.told.get() + 1);
        let all = self.0.tunnels.get().max(place + 1);
        reactor::sleep(spread * place / all).await;
    }
}

impl Drop for Tunnel {
    fn drop(&mut self) {
        self.0.tunnels.set(self.0.tunnels.get() - 1);
    }
}
