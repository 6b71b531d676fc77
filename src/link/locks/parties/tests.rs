//! Two workers and a hub, with everything between them under way for as long as the test likes, and any of them ending at any time.

use std::collections::HashMap;

use proptest::prelude::*;

use super::super::message::{Mode, Want};
use super::*;
use crate::link::locks::Worker;
use crate::scoreboard::{Role, Scoreboard};

/// Parties of one worker.
const PARTIES: usize = 3;
const NAMES: [&str; 4] =
    ["a", "b", "c", "a name that is longer than those that have room where all processes see them, so that it always goes to the hub"];

type Who = (usize, usize);

/// What the clients believe, and whether that may be.
#[derive(Default)]
struct World {
    now: Cell<u64>,
    states: RefCell<HashMap<(Who, usize), State>>,
    asks: RefCell<HashMap<Who, bool>>,
    last_token: RefCell<HashMap<usize, u64>>,
    at_once: Cell<usize>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Job,
    Lease(u64),
    Waits,
}

impl World {
    fn holds(&self, state: State) -> bool {
        match state {
            State::Job => true,
            State::Lease(until) => until >= self.now.get(),
            State::Waits => false,
        }
    }

    fn grant(&self, who: Who, name: usize, token: u64, state: State) {
        let mut states = self.states.borrow_mut();
        // A lease that has run out before it was heard of is none.
        if self.holds(state) {
            let other = states.iter().find(|((_, other), state)| *other == name && self.holds(**state));
            assert!(other.is_none(), "{who:?} is given {} beside {other:?}", NAMES[name]);
            let before = self.last_token.borrow_mut().insert(name, token).unwrap_or(0);
            assert!(token > before, "token {token} after {before}");
        }
        states.insert((who, name), state);
    }
}

struct Ear(Rc<World>, Who);

impl Hearer for Ear {
    fn hear(&self, tell: &Tell) {
        let Ear(world, who) = self;
        if tell.answers.is_some() {
            world.asks.borrow_mut().remove(who);
        }
        let Some(name) = NAMES.iter().position(|name| name.as_bytes() == &*tell.name) else { return };
        match &tell.said {
            Said::Run { token } => world.grant(*who, name, *token, State::Job),
            Said::Granted { token, until_ms, .. } => world.grant(*who, name, *token, State::Lease(*until_ms)),
            Said::Wait | Said::Queued { .. } => {
                world.states.borrow_mut().entry((*who, name)).or_insert(State::Waits);
            }
            Said::Ended { .. } | Said::TimedOut | Said::Lost | Said::Released => {
                world.states.borrow_mut().remove(&(*who, name));
            }
            _ => {}
        }
    }
}

struct Process {
    worker: Worker,
    parties: Rc<Parties>,
    handles: Vec<PartyHandle>,
    /// What the hub has said and it has not read yet.
    inbox: VecDeque<Told>,
    /// The hub has been told its claims.
    greeted: bool,
}

/// All of it.
struct Machine {
    world: Rc<World>,
    board: Scoreboard,
    fast_path: FastPath,
    processes: Vec<Process>,
    hub: Option<Table>,
    /// Ends of workers that the hub has not heard of.
    ended: Vec<Worker>,
    pids: i32,
    blocks: u64,
}

impl Machine {
    fn new() -> Self {
        let board = Scoreboard::new(3).unwrap();
        let fast_path = FastPath::with(board, 2).unwrap();
        let mut machine =
            Self { world: Rc::default(), board, fast_path, processes: Vec::new(), hub: None, ended: Vec::new(), pids: 100, blocks: 0 };
        for number in 0..2 {
            let process = machine.fork(number);
            machine.processes.push(process);
        }
        machine.start_hub();
        machine
    }

    fn fork(&mut self, number: usize) -> Process {
        self.pids += 1;
        let worker = (number + 1, self.pids);
        self.board.slot(worker.0).claim(Role::Worker, 1);
        let parties = Parties::new();
        parties.seat.replace(Some(Seat::new(self.fast_path, worker)));
        let handles = (0..PARTIES).map(|party| parties.enter_new(Rc::new(Ear(self.world.clone(), (number, party))))).collect();
        // It is connected before it has any clients.
        Process { worker, parties, handles, inbox: VecDeque::new(), greeted: self.hub.is_some() }
    }

    fn start_hub(&mut self) {
        for process in &mut self.processes {
            process.greeted = false;
            process.parties.sent.set(0);
        }
        self.hub = Some(Table::shared(Limits::default(), self.fast_path));
        self.ended.clear();
    }

    fn ask(&self, who: Who, act: Act) {
        self.world.asks.borrow_mut().insert(who, true);
        let process = &self.processes[who.0];
        process.handles[who.1].ask(act);
        if !self.world.asks.borrow().contains_key(&who) {
            self.world.at_once.set(self.world.at_once.get() + 1);
        }
    }

    fn step(&mut self, step: &Step) {
        let world = self.world.clone();
        let state = |who, name| world.states.borrow().get(&(who, name)).copied();
        let waits = |who: Who| world.asks.borrow().contains_key(&who);
        match *step {
            Step::Job(who, name, wait) if state(who, name).is_none() && !waits(who) => self.ask(who, Act::Job { name: named(name), wait }),
            Step::Take(who, name, lease_ms, wait_ms) if state(who, name).is_none() && !waits(who) => {
                self.ask(who, Act::Take { name: named(name), want: Want { mode: Mode::Exclusive, lease_ms, wait_ms, lasting: false } });
            }
            Step::End(who, name) if state(who, name) == Some(State::Job) => {
                self.world.states.borrow_mut().remove(&(who, name));
                self.ask(who, Act::End { name: named(name), done: true });
            }
            Step::End(who, name) if matches!(state(who, name), Some(State::Lease(_))) => {
                self.world.states.borrow_mut().remove(&(who, name));
                self.ask(who, Act::Release { name: named(name) });
            }
            Step::Leave(who) => {
                self.world.states.borrow_mut().retain(|(other, _), _| *other != who);
                self.world.asks.borrow_mut().remove(&who);
                let process = &mut self.processes[who.0];
                // The earlier handle goes first: nothing is told to its hearer any more.
                drop(process.handles.remove(who.1));
                process.handles.insert(who.1, process.parties.enter_new(Rc::new(Ear(self.world.clone(), who))));
            }
            Step::Up(number) => self.up(number),
            Step::Down(number) => self.down(number),
            Step::Tick(by) => {
                self.world.now.set(self.world.now.get() + by);
                let now = self.world.now.get();
                if let Some(hub) = self.hub.as_mut().filter(|hub| hub.is_open()) {
                    hub.tick(now);
                }
            }
            Step::Kill(number) => {
                self.world.states.borrow_mut().retain(|((process, _), _), _| *process != number);
                self.world.asks.borrow_mut().retain(|(process, _), _| *process != number);
                let worker = self.processes[number].worker;
                // What a process had in hand when it was killed it does not give back.
                let process = &self.processes[number];
                process.parties.seat.take();
                self.board.slot(worker.0).clear();
                self.ended.push(worker);
                let process = self.fork(number);
                std::mem::forget(std::mem::replace(&mut self.processes[number], process));
            }
            Step::Hear => {
                let now = self.world.now.get();
                if let Some(hub) = &mut self.hub {
                    self.ended.drain(..).for_each(|worker| hub.gone(worker, now));
                }
            }
            Step::Crash => {
                self.hub = None;
                // The master sees to that.
                self.fast_path.close();
            }
            Step::Start if self.hub.is_none() => self.start_hub(),
            Step::Open => {
                let all_greeted = self.processes.iter().all(|process| process.greeted);
                if let Some(hub) = self.hub.as_mut().filter(|hub| all_greeted && !hub.is_open()) {
                    let first = (self.blocks << 30).max(1);
                    self.blocks += 1;
                    let now = self.world.now.get();
                    hub.extend(first, self.blocks << 30, u64::MAX, now);
                    hub.open(now);
                    hub.tick(now);
                }
            }
            _ => {}
        }
        self.deliver();
    }

    /// What the hub has said is on its way.
    fn deliver(&mut self) {
        for (worker, tell) in self.hub.iter_mut().flat_map(Table::take_tells) {
            if let Some(process) = self.processes.iter_mut().find(|process| process.worker == worker) {
                process.inbox.push_back(tell.into());
            }
        }
    }

    /// The hub reads one ask of a worker, or its claims.
    fn up(&mut self, number: usize) {
        let (Some(hub), now) = (&mut self.hub, self.world.now.get()) else { return };
        let process = &mut self.processes[number];
        if !process.greeted {
            // What an earlier hub had said is heard before.
            process.parties.take(process.inbox.drain(..).collect());
            process.parties.sent.set(0);
            process.greeted = true;
            let claims = process.parties.claims();
            assert!(!hub.is_open(), "it grants before it has heard everybody");
            claims.into_iter().flatten().for_each(|claim| hub.claim(process.worker, claim));
            return;
        }
        let sent = process.parties.sent.get();
        let ask = process.parties.pending.borrow().get(sent).map(|(_, ask)| ask.clone());
        if let Some(ask) = ask {
            process.parties.sent.set(sent + 1);
            hub.ask(process.worker, ask, now);
        }
    }

    /// A worker reads one thing that the hub said.
    fn down(&mut self, number: usize) {
        let process = &mut self.processes[number];
        let told = process.inbox.pop_front();
        process.parties.take(told.into_iter().collect());
    }

    /// Lets everything come to rest.
    fn settle(&mut self) {
        for _ in 0..200 {
            for step in [Step::Start, Step::Up(0), Step::Up(1), Step::Hear, Step::Open, Step::Down(0), Step::Down(1)] {
                self.step(&step);
            }
        }
    }
}

fn named(name: usize) -> Name {
    NAMES[name].as_bytes().into()
}

#[derive(Clone, Debug)]
enum Step {
    Job(Who, usize, bool),
    Take(Who, usize, u64, u64),
    End(Who, usize),
    Leave(Who),
    Up(usize),
    Down(usize),
    Tick(u64),
    Kill(usize),
    /// The hub hears which workers have ended.
    Hear,
    Crash,
    Start,
    Open,
}

fn any_step() -> impl Strategy<Value = Step> {
    let who = || (0usize..2, 0usize..PARTIES);
    let name = || 0usize..NAMES.len();
    prop_oneof![
        12 => (who(), name(), any::<bool>()).prop_map(|(who, name, wait)| Step::Job(who, name, wait)),
        3 => (who(), name(), 1u64..30, 0u64..30).prop_map(|(who, name, lease, wait)| Step::Take(who, name, lease, wait)),
        12 => (who(), name()).prop_map(|(who, name)| Step::End(who, name)),
        2 => who().prop_map(Step::Leave),
        10 => (0usize..2).prop_map(Step::Up),
        10 => (0usize..2).prop_map(Step::Down),
        3 => (1u64..20).prop_map(Step::Tick),
        1 => (0usize..2).prop_map(Step::Kill),
        3 => Just(Step::Hear),
        1 => Just(Step::Crash),
        2 => Just(Step::Start),
        3 => Just(Step::Open),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(600))]
    #[test]
    fn nobody_is_given_what_somebody_else_believes_to_hold(steps in prop::collection::vec(any_step(), 1..250)) {
        let mut machine = Machine::new();
        machine.settle();
        for step in &steps {
            machine.step(step);
        }
        machine.settle();
        prop_assert!(machine.world.asks.borrow().is_empty(), "every ask has its answer");
        // Who is left to hold or wait goes: then nothing is left, neither in the table nor on the fast path.
        for number in 0..2 {
            (0..PARTIES).for_each(|party| machine.step(&Step::Leave((number, party))));
        }
        machine.settle();
        prop_assert!(machine.hub.as_ref().is_some_and(Table::is_empty));
        prop_assert_eq!(machine.fast_path.taken().count(), 0);
        // And a name is free for the fast path again.
        let before = machine.world.at_once.get();
        machine.step(&Step::Job((0, 0), 0, false));
        machine.step(&Step::End((0, 0), 0));
        prop_assert_eq!(machine.world.at_once.get(), before + 2);
    }
}

#[test]
fn a_job_that_nobody_else_asks_for_is_not_asked_for_at_the_hub() {
    let mut machine = Machine::new();
    machine.settle();
    machine.step(&Step::Job((0, 0), 0, false));
    assert_eq!(machine.world.states.borrow().get(&((0, 0), 0)), Some(&State::Job));
    // Somebody at another worker is told by the hub that it is taken, and the outcome.
    machine.step(&Step::Job((1, 0), 0, true));
    machine.settle();
    assert_eq!(machine.world.states.borrow().get(&((1, 0), 0)), Some(&State::Waits));
    // From now on it is the hub's: without one, the end waits.
    machine.step(&Step::Crash);
    machine.step(&Step::End((0, 0), 0));
    assert!(machine.world.asks.borrow().contains_key(&(0, 0)));
    machine.settle();
    assert!(machine.world.states.borrow().is_empty() && machine.world.asks.borrow().is_empty());
    // What is taken ends without a hub, but nothing is taken.
    machine.step(&Step::Job((1, 1), 0, false));
    machine.step(&Step::Crash);
    machine.step(&Step::End((1, 1), 0));
    assert_eq!(machine.world.at_once.get(), 3);
    machine.step(&Step::Job((1, 1), 0, false));
    assert!(machine.world.asks.borrow().contains_key(&(1, 1)));
    machine.settle();
    machine.step(&Step::End((1, 1), 0));
    machine.settle();
    // What a worker has taken ends with it.
    machine.step(&Step::Job((1, 1), 0, false));
    assert_eq!(machine.world.at_once.get(), 4);
    machine.step(&Step::Kill(1));
    machine.settle();
    machine.step(&Step::Job((0, 0), 0, false));
    assert_eq!(machine.world.states.borrow().get(&((0, 0), 0)), Some(&State::Job));
}

#[test]
fn bounds_hold_for_both_ways_together() {
    let mut machine = Machine::new();
    machine.hub = Some(Table::shared(Limits { each: 2, ..Limits::default() }, machine.fast_path));
    machine.settle();
    for name in 0..3 {
        machine.step(&Step::Job((0, 0), name, false));
    }
    assert_eq!(machine.world.states.borrow().len(), 2);
    machine.step(&Step::Take((0, 0), 2, 10, 0));
    machine.settle();
    assert_eq!(machine.world.states.borrow().len(), 2, "the hub would not know of the other two");
    machine.step(&Step::Leave((0, 0)));
    // Where few names are allowed the hub counts them.
    if let Some(hub) = &mut machine.hub {
        hub.limit(Limits { names: 1, ..Limits::default() });
    }
    machine.step(&Step::Job((0, 0), 0, false));
    machine.step(&Step::Job((0, 1), 1, false));
    assert_eq!(machine.world.states.borrow().len(), 0);
    machine.settle();
    assert_eq!(machine.world.states.borrow().len(), 1);
}
