//! One connection: records in, records out. Requests are answered in tasks of their own; this one moves the bytes.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::io::{self, IoSlice};
use std::rc::Rc;
use std::task::{Context, Poll, Waker, ready};
use std::time::{Duration, Instant};

use super::asked::{Asked, Refusal};
use super::inbox::{Bell, Inbox};
use super::requests::Requests;
use super::server::{FastCgiServer, Serving};
use crate::codec::fastcgi::{BeginRequest, EndRequest, Kind, MAX_RECORD, ProtocolStatus, decode, write_end, write_record};
use crate::log_debug;
use crate::net::{Peer, Stream};
use crate::reactor::{self, Alarm, Scope, TimedOut};
use crate::servers::buffers;

/// Output kept together before it must go; with more, requests wait and nothing is read.
const OUTPUT: usize = 64 << 10;
/// What an idle connection keeps of its output buffer.
const IDLE_OUTPUT: usize = 4 << 10;
/// How long an idle connection stays when the worker drains: time for a request that is on its way.
const DRAIN_GRACE: Duration = Duration::from_secs(2);
/// How long a closing connection goes on reading a body that nobody wanted, so that the answer is not lost to a reset. How much that is does not
/// matter: fronts send faster than they look at what came, and HAProxy drops an answer that a reset follows.
const LINGER: Duration = Duration::from_secs(5);

/// The header of a record of no version: nothing of the connection counts any more.
const NO_RECORD: [u8; 8] = [0; 8];

/// A request of the connection.
pub(super) enum Pending {
    /// Its parameters are arriving.
    Head { begin: BeginRequest, since: Instant, parameters: Vec<u8> },
    /// It is being answered.
    Running { begin: BeginRequest, inbox: Rc<Inbox> },
}

/// A request whose parameters have come, to be answered as soon as what came with them is taken.
pub(super) struct Begun {
    pub(super) id: u16,
    pub(super) inbox: Rc<Inbox>,
    pub(super) serving: Rc<Serving>,
    pub(super) asked: Result<Asked, Refusal>,
}

pub(super) struct Connection {
    pub(super) server: Rc<FastCgiServer>,
    pub(super) front: Peer,
    pub(super) local: Peer,
    pub(super) requests: RefCell<Requests>,
    pub(super) begun: RefCell<Vec<Begun>>,
    /// No further request is taken.
    pub(super) closing: Cell<bool>,
    /// The task that moves the bytes.
    pub(super) driver: Rc<Bell>,
    pub(super) received: Cell<u64>,
    pub(super) sent: Cell<u64>,
    stream: Stream,
    output: RefCell<Vec<u8>>,
    /// Requests that wait for room in the output.
    waiting: RefCell<Vec<Waker>>,
    /// Requests that were answered before their bodies had come: the rest may be on its way.
    unread: RefCell<Vec<u16>>,
    /// The connection is to be broken off, so that an answer that is not whole does not look so.
    broken: Cell<bool>,
    used: Cell<bool>,
    writing: Alarm,
    resting: Alarm,
}

/// What has arrived and is not used yet. It grows to what one record may take.
#[derive(Default)]
struct Input {
    buffer: Vec<u8>,
    end: usize,
}

impl Drop for Input {
    fn drop(&mut self) {
        buffers::give_back(std::mem::take(&mut self.buffer));
    }
}

impl Connection {
    pub(super) fn new(stream: Stream, server: Rc<FastCgiServer>, front: Peer, local: Peer) -> Self {
        Self {
            server,
            front,
            local,
            requests: RefCell::default(),
            begun: RefCell::default(),
            closing: Cell::new(false),
            driver: Rc::default(),
            received: Cell::new(0),
            sent: Cell::new(0),
            stream,
            output: RefCell::default(),
            waiting: RefCell::default(),
            unread: RefCell::default(),
            broken: Cell::new(false),
            used: Cell::new(false),
            writing: Alarm::new(),
            resting: Alarm::new(),
        }
    }

    /// Serves the connection until it ends.
    pub(super) async fn run(self: &Rc<Self>) {
        // The requests end with this future, however that ends.
        let scope = Scope::new();
        let mut input = Input::default();
        let ended = poll_fn(|cx| self.poll(cx, &mut input, &scope)).await;
        if let Err(error) = &ended {
            log_debug!("{}: {}: {error}", self.server.name, self.front);
        }
        if !self.unread.borrow().is_empty() && (ended.is_ok() || self.drained_and_broken()) {
            drop(input);
            self.linger().await;
        }
        scope.cancel().await;
    }

    /// Whether it was broken off, and what came before that is out.
    fn drained_and_broken(&self) -> bool {
        self.broken.get() && self.output.borrow().is_empty()
    }

    /// Looks again at what is to be done.
    pub(super) fn wake(&self) {
        self.driver.ring();
    }

    fn poll(self: &Rc<Self>, cx: &mut Context<'_>, input: &mut Input, scope: &Scope) -> Poll<io::Result<()>> {
        self.driver.listen(cx);
        loop {
            let drained = self.poll_drain(cx)?;
            if self.broken.get() {
                // What came before the fault goes out first, and words for the front's log.
                if drained.is_pending() {
                    return self.stream.poll_hang_up(cx).map(|()| Err(io::ErrorKind::ConnectionReset.into()));
                }
                return Poll::Ready(Err(io::Error::other("broken off with an answer that is not whole")));
            }
            if drained.is_ready() && self.closing.get() && self.requests.borrow().is_empty() {
                return Poll::Ready(Ok(()));
            }
            if self.must_wait() {
                return self.stream.poll_hang_up(cx).map(|()| Err(io::ErrorKind::ConnectionReset.into()));
            }
            match self.poll_fill(cx, input)? {
                Poll::Ready(0) => return Poll::Ready(Ok(())),
                Poll::Ready(_) => {
                    self.used.set(true);
                    self.take_records(input, scope)?;
                }
                Poll::Pending if self.poll_rest(cx, input, scope).is_ready() => return Poll::Ready(Ok(())),
                // What was answered just now goes out first.
                Poll::Pending if drained.is_ready() && !self.output.borrow().is_empty() => {}
                Poll::Pending => return Poll::Pending,
            }
        }
    }

    /// Whether nothing may be read: a body waits for its reader, or the front takes nothing.
    fn must_wait(&self) -> bool {
        let full = |(_, pending): &(u16, Pending)| matches!(pending, Pending::Running { inbox, .. } if inbox.is_full());
        !self.has_room() || self.requests.borrow().iter().any(full)
    }

    fn poll_fill(&self, cx: &mut Context<'_>, input: &mut Input) -> Poll<io::Result<usize>> {
        if let Stream::Plain(socket) = &self.stream {
            ready!(socket.poll_readable(cx));
        }
        let Input { buffer, end } = input;
        if *end == buffer.len() {
            if buffer.is_empty() {
                *buffer = buffers::take();
            } else {
                // A record is taken out as soon as it is whole, so what is left is less than one.
                buffer.resize((buffer.len() * 2).min(MAX_RECORD + buffers::SIZE), 0);
            }
        }
        let read = ready!(self.stream.poll_read(cx, &mut buffer[*end..]))?;
        *end += read;
        self.received.set(self.received.get() + read as u64);
        Poll::Ready(Ok(read))
    }

    fn take_records(self: &Rc<Self>, input: &mut Input, scope: &Scope) -> io::Result<()> {
        let invalid = |error| io::Error::new(io::ErrorKind::InvalidData, error);
        let mut used = 0;
        while let Some(record) = decode(&input.buffer[used..input.end]).map_err(invalid)? {
            self.take(&record).map_err(invalid)?;
            used += record.consumed;
        }
        input.buffer.copy_within(used..input.end, 0);
        input.end -= used;
        self.answer_begun(scope);
        Ok(())
    }

    /// Ready when the connection was of no use for too long. Parameters that come too slowly are answered.
    fn poll_rest(self: &Rc<Self>, cx: &mut Context<'_>, input: &mut Input, scope: &Scope) -> Poll<()> {
        let serving = self.server.serving();
        let timeouts = &serving.config.timeouts;
        if self.requests.borrow().is_empty() {
            if input.end == 0 {
                buffers::give_back(std::mem::take(&mut input.buffer));
            }
            let span = if self.used.get() && input.end == 0 { *timeouts.idle } else { *timeouts.header };
            if !self.resting.is_set() {
                self.resting.set(span);
            }
            if let Some(since) = self.server.host.draining.get() {
                self.resting.set_at(since + DRAIN_GRACE);
            }
            return self.resting.poll(cx);
        }
        self.resting.clear();
        let requests = self.requests.borrow();
        let oldest = requests.iter().filter_map(|(id, pending)| match pending {
            Pending::Head { since, .. } => Some((*since, *id)),
            Pending::Running { .. } => None,
        });
        let oldest = oldest.min();
        drop(requests);
        if let Some((since, id)) = oldest
            && let Some(at) = since.checked_add(*timeouts.header)
        {
            self.resting.set_at(at);
            if self.resting.poll(cx).is_ready() {
                self.refuse(id, 408, "the parameters came too slowly");
                self.answer_begun(scope);
                self.wake();
            }
            self.resting.clear();
        }
        Poll::Pending
    }

    /// Adds to what is to go out.
    pub(super) fn with_output<R>(&self, f: impl FnOnce(&mut Vec<u8>) -> R) -> R {
        f(&mut self.output.borrow_mut())
    }

    /// Writes what is to go out. Each write that takes something has the whole time.
    fn poll_drain(&self, cx: &mut Context<'_>) -> io::Result<Poll<()>> {
        let limit = *self.server.serving().config.timeouts.write;
        let mut output = self.output.borrow_mut();
        while !output.is_empty() {
            let Poll::Ready(written) = self.stream.poll_write_vectored(cx, &[IoSlice::new(&output)])? else {
                if !self.writing.is_set() {
                    self.writing.set(limit);
                }
                return if self.writing.poll(cx).is_ready() { Err(TimedOut.into()) } else { Ok(Poll::Pending) };
            };
            if written == 0 {
                return Err(io::ErrorKind::WriteZero.into());
            }
            self.writing.clear();
            self.sent.set(self.sent.get() + written as u64);
            output.drain(..written);
            if output.len() < OUTPUT {
                self.waiting.take().into_iter().for_each(Waker::wake);
            }
        }
        let most = if self.requests.borrow().is_empty() { IDLE_OUTPUT } else { OUTPUT };
        if output.capacity() > most {
            *output = Vec::new();
        }
        Ok(Poll::Ready(()))
    }

    /// Whether a request may add to the output.
    pub(super) fn has_room(&self) -> bool {
        self.output.borrow().len() < OUTPUT
    }

    /// Waits until a request may add to the output.
    ///
    /// # Errors
    /// Nobody wants the answer any more.
    pub(super) async fn room(&self, inbox: &Inbox) -> io::Result<()> {
        poll_fn(|cx| {
            if inbox.poll_aborted(cx).is_ready() {
                return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()));
            }
            if self.has_room() {
                return Poll::Ready(Ok(()));
            }
            self.waiting.borrow_mut().push(cx.waker().clone());
            Poll::Pending
        })
        .await
    }

    /// Writes words for the front's log.
    pub(super) fn tell(&self, id: u16, words: &str) {
        self.with_output(|out| write_record(Kind::Stderr, id, words.as_bytes(), out));
    }

    /// Ends a request.
    pub(super) fn end(&self, id: u16, app_status: u32, protocol: ProtocolStatus) {
        let pending = self.requests.borrow_mut().remove(id);
        let keep = match &pending {
            Some(Pending::Head { begin, .. } | Pending::Running { begin, .. }) => begin.keep,
            None => true,
        };
        if let Some(Pending::Running { inbox, .. }) = &pending {
            self.leave_unread(id, inbox);
        }
        self.with_output(|out| {
            if protocol == ProtocolStatus::Complete {
                write_end(Kind::Stdout, id, out);
            }
            EndRequest { app_status, protocol }.write(id, out);
        });
        if !keep || self.server.host.draining.get().is_some() {
            self.closing.set(true);
        }
        self.wake();
    }

    /// Reads no more of a body.
    fn leave_unread(&self, id: u16, inbox: &Inbox) {
        let mut unread = self.unread.borrow_mut();
        if !inbox.is_whole() && !inbox.is_aborted() && unread.len() < self.server.serving().config.max_requests as usize {
            unread.push(id);
        }
        drop(unread);
        inbox.close();
    }

    /// The rest of a body that nobody read has come, or will not.
    pub(super) fn passed_by(&self, id: u16) {
        self.unread.borrow_mut().retain(|&other| other != id);
    }

    /// Ends a request whose answer broke off. The protocol has no word for that which every front understands: where no other request is
    /// on the connection, it is closed without an end, behind what is no record. Where there are others, they are not to suffer, nor those that come:
    /// HAProxy, which alone shares connections, goes on using one that was closed while a body was under way that nobody reads. It waits then for
    /// what is missing of an announced length, and sees nothing without one (an end that is malformed makes 2.6 crash, `FCGI_OVERLOADED` makes it
    /// give up the connection).
    pub(super) fn break_off(&self, id: u16) {
        if self.requests.borrow().len() == 1 && self.unread.borrow().is_empty() {
            if let Some(Pending::Running { inbox, .. }) = self.requests.borrow().get(id) {
                self.leave_unread(id, inbox);
            }
            // nginx without buffers takes a close for the end of an answer that has no length; it does not take what is no record for one.
            self.with_output(|out| out.extend_from_slice(&NO_RECORD));
            self.broken.set(true);
            self.wake();
        } else {
            self.end(id, 1, ProtocolStatus::Complete);
        }
    }

    /// Says that nothing more comes, and reads what still arrives, for some time.
    async fn linger(&self) {
        if self.stream.shutdown_write().await.is_err() {
            return;
        }
        let alarm = Alarm::new();
        alarm.set_at(reactor::refresh_now() + LINGER);
        let mut buffer = vec![0; buffers::SIZE];
        while let Ok(Ok(1..)) = alarm.guard(self.stream.read(&mut buffer)).await {}
    }
}
