//! One connection to a lock server.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, VecDeque};
use std::future::poll_fn;
use std::io::{self, IoSlice};
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use bytes::{Buf, BytesMut};

use super::member::Member;
use super::{Server, WeakServer, patience, tell};
use crate::codec::lock::{Answer, Entry, Line, Lines, Request, parse_answer, write_request};
use crate::link::locks::{Hearer, Listed, Mode, Name, Said};
use crate::log_warn;
use crate::net::Stream;
use crate::reactor::{self, timeout};

/// How much is read at once.
const PIECE: usize = 16 << 10;
/// What may wait to be sent.
const MOST_OUTPUT: usize = 1 << 20;

/// What members ask before it is known what the server speaks.
type HeldBack = Vec<(Rc<Member>, Request<'static>)>;

/// A list that is under way.
struct Listing {
    hearer: Rc<dyn Hearer>,
    /// Bytes of every name that are the client's prefix.
    prefix: usize,
    /// Entries that are still to come; none before the first line.
    missing: Option<usize>,
    locks: Vec<Listed>,
}

/// A connection, or the making of one.
pub(super) struct Connection {
    server: WeakServer,
    output: RefCell<BytesMut>,
    /// What is sent once it is known that the server speaks more than the original; none when that is known.
    held_back: RefCell<Option<HeldBack>>,
    extended: Cell<bool>,
    members: RefCell<BTreeMap<Name, Rc<Member>>>,
    lists: RefCell<VecDeque<Listing>>,
    waker: RefCell<Option<Waker>>,
    closing: Cell<bool>,
    /// Lines that came so far.
    heard: Cell<u64>,
}

impl Connection {
    /// Begins to connect.
    pub(super) fn open(server: &Rc<Server>) -> Rc<Self> {
        let connection = Rc::new(Self {
            server: Rc::downgrade(server),
            output: RefCell::default(),
            held_back: RefCell::new(Some(Vec::new())),
            extended: Cell::new(false),
            members: RefCell::default(),
            lists: RefCell::default(),
            waker: RefCell::default(),
            closing: Cell::new(false),
            heard: Cell::new(0),
        });
        let (connector, address) = (server.connector.clone(), server.address.clone());
        let (limit, ping) = (*server.config.connect_timeout, *server.config.ping);
        let own = connection.clone();
        reactor::spawn(async move {
            let connected = timeout(limit, connector.connect(&address)).await.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()));
            match connected {
                Ok(stream) => {
                    own.send(&Request::Hello { lasting: false, session: None });
                    let pings = own.watch(ping);
                    futures_lite::future::or(pings, own.run(&stream)).await;
                }
                Err(error) => {
                    log_warn!("locks: {address}: {error}");
                    if let Some(server) = own.server.upgrade() {
                        server.failed();
                    }
                }
            }
            own.end();
        })
        .detach();
        connection
    }

    /// Whether it has to do with a name.
    pub(super) fn knows(&self, name: &Name) -> bool {
        self.closing.get() || self.members.borrow().contains_key(name)
    }

    /// Sends what a member asks.
    pub(super) fn ask(&self, member: &Rc<Member>, request: &Request<'static>) {
        if self.closing.get() {
            member.lose();
            return;
        }
        self.members.borrow_mut().insert(member.name.clone(), member.clone());
        if let Some(held_back) = &mut *self.held_back.borrow_mut() {
            held_back.push((member.clone(), request.clone()));
            return;
        }
        self.pass(member, request);
    }

    fn pass(&self, member: &Rc<Member>, request: &Request<'static>) {
        if member.needs_extension() && !self.extended.get() {
            // A server of the original has no leases.
            self.members.borrow_mut().remove(&member.name);
            member.lose();
        } else {
            self.send(request);
        }
    }

    /// Asks for a list.
    pub(super) fn list(&self, prefix: Vec<u8>, limit: u32, hearer: Rc<dyn Hearer>, own_prefix: usize) {
        if self.closing.get() || self.held_back.borrow().is_none() && !self.extended.get() {
            tell(&*hearer, &Name::default(), Said::Unavailable);
            return;
        }
        self.lists.borrow_mut().push_back(Listing { hearer, prefix: own_prefix, missing: None, locks: Vec::new() });
        // Behind the greeting: a server of the original answers it with an error, which ends the list too.
        self.send(&Request::List { prefix: prefix.into(), limit });
    }

    fn send(&self, request: &Request<'_>) {
        let mut line = Vec::with_capacity(64);
        write_request(request, &mut line);
        self.output.borrow_mut().extend_from_slice(&line);
        self.wake();
    }

    fn wake(&self) {
        if let Some(waker) = self.waker.borrow().as_ref() {
            waker.wake_by_ref();
        }
    }

    /// Ends it; who holds something through it is told.
    pub(super) fn close(&self) {
        self.closing.set(true);
        self.wake();
    }

    /// Returns when the server has been silent for too long.
    async fn watch(&self, ping: std::time::Duration) {
        let mut silent = std::time::Duration::ZERO;
        loop {
            let before = self.heard.get();
            reactor::sleep(ping).await;
            let is_needed = !self.members.borrow().is_empty() || !self.lists.borrow().is_empty() || self.held_back.borrow().is_some();
            silent = if self.heard.get() == before && is_needed { silent + ping } else { std::time::Duration::ZERO };
            if silent >= patience(ping) {
                return;
            }
            if is_needed && self.extended.get() {
                self.send(&Request::Ping);
            }
        }
    }

    async fn run(&self, stream: &Stream) {
        let mut buffer = vec![0; PIECE].into_boxed_slice();
        let mut lines = Lines::default();
        poll_fn(|cx| self.poll(cx, stream, &mut buffer, &mut lines)).await;
    }

    fn poll(&self, cx: &mut Context<'_>, stream: &Stream, buffer: &mut [u8], lines: &mut Lines) -> Poll<()> {
        loop {
            {
                let mut output = self.output.borrow_mut();
                while !output.is_empty() {
                    match stream.poll_write_vectored(cx, &[IoSlice::new(&output)]) {
                        Poll::Ready(Ok(0) | Err(_)) => return Poll::Ready(()),
                        Poll::Ready(Ok(count)) => output.advance(count),
                        Poll::Pending => break,
                    }
                }
                if self.closing.get() || output.len() > MOST_OUTPUT {
                    return Poll::Ready(());
                }
            }
            self.waker.replace(Some(cx.waker().clone()));
            match stream.poll_read(cx, buffer) {
                Poll::Ready(Ok(0) | Err(_)) => return Poll::Ready(()),
                Poll::Ready(Ok(count)) => lines.push(&buffer[..count]),
                Poll::Pending => return Poll::Pending,
            }
            while let Some(line) = lines.pull() {
                let Line::Text(line) = line else { return Poll::Ready(()) };
                // What this version does not know is no reason to lose what is held.
                if let Some(answer) = parse_answer(line) {
                    self.hear(answer);
                }
            }
        }
    }

    fn hear(&self, answer: Answer<'_>) {
        self.heard.set(self.heard.get() + 1);
        let first = self.held_back.take();
        if let Some(held_back) = first {
            self.extended.set(matches!(answer, Answer::Hello { .. }));
            if let Some(server) = self.server.upgrade() {
                server.reached();
            }
            held_back.into_iter().for_each(|(member, request)| self.pass(&member, &request));
            return;
        }
        match answer {
            Answer::List(count) => self.listed(Some(count), None),
            Answer::Entry(entry) => self.listed(None, Some(entry)),
            Answer::ProtocolError => self.refused(),
            Answer::Hello { .. } | Answer::Pong => {}
            answer => {
                let Some(name) = name_of(&answer) else { return };
                let member = self.members.borrow().get(name).cloned();
                if let Some(member) = member {
                    self.tell_member(&member, &answer);
                }
            }
        }
    }

    fn tell_member(&self, member: &Rc<Member>, answer: &Answer<'_>) {
        let request = member.hear(answer);
        if member.is_idle() {
            self.members.borrow_mut().remove(&member.name);
        }
        if let Some(request) = request {
            self.send(&request);
        }
        let is_spare = || self.server.upgrade().is_some_and(|server| server.connections.borrow().len() > 1);
        if self.members.borrow().is_empty() && self.lists.borrow().is_empty() && is_spare() {
            self.close();
        }
    }

    /// Something that was sent is no command to the server: of an old one, a list or the question for a token.
    fn refused(&self) {
        if let Some(listing) = self.lists.borrow_mut().pop_front() {
            tell(&*listing.hearer, &Name::default(), Said::Unavailable);
            return;
        }
        let asker = self.members.borrow().values().find(|member| member.asked_for_token()).cloned();
        if let Some(member) = asker.filter(|_| !self.extended.get()) {
            self.tell_member(&member, &Answer::ProtocolError);
        }
    }

    fn listed(&self, count: Option<usize>, entry: Option<Entry<'_>>) {
        let mut lists = self.lists.borrow_mut();
        let Some(listing) = lists.front_mut() else { return };
        if count.is_some() {
            listing.missing = count;
        }
        if let (Some(entry), Some(missing)) = (entry, listing.missing) {
            let mode = match entry.mode.as_str() {
                "shared" => Mode::Shared,
                mode => mode.parse().map_or(Mode::Exclusive, Mode::Permits),
            };
            let name = entry.name.get(listing.prefix..).unwrap_or_default().into();
            let job = entry.mode == "job";
            let (holders, waiting, token) = (entry.holders, entry.waiting, entry.token);
            listing.locks.push(Listed { name, job, mode, holders, waiting, token });
            listing.missing = Some(missing.saturating_sub(1));
        }
        if listing.missing == Some(0)
            && let Some(listing) = lists.pop_front()
        {
            drop(lists);
            tell(&*listing.hearer, &Name::default(), Said::Locks(listing.locks));
        }
    }

    /// Tells everybody that it is gone.
    fn end(&self) {
        self.closing.set(true);
        if let Some(server) = self.server.upgrade() {
            server.forget(self);
        }
        self.held_back.take();
        let members = self.members.take();
        members.into_values().for_each(|member| member.lose());
        let lists = self.lists.take();
        lists.into_iter().for_each(|listing| tell(&*listing.hearer, &Name::default(), Said::Unavailable));
    }
}

/// The lock that an answer is about.
fn name_of<'a>(answer: &'a Answer<'_>) -> Option<&'a [u8]> {
    match answer {
        Answer::Run(name)
        | Answer::Wait(name)
        | Answer::Done(name)
        | Answer::Failed(name)
        | Answer::Queued(name)
        | Answer::Busy(name)
        | Answer::Timeout(name)
        | Answer::Unlocked(name)
        | Answer::NotHeld(name)
        | Answer::Limit(name)
        | Answer::Unavailable(name)
        | Answer::Lost { name, .. }
        | Answer::Token { name, .. } => Some(name),
        Answer::Held(lease) | Answer::Locked(lease) | Answer::Renewed(lease) => Some(&lease.name),
        Answer::Entry(_) | Answer::List(_) | Answer::ProtocolError | Answer::Hello { .. } | Answer::Pong => None,
    }
}
