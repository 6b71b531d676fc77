use super::config::Limits;
use super::*;
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};

const A: Worker = (1, 10);
const B: Worker = (2, 20);

fn open_table() -> Table {
    let mut table = Table::new(Limits::default());
    table.extend(1, 1 << 20, u64::MAX, 0);
    table.open(0);
    table
}

fn name(text: &str) -> Name {
    text.as_bytes().into()
}

fn want(lease_ms: u64, wait_ms: u64) -> Want {
    Want { mode: Mode::Exclusive, lease_ms, wait_ms, lasting: false }
}

fn job(wait: bool) -> Act {
    Act::Job { name: name("j"), wait }
}

fn end(done: bool) -> Act {
    Act::End { name: name("j"), done }
}

fn take(want: Want) -> Act {
    Act::Take { name: name("l"), want }
}

/// What each party is told by one ask, in order.
fn ask(table: &mut Table, party: PartyId, act: Act, now: u64) -> Vec<(PartyId, Said)> {
    table.ask(if party < 100 { A } else { B }, Ask { seq: 0, party, act }, now);
    told(table)
}

fn told(table: &mut Table) -> Vec<(PartyId, Said)> {
    table.take_tells().into_iter().map(|(_, tell)| (tell.party, tell.said)).collect()
}

fn granted(token: u64, until_ms: u64, lease_ms: u64) -> Said {
    Said::Granted { token, until_ms, lease_ms, mode: Mode::Exclusive, lasting: false }
}

#[test]
fn waiters_of_a_job_are_told_its_outcome_and_do_not_inherit_it() {
    let mut table = open_table();
    assert_eq!(ask(&mut table, 1, job(false), 0), [(1, Said::Run { token: 1 })]);
    assert_eq!(ask(&mut table, 2, job(false), 0), [(2, Said::NotRun)]);
    assert_eq!(ask(&mut table, 3, job(true), 0), [(3, Said::Wait)]);
    assert_eq!(ask(&mut table, 101, job(true), 0), [(101, Said::Wait)]);
    assert_eq!(ask(&mut table, 2, end(true), 0), [(2, Said::NotEnded)]);
    assert_eq!(ask(&mut table, 3, end(true), 0), [(3, Said::NotEnded)]);
    let done = Said::Ended { done: true };
    assert_eq!(ask(&mut table, 1, end(true), 0), [(1, done.clone()), (3, done.clone()), (101, done)]);
    assert!(table.is_empty());
    assert_eq!(ask(&mut table, 3, job(false), 0), [(3, Said::Run { token: 2 })]);
}

#[test]
fn a_holder_that_leaves_has_failed_and_a_waiter_just_leaves() {
    let mut table = open_table();
    ask(&mut table, 1, job(false), 0);
    ask(&mut table, 2, job(true), 0);
    ask(&mut table, 101, job(true), 0);
    assert_eq!(ask(&mut table, 2, Act::Leave, 0), [(2, Said::Left)]);
    assert_eq!(ask(&mut table, 1, Act::Leave, 0), [(1, Said::Left), (101, Said::Ended { done: false })]);
    ask(&mut table, 1, job(false), 0);
    ask(&mut table, 101, job(true), 0);
    table.gone(A, 0);
    assert_eq!(told(&mut table), [(101, Said::Ended { done: false })]);
    assert!(table.is_empty());
}

#[test]
fn while_nothing_can_be_granted_nobody_is_left_without_an_answer() {
    let mut table = Table::new(Limits::default());
    table.extend(1, 1 << 20, u64::MAX, 0);
    for (party, act) in [(1, job(true)), (2, take(want(100, 0))), (3, take(want(100, 50))), (4, take(want(100, 60_000))), (5, end(true))] {
        assert_eq!(ask(&mut table, party, act, 1000), []);
    }
    let mut late = |now| {
        table.refuse_late(now);
        told(&mut table)
    };
    assert_eq!(late(1049), []);
    assert_eq!(late(1050), [(3, Said::Busy)]);
    assert_eq!(late(10_999), []);
    assert_eq!(late(11_000), [(1, Said::NotRun), (2, Said::Unavailable)]);
    table.open(12_000);
    assert_eq!(told(&mut table), [(4, granted(1, 12_100, 100)), (5, Said::NotEnded)]);
    table.refuse_late(99_000);
    assert_eq!(told(&mut table), []);
}

#[test]
fn leases_are_inherited_in_order_and_run_out() {
    let mut table = open_table();
    assert_eq!(ask(&mut table, 1, take(want(100, 0)), 0), [(1, granted(1, 100, 100))]);
    assert_eq!(ask(&mut table, 2, take(want(100, 0)), 0), [(2, Said::Busy)]);
    for party in 2..5 {
        assert!(matches!(ask(&mut table, party, take(want(100, 150)), 0)[..], [(_, Said::Queued { .. })]));
    }
    assert_eq!(ask(&mut table, 3, Act::Leave, 10), [(3, Said::Left)]);
    assert_eq!(table.next_end(), Some(101));
    table.tick(100);
    assert_eq!(told(&mut table), []);
    table.tick(101);
    assert_eq!(told(&mut table), [(1, Said::Lost), (2, granted(5, 201, 100))]);
    assert_eq!(ask(&mut table, 1, Act::Renew { name: name("l"), lease_ms: None }, 110), [(1, Said::NotHeld)]);
    assert_eq!(ask(&mut table, 2, Act::Renew { name: name("l"), lease_ms: Some(50) }, 120), [(2, Said::Renewed { until_ms: 170 })]);
    table.tick(151);
    assert_eq!(told(&mut table), [(4, Said::TimedOut)]);
    assert_eq!(ask(&mut table, 2, Act::Release { name: name("l") }, 160), [(2, Said::Released)]);
    assert!(table.is_empty());
}

#[test]
fn shared_locks_and_semaphores_admit_their_kind_and_are_fair() {
    let mut table = open_table();
    let shared = Want { mode: Mode::Shared, ..want(1000, 1000) };
    for party in 1..=3 {
        assert!(matches!(ask(&mut table, party, take(shared), 0)[0].1, Said::Granted { .. }));
    }
    assert!(matches!(ask(&mut table, 4, take(want(1000, 1000)), 0)[0].1, Said::Queued { .. }));
    assert!(matches!(ask(&mut table, 5, take(shared), 0)[0].1, Said::Queued { .. }), "it does not overtake who waits");
    for party in 1..=3 {
        let said = ask(&mut table, party, Act::Release { name: name("l") }, 1);
        assert_eq!(said.len(), if party == 3 { 2 } else { 1 }, "{said:?}");
    }
    assert_eq!(table.holders(&name("l")).iter().map(|holder| holder.0).collect::<Vec<_>>(), [4]);
    let three = Want { mode: Mode::Permits(3), ..want(1000, 0) };
    for party in 10..15 {
        table.ask(A, Ask { seq: 0, party, act: Act::Take { name: name("s"), want: three } }, 0);
    }
    let said: Vec<bool> = told(&mut table).iter().map(|(_, said)| matches!(said, Said::Granted { .. })).collect();
    assert_eq!(said, [true, true, true, false, false]);
}

#[test]
fn a_lasting_lease_outlives_its_worker_and_is_taken_up_again() {
    let mut table = open_table();
    let lasting = Want { lasting: true, ..want(1000, 0) };
    ask(&mut table, 1, take(lasting), 0);
    assert_eq!(ask(&mut table, 1, Act::Leave, 10), [(1, Said::Left)]);
    table.gone(A, 20);
    assert_eq!(ask(&mut table, 101, take(want(10, 0)), 30), [(101, Said::Busy)]);
    table.ask(B, Ask { seq: 9, party: 1, act: Act::Resume }, 40);
    let held = Hold { name: name("l"), token: 1, mode: Mode::Exclusive, until_ms: 1000, lease_ms: 1000 };
    assert_eq!(told(&mut table), [(1, Said::Holds(vec![held]))]);
    table.ask(B, Ask { seq: 10, party: 1, act: Act::Release { name: name("l") } }, 50);
    assert_eq!(told(&mut table), [(1, Said::Released)]);
    assert!(table.is_empty());
}

#[test]
fn what_an_earlier_worker_says_of_a_session_counts_no_more() {
    let mut table = open_table();
    let lasting = Want { lasting: true, ..want(1000, 1000) };
    ask(&mut table, 100, take(lasting), 0);
    let at = |table: &mut Table, worker, act| {
        table.ask(worker, Ask { seq: 1, party: 1, act }, 0);
        told(table)
    };
    table.ask(A, Ask { seq: 1, party: 1, act: Act::Take { name: name("m"), want: lasting } }, 0);
    at(&mut table, B, Act::Resume);
    at(&mut table, B, take(lasting));
    assert_eq!(at(&mut table, A, Act::Leave), [(1, Said::Left)]);
    assert_eq!(at(&mut table, A, Act::Release { name: name("m") }), [(1, Said::Moved)]);
    let said = ask(&mut table, 100, Act::Release { name: name("l") }, 1);
    assert!(matches!(said[..], [(100, Said::Released), (1, Said::Granted { .. })]), "it is still in the queue: {said:?}");
}

#[test]
fn nothing_is_granted_before_it_is_right() {
    let mut table = Table::new(Limits::default());
    assert_eq!(ask(&mut table, 1, job(false), 0), []);
    table.open(0);
    assert_eq!(told(&mut table), [], "no token is on the disk");
    table.extend(500, 501, 0, 0);
    assert_eq!(told(&mut table), [(1, Said::Run { token: 500 })]);
    assert_eq!(ask(&mut table, 2, take(want(10, 0)), 0), [], "the tokens are used up");
    table.extend(0, 600, 0, 0);
    assert_eq!(told(&mut table), [(2, granted(501, 10, 10))]);
    let lasting = Want { lasting: true, ..want(1000, 0) };
    assert_eq!(ask(&mut table, 3, Act::Take { name: name("m"), want: lasting }, 0), []);
    assert_eq!(table.wants_lasting(), Some(1000));
    table.extend(0, 0, 5000, 0);
    assert!(matches!(told(&mut table)[..], [(3, Said::Granted { token: 502, .. })]));
}

#[test]
fn of_two_claims_the_later_grant_is_right() {
    for order in [[0, 1], [1, 0]] {
        let mut table = Table::new(Limits::default());
        let claims = [
            (A, Claim { party: 1, name: name("j"), state: Claimed::Job { token: 5, ending: true } }),
            (B, Claim { party: 101, name: name("j"), state: Claimed::Job { token: 9, ending: false } }),
        ];
        for at in order {
            let (worker, claim) = claims[at].clone();
            table.claim(worker, claim);
        }
        assert_eq!(told(&mut table), [(1, Said::Ended { done: false })]);
        assert_eq!(table.holders(&name("j")), [(101, 9)]);
        table.extend(20, 30, 0, 0);
        table.open(0);
        assert_eq!(ask(&mut table, 101, end(true), 0), [(101, Said::Ended { done: true })]);
        assert!(table.is_empty());
    }
}

#[test]
fn whose_holder_is_gone_with_the_hub_is_told() {
    let mut table = Table::new(Limits::default());
    table.claim(A, Claim { party: 1, name: name("j"), state: Claimed::JobWait });
    let queued = Claimed::Queued { ticket: 7, deadline_ms: 100, want: want(50, 100) };
    table.claim(A, Claim { party: 2, name: name("l"), state: queued });
    table.extend(20, 30, 0, 0);
    table.open(10);
    assert_eq!(told(&mut table), [(1, Said::Ended { done: false }), (2, granted(20, 60, 50))]);
}

#[test]
fn everything_is_bounded() {
    let limits = Limits { names: 2, waiters: 1, each: 1, ..Limits::default() };
    let mut table = Table::new(limits);
    table.extend(1, 1000, 0, 0);
    table.open(0);
    let at = |text: &str, wait_ms| Act::Take { name: name(text), want: want(10, wait_ms) };
    assert!(matches!(ask(&mut table, 1, at("a", 0), 0)[0].1, Said::Granted { .. }));
    assert_eq!(ask(&mut table, 1, at("b", 0), 0)[0].1, Said::Limit, "one a party");
    assert!(matches!(ask(&mut table, 2, at("a", 5), 0)[0].1, Said::Queued { .. }));
    assert_eq!(ask(&mut table, 3, at("a", 5), 0)[0].1, Said::Limit, "one waiter");
    assert!(matches!(ask(&mut table, 4, at("b", 0), 0)[0].1, Said::Granted { .. }));
    assert_eq!(ask(&mut table, 5, at("c", 0), 0)[0].1, Said::Limit, "two names");
    assert_eq!(ask(&mut table, 6, at(&"x".repeat(256), 0), 0)[0].1, Said::Limit);
}

#[derive(Debug, Clone)]
enum Step {
    Job(PartyId, usize, bool),
    End(PartyId, usize, bool),
    Take(PartyId, usize, Want),
    Renew(PartyId, usize),
    Release(PartyId, usize),
    Leave(PartyId),
    Tick(u64),
    /// The worker of a party ends.
    Gone(PartyId),
    /// Another hub, told what the parties believe.
    Restart,
}

fn any_step() -> impl Strategy<Value = Step> {
    let party = || prop_oneof![1u128..5, 101u128..105];
    let mode = prop_oneof![3 => Just(Mode::Exclusive), 1 => Just(Mode::Shared), 1 => Just(Mode::Permits(2))];
    let want = (mode, 1u64..40, 0u64..40).prop_map(|(mode, lease_ms, wait_ms)| Want { mode, lease_ms, wait_ms, lasting: false });
    prop_oneof![
        4 => (party(), 0usize..3, any::<bool>()).prop_map(|(party, lock, wait)| Step::Job(party, lock, wait)),
        3 => (party(), 0usize..3, any::<bool>()).prop_map(|(party, lock, done)| Step::End(party, lock, done)),
        6 => (party(), 0usize..3, want).prop_map(|(party, lock, want)| Step::Take(party, lock, want)),
        2 => (party(), 0usize..3).prop_map(|(party, lock)| Step::Renew(party, lock)),
        3 => (party(), 0usize..3).prop_map(|(party, lock)| Step::Release(party, lock)),
        1 => party().prop_map(Step::Leave),
        3 => (1u64..30).prop_map(Step::Tick),
        1 => party().prop_map(Step::Gone),
        1 => Just(Step::Restart),
    ]
}

/// What the parties believe by what they were told, and whether that may be.
#[derive(Default)]
struct Beliefs {
    states: BTreeMap<(PartyId, Name), Claimed>,
    last_token: u64,
}

impl Beliefs {
    fn hear(&mut self, tells: Vec<(Worker, Tell)>) {
        for (_, Tell { party, name, said, .. }) in tells {
            let key = (party, name.clone());
            match said {
                Said::Run { token } => self.grant(key, Mode::Exclusive, token, Claimed::Job { token, ending: false }),
                Said::Granted { token, until_ms, lease_ms, mode, lasting } => {
                    if let Some(Claimed::Queued { ticket, .. }) = self.states.get(&key) {
                        let earlier = self.states.iter().any(|((_, other), state)| {
                            *other == name && matches!(state, Claimed::Queued { ticket: before, .. } if before < ticket)
                        });
                        assert!(!earlier, "somebody waits longer");
                    }
                    self.grant(key, mode, token, Claimed::Lease { token, mode, until_ms, lease_ms, lasting });
                }
                Said::Wait => {
                    self.states.entry(key).or_insert(Claimed::JobWait);
                }
                Said::Queued { ticket, deadline_ms, want } => {
                    assert!(self.states.insert(key, Claimed::Queued { ticket, deadline_ms, want }).is_none());
                }
                Said::Ended { .. } | Said::TimedOut | Said::Lost | Said::Released => {
                    assert!(self.states.remove(&key).is_some(), "{said:?} of nothing");
                }
                Said::Renewed { until_ms: until } => match self.states.get_mut(&key) {
                    Some(Claimed::Lease { until_ms, .. }) => *until_ms = until,
                    other => panic!("{other:?} is renewed"),
                },
                _ => {}
            }
        }
    }

    fn grant(&mut self, key: (PartyId, Name), mode: Mode, token: u64, state: Claimed) {
        assert!(token > self.last_token, "token {token} after {}", self.last_token);
        self.last_token = token;
        let holders: Vec<Mode> = self.holders(&key.1).collect();
        assert!(holders.iter().all(|other| *other == mode) && holders.len() < mode.room(), "{key:?} {mode:?} beside {holders:?}");
        self.states.insert(key, state);
    }

    fn holders(&self, name: &Name) -> impl Iterator<Item = Mode> {
        self.states.iter().filter(move |((_, other), _)| other == name).filter_map(|(_, state)| match state {
            Claimed::Job { .. } => Some(Mode::Exclusive),
            Claimed::Lease { mode, .. } => Some(*mode),
            _ => None,
        })
    }

    /// Nobody waits for what could be had, nobody holds what has run out.
    fn judge(&self, now: u64) {
        let names: BTreeSet<&Name> = self.states.keys().map(|(_, name)| name).collect();
        for name in names {
            let holders: Vec<Mode> = self.holders(name).collect();
            let of_name = || self.states.iter().filter(|((_, other), _)| other == name).map(|(_, state)| state);
            assert!(!of_name().any(|state| matches!(state, Claimed::JobWait)) || !holders.is_empty(), "the outcome was not told");
            let first = of_name()
                .filter_map(|state| match state {
                    Claimed::Queued { ticket, want, .. } => Some((ticket, want.mode)),
                    _ => None,
                })
                .min_by_key(|(ticket, _)| **ticket);
            if let Some((_, mode)) = first {
                assert!(holders.iter().any(|other| *other != mode) || holders.len() >= mode.room(), "the first waits in vain");
            }
            for state in of_name() {
                match state {
                    Claimed::Lease { until_ms, .. } => assert!(*until_ms >= now),
                    Claimed::Queued { deadline_ms, .. } => assert!(*deadline_ms >= now),
                    _ => {}
                }
            }
        }
    }

    fn forget(&mut self, gone: impl Fn(PartyId) -> bool) {
        self.states.retain(|(party, _), _| !gone(*party));
    }
}

fn worker(party: PartyId) -> Worker {
    if party < 100 { A } else { B }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]
    #[test]
    fn what_parties_believe_is_always_consistent(steps in prop::collection::vec(any_step(), 1..120)) {
        let mut table = open_table();
        let mut beliefs = Beliefs::default();
        let (mut now, mut seq) = (0, 0);
        let names = [name("a"), name("b"), name("c")];
        for step in steps {
            let mut say = |table: &mut Table, party: PartyId, act: Act| {
                seq += 1;
                table.ask(worker(party), Ask { seq, party, act }, now);
                let tells = table.take_tells();
                let answers = tells.iter().filter(|(_, tell)| tell.answers == Some(seq)).count();
                assert_eq!(answers, 1, "every ask has one answer");
                tells
            };
            let tells = match step {
                Step::Job(party, lock, wait) => say(&mut table, party, Act::Job { name: names[lock].clone(), wait }),
                Step::End(party, lock, done) => say(&mut table, party, Act::End { name: names[lock].clone(), done }),
                Step::Take(party, lock, want) => say(&mut table, party, Act::Take { name: names[lock].clone(), want }),
                Step::Renew(party, lock) => say(&mut table, party, Act::Renew { name: names[lock].clone(), lease_ms: None }),
                Step::Release(party, lock) => say(&mut table, party, Act::Release { name: names[lock].clone() }),
                Step::Leave(party) => {
                    beliefs.forget(|other| other == party);
                    say(&mut table, party, Act::Leave)
                }
                Step::Tick(by) => {
                    now += by;
                    table.tick(now);
                    table.take_tells()
                }
                Step::Gone(party) => {
                    beliefs.forget(|other| worker(other) == worker(party));
                    table.gone(worker(party), now);
                    table.take_tells()
                }
                Step::Restart => {
                    table = Table::new(Limits::default());
                    for ((party, name), state) in &beliefs.states {
                        table.claim(worker(*party), Claim { party: *party, name: name.clone(), state: *state });
                    }
                    table.extend(beliefs.last_token + 1000, 1 << 30, u64::MAX, now);
                    table.open(now);
                    table.tick(now);
                    table.take_tells()
                }
            };
            beliefs.hear(tells);
            beliefs.judge(now);
        }
        now += 1000;
        table.tick(now);
        beliefs.hear(table.take_tells());
        for (party, _) in beliefs.states.clone().into_keys() {
            beliefs.forget(|other| other == party);
            table.ask(worker(party), Ask { seq: 0, party, act: Act::Leave }, now);
            beliefs.hear(table.take_tells());
        }
        prop_assert!(table.is_empty());
    }
}
