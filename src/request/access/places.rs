//! How many passwords are checked at the same time.

use std::cell::Cell;

use async_channel::{Receiver, Sender, bounded};

/// Checks at the same time: each takes a processor, and memory of its own (19 MiB with the usual parameters).
const AT_ONCE: usize = 2;
/// Checks that may wait for their turn.
const MOST_WAITING: usize = 64;

/// The places in which passwords are checked: what is in the channel is taken.
pub(super) struct Places {
    take: Sender<()>,
    free: Receiver<()>,
    waiting: Cell<usize>,
}

/// A place, given back when it is dropped, by whichever thread.
pub(super) struct Taken(Receiver<()>);

impl Drop for Taken {
    fn drop(&mut self) {
        // There is at least one in it, which is this one.
        let _ = self.0.try_recv();
    }
}

impl Places {
    pub(super) fn new() -> Self {
        let (take, free) = bounded(AT_ONCE);
        Self { take, free, waiting: Cell::new(0) }
    }

    /// Waits for a place; `None` when too many wait already.
    pub(super) async fn take(&self) -> Option<Taken> {
        if self.take.try_send(()).is_err() {
            if self.waiting.get() >= MOST_WAITING {
                return None;
            }
            self.waiting.set(self.waiting.get() + 1);
            let _waiting = Waiting(&self.waiting);
            // The other end is in `self`, so it is open.
            self.take.send(()).await.ok()?;
        }
        Some(Taken(self.free.clone()))
    }
}

struct Waiting<'a>(&'a Cell<usize>);

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.set(self.0.get() - 1);
    }
}
