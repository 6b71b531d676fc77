//! What arrives for one request: its body, and that nobody wants the answer any more.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::Bytes;

use crate::reactor::Alarm;
use crate::request::{BodyError, BodySource};

/// What may wait of a body that nobody reads yet, in bytes; with more the connection is not read.
const WAITING: usize = 64 << 10;
/// What a piece costs beside its bytes: a body of one-byte records is bounded too.
const PIECE: usize = 64;

/// Wakes the one task that listens.
#[derive(Default)]
pub(super) struct Bell(RefCell<Option<Waker>>);

impl Bell {
    pub(super) fn listen(&self, cx: &Context<'_>) {
        let mut waker = self.0.borrow_mut();
        if !waker.as_ref().is_some_and(|waker| waker.will_wake(cx.waker())) {
            *waker = Some(cx.waker().clone());
        }
    }

    pub(super) fn ring(&self) {
        if let Some(waker) = &*self.0.borrow() {
            waker.wake_by_ref();
        }
    }
}

pub(super) struct Inbox {
    state: RefCell<State>,
    waiting: Cell<usize>,
    received: Cell<u64>,
    /// The length that the parameters announce, once they are read.
    announced: Cell<Option<u64>>,
    limit: u64,
    time: Duration,
    alarm: Alarm,
    reader: Bell,
    aborted: Cell<bool>,
    /// Who answers, and wants to know when nobody wants the answer.
    answering: Bell,
    /// The connection, which reads on when there is room.
    connection: Rc<Bell>,
}

struct State {
    pieces: VecDeque<Bytes>,
    end: End,
}

/// What follows the pieces at hand.
enum End {
    More,
    Whole,
    Failed(BodyError),
}

impl Inbox {
    /// For a body of at most `limit` bytes, none of which may take longer than `time`.
    pub(super) fn new(connection: Rc<Bell>, limit: u64, time: Duration) -> Self {
        Self {
            state: RefCell::new(State { pieces: VecDeque::new(), end: End::More }),
            waiting: Cell::new(0),
            received: Cell::new(0),
            announced: Cell::new(None),
            limit,
            time,
            alarm: Alarm::new(),
            reader: Bell::default(),
            aborted: Cell::new(false),
            answering: Bell::default(),
            connection,
        }
    }

    pub(super) fn announce(&self, length: Option<u64>) {
        self.announced.set(length);
    }

    /// Bytes that have arrived.
    pub(super) fn received(&self) -> u64 {
        self.received.get()
    }

    /// Whether so much waits that no more should be read.
    pub(super) fn is_full(&self) -> bool {
        self.waiting.get() >= WAITING
    }

    /// Whether all of the body has arrived.
    pub(super) fn is_whole(&self) -> bool {
        matches!(self.state.borrow().end, End::Whole)
    }

    /// A piece has arrived.
    pub(super) fn push(&self, content: &[u8]) {
        let mut state = self.state.borrow_mut();
        if !matches!(state.end, End::More) {
            return;
        }
        let received = self.received.get() + content.len() as u64;
        self.received.set(received);
        if received > self.limit {
            state.end = End::Failed(BodyError::TooLarge(self.limit));
        } else if self.announced.get().is_some_and(|length| received > length) {
            state.end = End::Failed(BodyError::Malformed("it is longer than CONTENT_LENGTH".into()));
        } else {
            state.pieces.push_back(Bytes::copy_from_slice(content));
            self.waiting.set(self.waiting.get() + content.len() + PIECE);
            self.alarm.clear();
        }
        self.reader.ring();
    }

    /// The last piece has arrived.
    pub(super) fn end(&self) {
        let mut state = self.state.borrow_mut();
        if matches!(state.end, End::More) {
            state.end = match self.announced.get() {
                Some(length) if self.received.get() < length => {
                    End::Failed(BodyError::Malformed("it is shorter than CONTENT_LENGTH".into()))
                }
                _ => End::Whole,
            };
        }
        self.reader.ring();
    }

    /// Nobody wants the answer.
    pub(super) fn abort(&self) {
        self.aborted.set(true);
        self.close();
        self.reader.ring();
        self.answering.ring();
    }

    /// Nobody reads the body any more: what arrives of it is thrown away.
    pub(super) fn close(&self) {
        let mut state = self.state.borrow_mut();
        state.pieces.clear();
        if matches!(state.end, End::More) {
            state.end = End::Failed(BodyError::Gone);
        }
        drop(state);
        self.waiting.set(0);
        self.connection.ring();
    }

    pub(super) fn is_aborted(&self) -> bool {
        self.aborted.get()
    }

    /// Ready when nobody wants the answer any more.
    pub(super) fn poll_aborted(&self, cx: &Context<'_>) -> Poll<()> {
        if self.aborted.get() {
            return Poll::Ready(());
        }
        self.answering.listen(cx);
        Poll::Pending
    }
}

impl BodySource for Inbox {
    fn poll_chunk(&self, cx: &mut Context<'_>) -> Poll<Result<Option<Bytes>, BodyError>> {
        let mut state = self.state.borrow_mut();
        if let Some(piece) = state.pieces.pop_front() {
            let was_full = self.is_full();
            self.waiting.set(self.waiting.get() - piece.len() - PIECE);
            if was_full && !self.is_full() {
                self.connection.ring();
            }
            return Poll::Ready(Ok(Some(piece)));
        }
        match &state.end {
            End::Whole => return Poll::Ready(Ok(None)),
            End::Failed(error) => return Poll::Ready(Err(error.clone())),
            End::More => {}
        }
        self.reader.listen(cx);
        if !self.alarm.is_set() {
            self.alarm.set(self.time);
        }
        if self.alarm.poll(cx).is_ready() {
            state.end = End::Failed(BodyError::TimedOut);
            return Poll::Ready(Err(BodyError::TimedOut));
        }
        Poll::Pending
    }
}
