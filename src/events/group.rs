//! The subscribers of one pattern in this worker.

use std::cell::{Cell, RefCell};
use std::rc::{Rc, Weak};

use super::event::Delivery;
use crate::link::events::{Member, Pattern, Position};
use crate::sys::prefetch;

/// Takes what a subscription brings. Called from the worker's loop with nothing of the events' state held, so it may subscribe, publish and
/// end subscriptions, its own included. It must not block and had best only queue.
pub trait Subscriber {
    /// Something for this subscriber. Events are shared with all the others.
    fn deliver(&self, delivery: &Delivery);

    /// Something comes soon: has loaded what it takes.
    fn prefetch(&self) {}
}

/// How far a subscriber has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// Waits until the group is live.
    New,
    /// Waits for what it has missed: the hub is asked.
    Recovers(Position),
    /// Gets what comes.
    Live,
    /// Has ended.
    Over,
}

/// A subscriber's place in its group.
pub(super) struct Entry {
    subscriber: Weak<dyn Subscriber>,
    pub(super) phase: Cell<Phase>,
    index: Cell<u32>,
    pub(super) client: u64,
    pub(super) watches: bool,
    pub(super) member: RefCell<Option<Box<Member>>>,
}

impl Entry {
    pub(super) fn new(subscriber: Weak<dyn Subscriber>, since: Option<Position>, client: u64, watches: bool) -> Rc<Self> {
        let phase = Cell::new(since.map_or(Phase::New, Phase::Recovers));
        Rc::new(Self { subscriber, phase, index: Cell::new(0), client, watches, member: RefCell::default() })
    }

    pub(super) fn deliver(&self, delivery: &Delivery) {
        if let Some(subscriber) = self.subscriber.upgrade() {
            subscriber.deliver(delivery);
        }
    }
}

/// Has those loaded that come next, step by step: what one step loads tells the next where to look.
fn ahead(entries: &[Option<Rc<Entry>>], index: usize) {
    let after = |count: usize| entries.get(index + count).and_then(Option::as_ref);
    if let Some(entry) = after(6) {
        prefetch::value(Rc::as_ptr(entry));
    }
    if let Some(entry) = after(4) {
        prefetch::value(entry.subscriber.as_ptr().cast::<[u8; 64]>());
    }
    if let Some(subscriber) = after(2).and_then(|entry| entry.subscriber.upgrade()) {
        subscriber.prefetch();
    }
}

/// The subscribers of one pattern.
pub(super) struct Group {
    pub(super) pattern: Pattern,
    /// In the order of subscription; empty places are removed when nobody walks through.
    entries: RefCell<Vec<Option<Rc<Entry>>>>,
    holes: Cell<usize>,
    walks: Cell<usize>,
    pub(super) watchers: Cell<usize>,
    /// The hub has said that the subscription holds.
    pub(super) live: Cell<bool>,
    /// Of a single topic: the last event that came.
    pub(super) last: Cell<Option<Position>>,
}

impl Group {
    pub(super) fn new(pattern: Pattern) -> Rc<Self> {
        Rc::new(Self {
            pattern,
            entries: RefCell::default(),
            holes: Cell::new(0),
            walks: Cell::new(0),
            watchers: Cell::new(0),
            live: Cell::new(false),
            last: Cell::new(None),
        })
    }

    pub(super) fn len(&self) -> usize {
        self.entries.borrow().len() - self.holes.get()
    }

    pub(super) fn add(&self, entry: Rc<Entry>) {
        let mut entries = self.entries.borrow_mut();
        // There are at most [`super::MOST_SUBSCRIBERS`].
        entry.index.set(entries.len() as u32);
        entries.push(Some(entry));
    }

    pub(super) fn remove(&self, entry: &Rc<Entry>) {
        entry.phase.set(Phase::Over);
        let mut entries = self.entries.borrow_mut();
        if let Some(place) = entries.get_mut(entry.index.get() as usize)
            && place.as_ref().is_some_and(|there| Rc::ptr_eq(there, entry))
        {
            *place = None;
            self.holes.set(self.holes.get() + 1);
        }
        drop(entries);
        self.compact();
    }

    /// Closes the holes once they are more than half of the places, so that each entry moves at most once on average.
    fn compact(&self) {
        let mut entries = self.entries.borrow_mut();
        if self.walks.get() > 0 || self.holes.get() * 2 <= entries.len() {
            return;
        }
        entries.retain(Option::is_some);
        for (index, entry) in entries.iter().flatten().enumerate() {
            entry.index.set(index as u32);
        }
        let room = entries.len() * 2;
        entries.shrink_to(room);
        self.holes.set(0);
    }

    /// Visits everybody who is there now; who comes meanwhile is not visited, who ends meanwhile neither.
    pub(super) fn each(&self, mut visit: impl FnMut(&Rc<Entry>)) {
        self.walks.set(self.walks.get() + 1);
        let count = self.entries.borrow().len();
        for index in 0..count {
            let entry = {
                let entries = self.entries.borrow();
                ahead(&entries, index);
                entries[index].clone()
            };
            if let Some(entry) = entry {
                visit(&entry);
            }
        }
        self.walks.set(self.walks.get() - 1);
        self.compact();
    }

    /// Gives the same to everybody who is live; to how many.
    pub(super) fn deliver(&self, delivery: &Delivery) -> u64 {
        let mut count = 0;
        self.each(|entry| {
            if entry.phase.get() == Phase::Live {
                count += 1;
                entry.deliver(delivery);
            }
        });
        count
    }
}
