//! The worker's side.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::future::poll_fn;
use std::io;
use std::rc::{Rc, Weak};
use std::task::{Poll, Waker};
use std::time::Duration;

use event_listener::Event;

use super::events::{EventsFromHub, EventsToHub};
use super::locks::Parties;
use super::message::{Call, Candidate, FromHub, Reply, ToHub};
use super::port::Port;
use crate::reactor::{Scope, timeout, yield_now};
use crate::sys::channel::Channel;

/// Calls that may be under way at once; more means that the hub does not answer.
const MOST_CALLS: usize = 65_536;

/// Messages taken in one turn of the loop: the rest of the worker must not starve.
const MESSAGES_A_TURN: usize = 256;

/// Why a call has no answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LinkError {
    /// The hub ended while it had the call. Whether it took effect is unknown.
    Lost,
    /// No answer in time.
    TimedOut,
    /// Too many calls wait already.
    Full,
    /// The hub refused; says why.
    Refused(String),
}

impl fmt::Display for LinkError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Lost => f.write_str("the hub was restarted"),
            Self::TimedOut => f.write_str("the hub did not answer in time"),
            Self::Full => f.write_str("too many calls wait for the hub"),
            Self::Refused(why) => f.write_str(why),
        }
    }
}

impl std::error::Error for LinkError {}

/// Who takes what the hub says about events, in the order it was said.
pub trait EventSink {
    /// The hub says something.
    fn take(&self, message: EventsFromHub);
    /// There is a new hub, which knows nothing: everything that still holds is to be told anew, before anything else.
    fn connected(&self);
    /// The hub ended: what it was asked has no answer.
    fn lost(&self);
}

/// A worker's link to the hub; it outlives the hub.
pub struct HubLink {
    events: RefCell<Option<Weak<dyn EventSink>>>,
    port: RefCell<Option<Rc<Port>>>,
    connected: Event,
    calls: RefCell<HashMap<u64, Waiting>>,
    next: Cell<u64>,
    candidacies: RefCell<BTreeMap<String, Rc<Office>>>,
    locks: Rc<Parties>,
    scope: Scope,
}

#[derive(Default)]
struct Waiting {
    answer: Option<Result<Reply, LinkError>>,
    waker: Option<Waker>,
}

/// A task's office in this worker.
#[derive(Default)]
struct Office {
    held: Cell<bool>,
    changed: Event,
    candidates: Cell<usize>,
}

impl HubLink {
    /// A link that is not connected yet; calls wait for that.
    #[must_use]
    pub fn new() -> Rc<Self> {
        Rc::new(Self {
            events: RefCell::default(),
            port: RefCell::default(),
            connected: Event::new(),
            calls: RefCell::default(),
            next: Cell::new(1),
            candidacies: RefCell::default(),
            locks: Parties::new(),
            scope: Scope::new(),
        })
    }

    /// The parties of this worker to locks.
    #[must_use]
    pub fn locks(&self) -> &Rc<Parties> {
        &self.locks
    }

    /// Takes a channel to the hub: the first, or one to a hub that was started again.
    ///
    /// # Errors
    /// When the channel cannot be used.
    pub fn connect(self: &Rc<Self>, channel: Channel) -> io::Result<()> {
        self.hear_out();
        self.lose();
        let port = Port::new(channel.without_descriptors())?;
        let hello =
            self.candidacies.borrow().iter().map(|(name, office)| Candidate { name: name.clone(), elected: office.held.get() }).collect();
        for claims in self.locks.claims() {
            port.send_message(&ToHub::LockClaims(claims))?;
        }
        port.send_message(&ToHub::Hello(hello))?;
        self.port.replace(Some(port.clone()));
        self.locks.connect(port.clone());
        if let Some(sink) = self.sink() {
            sink.connected();
        }
        self.connected.notify(usize::MAX);
        let link = Rc::downgrade(self);
        self.scope.spawn(async move {
            let mut taken = 0_usize;
            while let Ok(message) = port.receive_as(|body| postcard::from_bytes::<FromHub>(body)).await {
                taken += 1;
                let Some(link) = link.upgrade() else { return };
                if !link.is_current(&port) {
                    return;
                }
                // What cannot be read is from another version in the middle of an upgrade; the hub's end follows.
                let Ok(message) = message else { break };
                link.take(message);
                drop(link);
                // With no message in hand: a new hub may come meanwhile, before which all that was said is heard.
                if taken.is_multiple_of(MESSAGES_A_TURN) {
                    yield_now().await;
                }
            }
            if let Some(link) = link.upgrade() {
                link.lose_port(&port);
            }
        });
        Ok(())
    }

    fn take(&self, message: FromHub) {
        match message {
            FromHub::Reply { id, reply } => self.answer(id, reply.map_err(LinkError::Refused)),
            FromHub::Elected(name) => self.set_held(&name, true),
            FromHub::Dismissed(name) => self.set_held(&name, false),
            FromHub::Locks(tells) => self.locks.take(tells),
            FromHub::Events(message) => {
                if let Some(sink) = self.sink() {
                    sink.take(message);
                }
            }
        }
    }

    /// Says who takes what concerns events; one a link.
    pub fn set_event_sink(&self, sink: Weak<dyn EventSink>) {
        self.events.replace(Some(sink));
    }

    fn sink(&self) -> Option<Rc<dyn EventSink>> {
        self.events.borrow().as_ref()?.upgrade()
    }

    /// Whether there is a hub.
    #[must_use]
    pub fn is_connected(&self) -> bool {
        self.port.borrow().is_some()
    }

    /// Sends what concerns events; it leaves with everything else of this turn.
    ///
    /// # Errors
    /// [`LinkError::Lost`] without a hub, [`LinkError::Full`] when it does not read.
    pub fn post(&self, message: EventsToHub) -> Result<(), LinkError> {
        let Some(port) = self.port.borrow().clone() else { return Err(LinkError::Lost) };
        // A message of ours can always be encoded.
        let body = postcard::to_stdvec(&ToHub::Events(message)).map_err(|error| LinkError::Refused(error.to_string()))?;
        port.post(&body).map_err(|_| LinkError::Full)
    }

    fn answer(&self, id: u64, answer: Result<Reply, LinkError>) {
        if let Some(waiting) = self.calls.borrow_mut().get_mut(&id) {
            waiting.answer = Some(answer);
            if let Some(waker) = waiting.waker.take() {
                waker.wake();
            }
        }
    }

    fn set_held(&self, name: &str, held: bool) {
        if let Some(office) = self.candidacies.borrow().get(name) {
            office.held.set(held);
            office.changed.notify(usize::MAX);
        }
    }

    fn is_current(&self, port: &Rc<Port>) -> bool {
        self.port.borrow().as_ref().is_some_and(|current| Rc::ptr_eq(current, port))
    }

    /// Takes what the hub that ended had still said, before the next one is greeted: what it said later than that is not heard any more.
    fn hear_out(&self) {
        let Some(port) = self.port.borrow().clone() else { return };
        while let Ok(Some((body, _))) = port.received() {
            let Ok(message) = postcard::from_bytes::<FromHub>(&body) else { return };
            self.take(message);
        }
    }

    fn lose_port(&self, port: &Rc<Port>) {
        if self.is_current(port) {
            self.lose();
        }
    }

    /// The hub is gone: who waits for an answer is told. An office stays held: the worker that runs a task goes on with it.
    fn lose(&self) {
        if self.port.take().is_some() {
            self.locks.disconnect();
            let ids: Vec<u64> = self.calls.borrow().keys().copied().collect();
            ids.into_iter().for_each(|id| self.answer(id, Err(LinkError::Lost)));
            if let Some(sink) = self.sink() {
                sink.lost();
            }
        }
    }

    async fn port(&self) -> Rc<Port> {
        loop {
            let connected = self.connected.listen();
            if let Some(port) = self.port.borrow().clone() {
                return port;
            }
            connected.await;
        }
    }

    /// Asks the hub, and waits for its answer for at most `limit`; while there is no hub, for one to come.
    ///
    /// # Errors
    /// [`LinkError`].
    pub async fn call(&self, call: Call, limit: Duration) -> Result<Reply, LinkError> {
        if self.calls.borrow().len() >= MOST_CALLS {
            return Err(LinkError::Full);
        }
        timeout(limit, async {
            let port = self.port().await;
            let id = self.next.get();
            self.next.set(id + 1);
            self.calls.borrow_mut().insert(id, Waiting::default());
            let entry = Entry { link: self, id };
            if port.send_message(&ToHub::Call { id, call }).is_err() {
                return Err(LinkError::Lost);
            }
            poll_fn(|cx| {
                let mut calls = self.calls.borrow_mut();
                let Some(waiting) = calls.get_mut(&entry.id) else { return Poll::Ready(Err(LinkError::Lost)) };
                match waiting.answer.take() {
                    Some(answer) => Poll::Ready(answer),
                    None => {
                        waiting.waker = Some(cx.waker().clone());
                        Poll::Pending
                    }
                }
            })
            .await
        })
        .await
        .unwrap_or(Err(LinkError::TimedOut))
    }

    /// Stands for a task that one worker of the whole machine runs.
    pub fn campaign(self: &Rc<Self>, name: &str) -> Candidacy {
        let office = self.candidacies.borrow_mut().entry(name.to_owned()).or_default().clone();
        office.candidates.set(office.candidates.get() + 1);
        if office.candidates.get() == 1 {
            self.tell(&ToHub::Campaign(name.to_owned()));
        }
        Candidacy { link: self.clone(), name: name.to_owned(), office }
    }

    /// Sends what needs no answer. Without a hub it is not lost: the greeting to the next one says it.
    fn tell(&self, message: &ToHub) {
        if let Some(port) = self.port.borrow().as_ref() {
            // A hub that is gone is noticed by the receiving task.
            let _ = port.send_message(message);
        }
    }
}

/// A call's place in the list, given back however the call ends.
struct Entry<'a> {
    link: &'a HubLink,
    id: u64,
}

impl Drop for Entry<'_> {
    fn drop(&mut self) {
        self.link.calls.borrow_mut().remove(&self.id);
    }
}

/// A worker's candidacy for a task. Dropping it gives the office, if held, to another worker: stop the task first.
pub struct Candidacy {
    link: Rc<HubLink>,
    name: String,
    office: Rc<Office>,
}

impl Candidacy {
    /// Whether this worker runs the task.
    #[must_use]
    pub fn is_elected(&self) -> bool {
        self.office.held.get()
    }

    /// Waits until this worker is elected (`true`) or dismissed (`false`).
    pub async fn until(&self, elected: bool) {
        loop {
            let changed = self.office.changed.listen();
            if self.office.held.get() == elected {
                return;
            }
            changed.await;
        }
    }
}

impl Drop for Candidacy {
    fn drop(&mut self) {
        let left = self.office.candidates.get() - 1;
        self.office.candidates.set(left);
        if left == 0 {
            self.link.candidacies.borrow_mut().remove(&self.name);
            self.link.tell(&ToHub::Resign(std::mem::take(&mut self.name)));
        }
    }
}
