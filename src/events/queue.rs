//! A subscription that is read at the reader's own pace, with a bounded queue in between.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::pin::Pin;
use std::rc::{Rc, Weak};
use std::task::{Context, Poll, Waker};

use futures_lite::Stream;

use super::event::{Closed, Delivery};
use super::group::Subscriber;
use super::{Events, Registration};
use crate::link::events::Position;

/// What may wait besides as many as there may be events: who came and left, gaps.
const OTHERS: usize = 16;

/// What happens when a subscription's queue is full.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Overflow {
    /// The oldest event makes room, and the reader is told how many did.
    #[default]
    DropOldest,
    /// The subscription is closed.
    Close,
}

/// Whether a delivery is one of the events that the limit is for. Those of a recovery are not: see [`Event::recovered`](super::Event::recovered).
fn is_live(delivery: &Delivery) -> bool {
    matches!(delivery, Delivery::Event(event) if !event.recovered)
}

fn is_recovered(delivery: &Delivery) -> bool {
    matches!(delivery, Delivery::Event(event) if event.recovered)
}

/// The queue between the events and a reader.
pub(super) struct Queue {
    waiting: RefCell<VecDeque<Delivery>>,
    /// How many of them are live events.
    waiting_live: Cell<usize>,
    /// How many of them are recovered.
    waiting_recovered: Cell<usize>,
    waker: RefCell<Option<Waker>>,
    missed: Cell<u64>,
    limit: usize,
    overflow: Overflow,
    closed: Cell<bool>,
    events: Weak<Events>,
}

impl Queue {
    pub(super) fn new(limit: usize, overflow: Overflow, events: Weak<Events>) -> Rc<Self> {
        Rc::new(Self {
            waiting: RefCell::default(),
            waiting_live: Cell::new(0),
            waiting_recovered: Cell::new(0),
            waker: RefCell::default(),
            missed: Cell::new(0),
            limit: limit.max(1),
            overflow,
            closed: Cell::new(false),
            events,
        })
    }

    fn count_dropped(&self, count: usize) {
        if let Some(events) = self.events.upgrade() {
            events.count_dropped(count as u64);
        }
    }

    fn wake(&self) {
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }

    fn close(&self) {
        self.closed.set(true);
        self.waiting.take();
        self.waiting_live.set(0);
        self.waiting_recovered.set(0);
        self.missed.set(0);
        self.wake();
    }

    fn next(&self) -> Option<Delivery> {
        let mut waiting = self.waiting.borrow_mut();
        // What was dropped was live: it is told behind what was recovered.
        let later = |first: &Delivery| matches!(first, Delivery::Ready { .. }) || is_recovered(first);
        if self.missed.get() > 0 && !waiting.front().is_some_and(later) {
            return Some(Delivery::Missed { topic: None, count: self.missed.take() });
        }
        let next = waiting.pop_front();
        if next.as_ref().is_some_and(is_live) {
            self.waiting_live.set(self.waiting_live.get() - 1);
        } else if next.as_ref().is_some_and(is_recovered) {
            self.waiting_recovered.set(self.waiting_recovered.get() - 1);
        }
        if waiting.is_empty() && waiting.capacity() > 16 {
            waiting.shrink_to(4);
        }
        next
    }
}

impl Subscriber for Queue {
    fn deliver(&self, delivery: &Delivery) {
        if self.closed.get() {
            return;
        }
        let mut waiting = self.waiting.borrow_mut();
        let (live, recovered) = (self.waiting_live.get(), self.waiting_recovered.get());
        let full = if is_live(delivery) {
            live >= self.limit
        } else {
            !is_recovered(delivery) && waiting.len() - live - recovered >= self.limit + OTHERS
        };
        if full && self.overflow == Overflow::Close {
            self.count_dropped(live + recovered + 1);
            waiting.clear();
            waiting.push_back(Delivery::Closed(Closed::Slow));
            self.closed.set(true);
            self.waiting_live.set(0);
            self.waiting_recovered.set(0);
            drop(waiting);
            return self.wake();
        }
        let droppable = |other: &Delivery| !is_recovered(other) && is_live(other) == is_live(delivery);
        if full && let Some(oldest) = waiting.iter().position(droppable) {
            waiting.remove(oldest);
            self.missed.set(self.missed.get() + 1);
            self.count_dropped(1);
        } else if is_live(delivery) {
            self.waiting_live.set(live + 1);
        } else if is_recovered(delivery) {
            self.waiting_recovered.set(recovered + 1);
        }
        if matches!(delivery, Delivery::Closed(_)) {
            self.closed.set(true);
        }
        waiting.push_back(delivery.clone());
        drop(waiting);
        self.wake();
    }
}

/// A subscription with a queue: a stream of [`Delivery`] that ends after [`Delivery::Closed`]. Dropping it ends the subscription.
pub struct Subscription {
    pub(super) queue: Rc<Queue>,
    /// None when it has ended.
    pub(super) registration: Option<Registration>,
}

impl Subscription {
    /// What comes next; `None` when the subscription has ended.
    pub async fn next(&mut self) -> Option<Delivery> {
        std::future::poll_fn(|cx| self.poll_delivery(cx)).await
    }

    /// What waits already.
    pub fn try_next(&mut self) -> Option<Delivery> {
        let next = self.queue.next();
        if matches!(next, Some(Delivery::Closed(_))) {
            self.registration = None;
        }
        next
    }

    /// Something comes next, or the subscription has ended.
    pub fn poll_delivery(&mut self, cx: &mut Context<'_>) -> Poll<Option<Delivery>> {
        if let Some(next) = self.try_next() {
            return Poll::Ready(Some(next));
        }
        if self.registration.is_none() {
            return Poll::Ready(None);
        }
        let mut waker = self.queue.waker.borrow_mut();
        if !waker.as_ref().is_some_and(|waker| waker.will_wake(cx.waker())) {
            *waker = Some(cx.waker().clone());
        }
        Poll::Pending
    }

    /// The last event of the topic that came to this worker, of a subscription to one topic.
    #[must_use]
    pub fn position(&self) -> Option<Position> {
        self.registration.as_ref().and_then(Registration::position)
    }

    /// Ends the subscription and, at once, the presence that came with it. What waits is not read any more.
    pub fn close(&mut self) {
        if let Some(registration) = self.registration.take() {
            registration.close();
        }
        self.queue.close();
    }
}

impl Stream for Subscription {
    type Item = Delivery;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Delivery>> {
        self.poll_delivery(cx)
    }
}
