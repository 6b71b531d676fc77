//! Where events come from: the hub, or, in a process that stands alone, a core of its own.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;
use std::time::Instant;

use super::Events;
use super::core::{Core, Limits, Worker};
use crate::link::events::{EventsFromHub, EventsToHub};
use crate::link::{EventSink, HubLink, LinkError};
use crate::reactor;
use crate::scoreboard::epoch_ms;

/// Publications and questions that wait for a hub, while there is none.
const MOST_HELD: usize = 1024;
/// Bytes of them.
const MOST_HELD_BYTES: usize = 8 << 20;
/// In a process that stands alone there is one worker.
const ONLY: Worker = (0, 0);

/// Where events come from.
pub(super) enum Source {
    /// The hub of this machine.
    Hub(Rc<HubLink>, RefCell<Held>),
    /// This process.
    Alone(Box<RefCell<Alone>>),
}

/// What waits for a hub.
#[derive(Default)]
pub(super) struct Held {
    messages: VecDeque<EventsToHub>,
    bytes: usize,
}

/// A core and what it said that is not told yet.
pub(super) struct Alone {
    core: Core,
    told: VecDeque<EventsFromHub>,
}

fn size(message: &EventsToHub) -> usize {
    match message {
        EventsToHub::Publish { topic, data, .. } => 64 + topic.len() + data.0.len(),
        _ => 512,
    }
}

impl Source {
    pub(super) fn hub(link: &Rc<HubLink>) -> Self {
        Self::Hub(link.clone(), RefCell::default())
    }

    pub(super) fn alone() -> Self {
        // Positions of this process mean nothing to another one; epochs need to differ within it only.
        Self::Alone(Box::new(RefCell::new(Alone { core: Core::new(Limits::default(), epoch_ms()), told: VecDeque::new() })))
    }

    /// Sends a publication or a question; without a hub it waits for one, within bounds.
    pub(super) fn publish(&self, events: &Events, message: EventsToHub) -> Result<(), LinkError> {
        let Self::Hub(link, held) = self else {
            self.tell(events, message);
            return Ok(());
        };
        if link.is_connected() {
            return link.post(message);
        }
        let mut held = held.borrow_mut();
        let size = size(&message);
        if held.messages.len() >= MOST_HELD || held.bytes + size > MOST_HELD_BYTES {
            return Err(LinkError::Full);
        }
        held.bytes += size;
        held.messages.push_back(message);
        Ok(())
    }

    /// Sends what the hub must know. A hub that is not there is told when it is.
    pub(super) fn tell(&self, events: &Events, message: EventsToHub) {
        match self {
            Self::Hub(link, _) => {
                if link.is_connected()
                    && let Err(error) = link.post(message)
                {
                    crate::log_warn!("events: the hub cannot be told: {error}");
                }
            }
            Self::Alone(alone) => {
                if !reactor::is_running() {
                    return;
                }
                let mut notices = Vec::new();
                let mut alone = alone.borrow_mut();
                let now = Instant::now();
                alone.core.pass(now);
                alone.core.take(ONLY, message, now, epoch_ms() as f64 / 1000.0, &mut notices);
                let waits = !alone.told.is_empty();
                alone.told.extend(notices.into_iter().map(|notice| notice.message));
                if !waits && !alone.told.is_empty() {
                    let events = events.this.clone();
                    reactor::spawn(async move {
                        while let Some(events) = events.upgrade()
                            && let Some(message) = events.source.next_told()
                        {
                            events.take(message);
                        }
                    })
                    .detach();
                }
            }
        }
    }

    fn next_told(&self) -> Option<EventsFromHub> {
        match self {
            Self::Hub(..) => None,
            Self::Alone(alone) => alone.borrow_mut().told.pop_front(),
        }
    }

    /// There is a hub: what waited for it is sent. Gives what could not be.
    pub(super) fn connected(&self) -> u64 {
        let Self::Hub(link, held) = self else { return 0 };
        let Held { messages, .. } = held.take();
        messages.into_iter().filter_map(|message| link.post(message).err()).count() as u64
    }

    /// The tickets of what waits for a hub.
    pub(super) fn held(&self) -> Vec<u64> {
        let Self::Hub(_, held) = self else { return Vec::new() };
        let ticket = |message: &EventsToHub| match message {
            EventsToHub::Publish { ticket, .. } => *ticket,
            EventsToHub::Ask { ticket, .. } => Some(*ticket),
            _ => None,
        };
        held.borrow().messages.iter().filter_map(ticket).collect()
    }
}
