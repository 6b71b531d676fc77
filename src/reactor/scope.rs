//! Groups of tasks that something owns: a drain can wait for them, an end can cancel them.

use std::cell::{Cell, RefCell};
use std::future::{Future, poll_fn};
use std::rc::Rc;
use std::task::{Poll, Waker};

use slab::Slab;

use super::guarded::Guarded;
use super::tasks::{Task, spawn};

/// A set of tasks with one owner. Clones are the same scope. Dropping the last clone cancels what still runs.
#[derive(Clone, Default)]
pub struct Scope(Rc<Inner>);

#[derive(Default)]
struct Inner {
    tasks: RefCell<Slab<Option<Task<()>>>>,
    waiting: RefCell<Vec<Waker>>,
    closed: Cell<bool>,
}

/// Takes a task out of its scope when its future is dropped.
struct Member {
    scope: std::rc::Weak<Inner>,
    key: usize,
}

impl Drop for Member {
    fn drop(&mut self) {
        let Some(scope) = self.scope.upgrade() else { return };
        let removed = scope.tasks.borrow_mut().try_remove(self.key);
        if let Some(task) = removed.flatten() {
            task.detach();
        }
        if scope.tasks.borrow().is_empty() {
            scope.waiting.take().into_iter().for_each(Waker::wake);
        }
    }
}

impl Scope {
    /// An empty scope.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Starts a task in this scope. In a scope that was cancelled the future is dropped unrun.
    pub fn spawn(&self, future: impl Future<Output = ()> + 'static) {
        if self.0.closed.get() {
            return;
        }
        let key = self.0.tasks.borrow_mut().insert(None);
        let member = Member { scope: Rc::downgrade(&self.0), key };
        let task = spawn(Guarded::new(future, member));
        if let Some(slot) = self.0.tasks.borrow_mut().get_mut(key) {
            *slot = Some(task);
        }
    }

    /// Tasks that have not ended.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.tasks.borrow().len()
    }

    /// Whether every task has ended.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Waits until every task has ended, those included that start while it waits.
    pub async fn wait(&self) {
        poll_fn(|cx| {
            if self.is_empty() {
                return Poll::Ready(());
            }
            let mut waiting = self.0.waiting.borrow_mut();
            if !waiting.iter().any(|waker| waker.will_wake(cx.waker())) {
                waiting.push(cx.waker().clone());
            }
            Poll::Pending
        })
        .await;
    }

    /// Cancels every task, refuses new ones, and returns once all futures are dropped.
    pub async fn cancel(&self) {
        self.0.closed.set(true);
        let tasks: Vec<_> = self.0.tasks.borrow_mut().iter_mut().filter_map(|(_, task)| task.take()).collect();
        for task in tasks {
            task.cancel().await;
        }
        self.wait().await;
    }
}
