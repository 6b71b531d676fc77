//! One WebSocket connection.

mod sending;

use std::cell::{Cell, OnceCell, RefCell};
use std::collections::VecDeque;
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use super::config::{Overflow, Settings};
use super::flush;
use super::moment::Moment;
use super::output::Output;
use crate::codec::websocket::close::{self, Close};
use crate::codec::websocket::deflate::Agreement;
use crate::codec::websocket::{Decoder, Event, Kind, Opcode, Role};
use crate::net::Stream;

/// What is read at once, for whichever connection has something to read.
const SCRATCH: usize = 64 << 10;
/// Messages, and bytes of them, that wait for the application before nothing more is read.
const MOST_MESSAGES: usize = 64;
const MOST_UNREAD: usize = 64 << 10;
/// Room for more messages is given back when there are none.
const KEPT: usize = 4;
/// Reads in a row before other tasks have their turn.
const READS: usize = 8;

thread_local! {
    static INPUT: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// A message of the peer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// Text is valid UTF-8.
    pub kind: Kind,
    /// The bytes.
    pub data: Vec<u8>,
}

/// The connection has ended, or is about to: nothing can be sent any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ended;

impl std::fmt::Display for Ended {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("the connection is closed")
    }
}

impl std::error::Error for Ended {}

/// How far the end has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Open,
    /// We have sent a close and wait for the peer's until the time.
    Closing(Moment),
    /// Everything was said; what waits still leaves, then our side is shut. What comes is read away until the peer shuts its own.
    Last(Moment),
    /// The stream is gone.
    Over,
}

/// A connection. Everything works on a shared reference: one task reads, others may send.
pub struct Session {
    stream: RefCell<Option<Stream>>,
    settings: Rc<Settings>,
    role: Role,
    deflate: Option<Agreement>,
    decoder: RefCell<Decoder>,
    inbox: RefCell<VecDeque<Message>>,
    /// Bytes in it.
    unread: Cell<usize>,
    output: RefCell<Output>,
    phase: Cell<Phase>,
    /// What the application is told of the end.
    ended: OnceCell<Box<Close>>,
    /// The task that reads.
    driver: Cell<Option<Waker>>,
    /// The task that wants a message.
    receiver: Cell<Option<Waker>>,
    heard: Cell<Moment>,
    pinged: Cell<bool>,
    /// When a drain closes it.
    leaves: Cell<Option<Moment>>,
    noted: Cell<bool>,
    shut: Cell<bool>,
    /// The handler has ended: nobody takes messages any more.
    deaf: Cell<bool>,
    dropped: Cell<u64>,
    received: Cell<u64>,
    sent: Cell<u64>,
}

impl Session {
    /// A session over `stream`, of which `early` was read already.
    #[must_use]
    pub fn new(stream: Stream, early: &[u8], role: Role, deflate: Option<Agreement>, settings: Rc<Settings>) -> Rc<Self> {
        let session = Rc::new(Self {
            stream: RefCell::new(Some(stream)),
            role,
            deflate,
            decoder: RefCell::new(Decoder::new(role, deflate.is_some(), settings.limits.clone())),
            settings,
            inbox: RefCell::default(),
            unread: Cell::new(0),
            output: RefCell::default(),
            phase: Cell::new(Phase::Open),
            ended: OnceCell::new(),
            driver: Cell::default(),
            receiver: Cell::default(),
            heard: Cell::new(Moment::now()),
            pinged: Cell::new(false),
            leaves: Cell::new(None),
            noted: Cell::new(false),
            shut: Cell::new(false),
            deaf: Cell::new(false),
            dropped: Cell::new(0),
            received: Cell::new(0),
            sent: Cell::new(0),
        });
        session.take(early);
        session
    }

    /// Serves the connection: reads while `handler` runs, closes when it has ended, and returns when both have.
    pub async fn serve(self: &Rc<Self>, handler: impl Future<Output = ()>) {
        let mut handler = pin!(handler);
        poll_fn(|cx| self.poll_serve(cx, |cx| handler.as_mut().poll(cx))).await;
    }

    /// As [`Session::serve`], for who polls. `handler` is not called any more when it has been ready.
    pub fn poll_serve(self: &Rc<Self>, cx: &mut Context<'_>, mut handler: impl FnMut(&mut Context<'_>) -> Poll<()>) -> Poll<()> {
        loop {
            let over = self.poll_read(cx).is_ready();
            let full = self.is_full();
            if !self.deaf.get() && handler(cx).is_ready() {
                self.deaf.set(true);
                self.inbox.take();
                self.unread.set(0);
                self.close(close::NORMAL, "");
            }
            if over && self.deaf.get() {
                return Poll::Ready(());
            }
            // What the handler took made room for more.
            let freed = full && !self.is_full();
            if over || !freed {
                return if self.deaf.get() && self.phase.get() == Phase::Over { Poll::Ready(()) } else { Poll::Pending };
            }
        }
    }

    /// Reads until the end of the connection is decided, whoever has decided it.
    pub async fn until_ended(self: &Rc<Self>) {
        poll_fn(|cx| {
            let read = self.poll_read(cx);
            if self.ended.get().is_some() { Poll::Ready(()) } else { read }
        })
        .await;
    }

    /// Reads until the connection has ended, for an application that takes its messages elsewhere.
    pub async fn drive(self: &Rc<Self>) {
        poll_fn(|cx| self.poll_read(cx)).await;
    }

    /// Reads what there is; ready when the stream is gone. Nothing is read while messages wait to be taken, or too much to be sent.
    pub fn poll_read(self: &Rc<Self>, cx: &mut Context<'_>) -> Poll<()> {
        for _ in 0..READS {
            if self.phase.get() == Phase::Over {
                return Poll::Ready(());
            }
            if self.is_full() || self.is_behind() {
                keep(&self.driver, cx.waker());
                return Poll::Pending;
            }
            let read = INPUT.with_borrow_mut(|input| {
                let stream = self.stream.borrow();
                let Some(stream) = stream.as_ref() else { return Poll::Ready(None) };
                input.resize(SCRATCH, 0);
                stream.poll_read(cx, input).map(|read| match read {
                    Ok(count) if count > 0 => Some(std::mem::take(input)).map(|input| (input, count)),
                    _ => None,
                })
            });
            match read {
                Poll::Pending => {
                    keep(&self.driver, cx.waker());
                    return Poll::Pending;
                }
                Poll::Ready(None) => {
                    self.end(&Close { code: close::ABNORMAL, reason: "the connection broke".to_owned() });
                    return Poll::Ready(());
                }
                Poll::Ready(Some((input, count))) => {
                    self.received.set(self.received.get() + count as u64);
                    self.heard.set(Moment::now());
                    self.pinged.set(false);
                    self.take(&input[..count]);
                    INPUT.set(input);
                }
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    /// So much waits to be taken that nothing more is read.
    fn is_full(&self) -> bool {
        self.unread.get() > MOST_UNREAD || self.inbox.borrow().len() > MOST_MESSAGES
    }

    /// So much waits to be sent that reading more would only make it more.
    fn is_behind(&self) -> bool {
        self.phase.get() == Phase::Open && self.output.borrow().bytes() > self.settings.queue / 2
    }

    /// Decodes bytes of the peer.
    fn take(self: &Rc<Self>, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let event = self.decoder.borrow_mut().next(&mut bytes);
            match event {
                Ok(None) => {}
                Ok(Some(Event::Message(kind, data))) => {
                    if self.phase.get() == Phase::Open && !self.deaf.get() {
                        self.unread.set(self.unread.get() + data.len());
                        self.inbox.borrow_mut().push_back(Message { kind, data });
                    }
                }
                Ok(Some(Event::Ping(payload))) if self.phase.get() == Phase::Open => self.push_control(Opcode::Pong, &payload),
                Ok(Some(Event::Ping(_) | Event::Pong(_))) => {}
                Ok(Some(Event::Close(close))) => self.answer_close(&close),
                Err(violation) => self.fail(violation.code(), &violation.to_string()),
            }
        }
        if !self.inbox.borrow().is_empty() {
            self.wake_receiver();
        }
    }

    fn wake_receiver(&self) {
        if let Some(waker) = self.receiver.take() {
            // The task that reads polls its handler next anyway.
            let same = wakes(&self.driver, &waker);
            if !same || self.ended.get().is_some() {
                waker.wake();
            }
        }
    }

    /// The peer's close: it is answered with the same, unless it answers ours (RFC 6455 §5.5.1).
    fn answer_close(self: &Rc<Self>, close: &Close) {
        if self.phase.get() == Phase::Open {
            let payload = Close::new(close.code, "").payload();
            self.push_control(Opcode::Close, &payload);
            self.tell(close);
        }
        self.last();
    }

    /// Ends a connection whose peer does what it must not (RFC 6455 §7.1.7).
    fn fail(self: &Rc<Self>, code: u16, why: &str) {
        if self.phase.get() == Phase::Open {
            let close = Close::new(code, why);
            self.push_control(Opcode::Close, &close.payload());
            self.tell(&close);
        }
        self.last();
    }

    fn last(self: &Rc<Self>) {
        if !matches!(self.phase.get(), Phase::Last(_) | Phase::Over) {
            self.phase.set(Phase::Last(self.deadline()));
            self.note();
        }
    }

    fn deadline(&self) -> Moment {
        Moment::now() + self.settings.close_timeout
    }

    /// Begins to close the connection: nothing is sent behind this. Without effect when it is closing already.
    pub fn close(self: &Rc<Self>, code: u16, reason: &str) {
        if self.phase.get() != Phase::Open {
            return;
        }
        let close = Close::new(code, reason);
        self.push_control(Opcode::Close, &close.payload());
        self.tell(&close);
        self.phase.set(Phase::Closing(self.deadline()));
        self.wake_driver();
    }

    /// Remembers why it ended, for the application; the first reason counts.
    fn tell(&self, close: &Close) {
        self.ended.get_or_init(|| Box::new(close.clone()));
        self.wake_receiver();
        self.wake_driver();
    }

    fn wake_driver(&self) {
        if let Some(waker) = self.driver.take() {
            waker.wake();
        }
    }

    /// Drops the stream at once.
    fn end(&self, close: &Close) {
        if self.phase.replace(Phase::Over) == Phase::Over {
            return;
        }
        self.tell(close);
        *self.output.borrow_mut() = Output::default();
        self.stream.take();
        self.wake_driver();
        flush::look();
    }

    /// Breaks the connection off without a word: its task was cancelled.
    pub fn abandon(&self) {
        self.end(&Close { code: close::ABNORMAL, reason: "the connection was broken off".to_owned() });
    }

    /// The next message; `None` when the connection has ended. One task at a time.
    pub fn poll_receive(&self, cx: &mut Context<'_>) -> Poll<Option<Message>> {
        let full = self.is_full();
        let next = self.inbox.borrow_mut().pop_front();
        if let Some(message) = next {
            self.unread.set(self.unread.get().saturating_sub(message.data.len()));
            if self.inbox.borrow().is_empty() && self.inbox.borrow().capacity() > KEPT {
                self.inbox.take();
            }
            if full && !self.is_full() && !wakes(&self.driver, cx.waker()) {
                self.wake_driver();
            }
            return Poll::Ready(Some(message));
        }
        if self.ended.get().is_some() {
            return Poll::Ready(None);
        }
        keep(&self.receiver, cx.waker());
        Poll::Pending
    }

    /// The next message; `None` when the connection has ended.
    pub async fn receive(&self) -> Option<Message> {
        poll_fn(|cx| self.poll_receive(cx)).await
    }

    /// Why it has ended, or is about to.
    #[must_use]
    pub fn ended(&self) -> Option<Close> {
        self.ended.get().map(|close| Close::clone(close))
    }

    /// Whether messages can be sent.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.phase.get() == Phase::Open
    }

    /// Bytes that wait to be sent.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.output.borrow().bytes()
    }

    /// Published messages that were dropped because the peer could not follow.
    #[must_use]
    pub fn dropped(&self) -> u64 {
        self.dropped.get()
    }

    /// Bytes received and sent.
    #[must_use]
    pub fn bytes(&self) -> (u64, u64) {
        (self.received.get(), self.sent.get())
    }

    /// Sends a ping.
    pub fn ping(self: &Rc<Self>, payload: &[u8]) {
        if self.is_open() {
            self.push_control(Opcode::Ping, &payload[..payload.len().min(125)]);
        }
    }

    /// Has it closed at a time: the worker goes.
    pub(super) fn leave_at(&self, at: Moment) {
        if self.leaves.get().is_none() {
            self.leaves.set(Some(at));
        }
    }

    /// Looks whether the time for anything has come. Gives when it must look again.
    pub(super) fn look(self: &Rc<Self>, now: Moment) -> Moment {
        let Settings { ping, pong_timeout: patience, close_timeout, .. } = *self.settings;
        // Whatever begins to run out after this look has at least so long.
        let next = now + patience.min(close_timeout);
        let broken = |why: &str| {
            self.end(&Close { code: close::ABNORMAL, reason: why.to_owned() });
            next
        };
        match self.phase.get() {
            Phase::Over => return next,
            Phase::Closing(until) | Phase::Last(until) if now >= until => return broken("the close was not answered in time"),
            Phase::Closing(until) | Phase::Last(until) => return until,
            Phase::Open => {}
        }
        let since = self.output.borrow().since;
        if since.is_some_and(|since| now.since(since) >= patience) {
            return broken("the peer took nothing for too long");
        }
        if self.leaves.get().is_some_and(|at| now >= at) {
            self.close(close::GOING_AWAY, "the server restarts");
            return next;
        }
        let next = since.map_or(next, |since| next.min(since + patience));
        let next = self.leaves.get().map_or(next, |at| next.min(at));
        // What we do not read we cannot hear.
        if self.is_full() || self.is_behind() {
            self.heard.set(now);
            return next.min(now + ping);
        }
        let heard = self.heard.get();
        if now >= heard + ping + patience {
            return broken("the peer answered no ping");
        }
        if now < heard + ping {
            return next.min(heard + ping);
        }
        if !self.pinged.replace(true) {
            self.push_control(Opcode::Ping, b"");
        }
        next.min(heard + ping + patience)
    }

    /// Whether published messages are dropped for it rather than the connection closed.
    #[must_use]
    pub fn drops(&self) -> bool {
        self.settings.overflow == Overflow::DropOldest
    }
}

/// Stores a waker, unless it is there already.
fn keep(place: &Cell<Option<Waker>>, waker: &Waker) {
    if !wakes(place, waker) {
        place.set(Some(waker.clone()));
    }
}

/// Whether the waker that is stored wakes the same task.
fn wakes(place: &Cell<Option<Waker>>, waker: &Waker) -> bool {
    let kept = place.take();
    let same = kept.as_ref().is_some_and(|kept| kept.will_wake(waker));
    place.set(kept);
    same
}
