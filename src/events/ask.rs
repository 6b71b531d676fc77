//! What waits for an answer of the hub.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;

use super::EventsError;
use super::group::{Entry, Group};
use crate::link::events::{EventsAnswer, Position};

/// Who gets an answer.
enum Waiting {
    Publication(async_channel::Sender<Result<Position, EventsError>>),
    Question(async_channel::Sender<Result<EventsAnswer, EventsError>>),
    /// A group that is resumed, or a subscriber of it.
    Subscription(Rc<Group>, Option<Rc<Entry>>),
}

/// An answer to come.
pub(super) struct Answer<T>(async_channel::Receiver<Result<T, EventsError>>);

impl<T> Answer<T> {
    pub(super) async fn wait(self) -> Result<T, EventsError> {
        self.0.recv().await.unwrap_or(Err(EventsError::Lost))
    }
}

/// Everything that was asked, by ticket.
#[derive(Default)]
pub(super) struct Asked {
    waiting: RefCell<HashMap<u64, Waiting>>,
    last: Cell<u64>,
}

impl Asked {
    /// A ticket for what has no answer when all is well.
    pub(super) fn next(&self) -> u64 {
        self.last.set(self.last.get() + 1);
        self.last.get()
    }

    fn add(&self, waiting: Waiting) -> u64 {
        let ticket = self.next();
        self.waiting.borrow_mut().insert(ticket, waiting);
        ticket
    }

    pub(super) fn publication(&self) -> (u64, Answer<Position>) {
        let (sender, receiver) = async_channel::bounded(1);
        (self.add(Waiting::Publication(sender)), Answer(receiver))
    }

    pub(super) fn question(&self) -> (u64, Answer<EventsAnswer>) {
        let (sender, receiver) = async_channel::bounded(1);
        (self.add(Waiting::Question(sender)), Answer(receiver))
    }

    pub(super) fn subscription(&self, group: Rc<Group>, entry: Option<Rc<Entry>>) -> u64 {
        self.add(Waiting::Subscription(group, entry))
    }

    pub(super) fn forget(&self, ticket: u64) {
        self.waiting.borrow_mut().remove(&ticket);
    }

    pub(super) fn published(&self, ticket: u64, result: Result<Position, EventsError>) {
        if let Some(Waiting::Publication(sender)) = self.take(ticket) {
            // Who does not wait any more has timed out.
            let _ = sender.try_send(result);
        }
    }

    pub(super) fn answered(&self, ticket: u64, result: Result<EventsAnswer, EventsError>) {
        match self.take(ticket) {
            Some(Waiting::Question(sender)) => {
                let _ = sender.try_send(result);
            }
            _ => {
                if let Err(why) = result {
                    crate::log_warn!("events: {why}");
                }
            }
        }
    }

    pub(super) fn subscribed(&self, ticket: u64) -> Option<(Rc<Group>, Option<Rc<Entry>>)> {
        match self.take(ticket) {
            Some(Waiting::Subscription(group, entry)) => Some((group, entry)),
            _ => None,
        }
    }

    #[cfg(test)]
    pub(super) fn is_empty(&self) -> bool {
        self.waiting.borrow().is_empty()
    }

    fn take(&self, ticket: u64) -> Option<Waiting> {
        self.waiting.borrow_mut().remove(&ticket)
    }

    /// The hub has ended: what it was asked has no answer. `held` was not asked yet. Subscriptions are asked for anew.
    pub(super) fn lose(&self, held: &[u64]) {
        let mut waiting = self.waiting.borrow_mut();
        let (kept, lost): (HashMap<_, _>, HashMap<_, _>) = waiting.drain().partition(|(ticket, _)| held.contains(ticket));
        *waiting = kept;
        drop(waiting);
        for (_, waiting) in lost {
            match waiting {
                Waiting::Publication(sender) => {
                    let _ = sender.try_send(Err(EventsError::Lost));
                }
                Waiting::Question(sender) => {
                    let _ = sender.try_send(Err(EventsError::Lost));
                }
                Waiting::Subscription(..) => {}
            }
        }
    }
}
