//! One HTTP/1.1 connection from its first byte to its last (RFC 9112).

use std::cell::Cell;
use std::future::{Future, poll_fn};
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use super::body::{BodyLimits, WireBody};
use super::http2::{self, PREFACE};
use super::reply::{Framing, write_body, write_head};
use super::server::HttpServer;
use super::wire::{OUTPUT, Wire};
use crate::codec::http::http1::{BodyFraming, HeadError, Parsed, ParsedRequest, RequestParser};
use crate::codec::http::{Method, Version};
use crate::codec::websocket::handshake;
use crate::net::Stream;
use crate::reactor::{self, Alarm, timeout};
use crate::request::{Answer, Body, Handler, Origin, Request, Response, ResponseBody, Routed, Takeover};
use crate::servers::guarded::{broken, guarded};
use crate::servers::live::Live;
use crate::servers::record::Exchange;
use crate::servers::watch::Watch;

/// A rest of a request body up to this size is read away, so that the connection can be kept.
const REST: u64 = 256 << 10;
/// How long a closing connection goes on reading, so that what we sent last is not lost to a reset.
const LINGER: Duration = Duration::from_secs(2);
/// And how much it reads meanwhile.
const LINGER_BYTES: usize = 1 << 20;
/// How long an idle connection stays when the worker drains: time for a request that is on its way.
const DRAIN_GRACE: Duration = Duration::from_secs(2);

/// What came at the place where a request should begin.
enum Next {
    Request(ParsedRequest),
    Refused(HeadError),
    /// The client did not send a whole head in time.
    TooSlow,
    /// The connection is over: closed by the client, idle for too long, or of no more use.
    Over,
    /// The client speaks HTTP/2.
    Http2,
}

/// How a connection goes on after an exchange.
enum After {
    Keep,
    /// Close; everything that the client sent was read.
    Close,
    /// Close, but read on for a while: the client may still be sending.
    Linger,
    /// Another protocol goes on with it.
    Upgrade(Takeover),
}

pub(super) struct Connection {
    pub(super) wire: Rc<Wire>,
    pub(super) origin: Rc<Origin>,
    pub(super) server: Rc<HttpServer>,
}

impl Connection {
    /// Serves the connection until it ends.
    /// Gives the connection back when another protocol goes on with it.
    pub(super) async fn serve(self) -> Option<(Rc<Wire>, Takeover)> {
        if self.wire.stream.speaks(b"h2") {
            return Some((self.wire, http2::takeover(self.server, self.origin)));
        }
        let mut live = self.server.live();
        let mut parser = RequestParser::new(live.head_limits);
        let mut count = 0u64;
        loop {
            let next = self.next(&live, &mut parser, count == 0).await;
            let current = self.server.live();
            if !Rc::ptr_eq(&live, &current) {
                live = current;
                parser = RequestParser::new(live.head_limits);
            }
            let after = match next {
                Next::Request(parsed) => {
                    count += 1;
                    let last = count >= live.keep_alive_requests;
                    self.exchange(&live, parsed, last).await
                }
                // What is rare is boxed, here and below: a connection is as large as the largest thing it may ever wait for.
                Next::Refused(error) => Box::pin(self.refuse(&live, error.status(), error.reason())).await,
                Next::TooSlow => Box::pin(self.refuse(&live, 408, "the request head came too slowly")).await,
                Next::Over => {
                    self.farewell().await;
                    return None;
                }
                Next::Http2 => return Some((self.wire, http2::takeover(self.server, self.origin))),
            };
            match after {
                After::Keep => {}
                After::Close => {
                    self.farewell().await;
                    return None;
                }
                After::Linger => {
                    Box::pin(self.linger()).await;
                    return None;
                }
                After::Upgrade(takeover) => return Some((self.wire, takeover)),
            }
        }
    }

    /// Tells a client that speaks TLS that this is the end, and no attacker's doing (RFC 8446 §6.1).
    async fn farewell(&self) {
        if let Stream::Tls(_) = &self.wire.stream {
            // It may be gone already.
            let _gone = Box::pin(timeout(LINGER, self.wire.stream.shutdown_write())).await;
        }
    }

    /// Waits for the next request head.
    async fn next(&self, live: &Live, parser: &mut RequestParser, first: bool) -> Next {
        let timeouts = &live.timeouts;
        let most = live.head_limits.total + OUTPUT;
        let begun = Cell::new(false);
        loop {
            if self.wire.has_input() {
                match self.wire.with_input(|input| parser.parse(input)) {
                    Ok(Parsed::Complete(parsed)) => {
                        self.wire.consume(parsed.consumed);
                        return Next::Request(parsed);
                    }
                    Ok(Parsed::Partial) => {}
                    Err(_) if first && live.http2.enabled && self.wire.with_input(|input| input.starts_with(PREFACE)) => {
                        return Next::Http2;
                    }
                    Err(error) => return Next::Refused(error),
                }
            }
            if self.wire.pending() > 0 && self.wire.flush(&[], timeouts.write).await.is_err() {
                return Next::Over;
            }
            if self.wire.has_input() {
                // The time for a head counts from its first byte, however it trickles in.
                if !begun.replace(true) {
                    self.wire.alarm.set(timeouts.header);
                }
            } else {
                self.wire.rest();
                self.wire.alarm.set(if first { timeouts.header } else { timeouts.idle });
            }
            match poll_fn(|cx| self.poll_more(cx, most, begun.get())).await {
                Some(Ok(read)) if read > 0 => {}
                None if begun.get() => return Next::TooSlow,
                _ => return Next::Over,
            }
        }
    }

    /// Reads more input; `None` when the time is over. A draining worker gives an idle connection only a moment more.
    fn poll_more(&self, cx: &mut Context<'_>, most: usize, begun: bool) -> Poll<Option<io::Result<usize>>> {
        match self.wire.poll_fill(cx, most) {
            Poll::Ready(read) => Poll::Ready(Some(read)),
            Poll::Pending => {
                if !begun && let Some(since) = self.server.draining_since() {
                    self.wire.alarm.set_at(since + DRAIN_GRACE);
                }
                self.wire.alarm.poll(cx).map(|()| None)
            }
        }
    }

    /// Answers one request.
    async fn exchange(&self, live: &Rc<Live>, parsed: ParsedRequest, last: bool) -> After {
        let ParsedRequest { mut head, framing, keep_alive, expect_continue, upgrade, .. } = parsed;
        let keep_alive = keep_alive && !last && self.server.draining_since().is_none();
        let framing_of_reply = Framing {
            version: head.version,
            head_only: head.method == Method::Head,
            keep_alive,
            tell_keep_alive: head.version == Version::Http10,
            server_token: live.server_tokens,
        };
        let exchange = Exchange::begin(&self.server.host, live, &self.origin, &head, self.wire.sent.get() + self.wire.pending() as u64);
        let (body, source) = self.body(live, framing, expect_continue);
        let mut asked = None;
        let answer = match framing {
            BodyFraming::Length(length) if length > live.max_body => {
                if let Some(source) = &source {
                    source.close();
                }
                Answer::Now(Response::error(413, &format!("the body may have at most {} bytes", live.max_body)))
            }
            _ => match live.site.find(&mut head) {
                Routed::Response(response) => Answer::Now(response),
                Routed::App { handler, name, base_length } => {
                    exchange.goes_to(name);
                    let (origin, uploads) = (self.origin.clone(), live.uploads.clone());
                    let request =
                        Request { id: exchange.id(), head, body, origin, base_length, uploads, onward: live.onward(), user: None };
                    asked = Some(handler.clone());
                    let answer = || {
                        let _shown = exchange.show();
                        if upgrade && source.is_none() && handshake::is_asked(&request.head) {
                            handler.websocket(request, &self.server.sockets)
                        } else {
                            handler.request(request)
                        }
                    };
                    guarded(answer).unwrap_or_else(|| Answer::Now(broken(exchange.id())))
                }
            },
        };
        let response = match answer {
            Answer::Now(response) => Some(response),
            Answer::Later(future) => Box::pin(self.wait(live, future, source.as_ref(), &exchange, asked.as_ref())).await,
        };
        let Some(response) = response else {
            exchange.received(source.as_ref().map_or(0, |source| source.taken()));
            exchange.abandoned(live);
            return After::Close;
        };
        self.reply(live, response, framing_of_reply, source, (exchange, asked)).await
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
        let slow = Alarm::new();
        if let Some(at) = exchange.report_at(live) {
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
                None => return Poll::Ready(Some(broken(exchange.id()))),
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
        if let Some(source) = source {
            source.close();
        }
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

    /// Answers what is no request. Nothing after it can be understood, so the connection ends.
    async fn refuse(&self, live: &Rc<Live>, status: u16, why: &str) -> After {
        let framing = Framing {
            version: Version::Http11,
            head_only: false,
            keep_alive: false,
            tell_keep_alive: false,
            server_token: live.server_tokens,
        };
        let response = Response::error(status, why);
        write_head(&self.wire, &response, framing);
        let before = self.wire.sent.get() + self.wire.pending() as u64;
        let written = write_body(&self.wire, response, framing, live.timeouts.write, None).await;
        let sent = self.wire.sent.get() + self.wire.pending() as u64 - before;
        Exchange::refused(&self.server.host, live, &self.origin, status, sent);
        match written {
            Ok(()) if self.wire.flush(&[], live.timeouts.write).await.is_ok() => After::Linger,
            _ => After::Close,
        }
    }

    /// Says that nothing more comes, and reads what still arrives, within limits: closing at once would reset the connection
    /// and could take the answer with it (RFC 9112 §9.6).
    async fn linger(&self) {
        if self.wire.stream.shutdown_write().await.is_err() {
            return;
        }
        let alarm = Alarm::new();
        alarm.set_at(reactor::refresh_now() + LINGER);
        let mut seen = 0;
        while seen < LINGER_BYTES {
            let waiting = self.wire.with_input(<[u8]>::len);
            self.wire.consume(waiting);
            let read = poll_fn(|cx| match self.wire.poll_fill(cx, OUTPUT) {
                Poll::Pending => alarm.poll(cx).map(|()| Ok(0)),
                read => read,
            })
            .await;
            match read {
                Ok(read) if read > 0 => seen += read,
                _ => return,
            }
        }
    }
}
