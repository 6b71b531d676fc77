//! What a server serves now, in the form that its exchanges need.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::rc::Rc;
use std::time::Duration;

use super::limits::{Http2, HttpTimeouts, Uploads};
use crate::codec::http::RequestHead;
use crate::codec::http::http1::HeadLimits;
use crate::limiter::Limiter;
use crate::net::{Network, Peer};
use crate::request::compression::Compression;
use crate::request::errors::ErrorPage;
use crate::request::form::{FormLimits, UploadLimits};
use crate::request::headers::{Headers, Hsts};
use crate::request::limits::{Limit, Limits};
use crate::request::route::Route;
use crate::request::trusted::Trusted;
use crate::request::{Common, First, Handler, Onward, Origin, Site};
use crate::scoreboard::Slot;
use crate::secret::Secret;
use crate::telemetry::AccessLog;
use crate::units::HumanDuration;
use crate::websocket::config::Settings;

/// What the configuration of a server says of its exchanges.
pub struct Terms<'a> {
    /// What answers before the routes do.
    pub first: Option<First>,
    /// Which application answers what.
    pub routes: &'a [Route],
    /// What a head may be, where the server reads one itself.
    pub head_limits: HeadLimits,
    /// The largest body, bytes.
    pub max_body: u64,
    /// Requests on one connection before it is closed.
    pub keep_alive_requests: u64,
    /// How long a client may take for what.
    pub timeouts: &'a HttpTimeouts,
    /// Whether the Server header is sent.
    pub server_tokens: bool,
    /// When an application is reported as slow.
    pub slow_request: Option<HumanDuration>,
    /// Connections open at the same time.
    pub max_connections: u64,
    /// Files in forms.
    pub uploads: &'a Uploads,
    /// WebSocket connections.
    pub websocket: Settings,
    /// How answers are compressed, if they are.
    pub compress: Option<&'a Compression>,
    /// What browsers are told of HTTPS.
    pub hsts: Option<&'a Hsts>,
    /// Header fields of all answers.
    pub headers: Option<&'a Headers>,
    /// How much one address may ask for.
    pub limits: Option<&'a Limits>,
    /// Where that is counted, and the server's name there. Without it there are no limits.
    pub limiter: Option<(&'a Rc<Limiter>, &'a str)>,
    /// Pages in the place of errors.
    pub errors: &'a [ErrorPage],
    /// The files of users and of error pages.
    pub files: &'a BTreeMap<PathBuf, Secret>,
    /// Who announces connections by the PROXY protocol.
    pub proxies: &'a [Network],
    /// Who is believed about where requests come from.
    pub trusted: Option<&'a Trusted>,
    /// Whether what comes unencrypted is sent to the same address by HTTPS.
    pub https_only: bool,
    /// HTTP/2 connections, where there are any.
    pub http2: Http2,
}

/// What a server is given beside its own configuration.
#[derive(Clone, Copy)]
pub struct Given<'a> {
    /// The applications by name.
    pub apps: &'a BTreeMap<String, Rc<dyn Handler>>,
    /// The files of users and of error pages.
    pub files: &'a BTreeMap<PathBuf, Secret>,
    /// Where exchanges are recorded.
    pub access: Option<&'a Rc<AccessLog>>,
    /// Where limits by address are counted.
    pub limiter: Option<&'a Rc<Limiter>>,
}

/// What a server serves now. Replaced as a whole by an update; an exchange ends with the one it began with.
pub struct Live {
    pub(in crate::servers) site: Rc<Site>,
    pub(in crate::servers) access: Option<Rc<AccessLog>>,
    pub(in crate::servers) head_limits: HeadLimits,
    pub(in crate::servers) max_body: u64,
    pub(in crate::servers) keep_alive_requests: u64,
    pub(in crate::servers) timeouts: Timeouts,
    pub(in crate::servers) server_tokens: bool,
    pub(in crate::servers) slow_request: Option<Duration>,
    pub(in crate::servers) max_connections: u64,
    pub(in crate::servers) uploads: Rc<UploadLimits>,
    pub(in crate::servers) websocket: Settings,
    pub(in crate::servers) proxies: Vec<Network>,
    trusted: Option<Trusted>,
    /// How much one address may ask for.
    pub(in crate::servers) limit: Option<Rc<Limit>>,
    pub(in crate::servers) http2: Http2,
}

/// The times of [`HttpTimeouts`].
#[derive(Debug, Clone, Copy)]
pub(in crate::servers) struct Timeouts {
    pub(in crate::servers) header: Duration,
    pub(in crate::servers) body: Duration,
    pub(in crate::servers) idle: Duration,
    pub(in crate::servers) write: Duration,
}

impl Live {
    /// Puts together what a server serves; `access` is where exchanges are recorded, `slot` where applications are named.
    #[must_use]
    pub fn new(terms: Terms<'_>, apps: &BTreeMap<String, Rc<dyn Handler>>, access: Option<Rc<AccessLog>>, slot: Slot) -> Self {
        let timeouts = terms.timeouts;
        let (limiter, name) = terms.limiter.unzip();
        let name = name.unwrap_or_default();
        let common = Common {
            name,
            files: Some(terms.files),
            errors: terms.errors,
            compression: terms.compress,
            hsts: terms.hsts,
            headers: terms.headers,
            limiter,
        };
        let site = Site::new(terms.routes.to_vec(), apps, |name| slot.label(name), &common);
        let site = if terms.https_only { site.for_https_only() } else { site };
        let limit = terms.limits.zip(limiter).map(|(limits, limiter)| Limit::new(limits.clone(), limiter, format!("server {name}")));
        let site = match terms.first {
            Some(first) => site.with_first(first, slot.label("acme")),
            None => site,
        };
        Self {
            site: Rc::new(site),
            access,
            head_limits: terms.head_limits,
            max_body: terms.max_body,
            keep_alive_requests: terms.keep_alive_requests,
            timeouts: Timeouts { header: *timeouts.header, body: *timeouts.body, idle: *timeouts.idle, write: *timeouts.write },
            server_tokens: terms.server_tokens,
            slow_request: terms.slow_request.map(|limit| *limit),
            max_connections: terms.max_connections,
            uploads: Rc::new(uploads(terms.uploads)),
            websocket: terms.websocket,
            proxies: terms.proxies.to_vec(),
            trusted: terms.trusted.cloned(),
            limit,
            http2: terms.http2,
        }
    }
}

impl Live {
    /// Whether who has connected is a proxy that is believed about its clients.
    pub(in crate::servers) fn trusts(&self, peer: &Peer) -> bool {
        self.trusted.as_ref().is_some_and(|trusted| trusted.contain(peer))
    }

    /// Where a request comes from that came by a connection from `origin`: see [`Trusted::origin`].
    #[inline]
    pub(in crate::servers) fn origin(&self, head: &mut RequestHead, origin: &Rc<Origin>) -> Rc<Origin> {
        self.trusted.as_ref().map_or_else(|| origin.clone(), |trusted| trusted.origin(head, origin))
    }

    /// Where a request of this server may be sent on to.
    pub(in crate::servers) fn onward(&self) -> Onward {
        Onward::new(&self.site)
    }
}

fn uploads(config: &Uploads) -> UploadLimits {
    UploadLimits {
        // The checked configuration always has a directory.
        directory: config.dir.clone().unwrap_or_else(std::env::temp_dir),
        max_file: *config.max_file,
        max_files: config.max_files as usize,
        memory: usize::try_from(*config.memory).unwrap_or(usize::MAX),
        form: FormLimits { fields: config.max_fields as usize, ..FormLimits::default() },
    }
}
