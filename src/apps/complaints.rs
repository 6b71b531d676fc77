//! Keeps what is said often from filling the log.

use std::cell::Cell;
use std::fmt;
use std::time::{Duration, Instant};

use crate::reactor;

/// The shortest time between two lines.
const PAUSE: Duration = Duration::from_secs(1);

/// One thing that the log is told at most once a second.
#[derive(Debug, Default)]
pub(super) struct Complaints {
    last: Cell<Option<Instant>>,
    held: Cell<u32>,
}

/// How often the same was not said since the last line; nothing is shown for never.
pub(super) struct Held(u32);

impl Complaints {
    /// Calls `say`, unless it was called just now.
    pub(super) fn tell(&self, say: impl FnOnce(Held)) {
        let now = reactor::now();
        if self.last.get().is_some_and(|last| now < last + PAUSE) {
            self.held.set(self.held.get().saturating_add(1));
            return;
        }
        self.last.set(Some(now));
        say(Held(self.held.replace(0)));
    }
}

impl fmt::Display for Held {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            0 => Ok(()),
            held => write!(f, " (and {held} more since the last line)"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_said_at_once_is_one_line_and_counted_in_the_next() {
        reactor::run(async {
            let complaints = Complaints::default();
            let lines = std::cell::RefCell::new(Vec::new());
            let complain = || complaints.tell(|held| lines.borrow_mut().push(format!("no{held}")));
            (0..3).for_each(|_| complain());
            assert_eq!(*lines.borrow(), ["no"]);
            complaints.last.set(complaints.last.get().and_then(|last| last.checked_sub(PAUSE)));
            complain();
            assert_eq!(*lines.borrow(), ["no", "no (and 2 more since the last line)"]);
        })
        .unwrap();
    }
}
