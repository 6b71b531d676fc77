//! Writes what waits, for all connections of the thread.
//!
//! A message that is queued does not leave at once: the connection is noted, and a task that runs behind those that are ready now writes
//! everything that has come together for it meanwhile. A burst thus costs each connection one write.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use super::session::Session;
use crate::reactor;
use crate::sys::prefetch;

/// Connections written to before other tasks have their turn.
const A_TURN: usize = 128;

#[derive(Default)]
struct Flusher {
    /// Something was queued for them.
    noted: RefCell<Vec<Rc<Session>>>,
    /// The peer takes nothing for now.
    blocked: RefCell<Vec<Rc<Session>>>,
    waker: RefCell<Option<Waker>>,
    runs: Cell<bool>,
}

thread_local! {
    static FLUSHER: Flusher = Flusher::default();
}

/// Forgets everything when the reactor ends, so that another one on this thread begins afresh.
struct Ending;

impl Drop for Ending {
    fn drop(&mut self) {
        // After the thread's end there is nothing to forget.
        let _ = FLUSHER.try_with(|flusher| {
            flusher.runs.set(false);
            flusher.waker.take();
            let gone = (flusher.noted.take(), flusher.blocked.take());
            drop(gone);
        });
    }
}

/// Has the connection's output written soon. Called once for as long as it is noted.
pub(super) fn note(session: Rc<Session>) {
    FLUSHER.with(|flusher| {
        flusher.noted.borrow_mut().push(session);
        wake(flusher);
    });
}

/// Lets the task look at blocked connections: one of them has ended.
pub(super) fn look() {
    FLUSHER.with(|flusher| {
        if flusher.runs.get() {
            wake(flusher);
        }
    });
}

fn wake(flusher: &Flusher) {
    if !flusher.runs.replace(true) {
        let ending = Ending;
        reactor::spawn(async move {
            let _ending = ending;
            poll_fn(poll).await;
        })
        .detach();
    } else if let Some(waker) = flusher.waker.take() {
        waker.wake();
    }
}

/// Never ready: the task lives as long as the reactor.
fn poll(cx: &mut Context<'_>) -> Poll<()> {
    FLUSHER.with(|flusher| {
        let mut waiting = flusher.blocked.take();
        waiting.retain(|session| session.poll_flush(cx).is_pending());
        let mut noted = flusher.noted.take();
        let later = noted.split_off(noted.len().min(A_TURN));
        for (at, session) in noted.iter().enumerate() {
            prefetch(&noted[at + 1..]);
            session.unnote();
            if session.poll_flush(cx).is_pending() {
                waiting.push(session.clone());
            }
        }
        // Flushing may have noted others, behind those that still wait for their turn.
        let more = flusher.noted.replace(later);
        flusher.noted.borrow_mut().extend(more);
        flusher.blocked.borrow_mut().extend(waiting);
        if flusher.noted.borrow().is_empty() {
            flusher.waker.replace(Some(cx.waker().clone()));
        } else {
            cx.waker().wake_by_ref();
        }
    });
    Poll::Pending
}

/// A write takes so much of the processor's caches that nothing of the sessions is left there: those that come later are loaded meanwhile, then what
/// they point to.
fn prefetch(behind: &[Rc<Session>]) {
    if let Some(later) = behind.get(5) {
        prefetch::value(Rc::as_ptr(later));
    }
    if let Some(soon) = behind.get(2) {
        soon.prefetch();
    }
}
