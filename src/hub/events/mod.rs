//! Events at the hub: the core, the channels to the workers, the clock.
//!
//! A publication is encoded once, and the same bytes go to every worker that has subscribers; what is published in one turn of the loop leaves in
//! one write a worker. A worker that does not read has a bounded queue: what does not fit is dropped, counted, and told once it reads again.

mod bridge;
mod commands;
mod crowd;

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use crate::events::Position;
use bridge::Bridge;

use crate::config::{Client, Events as Source, Settings};
use crate::events::core::{Core, Notice, Worker};
use crate::link::events::{EventsFromHub, EventsToHub};
use crate::link::{FromHub, Port};
use crate::reactor::{self, Scope};
use crate::scoreboard::{Slot, add, epoch_ms};
use crate::{log_error, log_warn};

/// Bytes of events that wait for one worker; answers have room beyond it.
const QUEUE_BYTES: usize = 16 << 20;
/// How often a worker that did not read is looked at, and the shortest time between two looks at what ends by time.
const LOOK: Duration = Duration::from_millis(50);

/// A worker's channel.
struct Line {
    port: Rc<Port>,
    /// What was dropped and is not told yet: the place of the last event and how many, by topic.
    missed: RefCell<BTreeMap<String, (Position, u64)>>,
    watched: Cell<bool>,
}

/// The events of this machine.
pub(super) struct Events {
    core: RefCell<Core>,
    lines: RefCell<BTreeMap<Worker, Rc<Line>>>,
    slot: Slot,
    /// When the core is looked at next.
    armed: Cell<Option<Instant>>,
    /// To the other machines, where there are some.
    bridge: RefCell<Option<Rc<Bridge>>>,
    scope: Scope,
}

impl Events {
    pub(super) fn new(settings: &Settings, slot: Slot) -> Rc<Self> {
        let limits = settings.events.limits();
        let events = Rc::new(Self {
            core: RefCell::new(Core::new(limits, seed())),
            lines: RefCell::default(),
            slot,
            armed: Cell::new(None),
            bridge: RefCell::default(),
            scope: Scope::new(),
        });
        if let Source::Redis(redis) = &settings.events {
            let target = match settings.clients.get(&redis.client) {
                Some(Client::Redis(client)) => client.target(),
                _ => Err(format!("there is no client {:?}", redis.client)),
            };
            match target {
                Ok(target) => {
                    events.bridge.replace(Some(Bridge::start(&events, target, redis.prefix.clone(), limits)));
                }
                // The check of the configuration has refused that.
                Err(why) => log_error!("events: {why}"),
            }
        }
        events
    }

    /// A worker can be reached.
    pub(super) fn welcome(&self, worker: Worker, port: Rc<Port>) {
        let line = Line { port, missed: RefCell::default(), watched: Cell::new(false) };
        self.lines.borrow_mut().insert(worker, Rc::new(line));
    }

    /// A worker has ended.
    pub(super) fn gone(self: &Rc<Self>, worker: Worker) {
        self.lines.borrow_mut().remove(&worker);
        let notices = self.core.borrow_mut().gone(worker, reactor::now());
        self.tell(notices);
        self.arm();
        let bridge = self.bridge.borrow().clone();
        if let Some(bridge) = bridge {
            bridge.gone(self, worker);
        }
    }

    /// Does what a worker says.
    pub(super) fn take(self: &Rc<Self>, worker: Worker, message: EventsToHub) {
        if matches!(message, EventsToHub::Publish { .. }) {
            add(self.slot.events_published(), 1);
        }
        let bridge = self.bridge.borrow().clone();
        match bridge {
            Some(bridge) => bridge.take(worker, message),
            None => self.process(worker, message),
        }
    }

    /// Does what a worker says, within this machine.
    fn process(self: &Rc<Self>, worker: Worker, message: EventsToHub) {
        let mut notices = Vec::new();
        self.core.borrow_mut().take(worker, message, reactor::now(), epoch_ms() as f64 / 1000.0, &mut notices);
        self.tell(notices);
        self.arm();
    }

    fn count_dropped(&self) {
        add(self.slot.events_dropped(), 1);
    }

    fn tell(self: &Rc<Self>, notices: Vec<Notice>) {
        for Notice { to, message } in notices {
            let event = match &message {
                EventsFromHub::Event { topic, epoch, event } => Some((topic.clone(), Position { epoch: *epoch, offset: event.offset })),
                _ => None,
            };
            let Some(body) = encode(message) else { continue };
            for worker in to {
                let Some(line) = self.lines.borrow().get(&worker).cloned() else { continue };
                match &event {
                    Some((topic, position)) => self.deliver(&line, topic, *position, &body),
                    None => answer(&line, worker, &body),
                }
            }
        }
    }

    /// Sends an event, or notes that it could not be.
    fn deliver(self: &Rc<Self>, line: &Rc<Line>, topic: &str, position: Position, body: &[u8]) {
        let fits = line.missed.borrow().is_empty() && line.port.waiting() + body.len() <= QUEUE_BYTES;
        if fits && line.port.post(body).is_ok() {
            add(self.slot.events_delivered(), 1);
            return;
        }
        add(self.slot.events_dropped(), 1);
        let mut missed = line.missed.borrow_mut();
        let (last, count) = missed.entry(topic.to_owned()).or_insert((position, 0));
        *last = position;
        *count += 1;
        if !line.watched.replace(true) {
            let line = line.clone();
            self.scope.spawn(async move { confess(&line).await });
        }
    }

    /// Lets the core do in time what time does.
    fn arm(self: &Rc<Self>) {
        self.slot.subscriptions().store(self.core.borrow().subscriptions() as u64, Relaxed);
        let Some(next) = self.core.borrow().next() else { return };
        if self.armed.get().is_some_and(|armed| armed <= next) {
            return;
        }
        let at = next.max(reactor::now() + LOOK);
        if self.armed.get().is_some_and(|armed| armed <= at) {
            return;
        }
        self.armed.set(Some(at));
        let events = Rc::downgrade(self);
        self.scope.spawn(async move {
            reactor::sleep_until(at).await;
            let Some(events) = events.upgrade() else { return };
            if events.armed.get() == Some(at) {
                events.armed.set(None);
            }
            let notices = events.core.borrow_mut().pass(reactor::now());
            events.tell(notices);
            events.arm();
        });
    }
}

/// Once a worker reads again, tells it what it has missed.
async fn confess(line: &Rc<Line>) {
    while line.port.waiting() > QUEUE_BYTES / 2 {
        reactor::sleep(LOOK).await;
    }
    line.watched.set(false);
    for (topic, (position, count)) in line.missed.take() {
        let Some(body) = encode(EventsFromHub::Missed { topic, position, count }) else { continue };
        if let Err(error) = line.port.post(&body) {
            // The channel has room for answers beyond that for events, and was just seen to be half empty.
            log_error!("a worker cannot be told what it has missed: {error}");
        }
    }
}

fn answer(line: &Line, worker: Worker, body: &[u8]) {
    if let Err(error) = line.port.post(body) {
        log_warn!("worker {} cannot be told about events: {error}", worker.0);
    }
}

fn encode(message: EventsFromHub) -> Option<Vec<u8>> {
    match postcard::to_stdvec(&FromHub::Events(message)) {
        Ok(body) => Some(body),
        Err(error) => {
            log_error!("what is to be told about events cannot be encoded: {error}");
            None
        }
    }
}

/// Something that no hub before had.
fn seed() -> u64 {
    getrandom::u64().unwrap_or_else(|error| {
        log_warn!("no random number for the epochs of events, the time has to do: {error}");
        epoch_ms() ^ (u64::from(std::process::id()) << 40)
    })
}
