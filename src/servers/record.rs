//! What is kept of an exchange: counters, latency, access log, the report of a slow one.

use std::cell::{Cell, RefCell};
use std::io;
use std::rc::Rc;
use std::time::{Duration, Instant};

use super::host::Host;
use super::live::Live;
use crate::codec::http::{Method, RequestHead, Target};
use crate::limiter::Held;
use crate::log_warn;
use crate::reactor;
use crate::request::limits::{Pass, holding};
use crate::request::{Origin, RequestId, Response, Takeover};
use crate::scoreboard::{Label, StepShown, add};
use crate::telemetry::{AccessLog, Record, clock};

/// The status under which the log shows a client that left before its answer (nginx's number).
const CLIENT_LEFT: u16 = 499;

/// An exchange under way. However it ends, it is counted as ended.
pub(in crate::servers) struct Exchange {
    id: RequestId,
    begun: Instant,
    /// What the connection had sent before the body of the answer.
    sent_before: Cell<u64>,
    /// Bytes of the request's body that were received.
    received: Cell<u64>,
    origin: Rc<Origin>,
    method: Method,
    target: Target,
    /// The application that answers; no name when none does.
    app: Cell<Label>,
    /// Whom the answer is for; empty where the route does not ask.
    user: RefCell<Option<Rc<str>>>,
    /// What only the access log asks for.
    more: Option<Box<More>>,
    /// The longest that the client had to wait for something from the application, once that is not simply the time until the end.
    silent: Cell<Option<Duration>>,
    reported: Cell<bool>,
    /// What counts the request as under way.
    held: Cell<Option<Held>>,
    open: Open,
}

struct More {
    version: &'static str,
    referer: Vec<u8>,
    agent: Vec<u8>,
    host: String,
}

/// Keeps the worker "busy" for as long as the exchange lives, also when its task is cancelled.
struct Open(Rc<Host>);

impl Drop for Open {
    fn drop(&mut self) {
        self.0.leave();
    }
}

impl More {
    fn of(head: &RequestHead) -> Self {
        let field = |name| head.fields.get(name).unwrap_or_default().to_vec();
        Self {
            version: head.version.as_str(),
            referer: field("referer"),
            agent: field("user-agent"),
            host: head.authority().unwrap_or_default().to_owned(),
        }
    }
}

impl Exchange {
    pub(in crate::servers) fn begin(server: &Rc<Host>, live: &Live, origin: &Rc<Origin>, head: &RequestHead, sent_before: u64) -> Self {
        server.enter();
        Self {
            id: server.ids.next(),
            begun: reactor::now(),
            sent_before: Cell::new(sent_before),
            received: Cell::new(0),
            origin: origin.clone(),
            method: head.method.clone(),
            target: head.kept_target(),
            app: Cell::default(),
            user: RefCell::default(),
            more: live.access.is_some().then(|| Box::new(More::of(head))),
            silent: Cell::new(None),
            reported: Cell::new(false),
            held: Cell::new(None),
            open: Open(server.clone()),
        }
    }

    pub(in crate::servers) fn id(&self) -> RequestId {
        self.id
    }

    /// The application that answers is found.
    pub(in crate::servers) fn goes_to(&self, app: Label) {
        self.app.set(app);
    }

    /// Counts the request among those of its address; gives the answer to one that is one too many.
    pub(in crate::servers) fn refusal(&self, live: &Live) -> Option<Response> {
        match live.limit.as_ref()?.admit(&self.origin.peer) {
            Pass::Refused(response) => Some(response),
            Pass::Through(held) => {
                self.held.set(held);
                None
            }
        }
    }

    /// The exchange ends, but what it is counted for goes on with the connection.
    pub(in crate::servers) fn goes_on(&self, takeover: Takeover) -> Takeover {
        holding(takeover, self.held.take().into_iter().collect())
    }

    /// There is a response.
    pub(in crate::servers) fn answered_with(&self, response: &Response) {
        if let Some(user) = &response.user {
            self.user.replace(Some(user.clone()));
        }
    }

    /// Shows that the application works on the request now, for as long as the guard lives.
    pub(in crate::servers) fn show(&self) -> StepShown {
        let target = self.target.as_bytes();
        let path = &target[..memchr::memchr(b'?', target).unwrap_or(target.len())];
        let server = &self.open.0;
        server.slot.begin_step(self.app.get(), server.label, self.method.as_str(), path)
    }

    /// When the exchange is reported if it still waits for its answer; `None`: never.
    pub(in crate::servers) fn report_at(&self, live: &Live) -> Option<Instant> {
        self.begun.checked_add(live.slow_request?)
    }

    /// `app shop, server web: GET /cart`.
    fn subject(&self) -> String {
        let server = &self.open.0;
        format!("{}: {} {}", server.slot.place_text(self.app.get(), server.label), self.method, self.target)
    }

    /// Reports an exchange whose answer takes longer than it should, and where it waits.
    pub(in crate::servers) fn report_waiting(&self, trace: Option<&str>) {
        self.report_silence(self.begun, "waits since", trace);
    }

    /// Reports, once, an exchange whose application has sent nothing more of its answer `since` then, and where it waits.
    pub(in crate::servers) fn report_pause(&self, since: Instant, trace: Option<&str>) {
        self.report_silence(since, "has sent nothing for", trace);
    }

    fn report_silence(&self, since: Instant, what: &str, trace: Option<&str>) {
        if !self.reported.replace(true) {
            let (subject, trace) = (self.subject(), trace.unwrap_or_default());
            log_warn!(request = &self.id.to_string(); "slow: {subject} {what} {:.3} s{trace}", since.elapsed().as_secs_f64());
        }
    }

    /// The application has given something after a while: the head of its answer, or a piece of a body that it writes bit by bit.
    /// From the first time on it is this time that makes an exchange slow, and no longer the whole.
    pub(in crate::servers) fn heard_after(&self, silent: Duration) {
        self.silent.set(Some(self.silent.get().unwrap_or_default().max(silent)));
    }

    /// The head is there, and the rest takes its time.
    pub(in crate::servers) fn answered(&self) {
        self.heard_after(self.begun.elapsed());
    }

    /// The head of the answer is written; `sent` is what the connection has sent with it.
    pub(in crate::servers) fn head_ends(&self, sent: u64) {
        self.sent_before.set(sent);
    }

    /// So many bytes of the request's body were received.
    pub(in crate::servers) fn received(&self, bytes: u64) {
        self.received.set(bytes);
    }

    /// The response is written, or could not be.
    pub(in crate::servers) fn finish(&self, live: &Live, status: u16, sent: u64, failure: Option<&io::Error>) {
        let server = &self.open.0;
        let elapsed = self.begun.elapsed();
        let micros = u64::try_from(elapsed.as_micros()).unwrap_or(u64::MAX);
        let slot = server.slot;
        add(slot.requests(), 1);
        if status >= 500 {
            add(slot.errors(), 1);
        }
        slot.record_latency(micros);
        if live.slow_request.is_some_and(|limit| self.silent.get().unwrap_or(elapsed) > limit) {
            let subject = self.subject();
            log_warn!(request = &self.id.to_string(); "slow: {subject} took {:.3} s, status {status}", elapsed.as_secs_f64());
        }
        if let Some(error) = failure {
            let subject = self.subject();
            crate::log_debug!(request = &self.id.to_string(); "{subject}: the answer was not sent whole: {error}");
        }
        if let Some(access) = &live.access {
            write_line(access, &self.origin, Some(self), (status, sent.saturating_sub(self.sent_before.get()), micros), self.id);
        }
    }

    /// The client left before there was an answer.
    pub(in crate::servers) fn abandoned(&self, live: &Live) {
        let sent = self.sent_before.get();
        self.finish(live, CLIENT_LEFT, sent, None);
    }

    /// A reply that stands in the configuration was copied to the connection: nothing was asked of anybody, nobody waited. Only for who keeps no
    /// access log.
    pub(in crate::servers) fn standing(server: &Host, status: u16) {
        add(server.slot.requests(), 1);
        if status >= 500 {
            add(server.slot.errors(), 1);
        }
        server.slot.record_latency(0);
    }

    /// Something that was no request was answered.
    pub(in crate::servers) fn refused(server: &Rc<Host>, live: &Live, origin: &Origin, status: u16, sent: u64) {
        add(server.slot.requests(), 1);
        if let Some(access) = &live.access {
            write_line(access, origin, None, (status, sent, 0), server.ids.next());
        }
    }
}

/// Writes to the access log; without an exchange, that what was answered was no request.
fn write_line(
    access: &AccessLog,
    origin: &Origin,
    exchange: Option<&Exchange>,
    (status, bytes, duration_us): (u16, u64, u64),
    id: RequestId,
) {
    let address = match origin.peer.ip() {
        Some(ip) => ip.to_string(),
        None => origin.peer.to_string(),
    };
    let more = exchange.and_then(|exchange| exchange.more.as_deref());
    let user = exchange.and_then(|exchange| exchange.user.borrow().clone());
    access.log(&Record {
        epoch_ms: clock::epoch_ms(),
        remote_addr: &address,
        remote_port: origin.peer.port().unwrap_or(0),
        user: user.as_deref().unwrap_or_default(),
        method: exchange.map_or("", |exchange| exchange.method.as_str()),
        uri: exchange.map_or(b"", |exchange| exchange.target.as_bytes()),
        protocol: more.map_or("", |more| more.version),
        status,
        bytes,
        received: exchange.map_or(0, |exchange| exchange.received.get()),
        duration_us,
        host: more.map_or(b"", |more| more.host.as_bytes()),
        referer: more.map_or(b"", |more| &more.referer),
        user_agent: more.map_or(b"", |more| &more.agent),
        request_id: &id.to_string(),
        server: &origin.server,
        app: &exchange.map(|exchange| exchange.open.0.slot.label_text(exchange.app.get())).unwrap_or_default(),
    });
}
