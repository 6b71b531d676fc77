//! What is done at the end of a turn, for many tasks in one go.
//!
//! Answers that were made one after the other leave one after the other: the processor finds the kernel's way of sending in its caches, and the
//! reader on the other side is awake when the second comes (measured on loopback with 64 connections: 3 % of the CPU time of a request).

use std::cell::RefCell;
use std::rc::Weak;

use super::current;

/// Something that can be done at the end of a turn.
pub trait PutOff {
    /// Does it. Must neither wait nor take long.
    fn run(&self);
}

/// What is put off in this turn.
#[derive(Default)]
pub(super) struct PutOffs(RefCell<Vec<Weak<dyn PutOff>>>);

impl PutOffs {
    pub(super) fn run(&self) {
        if self.0.borrow().is_empty() {
            return;
        }
        let mut put_off = self.0.take();
        for what in put_off.drain(..) {
            if let Some(what) = what.upgrade() {
                what.run();
            }
        }
        // Its memory serves the next turn, unless something was put off meanwhile.
        let mut place = self.0.borrow_mut();
        if place.is_empty() {
            *place = put_off;
        }
    }
}

/// Does `what` at the end of this turn if it is still there then: before the loop waits, and before anything that may take long
/// ([`do_put_off`]).
///
/// # Panics
/// Outside a reactor's thread.
pub fn put_off(what: Weak<dyn PutOff>) {
    current(|reactor| reactor.put_off.0.borrow_mut().push(what));
}

/// Does now what is put off: for who is about to do something that may take a while.
///
/// # Panics
/// Outside a reactor's thread.
pub fn do_put_off() {
    let reactor = current(std::rc::Rc::clone);
    reactor.put_off.run();
}
