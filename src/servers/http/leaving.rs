//! Connections that are told when the worker goes.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use slab::Slab;

/// Tells its members that it is time to go.
#[derive(Clone, Default)]
pub(super) struct Leaving(Rc<Inner>);

#[derive(Default)]
struct Inner {
    told: Cell<bool>,
    members: RefCell<Slab<Option<Waker>>>,
}

/// One that is told.
pub(super) struct Member {
    leaving: Leaving,
    key: usize,
}

impl Leaving {
    /// Another member.
    pub(super) fn member(&self) -> Member {
        Member { leaving: self.clone(), key: self.0.members.borrow_mut().insert(None) }
    }

    /// Tells all members, and those to come.
    pub(super) fn tell(&self) {
        self.0.told.set(true);
        let wakers: Vec<_> = self.0.members.borrow_mut().iter_mut().filter_map(|(_, waker)| waker.take()).collect();
        wakers.into_iter().for_each(Waker::wake);
    }
}

impl Member {
    /// Ready once it is time to go.
    pub(super) fn poll(&self, cx: &Context<'_>) -> Poll<()> {
        if self.leaving.0.told.get() {
            return Poll::Ready(());
        }
        if let Some(waker) = self.leaving.0.members.borrow_mut().get_mut(self.key) {
            *waker = Some(cx.waker().clone());
        }
        Poll::Pending
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        self.leaving.0.members.borrow_mut().try_remove(self.key);
    }
}
