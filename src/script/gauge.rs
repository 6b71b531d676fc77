//! Counting what an application holds.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::rc::Rc;

/// How many of a thing an application holds, and how many it may.
pub struct Gauge {
    what: &'static str,
    used: Cell<usize>,
    limit: usize,
    /// Each gives one back that is held but not in use, and says whether there was one.
    spare: RefCell<Vec<Box<dyn Fn() -> bool>>>,
}

impl fmt::Debug for Gauge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{} {}", self.used.get(), self.limit, self.what)
    }
}

/// An application has as many of a thing as it may.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Exhausted {
    what: &'static str,
    limit: usize,
}

impl fmt::Display for Exhausted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.limit {
            0 => write!(f, "this application may have no {}", self.what),
            limit => write!(f, "this application has its {limit} {} already", self.what),
        }
    }
}

impl std::error::Error for Exhausted {}

impl Gauge {
    /// Nothing held. `what` is the plural for messages.
    #[must_use]
    pub fn new(what: &'static str, limit: usize) -> Rc<Gauge> {
        Rc::new(Gauge { what, used: Cell::new(0), limit, spare: RefCell::default() })
    }

    /// Says who may give one back when the limit is reached: `release` drops what is held but not in use, and says whether there was any.
    pub fn on_full(&self, release: impl Fn() -> bool + 'static) {
        self.spare.borrow_mut().push(Box::new(release));
    }

    /// Takes one; dropping the permit gives it back. At the limit what is held for later use makes room.
    ///
    /// # Errors
    /// When the limit is reached.
    pub fn take(self: &Rc<Gauge>) -> Result<Permit, Exhausted> {
        if self.used.get() >= self.limit {
            let _ = self.spare.borrow().iter().any(|release| release());
        }
        if self.used.get() >= self.limit {
            return Err(Exhausted { what: self.what, limit: self.limit });
        }
        self.used.set(self.used.get() + 1);
        Ok(Permit(self.clone()))
    }

    /// How many are held.
    #[must_use]
    pub fn used(&self) -> usize {
        self.used.get()
    }
}

/// One of what a gauge counts.
#[derive(Debug)]
pub struct Permit(Rc<Gauge>);

impl Drop for Permit {
    fn drop(&mut self) {
        self.0.used.set(self.0.used.get() - 1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn permits_are_given_back() {
        let gauge = Gauge::new("sockets", 2);
        let one = gauge.take().expect("the first");
        let _two = gauge.take().expect("the second");
        assert_eq!(gauge.take().expect_err("no third").to_string(), "this application has its 2 sockets already");
        drop(one);
        assert_eq!(gauge.used(), 1);
        gauge.take().expect("room again");
        let spare = Rc::new(RefCell::new(vec![gauge.take().expect("kept for later")]));
        gauge.on_full(move || spare.borrow_mut().pop().is_some());
        let _third = gauge.take().expect("what was kept makes room");
        gauge.take().expect_err("nothing is kept any more");
        assert_eq!(Gauge::new("child processes", 0).take().expect_err("none").to_string(), "this application may have no child processes");
    }
}
