//! The application: a proxy that answers requests with the answers of others.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::rc::Rc;

use super::config::{Balance, Failures, Proxy, ProxyTimeouts};
use super::dialing::Dialer;
use super::draining::Draining;
use super::exchange;
use super::fault::Fault;
use super::forwarding::Forwarding;
use super::group::Group;
use super::probe;
use super::upstream::Upstream;
use crate::apps::complaints::Complaints;
use crate::net::TlsSettings;
use crate::request::file::SentFiles;
use crate::request::{Answer, Handler, Request, Response, StartError};
use crate::websocket::Sessions;

/// A reverse proxy, in one worker.
pub struct ReverseProxy {
    name: String,
    pub(super) group: Group,
    pub(super) dialer: Dialer,
    pub(super) forwarding: Forwarding,
    pub(super) balance: Balance,
    pub(super) redirects: bool,
    pub(super) sent: SentFiles,
    pub(super) tries: u32,
    pub(super) timeouts: ProxyTimeouts,
    pub(super) draining: Rc<Draining>,
    failures: Failures,
    full: Complaints,
    retry_after: u64,
}

impl ReverseProxy {
    /// Makes the proxy ready. No server needs to be there yet.
    ///
    /// # Errors
    /// An address that is none, certificates that cannot be read, or a directory that is not there.
    pub async fn start(name: &str, config: &Proxy) -> Result<Rc<Self>, StartError> {
        let group = Group::new(name, config).map_err(|error| StartError(error.to_string()))?;
        let secure = group.all().any(|upstream| upstream.url.is_secure());
        let tls = if secure { Some(settings(config).await.map_err(|why| StartError(format!("its authorities: {why}")))?) } else { None };
        let proxy = Rc::new(Self {
            name: name.to_owned(),
            group,
            dialer: Dialer { tls, proxy_protocol: config.proxy_protocol, limit: config.timeouts.connect.get() },
            forwarding: Forwarding::new(config),
            balance: config.balance.clone(),
            redirects: config.redirects,
            sent: SentFiles::open(&config.sendfile_roots)?,
            tries: config.tries.max(1),
            timeouts: config.timeouts.clone(),
            draining: Rc::default(),
            failures: config.failures.clone(),
            full: Complaints::default(),
            retry_after: config.connections.queue_time.get().as_secs().max(1),
        });
        if let Some(check) = &config.check {
            probe::begin(&proxy, check);
        }
        Ok(proxy)
    }

    /// Its name in the configuration.
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// Whether connections serve more than one request.
    pub(super) fn keeps(&self) -> bool {
        self.dialer.proxy_protocol.is_none()
    }

    /// Notes that a server has failed.
    pub(super) fn failed(&self, upstream: &Upstream, why: &str) {
        match upstream.failed(&self.failures) {
            Some(away) => crate::log_warn!(app = &self.name; "upstream {}: {why}; it is left alone for {away:?}", upstream.name),
            None => upstream.complain(&self.name, why),
        }
    }

    /// What a client is told that gets no answer.
    pub(super) fn refuse(&self, fault: &Fault) -> Response {
        if matches!(fault, Fault::Full(_)) {
            self.full.tell(|held| crate::log_warn!(app = &self.name; "{}{held}", fault.why()));
        }
        fault.response(self.retry_after)
    }
}

/// Whom to trust.
async fn settings(config: &Proxy) -> io::Result<TlsSettings> {
    let settings = match config.authorities.clone() {
        Some(path) => TlsSettings::with_authorities(&blocking::unblock(move || std::fs::read_to_string(path)).await?)?,
        None => TlsSettings::shared()?,
    };
    Ok(settings.offering("http/1.1"))
}

impl Handler for ReverseProxy {
    fn request(self: Rc<Self>, request: Request) -> Answer {
        Answer::Later(Box::pin(exchange::answer(self, request, None)))
    }

    fn websocket(self: Rc<Self>, request: Request, sessions: &Rc<Sessions>) -> Answer {
        Answer::Later(Box::pin(exchange::answer(self, request, Some(sessions.clone()))))
    }

    fn drain(self: Rc<Self>) -> Pin<Box<dyn Future<Output = ()>>> {
        self.draining.begin();
        Box::pin(async {})
    }
}
