use super::*;
use crate::link::locks::config::Limits;
use crate::link::locks::{Act, Ask, Name, Said, Table};
use std::collections::BTreeMap;
use std::sync::atomic::AtomicUsize;
use std::sync::{Arc, Mutex};
use std::thread;

const NAMES: [&[u8]; 4] = [b"a", b"b", b"c", b"d"];
/// How often each thing must have happened.
const ENOUGH: usize = 10_000;

/// What three at once must not contradict.
#[derive(Default)]
struct Witness {
    held: [AtomicU64; NAMES.len()],
    tokens: [AtomicU64; NAMES.len()],
    /// Jobs, by their tokens, that workers have asked the hub to end.
    asked: Mutex<BTreeMap<u64, (Worker, usize)>>,
    taken: AtomicUsize,
    granted: AtomicUsize,
    found: AtomicUsize,
    working: AtomicUsize,
}

impl Witness {
    /// Somebody holds a name by a token, for a moment.
    fn hold(&self, name: usize, token: u64) {
        assert_eq!(self.held[name].swap(token, SeqCst), 0, "somebody else holds it");
        assert!(self.tokens[name].swap(token, SeqCst) < token, "tokens grow");
        thread::yield_now();
        self.held[name].store(0, SeqCst);
    }

    fn has_seen_enough(&self) -> bool {
        [&self.taken, &self.granted, &self.found].iter().all(|count| count.load(Relaxed) >= ENOUGH)
    }
}

/// The one party of a worker.
fn party(worker: Worker) -> PartyId {
    worker.1.unsigned_abs().into()
}

fn dice(state: &mut u64, sides: usize) -> usize {
    *state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
    (*state >> 33) as usize % sides
}

fn work(path: FastPath, worker: Worker, witness: &Witness) {
    let mut seat = Seat::new(path, worker);
    let mut state = worker.1 as u64;
    while !witness.has_seen_enough() {
        let name = dice(&mut state, NAMES.len());
        let Some((place, token)) = seat.take(party(worker), NAMES[name]) else {
            thread::yield_now();
            continue;
        };
        witness.taken.fetch_add(1, Relaxed);
        witness.hold(name, token);
        if !seat.give_back(NAMES[name], place, token) {
            witness.asked.lock().unwrap().insert(token, (worker, name));
            // The hub's answer.
            while witness.asked.lock().unwrap().contains_key(&token) {
                thread::yield_now();
            }
            seat.forget(place);
        }
    }
    witness.working.fetch_sub(1, SeqCst);
}

fn decide(path: FastPath, mut table: Table, witness: &Witness) {
    let mut state = 99;
    let mut ask = |worker, party, act| {
        table.ask(worker, Ask { seq: 1, party, act }, 0);
        table.take_tells().remove(0).1.said
    };
    while witness.working.load(SeqCst) > 0 {
        let asked = witness.asked.lock().unwrap().clone();
        for (token, (worker, name)) in asked {
            assert_eq!(ask(worker, party(worker), Act::End { name: Name::from(NAMES[name]), done: true }), Said::Ended { done: true });
            witness.found.fetch_add(1, Relaxed);
            witness.asked.lock().unwrap().remove(&token);
        }
        let name = dice(&mut state, NAMES.len());
        if let Said::Run { token } = ask((0, 0), 1, Act::Job { name: Name::from(NAMES[name]), wait: false }) {
            witness.granted.fetch_add(1, Relaxed);
            witness.hold(name, token);
            assert_eq!(ask((0, 0), 1, Act::End { name: Name::from(NAMES[name]), done: true }), Said::Ended { done: true });
        }
        thread::yield_now();
    }
    assert_eq!(path.taken().count(), 0);
}

#[test]
fn of_workers_and_hub_at_the_same_time_one_has_a_name() {
    let path = FastPath::with(Scoreboard::new(3).unwrap(), 2).unwrap();
    let witness = Arc::new(Witness { working: AtomicUsize::new(2), ..Witness::default() });
    let mut threads = Vec::new();
    for worker in [(1, 11), (2, 22)] {
        let witness = witness.clone();
        threads.push(thread::spawn(move || work(path, worker, &witness)));
    }
    let hub = witness.clone();
    threads.push(thread::spawn(move || {
        // Names are shared within their thread only.
        let mut table = Table::shared(Limits::default(), path);
        table.extend(1, u64::MAX >> 4, 0, 0);
        table.open(0);
        decide(path, table, &hub);
    }));
    for thread in threads {
        thread.join().unwrap();
    }
}

#[test]
fn a_record_is_read_as_it_was_written() {
    let path = FastPath::with(Scoreboard::new(3).unwrap(), 2).unwrap();
    let worker = (2, 4_194_303);
    let mut seat = Seat::new(path, worker);
    assert_eq!(seat.take(1, b"job"), None, "no hub has opened it");
    path.extend(5, 5 + RESERVE + 3);
    path.open(|_| false);
    assert_eq!(seat.take(1, b"job"), None, "nor said how much a party may have");
    path.limit(10);
    let party = PartyId::MAX - 5;
    for name in [&b"job"[..], &[b'x'; LONGEST_NAME]] {
        let bucket = path.bucket(name).unwrap();
        let (place, token) = seat.take(party, name).unwrap();
        assert!(seat.has(name, place) && seat.take(party, name).is_none());
        assert_eq!(path.taken().collect::<Vec<_>>(), [bucket]);
        assert_eq!(path.rule(bucket), Some(Found { worker, party, token, name: Name::from(name) }));
        assert!(!seat.has(name, place) && !seat.give_back(name, place, token));
        seat.forget(place);
        path.let_go(bucket);
    }
    assert_eq!(seat.take(party, b"job"), None, "the last tokens are the hub's");
    path.extend(0, u64::MAX >> 4);
    assert_eq!(seat.take(party, &[b'x'; LONGEST_NAME + 1]), None);
    let (place, token) = seat.take(party, b"job").unwrap();
    path.close();
    assert!(seat.take(party, b"other").is_none() && seat.give_back(b"job", place, token));
    // Of a process that has ended nothing is found, and another one in its slot is not taken for it.
    path.limit(10);
    seat.take(party, b"job").unwrap();
    path.gone((2, 4_194_302));
    assert_eq!(path.taken().count(), 1);
    path.gone(worker);
    assert_eq!(path.taken().count(), 0);
}
