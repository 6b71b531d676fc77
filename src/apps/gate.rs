//! How many exchanges an application has under way, and who waits for a place: first come, first served, bounded in number and time.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::fmt;
use std::future::poll_fn;
use std::rc::Rc;
use std::task::{Poll, Waker};
use std::time::Duration;

use super::complaints::Complaints;
use super::work::Work;
use crate::reactor::timeout;
use crate::request::Response;

/// The places.
#[derive(Debug)]
pub(super) struct Gate {
    places: usize,
    taken: Cell<usize>,
    queue: usize,
    patience: Duration,
    waiting: RefCell<VecDeque<Rc<Waiting>>>,
    /// That too many wait, and that some waited in vain.
    full: Complaints,
    late: Complaints,
}

#[derive(Debug, Default)]
struct Waiting {
    /// The place is this one's.
    granted: Cell<bool>,
    waker: RefCell<Option<Waker>>,
}

/// A place, given back when it is dropped.
#[derive(Debug)]
pub(super) struct Pass(Rc<Gate>);

/// Why there is no place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Busy {
    /// As many wait already as may.
    Full(usize),
    /// None became free in time.
    TimedOut(Duration),
}

impl fmt::Display for Busy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Full(queue) => write!(f, "all places are taken, and {queue} requests wait for one already"),
            Self::TimedOut(patience) => write!(f, "no place became free within {patience:?}"),
        }
    }
}

/// The answer when there is no place: the client may come back when those who wait now have had their turn, after `patience`.
pub(super) fn full(patience: Duration) -> Response {
    let mut response = Response::error(503, "too much is going on; try again");
    // Digits can be sent.
    let _ = response.fields.push("Retry-After", patience.as_secs().max(1).to_string());
    response
}

impl Gate {
    /// `places` at the same time, `queue` that wait for one, each for `patience`.
    pub(super) fn new(places: usize, queue: usize, patience: Duration) -> Rc<Self> {
        Rc::new(Self {
            places,
            taken: Cell::new(0),
            queue,
            patience,
            waiting: RefCell::default(),
            full: Complaints::default(),
            late: Complaints::default(),
        })
    }

    /// The answer to work that finds no place.
    pub(super) fn refused(&self, work: &Work, busy: &Busy) -> Response {
        let complaints = if matches!(busy, Busy::Full(_)) { &self.full } else { &self.late };
        complaints.tell(|held| work.warn(&format!("{busy}{held}")));
        full(self.patience)
    }

    /// Takes a place, or waits for one.
    pub(super) async fn enter(self: &Rc<Self>) -> Result<Pass, Busy> {
        if self.taken.get() < self.places {
            self.taken.set(self.taken.get() + 1);
            return Ok(Pass(self.clone()));
        }
        if self.waiting.borrow().len() >= self.queue {
            return Err(Busy::Full(self.queue));
        }
        let waiting = Rc::new(Waiting::default());
        self.waiting.borrow_mut().push_back(waiting.clone());
        let leave = Leave { gate: self, waiting };
        let granted = poll_fn(|cx| {
            if leave.waiting.granted.get() {
                return Poll::Ready(());
            }
            leave.waiting.waker.replace(Some(cx.waker().clone()));
            Poll::Pending
        });
        match timeout(self.patience, granted).await {
            Ok(()) => {
                leave.waiting.granted.set(false);
                Ok(Pass(self.clone()))
            }
            Err(_) => Err(Busy::TimedOut(self.patience)),
        }
    }

    /// Gives a place to the first who waits, or back.
    fn release(&self) {
        let next = self.waiting.borrow_mut().pop_front();
        match next {
            Some(next) => {
                next.granted.set(true);
                if let Some(waker) = next.waker.take() {
                    waker.wake();
                }
            }
            None => self.taken.set(self.taken.get() - 1),
        }
    }
}

/// Takes one who waits out of the queue, however its wait ended.
struct Leave<'a> {
    gate: &'a Rc<Gate>,
    waiting: Rc<Waiting>,
}

impl Drop for Leave<'_> {
    fn drop(&mut self) {
        if self.waiting.granted.get() {
            // It was given a place and left without it.
            self.gate.release();
        } else {
            self.gate.waiting.borrow_mut().retain(|waiting| !Rc::ptr_eq(waiting, &self.waiting));
        }
    }
}

impl Drop for Pass {
    fn drop(&mut self) {
        self.0.release();
    }
}

#[cfg(test)]
mod tests {
    use futures_lite::future::poll_once;

    use super::*;
    use crate::reactor;

    #[test]
    fn places_go_to_who_waited_longest_and_are_never_lost() {
        reactor::run(async {
            let gate = Gate::new(1, 3, Duration::from_mins(1));
            let first = gate.enter().await.unwrap();
            let mut second = Box::pin(gate.enter());
            let mut third = Box::pin(gate.enter());
            let mut fourth = Box::pin(gate.enter());
            for waits in [&mut second, &mut third, &mut fourth] {
                assert!(poll_once(waits.as_mut()).await.is_none());
            }
            assert_eq!(gate.enter().await.unwrap_err(), Busy::Full(3));
            // The second leaves while it waits, the third after it was given the place.
            drop(second);
            drop(first);
            drop(third);
            let fourth = fourth.await.unwrap();
            assert_eq!((gate.taken.get(), gate.waiting.borrow().len()), (1, 0));
            drop(fourth);
            assert_eq!(gate.taken.get(), 0);
        })
        .unwrap();
    }

    #[test]
    fn patience_ends() {
        reactor::run(async {
            let gate = Gate::new(1, 1, Duration::from_millis(5));
            let pass = gate.enter().await.unwrap();
            assert_eq!(gate.enter().await.unwrap_err(), Busy::TimedOut(Duration::from_millis(5)));
            assert!(gate.waiting.borrow().is_empty());
            drop(pass);
            gate.enter().await.unwrap();
        })
        .unwrap();
    }
}
