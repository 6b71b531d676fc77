//! Who wants one lock, and how far that has come.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use super::connection::Connection;
use super::{Server, tell};
use crate::codec::lock::{self, Answer, Request};
use crate::link::locks::{Act, Hearer, Mode, Name, Party, Said, Want};
use crate::scoreboard::now_ms;

/// How far it has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Idle,
    /// `acquire` is sent.
    AskedJob,
    /// The outcome of somebody else's job is waited for.
    WaitsForJob,
    HoldsJob,
    /// `done` or `failed` is sent.
    EndsJob,
    /// `lock` is sent.
    AskedLease,
    Queued,
    /// Granted after a wait: a renewal says from when to count.
    Confirms,
    HoldsLease,
    /// `unlock` is sent.
    Unlocks,
}

/// One party at one server.
pub(super) struct Member {
    /// As the server knows it.
    pub(super) name: Name,
    /// As who asks knows it.
    own_name: Name,
    /// None when nobody listens any more, and only the end must be heard.
    hearer: RefCell<Option<Rc<dyn Hearer>>>,
    state: Cell<State>,
    want: Cell<Option<Want>>,
    /// When what the lease counts from was sent, milliseconds.
    sent_ms: Cell<u64>,
    lease_ms: Cell<u64>,
    token: Cell<u64>,
}

impl Member {
    pub(super) fn new(name: Name, own_name: Name, hearer: Rc<dyn Hearer>) -> Rc<Self> {
        Rc::new(Self {
            name,
            own_name,
            hearer: RefCell::new(Some(hearer)),
            state: Cell::new(State::Idle),
            want: Cell::new(None),
            sent_ms: Cell::new(0),
            lease_ms: Cell::new(0),
            token: Cell::new(0),
        })
    }

    fn say(&self, said: Said) {
        let hearer = self.hearer.borrow().clone();
        if let Some(hearer) = hearer {
            tell(&*hearer, &self.own_name, said);
        }
    }

    /// Whether the server has to do with it.
    pub(super) fn is_idle(&self) -> bool {
        self.state.get() == State::Idle
    }

    fn end(&self, said: Said) {
        self.state.set(State::Idle);
        self.say(said);
    }

    /// What to send for an act; none when it is of no use.
    fn request(&self, act: Act) -> Option<Request<'static>> {
        let name = self.name.to_vec().into();
        match (act, self.state.get()) {
            (Act::Job { wait, .. }, State::Idle) => {
                self.state.set(State::AskedJob);
                Some(Request::Acquire { name, wait })
            }
            (Act::Take { want, .. }, State::Idle) => {
                self.state.set(State::AskedLease);
                self.want.set(Some(want));
                self.lease_ms.set(want.lease_ms);
                self.sent_ms.set(now_ms());
                Some(Request::Lock { name, lease: lease(want) })
            }
            (Act::End { done, .. }, State::HoldsJob) => {
                self.state.set(State::EndsJob);
                Some(Request::End { name, done })
            }
            (Act::Renew { lease_ms, .. }, State::HoldsLease) => {
                self.lease_ms.set(lease_ms.unwrap_or(self.lease_ms.get()));
                self.sent_ms.set(now_ms());
                Some(self.renewal())
            }
            (Act::Release { .. }, State::HoldsLease | State::Queued | State::AskedLease | State::Confirms) => {
                self.state.set(State::Unlocks);
                Some(Request::Unlock { name })
            }
            _ => None,
        }
    }

    fn renewal(&self) -> Request<'static> {
        Request::Renew { name: self.name.to_vec().into(), lease: Some(std::time::Duration::from_millis(self.lease_ms.get())) }
    }

    /// Nobody listens any more: what to send so that nothing stays held.
    fn leave(&self) -> Option<Request<'static>> {
        self.hearer.take();
        let name = self.name.to_vec().into();
        match self.state.get() {
            State::HoldsJob => {
                self.state.set(State::EndsJob);
                Some(Request::End { name, done: false })
            }
            State::AskedLease | State::Queued | State::Confirms | State::HoldsLease => {
                self.state.set(State::Unlocks);
                Some(Request::Unlock { name })
            }
            // An answer that grants it will be answered with the end.
            _ => None,
        }
    }

    /// The server says something of this name. Gives what must be sent then.
    pub(super) fn hear(&self, answer: &Answer<'_>) -> Option<Request<'static>> {
        let name = || self.name.to_vec().into();
        let is_left = self.hearer.borrow().is_none();
        match (answer, self.state.get()) {
            (Answer::Run(_), State::AskedJob) if is_left => {
                self.state.set(State::EndsJob);
                return Some(Request::End { name: name(), done: false });
            }
            (Answer::Run(_), State::AskedJob) => {
                self.state.set(State::HoldsJob);
                return Some(Request::Token { name: name() });
            }
            (Answer::Wait(_), State::AskedJob) => {
                self.state.set(State::WaitsForJob);
                self.say(Said::Wait);
            }
            (Answer::Failed(_), State::AskedJob) => self.end(Said::NotRun),
            (Answer::Done(_), State::WaitsForJob | State::EndsJob) => self.end(Said::Ended { done: true }),
            (Answer::Failed(_), State::WaitsForJob | State::EndsJob | State::HoldsJob) => self.end(Said::Ended { done: false }),
            (Answer::Token { token, .. }, State::HoldsJob) => {
                self.token.set(*token);
                self.say(Said::Run { token: *token });
            }
            // A server of the original has no tokens.
            (Answer::ProtocolError, State::HoldsJob) if self.token.get() == 0 => self.say(Said::Run { token: 0 }),
            (Answer::Locked(lease), State::AskedLease) => {
                self.token.set(lease.token);
                self.hold(lease.left_ms);
            }
            (Answer::Queued(_), State::AskedLease) => {
                self.state.set(State::Queued);
                self.say(Said::Queued { ticket: 0, deadline_ms: 0, want: self.want.get()? });
            }
            (Answer::Locked(lease), State::Queued) => {
                self.token.set(lease.token);
                self.state.set(State::Confirms);
                self.sent_ms.set(now_ms());
                return Some(self.renewal());
            }
            (Answer::Renewed(lease), State::Confirms) => self.hold(lease.left_ms),
            (Answer::Renewed(lease), State::HoldsLease) => {
                self.say(Said::Renewed { until_ms: self.sent_ms.get() + self.lease_ms.get().min(lease.left_ms) });
            }
            (Answer::Busy(_), State::AskedLease) => self.end(Said::Busy),
            (Answer::Timeout(_), State::Queued) => self.end(Said::TimedOut),
            (Answer::Limit(_), State::AskedLease) => self.end(Said::Limit),
            (Answer::Unavailable(_), State::AskedLease | State::Confirms) => self.end(Said::Unavailable),
            (Answer::Lost { .. } | Answer::NotHeld(_), State::HoldsLease | State::Confirms) => self.end(Said::Lost),
            (Answer::Unlocked(_) | Answer::NotHeld(_), State::Unlocks) => self.end(Said::Released),
            _ => {}
        }
        None
    }

    /// The lease counts from when it was asked for: its beginning at the server is later.
    fn hold(&self, left_ms: u64) {
        self.state.set(State::HoldsLease);
        let Some(want) = self.want.get() else { return };
        let lease_ms = self.lease_ms.get().min(left_ms);
        let until_ms = self.sent_ms.get() + lease_ms;
        self.say(Said::Granted { token: self.token.get(), until_ms, lease_ms, mode: want.mode, lasting: false });
    }

    /// The connection is gone.
    pub(super) fn lose(&self) {
        match self.state.get() {
            State::Idle => {}
            State::HoldsJob | State::EndsJob | State::HoldsLease => self.end(Said::Lost),
            // Nobody can say how it ended.
            State::WaitsForJob => self.end(Said::Ended { done: false }),
            State::Unlocks => self.end(Said::Released),
            State::AskedJob | State::AskedLease | State::Queued | State::Confirms => self.end(Said::Unavailable),
        }
    }

    /// Whether only a server that speaks more than the original can serve it.
    pub(super) fn needs_extension(&self) -> bool {
        matches!(self.state.get(), State::AskedLease)
    }

    /// Whether its next answer may be `PROTOCOL_ERROR`, because it asked an old server for a token.
    pub(super) fn asked_for_token(&self) -> bool {
        self.state.get() == State::HoldsJob && self.token.get() == 0
    }
}

fn lease(want: Want) -> lock::Lease {
    let span = std::time::Duration::from_millis;
    let permits = match want.mode {
        Mode::Permits(count) => Some(count),
        _ => None,
    };
    lock::Lease { lease: Some(span(want.lease_ms)), wait: span(want.wait_ms), shared: want.mode == Mode::Shared, permits }
}

/// A member as who asks holds it.
pub(super) struct MemberHandle {
    server: Option<Rc<Server>>,
    member: Rc<Member>,
    connection: RefCell<Option<Rc<Connection>>>,
}

impl MemberHandle {
    pub(super) fn new(server: Option<Rc<Server>>, member: Rc<Member>) -> Self {
        Self { server, member, connection: RefCell::default() }
    }
}

impl Party for MemberHandle {
    fn ask(&self, act: Act) {
        let is_first = matches!(act, Act::Job { .. } | Act::Take { .. });
        if is_first && self.member.is_idle() {
            let found = self.server.as_ref().and_then(|server| server.free_for(&self.member.name));
            self.connection.replace(found);
        }
        let connection = self.connection.borrow().clone();
        match (connection, self.member.request(act)) {
            (Some(connection), Some(request)) => connection.ask(&self.member, &request),
            (None, Some(_)) => self.member.lose(),
            (_, None) => {}
        }
    }
}

impl Drop for MemberHandle {
    fn drop(&mut self) {
        let request = self.member.leave();
        if let (Some(connection), Some(request)) = (self.connection.take(), request) {
            connection.ask(&self.member, &request);
        }
    }
}
