//! Entries in the order in which they leave. One alone, which is what a connection mostly has, needs no memory of its own.

use std::collections::VecDeque;

/// Empty, one, or many.
#[derive(Default)]
pub(super) enum Queue<T> {
    #[default]
    Empty,
    One(T),
    Many(VecDeque<T>),
}

impl<T> Queue<T> {
    pub(super) fn len(&self) -> usize {
        match self {
            Self::Empty => 0,
            Self::One(_) => 1,
            Self::Many(all) => all.len(),
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        matches!(self, Self::Empty)
    }

    pub(super) fn get(&self, at: usize) -> Option<&T> {
        match self {
            Self::One(one) if at == 0 => Some(one),
            Self::Many(all) => all.get(at),
            _ => None,
        }
    }

    pub(super) fn get_mut(&mut self, at: usize) -> Option<&mut T> {
        match self {
            Self::One(one) if at == 0 => Some(one),
            Self::Many(all) => all.get_mut(at),
            _ => None,
        }
    }

    pub(super) fn push_back(&mut self, entry: T) {
        *self = match std::mem::take(self) {
            Self::Empty => Self::One(entry),
            Self::One(first) => Self::Many(VecDeque::from([first, entry])),
            Self::Many(mut all) => {
                all.push_back(entry);
                Self::Many(all)
            }
        };
    }

    pub(super) fn pop_front(&mut self) -> Option<T> {
        self.remove(0)
    }

    pub(super) fn remove(&mut self, at: usize) -> Option<T> {
        match self {
            Self::One(_) if at == 0 => match std::mem::take(self) {
                Self::One(one) => Some(one),
                _ => None,
            },
            Self::Many(all) => {
                let removed = all.remove(at);
                if all.is_empty() {
                    *self = Self::Empty;
                }
                removed
            }
            _ => None,
        }
    }

    pub(super) fn truncate(&mut self, length: usize) {
        match self {
            Self::Many(all) if length > 0 => all.truncate(length),
            Self::One(_) if length > 0 => {}
            _ => *self = Self::Empty,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// What can be done to one.
    #[derive(Clone, Debug)]
    enum Step {
        Push,
        Pop,
        Remove(usize),
        Truncate(usize),
        Change(usize),
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            4 => Just(Step::Push),
            2 => Just(Step::Pop),
            1 => (0_usize..5).prop_map(Step::Remove),
            1 => (0_usize..4).prop_map(Step::Truncate),
            1 => (0_usize..5).prop_map(Step::Change),
        ]
    }

    proptest! {
        #[test]
        fn it_does_what_a_deque_does(steps in prop::collection::vec(step(), 0..40)) {
            let (mut ours, mut model) = (Queue::default(), VecDeque::new());
            for (number, step) in steps.into_iter().enumerate() {
                match step {
                    Step::Push => {
                        ours.push_back(number);
                        model.push_back(number);
                    }
                    Step::Pop => prop_assert_eq!(ours.pop_front(), model.pop_front()),
                    Step::Remove(at) => prop_assert_eq!(ours.remove(at), model.remove(at)),
                    Step::Truncate(length) => {
                        ours.truncate(length);
                        model.truncate(length);
                    }
                    Step::Change(at) => {
                        if let Some(place) = ours.get_mut(at) {
                            *place = number + 1000;
                        }
                        if let Some(place) = model.get_mut(at) {
                            *place = number + 1000;
                        }
                    }
                }
                prop_assert_eq!((ours.len(), ours.is_empty()), (model.len(), model.is_empty()));
                prop_assert!((0..6).all(|at| ours.get(at) == model.get(at)));
            }
        }
    }
}
