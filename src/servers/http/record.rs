//! What is kept of an exchange: counters, latency, access log, the report of a slow one.

use std::io;
use std::rc::Rc;
use std::time::Instant;

use super::server::{HttpServer, Live};
use crate::codec::http::{Method, RequestHead};
use crate::log_warn;
use crate::reactor;
use crate::request::{Origin, RequestId};
use crate::scoreboard::{add, now_ms};
use crate::telemetry::{AccessLog, Record, clock};

/// The status under which the log shows a client that left before its answer (nginx's number).
const CLIENT_LEFT: u16 = 499;

/// An exchange under way. However it ends, it is counted as ended.
pub(super) struct Exchange {
    id: RequestId,
    begun: Instant,
    /// What the connection had sent and received before.
    sent_before: u64,
    origin: Rc<Origin>,
    line: Option<Line>,
    open: Open,
}

/// What the logs say of a request, kept because the request itself is given away.
struct Line {
    method: Method,
    target: Rc<str>,
    /// What only the access log asks for.
    more: Option<Box<More>>,
}

struct More {
    version: &'static str,
    referer: Vec<u8>,
    agent: Vec<u8>,
    host: String,
}

/// Keeps the worker "busy" for as long as the exchange lives, also when its task is cancelled.
struct Open(Rc<HttpServer>);

impl Drop for Open {
    fn drop(&mut self) {
        self.0.slot.end_step();
        self.0.leave();
    }
}

impl Line {
    fn of(head: &RequestHead, access: bool) -> Self {
        let field = |name| head.fields.get(name).unwrap_or_default().to_vec();
        let more = access.then(|| {
            Box::new(More {
                version: head.version.as_str(),
                referer: field("referer"),
                agent: field("user-agent"),
                host: head.authority().unwrap_or_default().to_owned(),
            })
        });
        Self { method: head.method.clone(), target: head.shared_target(), more }
    }
}

impl Exchange {
    pub(super) fn begin(server: &Rc<HttpServer>, live: &Live, origin: &Rc<Origin>, head: &RequestHead, sent_before: u64) -> Self {
        server.enter();
        server.slot.begin_step(server.label, head.path().as_bytes());
        let wanted = live.access.is_some() || live.slow_request.is_some();
        let line = wanted.then(|| Line::of(head, live.access.is_some()));
        Self { id: server.ids.next(), begun: reactor::now(), sent_before, origin: origin.clone(), line, open: Open(server.clone()) }
    }

    pub(super) fn id(&self) -> RequestId {
        self.id
    }

    /// When the exchange is reported if it still waits; `None`: never.
    pub(super) fn report_at(&self, live: &Live) -> Option<Instant> {
        self.begun.checked_add(live.slow_request?)
    }

    /// Reports an exchange that waits for longer than it should, and where.
    pub(super) fn report_waiting(&self, trace: Option<&str>) {
        let Some(line) = &self.line else { return };
        let elapsed = self.begun.elapsed().as_secs_f64();
        let trace = trace.unwrap_or_default();
        log_warn!(request = &self.id.to_string(); "slow: {} {} waits since {elapsed:.3} s{trace}", line.method, line.target);
    }

    /// The response is written, or could not be.
    pub(super) fn finish(self, live: &Live, status: u16, sent: u64, failure: Option<&io::Error>) {
        let server = &self.open.0;
        let elapsed = self.begun.elapsed();
        let micros = u64::try_from(elapsed.as_micros()).unwrap_or(u64::MAX);
        let slot = server.slot;
        add(slot.requests(), 1);
        if status >= 500 {
            add(slot.errors(), 1);
        }
        slot.record_latency(micros);
        let Some(line) = &self.line else { return };
        if live.slow_request.is_some_and(|limit| elapsed > limit) {
            log_warn!(request = &self.id.to_string(); "slow: {} {} took {:.3} s, status {status}", line.method, line.target, elapsed.as_secs_f64());
        }
        if let Some(error) = failure {
            crate::log_debug!(request = &self.id.to_string(); "{} {}: the answer was not sent whole: {error}", line.method, line.target);
        }
        if let Some(access) = &live.access {
            write_line(access, &self.origin, Some(line), (status, sent.saturating_sub(self.sent_before), micros), self.id);
        }
    }

    /// The client left before there was an answer.
    pub(super) fn abandoned(self, live: &Live) {
        let sent = self.sent_before;
        self.finish(live, CLIENT_LEFT, sent, None);
    }

    /// Something that was no request was answered.
    pub(super) fn refused(server: &Rc<HttpServer>, live: &Live, origin: &Origin, status: u16, sent: u64) {
        add(server.slot.requests(), 1);
        server.slot.last_work_ms().store(now_ms(), std::sync::atomic::Ordering::Relaxed);
        if let Some(access) = &live.access {
            write_line(access, origin, None, (status, sent, 0), server.ids.next());
        }
    }
}

/// Writes to the access log; without a line, that what was answered was no request.
fn write_line(access: &AccessLog, origin: &Origin, line: Option<&Line>, (status, bytes, duration_us): (u16, u64, u64), id: RequestId) {
    let address = match origin.peer.ip() {
        Some(ip) => ip.to_string(),
        None => origin.peer.to_string(),
    };
    let more = line.and_then(|line| line.more.as_deref());
    access.log(&Record {
        epoch_ms: clock::epoch_ms(),
        remote_addr: &address,
        remote_port: origin.peer.port().unwrap_or(0),
        user: "",
        method: line.map_or("", |line| line.method.as_str()),
        uri: line.map_or(b"", |line| line.target.as_bytes()),
        protocol: more.map_or("", |more| more.version),
        status,
        bytes,
        received: 0,
        duration_us,
        host: more.map_or(b"", |more| more.host.as_bytes()),
        referer: more.map_or(b"", |more| &more.referer),
        user_agent: more.map_or(b"", |more| &more.agent),
        request_id: &id.to_string(),
        server: &origin.server,
        app: "",
    });
}
