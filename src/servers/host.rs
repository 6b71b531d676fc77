//! A server as its exchanges know it: where they are counted, under what name, and whether it takes new ones.

use std::cell::Cell;
use std::rc::Rc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Instant;

use crate::request::RequestId;
use crate::scoreboard::{Label, Slot, State, add, subtract};

pub(in crate::servers) struct Host {
    pub(in crate::servers) slot: Slot,
    /// The server's name in reports.
    pub(in crate::servers) label: Label,
    pub(in crate::servers) ids: Rc<RequestIds>,
    /// Since when nothing new is taken.
    pub(in crate::servers) draining: Cell<Option<Instant>>,
}

impl Host {
    pub(in crate::servers) fn new(name: &str, slot: Slot, ids: Rc<RequestIds>) -> Self {
        Self { slot, label: slot.label(name), ids, draining: Cell::new(None) }
    }

    /// An exchange begins.
    pub(super) fn enter(&self) {
        add(self.slot.active(), 1);
        self.slot.set_state(State::Busy);
    }

    /// An exchange has ended.
    pub(super) fn leave(&self) {
        subtract(self.slot.active(), 1);
        if self.slot.active().load(Relaxed) == 0 {
            self.slot.set_state(if self.draining.get().is_some() { State::Shutdown } else { State::Idle });
        }
    }
}

/// Numbers the requests of one process: slot and process in the high bits, so that no two processes give the same.
pub struct RequestIds {
    next: Cell<u64>,
}

impl RequestIds {
    /// Numbers of the process in this slot.
    #[must_use]
    pub fn new(slot: usize, pid: u32) -> Self {
        let process = (slot as u64 & 0xff) << 40 | (u64::from(pid) & 0xffff) << 24;
        Self { next: Cell::new(process) }
    }

    /// The next number.
    pub fn next(&self) -> RequestId {
        let id = self.next.get();
        self.next.set(id & !0xff_ffff | (id + 1) & 0xff_ffff);
        RequestId(id)
    }
}
