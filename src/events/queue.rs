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

/// The queue between the events and a reader.
pub(super) struct Queue {
    waiting: RefCell<VecDeque<Delivery>>,
    /// How many of them are events.
    waiting_events: Cell<usize>,
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
            waiting_events: Cell::new(0),
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
        self.waiting_events.set(0);
        self.missed.set(0);
        self.wake();
    }

    fn next(&self) -> Option<Delivery> {
        let mut waiting = self.waiting.borrow_mut();
        if self.missed.get() > 0 && !matches!(waiting.front(), Some(Delivery::Ready { .. })) {
            return Some(Delivery::Missed { topic: None, count: self.missed.take() });
        }
        let next = waiting.pop_front();
        if matches!(next, Some(Delivery::Event(_))) {
            self.waiting_events.set(self.waiting_events.get() - 1);
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
        let is_event = |delivery: &Delivery| matches!(delivery, Delivery::Event(_));
        let same = |other: &Delivery| is_event(other) == is_event(delivery);
        let events = self.waiting_events.get();
        let full = if is_event(delivery) { events >= self.limit } else { waiting.len() - events >= self.limit + OTHERS };
        if full && self.overflow == Overflow::Close {
            self.count_dropped(events + 1);
            waiting.clear();
            waiting.push_back(Delivery::Closed(Closed::Slow));
            self.closed.set(true);
            self.waiting_events.set(0);
            drop(waiting);
            return self.wake();
        }
        if is_event(delivery) {
            self.waiting_events.set(events + 1);
        }
        if full && let Some(oldest) = waiting.iter().position(same) {
            waiting.remove(oldest);
            self.missed.set(self.missed.get() + 1);
            self.count_dropped(1);
            self.waiting_events.set(self.waiting_events.get() - usize::from(is_event(delivery)));
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
