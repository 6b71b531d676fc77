//! Tasks and the queue of those that are ready.
//!
//! A task woken on the reactor's own thread goes straight into a plain queue; one woken from another thread goes through a locked
//! one and an event descriptor, so the common case costs no atomic instruction beyond the task's own.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use async_task::Runnable;
use slab::Slab;

use super::current;
use super::guarded::Guarded;
use super::poller::Notifier;

/// A number for each queue, so that a waker knows whether it runs on the thread of its queue.
static NEXT_QUEUE: AtomicU64 = AtomicU64::new(1);

thread_local! {
    /// The number of the queue that this thread runs; 0 when it runs none.
    static HERE: Cell<u64> = const { Cell::new(0) };
    static READY: RefCell<VecDeque<Runnable>> = const { RefCell::new(VecDeque::new()) };
}

/// The ready tasks of one reactor.
pub(super) struct Queue {
    remote: Arc<Remote>,
    /// A waker of every task alive: waking them all when the reactor ends is how their futures get dropped.
    alive: Rc<RefCell<Slab<std::task::Waker>>>,
}

use std::rc::Rc;

/// Where other threads put tasks that they woke.
struct Remote {
    number: u64,
    woken: Mutex<Vec<Runnable>>,
    any: AtomicBool,
    /// Set while the reactor waits in the kernel: only then is a notification needed.
    waits: AtomicBool,
    notifier: Notifier,
}

impl Remote {
    fn schedule(&self, runnable: Runnable) {
        if HERE.try_with(Cell::get) == Ok(self.number) {
            READY.with_borrow_mut(|ready| ready.push_back(runnable));
            return;
        }
        self.woken.lock().unwrap_or_else(PoisonError::into_inner).push(runnable);
        self.any.store(true, Ordering::SeqCst);
        if self.waits.load(Ordering::SeqCst) {
            self.notifier.notify();
        }
    }
}

impl Queue {
    pub(super) fn new(notifier: Notifier) -> Self {
        let number = NEXT_QUEUE.fetch_add(1, Ordering::Relaxed);
        HERE.set(number);
        let remote = Remote { number, woken: Mutex::default(), any: AtomicBool::new(false), waits: AtomicBool::new(false), notifier };
        Self { remote: Arc::new(remote), alive: Rc::default() }
    }

    /// Runs at most `budget` ready tasks.
    pub(super) fn run(&self, budget: usize) {
        self.take_remote();
        for _ in 0..budget {
            let Some(runnable) = READY.with_borrow_mut(VecDeque::pop_front) else { break };
            runnable.run();
        }
    }

    fn take_remote(&self) {
        if self.remote.any.swap(false, Ordering::SeqCst) {
            let woken = std::mem::take(&mut *self.remote.woken.lock().unwrap_or_else(PoisonError::into_inner));
            READY.with_borrow_mut(|ready| ready.extend(woken));
        }
    }

    /// Announces that the thread is about to wait, then looks once more for tasks woken elsewhere: in this order none is missed.
    pub(super) fn before_wait(&self) {
        self.remote.waits.store(true, Ordering::SeqCst);
        self.take_remote();
    }

    pub(super) fn after_wait(&self) {
        self.remote.waits.store(false, Ordering::SeqCst);
    }

    pub(super) fn is_empty(&self) -> bool {
        READY.with_borrow(VecDeque::is_empty) && !self.remote.any.load(Ordering::SeqCst)
    }

    /// Drops every task: called once, when the reactor ends. A task that spawns while it is dropped is dropped too.
    pub(super) fn clear(&self) {
        loop {
            let wakers: Vec<_> = self.alive.borrow_mut().drain().collect();
            wakers.into_iter().for_each(std::task::Waker::wake);
            self.take_remote();
            let ready = READY.take();
            if ready.is_empty() {
                break;
            }
            drop(ready);
        }
        HERE.set(0);
    }
}

/// A spawned task. Dropping the handle cancels the task at its next wake; see [`Task::detach`].
#[must_use = "a dropped task is cancelled: await it, keep it in a scope or detach it"]
pub struct Task<T>(async_task::Task<T>);

impl<T> Task<T> {
    /// Lets the task run to its end on its own.
    pub fn detach(self) {
        self.0.detach();
    }

    /// Cancels the task and waits until its future is dropped; gives the result if it had ended before.
    pub async fn cancel(self) -> Option<T> {
        self.0.cancel().await
    }

    /// Whether the task has ended.
    #[must_use]
    pub fn is_finished(&self) -> bool {
        self.0.is_finished()
    }
}

impl<T> Future for Task<T> {
    type Output = T;
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<T> {
        Pin::new(&mut self.0).poll(cx)
    }
}

/// Removes a task from the list of those alive when its future is dropped, however that comes.
struct Alive {
    list: Rc<RefCell<Slab<std::task::Waker>>>,
    key: usize,
}

impl Drop for Alive {
    fn drop(&mut self) {
        // During `clear` the list is already drained and the key gone.
        let mut list = self.list.borrow_mut();
        if list.contains(self.key) {
            list.remove(self.key);
        }
    }
}

/// Starts a task on this thread's reactor.
///
/// # Panics
/// Outside a reactor's thread.
pub fn spawn<T: 'static>(future: impl Future<Output = T> + 'static) -> Task<T> {
    current(|reactor| {
        let remote = reactor.queue.remote.clone();
        let list = reactor.queue.alive.clone();
        let key = list.borrow().vacant_key();
        let alive = Alive { list: list.clone(), key };
        let (runnable, task) = async_task::spawn_local(Guarded::new(future, alive), move |runnable| remote.schedule(runnable));
        list.borrow_mut().insert(runnable.waker());
        runnable.schedule();
        Task(task)
    })
}

/// Lets the other ready tasks run once before this one goes on.
pub async fn yield_now() {
    let mut yielded = false;
    poll_fn(|cx| {
        if std::mem::replace(&mut yielded, true) {
            return Poll::Ready(());
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}
