//! Where this worker stands among the others: the connections of each are in the scoreboard.

use std::sync::atomic::Ordering::Relaxed;

use crate::scoreboard::{Scoreboard, State};

/// The workers that share the listeners.
#[derive(Clone, Copy)]
pub(super) struct Crew {
    board: Scoreboard,
    slot: usize,
}

impl Crew {
    pub(super) fn new(board: Scoreboard, slot: usize) -> Self {
        Self { board, slot }
    }

    /// Whether this worker has clearly more connections than the one that has fewest: by more than an eighth and one.
    pub(super) fn is_loaded(self) -> bool {
        let ours = self.board.slot(self.slot).connections().load(Relaxed);
        let serves = |state| matches!(state, State::Idle | State::Busy);
        let fewest = self.board.workers().filter(|(_, slot)| serves(slot.state())).map(|(_, slot)| slot.connections().load(Relaxed)).min();
        fewest.is_some_and(|fewest| ours > fewest + fewest / 8 + 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scoreboard::Role;

    #[test]
    fn only_who_has_clearly_more_steps_back() {
        let board = Scoreboard::new(4).unwrap();
        let set = |slot: usize, state, connections| {
            board.slot(slot).claim(Role::Worker, 1);
            board.slot(slot).set_state(state);
            board.slot(slot).connections().store(connections, Relaxed);
        };
        set(0, State::Idle, 101);
        set(1, State::Busy, 100);
        set(2, State::Shutdown, 1);
        assert!(!Crew::new(board, 0).is_loaded(), "one that ends does not count");
        board.slot(0).connections().store(114, Relaxed);
        assert!(Crew::new(board, 0).is_loaded());
        assert!(!Crew::new(board, 1).is_loaded());
        board.slot(1).connections().store(0, Relaxed);
        board.slot(0).connections().store(1, Relaxed);
        assert!(!Crew::new(board, 0).is_loaded());
    }
}
