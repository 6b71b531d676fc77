//! The event loop of a worker or the hub: one thread, edge-triggered readiness, timers, tasks.
//!
//! Everything here belongs to the thread that called [`run`]; nothing is `Send`. Tasks are woken by readiness ([`Io`]), by time
//! ([`sleep`], [`Alarm`]) or by each other. A waker may be used from any thread: work done in the blocking pool ends that way.
//!
//! Registration costs one `epoll_ctl` for the life of a connection. The kernel's `epoll` is used directly, not through `polling`:
//! an edge-triggered reader that stops at a short read must be told of a pending end of stream (`EPOLLRDHUP`), which
//! `polling` does not report, and without it every request would cost one more `read` that fails.

mod alarm;
mod guarded;
mod io;
mod observer;
mod poller;
mod put_off;
mod scope;
mod tasks;
mod timers;

pub use alarm::{Alarm, TimedOut, timeout};
pub use io::Io;
pub use observer::Observer;
pub use put_off::{PutOff, do_put_off, put_off};
pub use scope::Scope;
pub use tasks::{Task, spawn, yield_now};
pub use timers::{Sleep, sleep, sleep_until};

use std::cell::{Cell, RefCell};
use std::future::Future;
use std::io as stdio;
use std::rc::Rc;
use std::time::{Duration, Instant};

use poller::Poller;
use put_off::PutOffs;
use tasks::Queue;
use timers::Timers;

/// Ready tasks run in one turn before readiness and timers are looked at again: bounds how long a busy task set can starve a socket.
const TASKS_A_TURN: usize = 256;

/// The parts of the loop that tasks reach through the thread.
struct Reactor {
    poller: Poller,
    timers: RefCell<Timers>,
    queue: Rc<Queue>,
    now: Cell<Instant>,
    observer: RefCell<Option<Rc<dyn Observer>>>,
    put_off: PutOffs,
}

thread_local! {
    static CURRENT: RefCell<Option<Rc<Reactor>>> = const { RefCell::new(None) };
}

/// Runs `f` with this thread's reactor.
///
/// # Panics
/// When the thread runs no reactor. Every caller is code that only a task can reach, so this is a programming error.
fn current<R>(f: impl FnOnce(&Rc<Reactor>) -> R) -> R {
    CURRENT.with_borrow(|current| f(current.as_ref().expect("called from a task of a reactor")))
}

/// Whether this thread runs a reactor: for destructors that may run after it ended.
#[must_use]
pub fn is_running() -> bool {
    CURRENT.try_with(|current| current.try_borrow().is_ok_and(|c| c.is_some())).unwrap_or(false)
}

/// The time at which the present turn of the loop began. Costs nothing; use it for deadlines and statistics.
///
/// # Panics
/// Outside a reactor's thread.
#[must_use]
pub fn now() -> Instant {
    current(|reactor| reactor.now.get())
}

/// Reads the clock anew and makes that the time of this turn: after work that may have taken long.
pub fn refresh_now() -> Instant {
    let now = Instant::now();
    current(|reactor| reactor.now.set(now));
    now
}

/// Installs what is told of the loop's turns (heartbeat, log flushing). One per reactor; a second call replaces the first.
pub fn observe(observer: Rc<dyn Observer>) {
    current(|reactor| *reactor.observer.borrow_mut() = Some(observer));
}

/// Runs `main` and every task that it spawns on this thread until `main` ends. Tasks that are left are then dropped.
///
/// # Errors
/// When the kernel gives no epoll or event descriptor, or waiting on it fails.
///
/// # Panics
/// When this thread already runs a reactor.
pub fn run<T: 'static>(main: impl Future<Output = T> + 'static) -> stdio::Result<T> {
    assert!(!is_running(), "one reactor a thread");
    let poller = Poller::new()?;
    let queue = Rc::new(Queue::new(poller.notifier()?));
    let reactor = Rc::new(Reactor {
        poller,
        timers: RefCell::default(),
        queue: queue.clone(),
        now: Cell::new(Instant::now()),
        observer: RefCell::default(),
        put_off: PutOffs::default(),
    });
    CURRENT.set(Some(reactor.clone()));
    let _leave = Leave;
    let result = Rc::new(RefCell::new(None));
    let slot = result.clone();
    spawn(async move { *slot.borrow_mut() = Some(main.await) }).detach();
    loop {
        queue.run(TASKS_A_TURN);
        if let Some(value) = result.borrow_mut().take() {
            return Ok(value);
        }
        reactor.turn()?;
    }
}

/// Ends the reactor of this thread, its tasks first: they may still reach it while they are dropped.
struct Leave;

impl Drop for Leave {
    fn drop(&mut self) {
        if let Some(reactor) = CURRENT.with_borrow(Clone::clone) {
            reactor.queue.clear();
        }
        CURRENT.set(None);
    }
}

impl Reactor {
    /// Waits for readiness or time, and wakes who waited for it.
    fn turn(&self) -> stdio::Result<()> {
        self.put_off.run();
        let observer = self.observer.borrow().clone();
        let timeout = if self.queue.is_empty() {
            let next = self.timers.borrow().next();
            next.map(|at| at.saturating_duration_since(Instant::now()))
        } else {
            Some(Duration::ZERO)
        };
        let sleeps = timeout != Some(Duration::ZERO);
        if let Some(observer) = &observer {
            observer.before_wait(self.now.get(), sleeps);
        }
        self.queue.before_wait();
        let timeout = if self.queue.is_empty() { timeout } else { Some(Duration::ZERO) };
        let waited = self.poller.wait(timeout);
        self.queue.after_wait();
        let now = Instant::now();
        self.now.set(now);
        if let Some(observer) = &observer {
            observer.after_wait(now);
        }
        waited?;
        let due = self.timers.borrow_mut().due(now);
        for waker in due {
            waker.wake();
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
