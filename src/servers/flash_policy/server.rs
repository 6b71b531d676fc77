//! A server of Flash policies in a worker.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::io;
use std::rc::Rc;
use std::time::Duration;

use event_listener::Event;

use super::config::FlashPolicy as Config;
use super::policy::Policy;
use crate::net::{Accepted, Peer, Socket, Stream};
use crate::reactor::{Scope, timeout};
use crate::scoreboard::{Slot, add, subtract};

/// What is asked.
const REQUEST: &[u8] = b"<policy-file-request/>\0";
/// What is answered when there is no policy.
const ERROR: &[u8] = b"<error/>\0";

/// What it serves now.
struct Live {
    config: Config,
    policy: Policy,
}

/// Serves a policy.
pub struct FlashPolicyServer {
    live: RefCell<Rc<Live>>,
    /// Connections in the order in which they came, each with what closes it.
    open: RefCell<BTreeMap<u64, Rc<Event>>>,
    next: Cell<u64>,
    scope: Scope,
    slot: Slot,
}

impl FlashPolicyServer {
    /// A server, shown in `slot`.
    #[must_use]
    pub fn new(config: Config, slot: Slot) -> Rc<Self> {
        let live = RefCell::new(Rc::new(live(config)));
        let server = Self { live, open: RefCell::default(), next: Cell::new(0), scope: Scope::new(), slot };
        server.look();
        Rc::new(server)
    }

    /// Serves new connections otherwise from now on.
    pub fn replace(&self, config: Config) {
        self.live.replace(Rc::new(live(config)));
        self.look();
    }

    /// Reads the file before somebody asks.
    fn look(&self) {
        let live = self.live.borrow().clone();
        self.scope.spawn(async move {
            live.policy.current().await;
        });
    }

    /// Connections open now.
    #[must_use]
    pub fn connections(&self) -> usize {
        self.open.borrow().len()
    }

    /// Takes a connection. When there are as many as may be the oldest goes for it: who says nothing keeps nobody from being served.
    ///
    /// # Errors
    /// When the reactor cannot register it; the connection is closed then.
    pub fn serve(self: &Rc<Self>, accepted: Accepted, _local: &Peer) -> io::Result<()> {
        let live = self.live.borrow().clone();
        let stream = Stream::from(Socket::new(accepted.fd)?);
        if self.open.borrow().len() >= live.config.max_connections as usize
            && let Some((_, oldest)) = self.open.borrow_mut().pop_first()
        {
            oldest.notify(usize::MAX);
        }
        let number = self.next.get();
        self.next.set(number + 1);
        let close = Rc::new(Event::new());
        let closed = close.listen();
        self.open.borrow_mut().insert(number, close);
        let entry = Entry::new(self.clone(), number);
        let limit: Duration = *live.config.timeout;
        self.scope.spawn(async move {
            let _entry = entry;
            let served = async {
                // A broken connection and one that takes too long end the same way: nobody is there to be told.
                let _ = timeout(limit, answer(&stream, &live.policy)).await;
            };
            futures_lite::future::or(served, closed).await;
        });
        Ok(())
    }

    /// Returns when every connection has ended.
    pub async fn drain(&self) {
        self.scope.wait().await;
    }

    /// Breaks every connection off.
    pub async fn stop(&self) {
        self.scope.cancel().await;
    }
}

fn live(config: Config) -> Live {
    let policy = Policy::new(config.file.clone());
    Live { config, policy }
}

async fn answer(stream: &Stream, policy: &Policy) -> io::Result<()> {
    let mut asked = [0; REQUEST.len()];
    let mut length = 0;
    while length < asked.len() {
        let count = stream.read(&mut asked[length..]).await?;
        length += count;
        if count == 0 || !REQUEST.starts_with(&asked[..length]) {
            return Ok(());
        }
    }
    match policy.current().await {
        Some(text) => stream.write_all(&text).await?,
        None => stream.write_all(ERROR).await?,
    }
    stream.shutdown_write().await
}

/// Counts a connection for as long as it lives.
struct Entry(Rc<FlashPolicyServer>, u64);

impl Entry {
    fn new(server: Rc<FlashPolicyServer>, number: u64) -> Self {
        add(server.slot.accepts(), 1);
        add(server.slot.connections(), 1);
        Self(server, number)
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        self.0.open.borrow_mut().remove(&self.1);
        subtract(self.0.slot.connections(), 1);
    }
}
