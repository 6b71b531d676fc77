//! What ends with the handler, task or timer that made it.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::Weak;

/// Something that a call of a script has and must not have after its end.
pub(super) trait Bound {
    /// The call has ended.
    fn end(&self);
}

thread_local! {
    static NEXT: Cell<u64> = const { Cell::new(1) };
    /// The call that runs; 0 is none, as while an application loads.
    static CURRENT: Cell<u64> = const { Cell::new(0) };
    static BOUND: RefCell<HashMap<u64, Vec<Weak<dyn Bound>>>> = RefCell::default();
}

/// The time of one call. It ends when this is dropped.
pub(super) struct Lifetime(u64);

/// While it lives, that call runs.
pub(super) struct Running(u64);

impl Lifetime {
    pub(super) fn new() -> Self {
        NEXT.with(|next| {
            let number = next.get();
            next.set(number + 1);
            Self(number)
        })
    }

    pub(super) fn enter(&self) -> Running {
        Running(CURRENT.replace(self.0))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        CURRENT.set(self.0);
    }
}

impl Drop for Lifetime {
    fn drop(&mut self) {
        // Thread-locals may be gone already when a thread ends.
        let bound = BOUND.try_with(|bound| {
            let mut bound = bound.borrow_mut();
            if bound.is_empty() { None } else { bound.remove(&self.0) }
        });
        for thing in bound.ok().flatten().unwrap_or_default() {
            if let Some(thing) = thing.upgrade() {
                thing.end();
            }
        }
    }
}

/// Ends `thing` with the call that runs now; without one it lives as long as its application has it.
pub(super) fn bind(thing: Weak<dyn Bound>) {
    let current = CURRENT.get();
    if current != 0 {
        BOUND.with_borrow_mut(|bound| {
            let things = bound.entry(current).or_default();
            // A handler that makes many one after the other keeps only those that are still there.
            if things.len() >= 16 && things.len().is_power_of_two() {
                things.retain(|thing| thing.strong_count() > 0);
            }
            things.push(thing);
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::rc::Rc;

    #[derive(Default)]
    struct Thing(Cell<u32>);

    impl Bound for Thing {
        fn end(&self) {
            self.0.set(self.0.get() + 1);
        }
    }

    #[test]
    fn things_end_with_their_call() {
        let (first, second, third) = (Rc::new(Thing::default()), Rc::new(Thing::default()), Rc::new(Thing::default()));
        let weak = |thing: &Rc<Thing>| -> Weak<dyn Bound> { Rc::<Thing>::downgrade(thing) };
        let (outer, inner) = (Lifetime::new(), Lifetime::new());
        {
            let _outer = outer.enter();
            {
                let _inner = inner.enter();
                bind(weak(&first));
            }
            bind(weak(&second));
        }
        bind(weak(&third));
        let ended = || [&first, &second, &third].map(|thing| thing.0.get());
        assert_eq!(ended(), [0, 0, 0]);
        drop(inner);
        assert_eq!(ended(), [1, 0, 0]);
        drop(outer);
        assert_eq!(ended(), [1, 1, 0]);
        assert!(BOUND.with_borrow(HashMap::is_empty));
    }
}
