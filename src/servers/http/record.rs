//! What is kept of an exchange: counters, latency, access log, the report of a slow one.

use std::io;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Instant;

use super::server::{HttpServer, Live};
use crate::codec::http::RequestHead;
use crate::reactor;
use crate::request::{Origin, RequestId};
use crate::scoreboard::{add, now_ms};
use crate::telemetry::{AccessRecord, log_warn};

/// An exchange under way. However it ends, it is counted as ended.
pub(super) struct Exchange {
    id: RequestId,
    begun: Instant,
    /// What the connection had sent before.
    sent_before: u64,
    line: Option<Line>,
    open: Open,
}

/// What the log says of a request, kept because the request itself is given away.
struct Line {
    method: String,
    target: String,
    version: &'static str,
    referer: Option<String>,
    agent: Option<String>,
    host: Option<String>,
}

/// Keeps the worker "busy"; only as long as the exchange lives, also when its task is cancelled.
struct Open(std::rc::Rc<HttpServer>);

impl Drop for Open {
    fn drop(&mut self) {
        self.0.slot.end_step();
        self.0.leave();
    }
}

fn text(head: &RequestHead, name: &str) -> Option<String> {
    head.fields.get(name).map(|value| String::from_utf8_lossy(value).into_owned())
}

impl Exchange {
    pub(super) fn begin(server: &std::rc::Rc<HttpServer>, live: &Live, origin: &Origin, head: &RequestHead, sent_before: u64) -> Self {
        server.enter();
        server.slot.begin_step(server.label, head.path().as_bytes());
        let line = live.access.is_some().then(|| Line {
            method: head.method.as_str().to_owned(),
            target: head.target().to_owned(),
            version: head.version.as_str(),
            referer: text(head, "referer"),
            agent: text(head, "user-agent"),
            host: head.authority().map(str::to_owned),
        });
        let _ = origin;
        Self { id: server.ids.next(), begun: reactor::now(), sent_before, line, open: Open(server.clone()) }
    }

    pub(super) fn id(&self) -> RequestId {
        self.id
    }
}
