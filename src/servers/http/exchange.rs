//! One request and its answer on an HTTP/1.1 connection.

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::rc::Rc;
use std::task::Poll;

use super::body::{BodyLimits, Closing, WireBody};
use super::connection::{After, Connection};
use super::reply::{Framing, write_body, write_head};
use super::wire::OUTPUT;
use crate::codec::http::http1::{BodyFraming, ParsedRequest};
use crate::codec::http::{Method, Version, status};
use crate::codec::websocket::handshake;
use crate::request::limits::Limit;
use crate::request::{Answer, Body, Handler, Request, Response, ResponseBody, Routed};
use crate::servers::guarded::{broken, guarded};
use crate::servers::live::Live;
use crate::servers::record::Exchange;
use crate::servers::watch::Watch;

/// A rest of a request body up to this size is read away, so that the connection can be kept.
const REST: u64 = 256 << 10;
/// The body of an answer that needs no further wait may have so many bytes.
const SMALL: usize = 4 << 10;

/// A request that was given to whoever answers it.
pub(super) struct Asked {
    answer: Answer,
    framing: Framing,
    source: Option<Rc<WireBody>>,
    exchange: Exchange,
    handler: Option<Rc<dyn Handler>>,
}

impl Connection {
    /// Gives a request to whoever answers it. `last`: the connection ends after it.
    pub(super) fn ask(&self, live: &Rc<Live>, parsed: ParsedRequest, last: bool) -> Asked {
        let ParsedRequest { mut head, framing: body_framing, keep_alive, expect_continue, upgrade, .. } = parsed;
        let framing = Framing {
            version: head.version,
            head_only: head.method == Method::Head,
            keep_alive: keep_alive && !last,
            tell_keep_alive: head.version == Version::Http10,
            server_token: live.server_tokens,
        };
        let origin = live.origin(&mut head, &self.origin);
        let exchange = Exchange::begin(&self.server.host, live, &origin, &head, self.sent());
        let (body, source) = self.body(live, body_framing, expect_continue);
        let routed = match self.refusal(live, &exchange, body_framing, source.as_deref()) {
            Some(response) => live.site.refuse(response),
            None => live.site.find(&mut head, origin.secure),
        };
        match routed {
            Routed::Response(response) => Asked { answer: Answer::Now(response), framing, source, exchange, handler: None },
            Routed::App { handler, name, base_length } => {
                exchange.goes_to(name);
                let uploads = live.uploads.clone();
                let request = Request { id: exchange.id(), head, body, origin, base_length, uploads, onward: live.onward(), user: None };
                let asked = handler.clone();
                let answer = || {
                    let _shown = exchange.show();
                    if upgrade && source.is_none() && handshake::is_asked(&request.head) {
                        asked.websocket(request, &self.server.sockets)
                    } else {
                        asked.request(request)
                    }
                };
                let answer = guarded(answer).unwrap_or_else(|| Answer::Now(self.broken(live, &exchange)));
                Asked { answer, framing, source, exchange, handler: Some(handler) }
            }
        }
    }

    /// Why a request is not even looked at, if that is so.
    fn refusal(&self, live: &Live, exchange: &Exchange, framing: BodyFraming, source: Option<&WireBody>) -> Option<Response> {
        if self.crowded {
            return Some(Limit::crowded());
        }
        if let Some(response) = exchange.refusal(live) {
            return Some(response);
        }
        if matches!(framing, BodyFraming::Length(length) if length > live.max_body) {
            if let Some(source) = source {
                source.close();
            }
            return Some(Response::error(413, &format!("the body may have at most {} bytes", live.max_body)));
        }
        None
    }

    /// Writes an answer that is there already and small, to a request without a body, on a connection that stays; gives any other back.
    pub(super) fn answer_at_once(&self, live: &Live, asked: Asked) -> Option<Asked> {
        let Answer::Now(response) = &asked.answer else { return Some(asked) };
        let bytes = match &response.body {
            ResponseBody::Empty => None,
            ResponseBody::Bytes(bytes) if bytes.len() <= SMALL => Some(bytes),
            _ => return Some(asked),
        };
        if asked.source.is_some() || !asked.framing.keep_alive || response.fields.asks_to_close() {
            return Some(asked);
        }
        let exchange = &asked.exchange;
        exchange.answered_with(response);
        write_head(&self.wire, response, asked.framing);
        exchange.head_ends(self.sent());
        if let Some(bytes) = bytes
            && !asked.framing.head_only
            && !status::is_bodiless(response.status)
        {
            self.wire.with_output(|out| out.extend_from_slice(bytes));
        }
        exchange.finish(live, response.status, self.sent(), None);
        None
    }

    /// Waits for the answer to a request, and sends it.
    pub(super) async fn conclude(&self, live: &Live, asked: Box<Asked>) -> After {
        let Asked { answer, framing, source, exchange, handler } = *asked;
        let _closing = source.clone().map(Closing);
        let response = match answer {
            Answer::Now(response) => Some(response),
            Answer::Later(future) => Box::pin(self.wait(live, future, source.as_ref(), &exchange, handler.as_ref())).await,
        };
        let Some(response) = response else {
            exchange.received(source.as_ref().map_or(0, |source| source.taken()));
            exchange.abandoned(live);
            return After::Close;
        };
        self.reply(live, response, framing, source, (exchange, handler)).await
    }

    /// The answer when its handler panicked.
    fn broken(&self, live: &Live, exchange: &Exchange) -> Response {
        live.site.plain(broken(exchange.id()), self.origin.secure)
    }

    /// What the connection has sent, or will have once its output is flushed.
    fn sent(&self) -> u64 {
        self.wire.sent.get() + self.wire.pending() as u64
    }

    /// The body that goes with a head, and our end of it when there is anything to receive.
    fn body(&self, live: &Live, framing: BodyFraming, expects: bool) -> (Body, Option<Rc<WireBody>>) {
        let length = match framing {
            BodyFraming::Length(0) | BodyFraming::None | BodyFraming::UntilClose => return (Body::empty(), None),
            BodyFraming::Length(length) => Some(length),
            BodyFraming::Chunked => None,
        };
        let limits = BodyLimits { size: live.max_body, time: live.timeouts.body };
        let source = Rc::new(WireBody::new(self.wire.clone(), framing, expects, limits));
        (Body::from_source(source.clone(), length), Some(source))
    }

    /// Waits for an answer; `None` when the client left first. What was answered before goes out meanwhile.
    async fn wait(
        &self,
        live: &Live,
        mut future: Pin<Box<dyn Future<Output = Response>>>,
        source: Option<&Rc<WireBody>>,
        exchange: &Exchange,
        handler: Option<&Rc<dyn Handler>>,
    ) -> Option<Response> {
        if self.wire.pending() > 0 && self.wire.flush(&[], live.timeouts.write).await.is_err() {
            return None;
        }
        let slow = &self.wire.slow;
        match exchange.report_at(live) {
            Some(at) => slow.set_at(at),
            None => slow.clear(),
        }
        poll_fn(|cx| {
            let polled = guarded(|| {
                let _shown = exchange.show();
                future.as_mut().poll(cx)
            });
            match polled {
                Some(Poll::Ready(response)) => return Poll::Ready(Some(response)),
                Some(Poll::Pending) => {}
                None => return Poll::Ready(Some(self.broken(live, exchange))),
            }
            if slow.poll(cx).is_ready() {
                slow.clear();
                exchange.report_waiting(handler.and_then(|handler| handler.trace(exchange.id())).as_deref());
            }
            // A client may close its side only after it has sent everything; before, the body's reader is who notices.
            if source.is_none_or(|source| source.is_done()) { self.wire.stream.poll_hang_up(cx).map(|()| None) } else { Poll::Pending }
        })
        .await
    }

    /// Sends a response, and sees to the rest of the request.
    async fn reply(
        &self,
        live: &Live,
        response: Response,
        mut framing: Framing,
        source: Option<Rc<WireBody>>,
        (exchange, handler): (Exchange, Option<Rc<dyn Handler>>),
    ) -> After {
        let limit = live.timeouts.write;
        framing.keep_alive &= source.as_ref().is_none_or(|source| source.is_nearly_done(REST));
        if let Some(source) = &source {
            source.answer_begins();
        }
        let status = response.status;
        exchange.answered_with(&response);
        let kept = write_head(&self.wire, &response, framing);
        exchange.head_ends(self.wire.sent.get() + self.wire.pending() as u64);
        let written = match response.body {
            // The common small answer needs no further wait.
            ResponseBody::Bytes(bytes) if !framing.head_only && bytes.len() <= 4096 => {
                self.wire.with_output(|out| out.extend_from_slice(&bytes));
                Ok(())
            }
            ResponseBody::Upgrade(takeover) => {
                exchange.finish(live, status, self.wire.sent.get() + self.wire.pending() as u64, None);
                let takeover = exchange.goes_on(takeover);
                return if self.wire.flush(&[], limit).await.is_ok() { After::Upgrade(takeover) } else { After::Close };
            }
            _ => {
                exchange.answered();
                let watch = Watch::new(live, &exchange, handler, &response);
                Box::pin(write_body(&self.wire, response, framing, limit, Some(&watch))).await
            }
        };
        exchange.received(source.as_ref().map_or(0, |source| source.taken()));
        exchange.finish(live, status, self.wire.sent.get() + self.wire.pending() as u64, written.as_ref().err());
        if written.is_err() {
            return After::Close;
        }
        let read = match &source {
            Some(source) if kept && !source.is_done() => Box::pin(source.discard(REST)).await,
            Some(source) => source.is_done(),
            None => true,
        };
        if kept && read && self.wire.pending() < OUTPUT {
            return After::Keep;
        }
        if self.wire.flush(&[], limit).await.is_err() {
            return After::Close;
        }
        match (kept, read) {
            (true, true) => After::Keep,
            (false, true) if !self.wire.has_input() => After::Close,
            _ => After::Linger,
        }
    }
}
