//! One client.

use std::borrow::Cow;
use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::future::poll_fn;
use std::io::IoSlice;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use crate::codec::lock::{self, Answer, Line, Lines, Request, parse_request, write_answer};
use crate::link::locks::{Act, Hearer, MAX_NAME, Mode, Name, Parties, Party, PartyHandle, Said, Tell, Want};
use crate::net::Stream;
use crate::scoreboard::now_ms;

/// How much is read at once.
const PIECE: usize = 16 << 10;
/// Asks without an answer after which nothing more is read.
const MOST_ASKED: usize = 1024;
/// Pieces that are read in one turn of the loop: what is answered at once would otherwise never let the others have theirs.
const PIECES_A_TURN: usize = 16;
/// The most locks in one list.
const MOST_LISTED: u32 = 1000;
/// How long a lease lasts if nothing else is said, milliseconds.
const LEASE_MS: u64 = 30_000;

/// What the client has to do with a lock.
#[derive(Clone, Copy)]
enum Role {
    Holds { token: u64, lasting: bool },
    Waits,
}

/// What the client is, once it has said something.
struct Speaker {
    handle: PartyHandle,
    /// The session that it can take up again.
    session: Option<u128>,
    extended: bool,
}

/// A connection: a party to locks.
pub(super) struct Connection {
    stream: Stream,
    parties: Rc<Parties>,
    voice: Rc<Voice>,
    speaker: RefCell<Option<Speaker>>,
    lines: RefCell<Lines>,
}

/// What is said to the client.
struct Voice {
    output: RefCell<Vec<u8>>,
    /// How much of `output` is written.
    written: Cell<usize>,
    /// The most that may wait in `output`.
    backlog: usize,
    roles: RefCell<BTreeMap<Name, Role>>,
    asked: Cell<usize>,
    session: Cell<Option<u128>>,
    /// Ends once everything is written, or at once when the client does not read.
    ending: Cell<bool>,
    draining: Cell<bool>,
    /// The connection's task runs, and looks at all of this before it waits.
    is_awake: Cell<bool>,
    waker: RefCell<Option<Waker>>,
}

impl Connection {
    pub(super) fn new(stream: Stream, parties: Rc<Parties>, backlog: usize) -> Rc<Self> {
        let voice = Voice {
            output: RefCell::default(),
            written: Cell::new(0),
            backlog,
            roles: RefCell::default(),
            asked: Cell::new(0),
            session: Cell::new(None),
            ending: Cell::new(false),
            draining: Cell::new(false),
            is_awake: Cell::new(false),
            waker: RefCell::default(),
        };
        Rc::new(Self { stream, parties, voice: Rc::new(voice), speaker: RefCell::default(), lines: RefCell::default() })
    }

    pub(super) fn stream(&self) -> &Stream {
        &self.stream
    }

    /// The worker ends: the connection too, as soon as nothing depends on it.
    pub(super) fn drain(&self) {
        self.voice.draining.set(true);
        self.voice.wake();
    }

    /// The connection is over: so is what depends on it.
    pub(super) fn close(&self) {
        self.speaker.take();
    }

    /// Serves the client until one of the two has enough.
    pub(super) async fn run(&self) {
        let mut buffer = vec![0; PIECE].into_boxed_slice();
        poll_fn(|cx| self.poll(cx, &mut buffer)).await;
        self.close();
    }

    fn poll(&self, cx: &mut Context<'_>, buffer: &mut [u8]) -> Poll<()> {
        self.voice.is_awake.set(true);
        let polled = self.poll_awake(cx, buffer);
        self.voice.is_awake.set(false);
        polled
    }

    fn poll_awake(&self, cx: &mut Context<'_>, buffer: &mut [u8]) -> Poll<()> {
        for _ in 0..PIECES_A_TURN {
            let flushed = self.voice.poll_flush(cx, &self.stream);
            let waiting = self.voice.waiting();
            if flushed.is_ready() || self.voice.ending.get() || waiting > self.voice.backlog || self.voice.has_drained() {
                return Poll::Ready(());
            }
            self.voice.remember(cx);
            if self.voice.asked.get() >= MOST_ASKED || waiting > self.voice.backlog / 2 {
                return Poll::Pending;
            }
            match self.stream.poll_read(cx, buffer) {
                Poll::Ready(Ok(0) | Err(_)) => return Poll::Ready(()),
                Poll::Ready(Ok(count)) => self.take(&buffer[..count]),
                Poll::Pending => return Poll::Pending,
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    fn take(&self, bytes: &[u8]) {
        let mut lines = self.lines.borrow_mut();
        lines.push(bytes);
        while !self.voice.ending.get() {
            match lines.pull() {
                None => return,
                Some(Line::Interrupt) => self.voice.ending.set(true),
                Some(Line::TooLong) => self.voice.say(&Answer::ProtocolError),
                Some(Line::Text(line)) => {
                    let extended = self.speaker.borrow().as_ref().is_some_and(|speaker| speaker.extended);
                    match parse_request(line, extended) {
                        Ok(request) => self.obey(request),
                        Err(_) => self.voice.say(&Answer::ProtocolError),
                    }
                }
            }
        }
    }

    fn obey(&self, request: Request<'_>) {
        let act = match request {
            Request::Quit => return self.quit(),
            Request::Hello { lasting, session } => return self.hello(lasting, session),
            Request::Ping => return self.voice.say(&Answer::Pong),
            Request::Token { name } => {
                let answer = match self.voice.roles.borrow().get(&*name) {
                    Some(Role::Holds { token, .. }) => Answer::Token { name, token: *token },
                    _ => Answer::NotHeld(name),
                };
                return self.voice.say(&answer);
            }
            Request::Acquire { name, wait } => valid(&name).map(|name| Act::Job { name, wait }),
            Request::End { name, done } => valid(&name).map(|name| Act::End { name, done }),
            Request::Lock { name, lease } => valid(&name).map(|name| Act::Take { name, want: self.want(lease) }),
            Request::Renew { name, lease } => valid(&name).map(|name| Act::Renew { name, lease_ms: lease.map(millis) }),
            Request::Unlock { name } => valid(&name).map(|name| Act::Release { name }),
            Request::List { prefix, limit } => Some(Act::List { prefix: (&*prefix).into(), limit: limit.min(MOST_LISTED) }),
        };
        match act {
            Some(act) => self.ask(act),
            None => self.voice.say(&Answer::ProtocolError),
        }
    }

    fn want(&self, lease: lock::Lease) -> Want {
        let mode = match lease.permits {
            Some(count) => Mode::Permits(count),
            None if lease.shared => Mode::Shared,
            None => Mode::Exclusive,
        };
        let lasting = self.voice.session.get().is_some();
        Want { mode, lease_ms: lease.lease.map_or(LEASE_MS, millis), wait_ms: millis(lease.wait), lasting }
    }

    fn ask(&self, act: Act) {
        let mut speaker = self.speaker.borrow_mut();
        let speaker =
            speaker.get_or_insert_with(|| Speaker { handle: self.parties.enter_new(self.voice.clone()), session: None, extended: false });
        self.voice.asked.set(self.voice.asked.get() + 1);
        speaker.handle.ask(act);
    }

    /// The first thing that is said, or a mistake: what was asked before was asked as somebody else.
    fn hello(&self, lasting: bool, session: Option<u128>) {
        if self.speaker.borrow().is_some() {
            return self.voice.say(&Answer::ProtocolError);
        }
        let id = match session {
            Some(id) => Some(id),
            None if lasting => match random() {
                Some(id) => Some(id),
                None => return self.voice.say(&Answer::ProtocolError),
            },
            None => None,
        };
        let handle = match id {
            Some(id) => self.parties.enter_as(id, self.voice.clone()),
            None => self.parties.enter_new(self.voice.clone()),
        };
        self.voice.session.set(id);
        self.speaker.replace(Some(Speaker { handle, session: id, extended: true }));
        if session.is_some() {
            // What it holds is the answer.
            self.ask(Act::Resume);
        } else {
            self.voice.say(&Answer::Hello { session: id, held: 0 });
        }
    }

    /// The client goes, and wants nothing of what it has.
    fn quit(&self) {
        let has_session = self.speaker.borrow().as_ref().is_some_and(|speaker| speaker.session.is_some());
        if has_session {
            let names: Vec<Name> = self.voice.roles.borrow().keys().cloned().collect();
            names.into_iter().for_each(|name| self.ask(Act::Release { name }));
        }
        self.voice.ending.set(true);
    }
}

fn valid(name: &[u8]) -> Option<Name> {
    (1..=MAX_NAME).contains(&name.len()).then(|| name.into())
}

fn millis(span: std::time::Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}

fn random() -> Option<u128> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).ok()?;
    Some(u128::from_le_bytes(bytes))
}

impl Voice {
    fn say(&self, answer: &Answer<'_>) {
        write_answer(answer, &mut self.output.borrow_mut());
    }

    /// Bytes that are not written yet.
    fn waiting(&self) -> usize {
        self.output.borrow().len() - self.written.get()
    }

    fn remember(&self, cx: &Context<'_>) {
        let mut waker = self.waker.borrow_mut();
        if !waker.as_ref().is_some_and(|waker| waker.will_wake(cx.waker())) {
            *waker = Some(cx.waker().clone());
        }
    }

    fn wake(&self) {
        if let Some(waker) = self.waker.borrow().as_ref() {
            waker.wake_by_ref();
        }
    }

    /// Writes what there is as far as it goes. Ready when the connection is broken.
    fn poll_flush(&self, cx: &mut Context<'_>, stream: &Stream) -> Poll<()> {
        let mut output = self.output.borrow_mut();
        while self.written.get() < output.len() {
            match stream.poll_write_vectored(cx, &[IoSlice::new(&output[self.written.get()..])]) {
                Poll::Ready(Ok(0) | Err(_)) => return Poll::Ready(()),
                Poll::Ready(Ok(count)) => self.written.set(self.written.get() + count),
                Poll::Pending => break,
            }
        }
        if self.written.get() == output.len() {
            output.clear();
            output.shrink_to(PIECE);
            self.written.set(0);
        } else if self.written.get() > PIECE {
            output.drain(..self.written.replace(0));
        }
        Poll::Pending
    }

    /// Whether the worker ends and nothing depends on this connection.
    fn has_drained(&self) -> bool {
        self.draining.get()
            && self.asked.get() == 0
            && self.waiting() == 0
            && self.roles.borrow().values().all(|role| matches!(role, Role::Holds { lasting: true, .. }))
    }

    fn note(&self, name: &Name, said: &Said) -> Option<Role> {
        let mut roles = self.roles.borrow_mut();
        match said {
            Said::Run { token } => roles.insert(name.clone(), Role::Holds { token: *token, lasting: false }),
            Said::Granted { token, lasting, .. } => roles.insert(name.clone(), Role::Holds { token: *token, lasting: *lasting }),
            Said::Wait | Said::Queued { .. } => {
                roles.entry(name.clone()).or_insert(Role::Waits);
                None
            }
            Said::Holds(holds) => {
                roles.extend(holds.iter().map(|hold| (hold.name.clone(), Role::Holds { token: hold.token, lasting: true })));
                None
            }
            Said::Ended { .. } | Said::TimedOut | Said::Lost | Said::Released => roles.remove(name),
            Said::Renewed { .. } => roles.get(name).copied(),
            _ => None,
        }
    }
}

impl Hearer for Voice {
    fn hear(&self, tell: &Tell) {
        if tell.answers.is_some() {
            self.asked.set(self.asked.get().saturating_sub(1));
        }
        let before = match self.note(&tell.name, &tell.said) {
            Some(Role::Holds { token, .. }) => token,
            _ => 0,
        };
        let name = || Cow::Borrowed(&*tell.name);
        let lease = |token, until_ms: u64| lock::GrantedLease { name: name(), token, left_ms: until_ms.saturating_sub(now_ms()) };
        match &tell.said {
            Said::Run { .. } => self.say(&Answer::Run(name())),
            Said::Wait => self.say(&Answer::Wait(name())),
            Said::NotRun => self.say(&Answer::Failed(name())),
            Said::Ended { done } => self.say(&if *done { Answer::Done(name()) } else { Answer::Failed(name()) }),
            Said::Busy => self.say(&Answer::Busy(name())),
            Said::Granted { token, until_ms, .. } => self.say(&Answer::Locked(lease(*token, *until_ms))),
            Said::Queued { .. } => self.say(&Answer::Queued(name())),
            Said::TimedOut => self.say(&Answer::Timeout(name())),
            Said::Renewed { until_ms } => self.say(&Answer::Renewed(lease(before, *until_ms))),
            Said::Released => self.say(&Answer::Unlocked(name())),
            Said::NotHeld => self.say(&Answer::NotHeld(name())),
            Said::Lost => self.say(&Answer::Lost { name: name(), token: before }),
            Said::Limit => self.say(&Answer::Limit(name())),
            Said::Unavailable => self.say(&Answer::Unavailable(name())),
            Said::Moved => self.ending.set(true),
            // As in the original, who ends what it does not hold is told nothing.
            Said::NotEnded | Said::Left => {}
            Said::Holds(holds) => {
                self.say(&Answer::Hello { session: self.session.get(), held: holds.len() });
                for hold in holds {
                    let left_ms = hold.until_ms.saturating_sub(now_ms());
                    self.say(&Answer::Held(lock::GrantedLease { name: (&*hold.name).into(), token: hold.token, left_ms }));
                }
            }
            Said::Locks(locks) => {
                self.say(&Answer::List(locks.len()));
                for listed in locks {
                    let mode = listed.mode_in_words();
                    let (holders, waiting, token) = (listed.holders, listed.waiting, listed.token);
                    self.say(&Answer::Entry(lock::Entry { name: (&*listed.name).into(), mode, holders, waiting, token }));
                }
            }
        }
        if !self.is_awake.get() {
            self.wake();
        }
    }
}
