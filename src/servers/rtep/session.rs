//! One connection.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::future::{Future, pending, poll_fn};
use std::rc::{Rc, Weak};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::Bytes;
use event_listener::Event as Signal;
use serde_json::{Map, Value};

use super::output::{Bounds, Output};
use crate::codec::rtep::{self, Input, LAST_CHUNK, Lines};
use crate::events::{Delivery, Event, Events, Registration, Subscriber};
use crate::net::{Peer, Stream};
use crate::reactor::{Alarm, Scope};
use crate::rtep::Registry;
use crate::scoreboard::epoch_ms;

/// How much is read at once.
const PIECE: usize = 16 << 10;

thread_local! {
    /// What is read goes through one buffer, so that a connection that waits has none.
    static PIECES: RefCell<Box<[u8]>> = RefCell::new(vec![0; PIECE].into_boxed_slice());
}

/// What a connection may.
pub(super) struct Limits {
    pub(super) origins: Vec<String>,
    pub(super) max_line: usize,
    pub(super) max_subscriptions: usize,
    pub(super) max_pending: usize,
    pub(super) bounds: Bounds,
    pub(super) stalled: Duration,
}

/// What all connections of a server have in common.
pub(super) struct Surroundings {
    pub(super) name: Rc<str>,
    pub(super) events: Rc<Events>,
    pub(super) registry: Registry,
}

/// A subscription: to an event of the core, by the names that stand for it.
pub(super) struct Membership {
    pub(super) topic: Rc<Topic>,
    pub(super) registration: Registration,
    /// Everything behind the event's name, with its first `:`; of each whether a group was told.
    pub(super) names: BTreeMap<String, bool>,
}

/// Takes the deliveries of one event.
pub(super) struct Topic {
    session: Weak<Session>,
    name: Rc<str>,
    state: RefCell<State>,
    changed: Signal,
}

/// How far a subscription has come.
#[derive(Clone)]
enum State {
    Waits,
    Holds,
    Refused(String),
}

/// A connection.
pub(super) struct Session {
    pub(super) this: Weak<Self>,
    pub(super) id: u64,
    pub(super) surroundings: Rc<Surroundings>,
    pub(super) limits: Rc<Limits>,
    pub(super) memberships: RefCell<BTreeMap<Rc<str>, Membership>>,
    /// Requests that are worked on beside the reading.
    pub(super) tasks: Scope,
    stream: Stream,
    peer: Peer,
    output: RefCell<Output>,
    waker: RefCell<Option<Waker>>,
    stalled: Alarm,
    is_http: Cell<bool>,
    pending: Cell<usize>,
    /// Something was written, or a request answered.
    eased: Signal,
    leaving: Cell<bool>,
    leave: Signal,
    /// Nothing is added any more; it ends when everything is written.
    ending: Cell<bool>,
    /// Ends at once.
    broken: Cell<bool>,
}

impl Session {
    pub(super) fn new(id: u64, stream: Stream, peer: Peer, surroundings: Rc<Surroundings>, limits: Rc<Limits>) -> Rc<Self> {
        Rc::new_cyclic(|this| Self {
            this: this.clone(),
            id,
            surroundings,
            limits,
            memberships: RefCell::default(),
            tasks: Scope::new(),
            stream,
            peer,
            output: RefCell::default(),
            waker: RefCell::default(),
            stalled: Alarm::new(),
            is_http: Cell::new(false),
            pending: Cell::new(0),
            eased: Signal::new(),
            leaving: Cell::new(false),
            leave: Signal::new(),
            ending: Cell::new(false),
            broken: Cell::new(false),
        })
    }

    /// Serves the client until one of the two has enough.
    pub(super) async fn run(&self, idle: Option<Duration>) {
        let served = async {
            let reads = async {
                futures_lite::future::or(self.read(), self.until_leaving()).await;
                self.finish().await;
                pending::<()>().await;
            };
            futures_lite::future::or(poll_fn(|cx| self.poll_write(cx)), reads).await;
        };
        match idle {
            Some(idle) => self.stream.until_idle(idle, served).await,
            None => served.await,
        }
        self.ending.set(true);
        self.broken.set(true);
        self.tasks.cancel().await;
        self.unsubscribe_all().await;
    }

    /// Takes no more requests, and ends when what was asked is answered.
    pub(super) fn leave(&self) {
        self.leaving.set(true);
        self.leave.notify(usize::MAX);
    }

    async fn until_leaving(&self) {
        loop {
            let leave = self.leave.listen();
            if self.leaving.get() {
                return;
            }
            leave.await;
        }
    }

    /// Reads requests until there are no more.
    async fn read(&self) {
        let mut lines = Lines::new(self.limits.max_line);
        loop {
            while let Some(input) = lines.pull() {
                self.until_room().await;
                if !self.take(input).await {
                    return;
                }
            }
            let read = poll_fn(|cx| {
                PIECES.with_borrow_mut(|piece| {
                    let read = self.stream.poll_read(cx, piece);
                    if let Poll::Ready(Ok(count)) = &read {
                        lines.push(&piece[..*count]);
                    }
                    read
                })
            });
            if !matches!(read.await, Ok(1..)) {
                return;
            }
        }
    }

    /// Waits while too many requests are under way, or too many answers wait.
    async fn until_room(&self) {
        loop {
            let eased = self.eased.listen();
            if self.pending.get() < self.limits.max_pending && self.output.borrow().bytes() <= self.limits.bounds.bytes / 2 {
                return;
            }
            eased.await;
        }
    }

    /// Does what is asked; whether more is read.
    async fn take(&self, input: Input) -> bool {
        match input {
            Input::Packet(packet) => self.obey(packet).await,
            Input::Http(head)
                if head.origin.as_ref().is_none_or(|origin| self.limits.origins.iter().any(|known| known == "*" || known == origin)) =>
            {
                self.push(Bytes::from_static(rtep::HTTP_HEAD), false);
                self.is_http.set(true);
            }
            Input::Http(head) => {
                crate::log_info!(
                    "{}: {}: a page of {:?} may not connect",
                    self.surroundings.name,
                    self.peer,
                    head.origin.unwrap_or_default()
                );
                self.push(Bytes::from_static(rtep::HTTP_FORBIDDEN), false);
                return false;
            }
            Input::Bad(bad) => self.fail(bad.id(), "", &bad.to_string()),
            Input::TooLong => {
                self.fail(&Value::Null, "", "the line is too long");
                return false;
            }
            Input::Interrupt => {
                self.broken.set(true);
                self.wake();
                return false;
            }
        }
        true
    }

    /// Answers what was asked, and nothing else any more.
    async fn finish(&self) {
        loop {
            let eased = self.eased.listen();
            if self.pending.get() == 0 || self.broken.get() {
                break;
            }
            eased.await;
        }
        self.unsubscribe_all().await;
        if self.is_http.get() {
            self.push(Bytes::from_static(LAST_CHUNK), false);
        }
        self.ending.set(true);
        self.wake();
    }

    fn wake(&self) {
        if let Some(waker) = self.waker.borrow().as_ref() {
            waker.wake_by_ref();
        }
    }

    /// Writes what there is. Ready when the connection has ended.
    fn poll_write(&self, cx: &mut Context<'_>) -> Poll<()> {
        if self.broken.get() {
            return Poll::Ready(());
        }
        let mut waker = self.waker.borrow_mut();
        if !waker.as_ref().is_some_and(|waker| waker.will_wake(cx.waker())) {
            *waker = Some(cx.waker().clone());
        }
        drop(waker);
        let mut output = self.output.borrow_mut();
        let is_http = self.is_http.get();
        while !output.is_empty() {
            let written = {
                let mut slices = Vec::with_capacity(8);
                output.next(&mut slices, |count| framed(rtep::missed_line(None, count), is_http));
                self.stream.poll_write_vectored(cx, &slices)
            };
            match written {
                Poll::Ready(Ok(0) | Err(_)) => return Poll::Ready(()),
                Poll::Ready(Ok(count)) => {
                    output.advance(count);
                    self.stalled.clear();
                    self.eased.notify(usize::MAX);
                }
                Poll::Pending => {
                    if !self.stalled.is_set() {
                        self.stalled.set(self.limits.stalled);
                    }
                    return self.stalled.poll(cx);
                }
            }
        }
        if self.ending.get() { Poll::Ready(()) } else { Poll::Pending }
    }

    fn push(&self, bytes: Bytes, is_event: bool) {
        if self.ending.get() {
            return;
        }
        let was_empty = self.output.borrow().is_empty();
        let pushed = self.output.borrow_mut().push(bytes, is_event, self.limits.bounds);
        match pushed {
            Ok(0) => {}
            Ok(dropped) => self.surroundings.events.count_dropped(dropped),
            Err(_) => {
                crate::log_info!("{}: {} was too slow", self.surroundings.name, self.peer);
                self.broken.set(true);
            }
        }
        // The task that writes looks at everything that waits, so it is woken once.
        if was_empty || self.broken.get() {
            self.wake();
        }
    }

    /// Sends a line.
    fn push_line(&self, line: Vec<u8>, is_event: bool) {
        self.push(framed(line, self.is_http.get()), is_event);
    }

    /// Answers a request.
    pub(super) fn respond(&self, id: &Value, op: &str, fields: &Map<String, Value>) {
        self.push_line(rtep::response_line(id, op, fields), false);
    }

    /// Answers a request that cannot be done.
    pub(super) fn fail(&self, id: &Value, op: &str, why: &str) {
        let mut fields = Map::new();
        fields.insert("error".to_owned(), why.into());
        self.respond(id, op, &fields);
    }

    /// Answers a request with a status, and with what is wrong.
    pub(super) fn status(&self, id: &Value, op: &str, result: Result<(), String>) {
        let mut fields = Map::new();
        fields.insert("status".to_owned(), if result.is_ok() { 1.into() } else { (-1).into() });
        if let Err(why) = result {
            fields.insert("error".to_owned(), why.into());
        }
        self.respond(id, op, &fields);
    }

    /// Works on a request beside the reading.
    pub(super) fn spawn(&self, work: impl Future<Output = ()> + 'static) {
        struct Pending(Weak<Session>);
        impl Drop for Pending {
            fn drop(&mut self) {
                if let Some(session) = self.0.upgrade() {
                    session.pending.set(session.pending.get() - 1);
                    session.eased.notify(usize::MAX);
                }
            }
        }
        self.pending.set(self.pending.get() + 1);
        let pending = Pending(self.this.clone());
        self.tasks.spawn(async move {
            let _pending = pending;
            work.await;
        });
    }
}

fn framed(line: Vec<u8>, is_http: bool) -> Bytes {
    if is_http { rtep::chunk(&line).into() } else { line.into() }
}

/// The line of an event, made once for all connections of its form.
fn shared_line(event: &Event, is_http: bool) -> Bytes {
    let plain = || event.encoded("rtep", |event| rtep::event_line(&event.topic, &event.data, event.at, epoch_ms() as f64 / 1000.0).into());
    if is_http { event.encoded("rtep chunk", |_| rtep::chunk(&plain()).into()) } else { plain() }
}

impl Topic {
    pub(super) fn new(session: Weak<Session>, name: &str) -> Rc<Self> {
        Rc::new(Self { session, name: name.into(), state: RefCell::new(State::Waits), changed: Signal::new() })
    }

    /// Waits until the subscription holds.
    pub(super) async fn settled(&self) -> Result<(), String> {
        loop {
            let changed = self.changed.listen();
            match self.state.borrow().clone() {
                State::Waits => {}
                State::Holds => return Ok(()),
                State::Refused(why) => return Err(why),
            }
            changed.await;
        }
    }

    fn change(&self, state: State) {
        self.state.replace(state);
        self.changed.notify(usize::MAX);
    }
}

impl Subscriber for Topic {
    fn deliver(&self, delivery: &Delivery) {
        let Some(session) = self.session.upgrade() else { return };
        match delivery {
            Delivery::Event(event) => session.push(shared_line(event, session.is_http.get()), true),
            Delivery::Ready { .. } => self.change(State::Holds),
            Delivery::Missed { count, .. } => session.push_line(rtep::missed_line(Some(&self.name), *count), false),
            Delivery::Gap { .. } => session.push_line(rtep::missed_line(Some(&self.name), 0), false),
            Delivery::Closed(why) => {
                self.change(State::Refused(why.to_string()));
                session.leave();
            }
            Delivery::Joined(_) | Delivery::Left(_) => {}
        }
    }
}

impl crate::rtep::Session for Session {
    fn id(&self) -> u64 {
        self.id
    }

    fn peer(&self) -> &Peer {
        &self.peer
    }

    fn send(&self, name: &str, data: Bytes) -> bool {
        let now = epoch_ms() as f64 / 1000.0;
        self.push_line(rtep::event_line(name, &data, now, now), true);
        !self.ending.get() && !self.broken.get()
    }

    fn close(&self) {
        self.leave();
    }
}
