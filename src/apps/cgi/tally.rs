//! What `skep status` tells of the programs of a directory.

use std::cell::Cell;
use std::rc::Rc;

use crate::scoreboard::ShownUpstream;

/// Those of one application, in this worker.
pub(super) struct Tally {
    shown: ShownUpstream,
    active: Cell<usize>,
}

/// A program at work, until this is dropped.
pub(super) struct Counted(Rc<Tally>);

impl Tally {
    /// The programs of `root`.
    pub(super) fn new(app: &str, root: &str) -> Rc<Self> {
        Rc::new(Self { shown: ShownUpstream::new(app, root, false), active: Cell::new(0) })
    }

    /// A program is started.
    pub(super) fn count(self: &Rc<Self>) -> Counted {
        self.shown.add_request();
        self.set_active(self.active.get() + 1);
        Counted(self.clone())
    }

    fn set_active(&self, count: usize) {
        self.active.set(count);
        self.shown.set_active(count);
    }
}

impl Counted {
    /// It could not be started, or was ended before it was through.
    pub(super) fn failed(&self) {
        self.0.shown.add_failure();
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.set_active(self.0.active.get() - 1);
    }
}
