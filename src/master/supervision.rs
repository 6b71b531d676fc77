//! Which workers to start, to drain and to kill: a pure function from what is to what should be.
//!
//! A worker's life:
//! ```text
//! Starting ─ready→ Serving ─to be replaced→ Retiring ─its place is taken→ Draining ─done or limit→ gone
//!                     └───────────── too many ──────────────────────────────↗
//! ```
//! A reload marks all workers of the old generation Retiring; recycling marks one. A retiring worker serves until another takes
//! its place, so capacity never falls below what is wanted, except where the cap on processes leaves no room for both.

/// Where a worker is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Forked, not ready.
    Starting,
    /// Takes connections.
    Serving,
    /// Takes connections until another one is ready to.
    Retiring,
    /// Finishes what it has.
    Draining,
}

/// A worker as far as the decision goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct View {
    /// Its scoreboard slot.
    pub slot: usize,
    /// Its phase.
    pub phase: Phase,
    /// Open connections: the emptiest goes first.
    pub connections: u64,
}

/// What to do now.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Decision {
    /// How many workers to start.
    pub start: usize,
    /// Slots of workers to drain.
    pub drain: Vec<usize>,
}

/// Compares the workers with the number wanted. `cap` bounds the processes of all phases together.
#[must_use]
pub fn decide(workers: &[View], wanted: usize, cap: usize) -> Decision {
    let count = |phase: Phase| workers.iter().filter(|w| w.phase == phase).count();
    let (starting, serving, retiring) = (count(Phase::Starting), count(Phase::Serving), count(Phase::Retiring));
    let mut decision = Decision::default();

    let missing = wanted.saturating_sub(starting + serving);
    let room = cap.saturating_sub(workers.len());
    decision.start = missing.min(room);

    // Retiring ones go as others have taken their places…
    let mut retire = (serving + retiring).saturating_sub(wanted).min(retiring);
    // …or to make room, one at a time, where the cap lets none start before one has gone.
    if retire == 0 && missing > 0 && room == 0 && retiring > 0 && count(Phase::Draining) == 0 && starting == 0 {
        retire = 1;
    }
    drain(workers, Phase::Retiring, retire, &mut decision.drain);
    // Ones that start do not count here: they may fail.
    let too_many = serving.saturating_sub(wanted);
    drain(workers, Phase::Serving, too_many, &mut decision.drain);
    decision
}

fn drain(workers: &[View], phase: Phase, count: usize, into: &mut Vec<usize>) {
    let mut candidates: Vec<&View> = workers.iter().filter(|w| w.phase == phase).collect();
    candidates.sort_by_key(|w| w.connections);
    into.extend(candidates.iter().take(count).map(|w| w.slot));
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn workers(phases: &[Phase]) -> Vec<View> {
        phases.iter().enumerate().map(|(slot, &phase)| View { slot, phase, connections: 0 }).collect()
    }

    #[test]
    fn a_reload_replaces_one_by_one_without_losing_capacity() {
        use Phase::{Draining, Retiring, Serving, Starting};
        let decision = decide(&workers(&[Retiring, Retiring]), 2, 8);
        assert_eq!((decision.start, decision.drain.len()), (2, 0), "both new ones start, nobody goes yet");
        let decision = decide(&workers(&[Retiring, Retiring, Serving, Starting]), 2, 8);
        assert_eq!((decision.start, decision.drain.len()), (0, 1));
        let decision = decide(&workers(&[Draining, Retiring, Serving, Serving]), 2, 8);
        assert_eq!((decision.start, decision.drain), (0, vec![1]));
    }

    #[test]
    fn a_full_house_drains_one_to_make_room() {
        use Phase::{Draining, Retiring};
        let decision = decide(&workers(&[Retiring, Retiring]), 2, 2);
        assert_eq!((decision.start, decision.drain.len()), (0, 1));
        let decision = decide(&workers(&[Draining, Retiring]), 2, 2);
        assert_eq!((decision.start, decision.drain.len()), (0, 0));
    }

    #[test]
    fn the_emptiest_go_first() {
        let mut views = workers(&[Phase::Serving; 3]);
        views[0].connections = 9;
        views[1].connections = 1;
        views[2].connections = 5;
        assert_eq!(decide(&views, 1, 8).drain, [1, 2]);
    }

    fn any_phase() -> impl Strategy<Value = Phase> {
        prop_oneof![Just(Phase::Starting), Just(Phase::Serving), Just(Phase::Retiring), Just(Phase::Draining)]
    }

    proptest! {
        #[test]
        fn never_over_the_cap_and_never_less_capacity_than_wanted(
            phases in proptest::collection::vec(any_phase(), 0..20), wanted in 1usize..10, cap in 1usize..20,
        ) {
            let views = workers(&phases);
            let decision = decide(&views, wanted, cap);
            prop_assert!(decision.start == 0 || views.len() + decision.start <= cap);
            let mut drained = decision.drain.clone();
            drained.sort_unstable();
            drained.dedup();
            prop_assert_eq!(drained.len(), decision.drain.len(), "nobody is drained twice");
            let capacity = |views: &[View]| views.iter().filter(|v| matches!(v.phase, Phase::Serving | Phase::Retiring)).count();
            let left = capacity(&views) - decision.drain.len();
            if views.len() < cap {
                prop_assert!(left >= wanted.min(capacity(&views)));
            }
        }

        #[test]
        fn whatever_happens_it_settles_on_the_number_wanted(
            phases in proptest::collection::vec(any_phase(), 0..12), wanted in 1usize..6, extra in 0usize..6,
        ) {
            let cap = wanted + extra;
            let mut views = workers(&phases);
            let mut next = views.len();
            for _ in 0..60 {
                let decision = decide(&views, wanted, cap);
                for view in &mut views {
                    if decision.drain.contains(&view.slot) {
                        view.phase = Phase::Draining;
                    }
                }
                // The world moves on: one that drains ends, one that starts becomes ready.
                if let Some(at) = views.iter().position(|v| v.phase == Phase::Draining) {
                    views.remove(at);
                }
                if let Some(view) = views.iter_mut().find(|v| v.phase == Phase::Starting) {
                    view.phase = Phase::Serving;
                }
                for _ in 0..decision.start {
                    views.push(View { slot: next, phase: Phase::Starting, connections: 0 });
                    next += 1;
                }
            }
            prop_assert!(views.iter().all(|v| v.phase == Phase::Serving) && views.len() == wanted, "{:?}", views);
        }
    }
}
