//! One request: the servers it is tried at, and what its client is answered.

use std::rc::Rc;

use smallvec::SmallVec;

use super::answer::{self, Begun};
use super::app::ReverseProxy;
use super::config::{Balance, HashKey};
use super::fault::Fault;
use super::group;
use super::outward::Outward;
use super::tunnel;
use super::upstream::{Place, Upstream};
use crate::clients::http::{Failed, Patience, Written, converse};
use crate::request::file::X_SENDFILE;
use crate::request::{Request, Response};
use crate::websocket::Sessions;

/// What a try came to that brought no answer.
struct Miss {
    fault: Fault,
    /// The request may be sent again.
    repeatable: bool,
}

/// A request, with what is needed to send it.
pub(super) struct Exchange {
    proxy: Rc<ReverseProxy>,
    request: Request,
    body: Outward,
    /// WebSocket is asked for.
    upgrade: bool,
}

/// Answers a request. `sessions` are given when it asks for WebSocket.
pub(super) async fn answer(proxy: Rc<ReverseProxy>, request: Request, sessions: Option<Rc<Sessions>>) -> Response {
    let body = match Outward::new(&request, sessions.is_some()).await {
        Ok(body) => body,
        Err(error) => return Fault::Client(error).response(0),
    };
    let mut exchange = Exchange { proxy: proxy.clone(), request, body, upgrade: sessions.is_some() };
    let answered = match exchange.run().await {
        Ok(begun) if begun.head.status == 101 => tunnel::open(&proxy, &exchange.request, begun, sessions),
        Ok(begun) if proxy.sent.is_on() && begun.head.fields.contains(X_SENDFILE) => {
            let upstream = begun.place.upstream.clone();
            let answered = answer::send_file(&proxy, &exchange.request, begun).await;
            answered.inspect_err(|fault| proxy.failed(&upstream, &fault.why()))
        }
        Ok(begun) => {
            let upstream = begun.place.upstream.clone();
            answer::pass(&proxy, &exchange.request, begun).inspect_err(|fault| proxy.failed(&upstream, &fault.why()))
        }
        Err(fault) => Err(fault),
    };
    answered.unwrap_or_else(|fault| proxy.refuse(&fault))
}

impl Exchange {
    /// Tries one server after the other, as far as that can do no harm.
    async fn run(&mut self) -> Result<Begun, Fault> {
        let key = self.key();
        let mut tried: SmallVec<[Rc<Upstream>; 4]> = SmallVec::new();
        let mut last = None;
        let proxy = self.proxy.clone();
        while (tried.len() as u32) < proxy.tries {
            let Some(place) = proxy.group.place(key, &tried).await? else { break };
            let upstream = place.upstream.clone();
            match self.attempt(place).await {
                Ok(begun) => {
                    upstream.answered();
                    return Ok(begun);
                }
                Err(Miss { fault, repeatable }) => {
                    if !fault.is_of_server() {
                        return Err(fault);
                    }
                    proxy.failed(&upstream, &fault.why());
                    if !repeatable {
                        return Err(fault);
                    }
                    tried.push(upstream);
                    last = Some(fault);
                }
            }
        }
        Err(last.unwrap_or_else(|| Fault::Unreachable("there is no server".to_owned())))
    }

    /// Sends the request to one server. One that closed a kept connection in that very moment has not failed: it gets a new connection.
    async fn attempt(&mut self, place: Place) -> Result<Begun, Miss> {
        let proxy = self.proxy.clone();
        let idempotent = self.request.head.method.is_idempotent();
        let upstream = place.upstream.clone();
        let mut kept = upstream.take(!idempotent || !self.body.is_whole());
        loop {
            let reused = kept.is_some();
            let line = match kept.take() {
                Some(line) => line,
                // Nothing of the request is gone as long as there is no connection.
                None => {
                    let dialed = proxy.dialer.dial(&upstream, Some(&self.request.origin)).await;
                    dialed.map_err(|fault| Miss { fault, repeatable: true })?
                }
            };
            let written = Written {
                head: proxy.forwarding.write(&self.request, &upstream, self.body.length(self.request.body.length()), self.upgrade),
                method: self.request.head.method.clone(),
                body: self.body.take(),
                upgrade: self.upgrade,
            };
            let patience = Patience { stall: proxy.timeouts.between.get(), answer: proxy.timeouts.answer.get() };
            let born = line.born;
            let failure = match converse(line.connection, written, Some(patience)).await {
                Ok((head, incoming)) => return Ok(Begun { head, incoming, born, place }),
                Err(failure) => failure,
            };
            if let Some(error) = self.body.failure() {
                return Err(Miss { fault: Fault::Client(error), repeatable: false });
            }
            let repeatable = self.body.is_whole() && (idempotent || failure.unsent);
            if !(reused && failure.silent && matches!(failure.error, Failed::Io(_)) && repeatable) {
                return Err(Miss { fault: Fault::of(failure.error), repeatable });
            }
        }
    }

    /// What requests that go to the same server have in common.
    fn key(&self) -> u64 {
        let Balance::Hash(key) = &self.proxy.balance else { return 0 };
        let client = || match self.request.origin.peer.ip() {
            Some(ip) => group::hash(ip.to_canonical().to_string().as_bytes()),
            None => 0,
        };
        match key {
            HashKey::Client => client(),
            HashKey::Header(name) => self.request.head.fields.get(name).map_or_else(client, group::hash),
        }
    }
}
