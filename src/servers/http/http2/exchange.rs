//! One stream from its request to its end.

use std::cell::RefCell;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use h2::Reason;
use h2::server::SendResponse;

use super::asked::{Asked, Refusal};
use super::body::{Closing, StreamBody};
use super::reply::Reply;
use super::tunnel::Tunnel;
use crate::codec::http::Method;
use crate::net::Stream;
use crate::reactor::{Alarm, timeout};
use crate::request::limits::Limit;
use crate::request::{Answer, Body, Handler, Origin, Request, Response, ResponseBody, Routed, Upgraded};
use crate::servers::guarded::{broken, guarded};
use crate::servers::http::HttpServer;
use crate::servers::live::Live;
use crate::servers::record::Exchange;
use crate::servers::watch::Watch;

/// How long a body that nobody wants is read on behind its answer.
const LINGER: Duration = Duration::from_secs(5);
/// And how much of it.
const LINGER_BYTES: u64 = 16 << 20;

pub(super) struct Running {
    pub(super) server: Rc<HttpServer>,
    pub(super) origin: Rc<Origin>,
    /// The client has too many connections, and is told so.
    pub(super) crowded: bool,
    pub(super) live: Rc<Live>,
    pub(super) respond: Rc<RefCell<SendResponse<Bytes>>>,
}

impl Running {
    /// Answers a request, or says why it is none.
    pub(super) async fn answer(self, request: http::Request<h2::RecvStream>) {
        let limits = self.live.head_limits;
        match Asked::read(request, limits.line, limits.fields) {
            Ok(asked) => self.serve(asked).await,
            Err(Refusal(status, why)) => {
                let reply = self.reply(false);
                // Who asked this may be gone already; it is recorded all the same.
                let _gone = reply.write(self.plain(Response::error(status, why)), None).await;
                Exchange::refused(&self.server.host, &self.live, &self.origin, status, reply.sent());
            }
        }
    }

    /// Why a request is not even looked at, if that is so.
    fn refusal(&self, exchange: &Exchange, length: Option<u64>) -> Option<Response> {
        let live = &self.live;
        if self.crowded {
            return Some(Limit::crowded());
        }
        let too_large = || Response::error(413, &format!("the body may have at most {} bytes", live.max_body));
        exchange.refusal(live).or_else(|| length.filter(|length| *length > live.max_body).map(|_| too_large()))
    }

    /// An answer that no route gives.
    fn plain(&self, response: Response) -> Response {
        self.live.site.plain(response, self.origin.secure)
    }

    fn reply(&self, head_only: bool) -> Reply {
        Reply::new(self.respond.clone(), head_only, self.live.server_tokens, self.live.timeouts.write)
    }

    async fn serve(self, asked: Asked) {
        let Asked { mut head, body, length, expects, websocket } = asked;
        let live = &self.live;
        let origin = live.origin(&mut head, &self.origin);
        let exchange = Exchange::begin(&self.server.host, live, &origin, &head, 0);
        let reply = self.reply(head.method == Method::Head);
        let asks = expects.then(|| self.respond.clone());
        // What comes on a stream that asks for WebSocket is for who takes it over.
        let (body, mut tunnel) = if websocket { (None, Some(body)) } else { (Some(body), None) };
        let source = body.map(|body| Rc::new(StreamBody::new(body, asks, live.max_body, live.timeouts.body)));
        let _closing = source.clone().map(Closing);
        let received = || source.as_ref().map_or(0, |source| source.received());
        let mut handler = None;
        let answer = {
            let routed = match self.refusal(&exchange, length) {
                Some(response) => live.site.refuse(response),
                None => live.site.find(&mut head, origin.secure),
            };
            match routed {
                Routed::Response(response) => Answer::Now(response),
                Routed::App { handler: found, name, base_length } => {
                    exchange.goes_to(name);
                    let body = match &source {
                        Some(source) if length != Some(0) => Body::from_source(source.clone(), length),
                        _ => Body::empty(),
                    };
                    let (origin, uploads) = (origin.clone(), live.uploads.clone());
                    let request =
                        Request { id: exchange.id(), head, body, origin, base_length, uploads, onward: live.onward(), user: None };
                    handler = Some(found.clone());
                    let answer = || {
                        let _shown = exchange.show();
                        if websocket { found.websocket(request, &self.server.sockets) } else { found.request(request) }
                    };
                    guarded(answer).unwrap_or_else(|| Answer::Now(self.plain(broken(exchange.id()))))
                }
            }
        };
        let response = match answer {
            Answer::Now(response) => Some(response),
            Answer::Later(future) => self.wait(future, &exchange, handler.as_ref()).await,
        };
        let Some(mut response) = response else {
            exchange.received(received());
            return exchange.abandoned(live);
        };
        if let (ResponseBody::Upgrade(_), Some(body)) = (&response.body, tunnel.take()) {
            exchange.answered_with(&response);
            return self.hand_over(response, body, (exchange, &origin), &reply).await;
        }
        if websocket && (200..300).contains(&response.status) {
            // It would mean that WebSocket begins (RFC 8441 §5).
            response = self.plain(Response::error(501, "this path speaks no WebSocket"));
        }
        let status = response.status;
        exchange.answered_with(&response);
        exchange.answered();
        let written = {
            let watch = Watch::new(live, &exchange, handler, &response);
            reply.write(response, Some(&watch)).await
        };
        exchange.received(received());
        exchange.finish(live, status, reply.sent(), written.as_ref().err());
        match written {
            Err(_) => reply.reset(Reason::INTERNAL_ERROR),
            // A body of which nobody wants the rest ends with the stream, once the answer is out (RFC 9113 §8.1): h2 sees to that. Clients that
            // still send when they are told so lose the answer (curl 7): they have a moment to see it first.
            Ok(()) => {
                if let Some(source) = source {
                    let _late = timeout(LINGER, source.discard(LINGER_BYTES)).await;
                }
            }
        }
    }

    /// Tells the client that WebSocket begins, and lets who answered go on with the stream.
    async fn hand_over(&self, mut response: Response, body: h2::RecvStream, (exchange, origin): (Exchange, &Rc<Origin>), reply: &Reply) {
        let ResponseBody::Upgrade(takeover) = std::mem::take(&mut response.body) else { return };
        let takeover = exchange.goes_on(takeover);
        let begun = reply.begin_tunnel(&response);
        exchange.finish(&self.live, Reply::BEGUN, 0, begun.as_ref().err());
        drop(exchange);
        if let Ok(sending) = begun {
            let stream = Stream::Sub(Box::new(Tunnel::new(body, sending, origin)));
            takeover(Upgraded { stream, early: Vec::new(), place: Box::new(()) }).await;
        }
    }

    /// Waits for an answer; `None` when nobody wants it any more.
    async fn wait(
        &self,
        mut future: Pin<Box<dyn Future<Output = Response>>>,
        exchange: &Exchange,
        handler: Option<&Rc<dyn Handler>>,
    ) -> Option<Response> {
        let slow = Alarm::new();
        if let Some(at) = exchange.report_at(&self.live) {
            slow.set_at(at);
        }
        poll_fn(|cx| {
            let polled = guarded(|| {
                let _shown = exchange.show();
                future.as_mut().poll(cx)
            });
            match polled {
                Some(Poll::Ready(response)) => return Poll::Ready(Some(response)),
                Some(Poll::Pending) => {}
                None => return Poll::Ready(Some(self.plain(broken(exchange.id())))),
            }
            if slow.poll(cx).is_ready() {
                slow.clear();
                exchange.report_waiting(handler.and_then(|handler| handler.trace(exchange.id())).as_deref());
            }
            self.respond.borrow_mut().poll_reset(cx).map(|_| None)
        })
        .await
    }
}
