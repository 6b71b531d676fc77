//! One HTTP/1.1 connection from its first byte to its last (RFC 9112).

use std::future::poll_fn;
use std::io;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use super::exchange::Asked;
use super::http2::{self, PREFACE};
use super::reply::{Framing, write_body, write_head, write_standing};
use super::server::HttpServer;
use super::wire::{OUTPUT, Wire};
use crate::codec::http::Version;
use crate::codec::http::http1::{HeadError, Parsed, RequestParser};
use crate::net::Stream;
use crate::reactor::{self, Alarm, timeout};
use crate::request::{Origin, Response, Takeover};
use crate::servers::live::Live;
use crate::servers::record::Exchange;

/// How long a closing connection goes on reading, so that what we sent last is not lost to a reset. How much that is does not matter: many a client
/// looks for an answer only when its body is out.
const LINGER: Duration = Duration::from_secs(5);
/// How long a client may take to hear that this is the end.
const FAREWELL: Duration = Duration::from_secs(2);
/// How long an idle connection stays when the worker drains: time for a request that is on its way.
const DRAIN_GRACE: Duration = Duration::from_secs(2);

/// What came at the place where a request should begin, and cannot be answered at once.
enum Next {
    /// A request whose answer takes its time, or is large.
    Asked(Box<Asked>),
    Refused(HeadError),
    /// The client did not send a whole head in time.
    TooSlow,
    /// The client does not take what it is sent.
    Full,
    /// The connection is over: closed by the client, idle for too long, or of no more use.
    Over,
    /// The client speaks HTTP/2.
    Http2,
}

/// What the deadline of the connection is set for while a head is read.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Deadline {
    None,
    /// The first byte of a head.
    Begin,
    /// The rest of it.
    Rest,
}

/// How requests are read, one after the other.
struct Reading {
    live: Rc<Live>,
    parser: RequestParser,
    /// Requests so far.
    count: u64,
    /// All that is to go out stands in the configuration: it was made at once, and can wait for the end of the turn.
    standing: bool,
    deadline: Deadline,
}

impl Reading {
    fn new(live: Rc<Live>) -> Self {
        let parser = RequestParser::new(live.head_limits);
        Self { live, parser, count: 0, standing: false, deadline: Deadline::None }
    }

    /// Follows an update.
    fn refresh(&mut self, server: &HttpServer) {
        if !server.serves(&self.live) {
            self.live = server.live();
            self.parser = RequestParser::new(self.live.head_limits);
        }
    }
}

/// What lies at the front of the input.
#[allow(clippy::large_enum_variant, reason = "it is taken apart at once; a box would be an allocation a request")]
enum Look {
    /// A request of so many bytes, which is answered.
    Standing(usize),
    Parsed(Parsed),
}

/// How a connection goes on after an exchange.
pub(super) enum After {
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
    /// The client has too many connections, and is told so.
    pub(super) crowded: bool,
}

/// How long a client that has too many connections may take until it asks for something and is told so.
pub(super) const CROWDED: Duration = Duration::from_secs(2);

impl Connection {
    /// Serves the connection until it ends.
    /// Gives the connection back when another protocol goes on with it.
    pub(super) async fn serve(self) -> Option<(Rc<Wire>, Takeover)> {
        if self.wire.stream.speaks(b"h2") {
            return Some((self.wire, http2::takeover(self.server, self.origin, self.crowded)));
        }
        let mut reading = Reading::new(self.server.live());
        loop {
            let next = poll_fn(|cx| self.poll_next(cx, &mut reading)).await;
            reading.deadline = Deadline::None;
            let live = &reading.live;
            let after = match next {
                Next::Asked(asked) => self.conclude(live, asked).await,
                // What is rare is boxed, here and below: a connection is as large as the largest thing it may ever wait for.
                Next::Refused(error) => Box::pin(self.refuse(live, error.status(), error.reason())).await,
                Next::TooSlow => Box::pin(self.refuse(live, 408, "the request head came too slowly")).await,
                Next::Full if self.wire.flush(&[], live.timeouts.write).await.is_ok() => After::Keep,
                Next::Full => {
                    self.farewell().await;
                    return None;
                }
                Next::Over => {
                    // An answer may still be put off.
                    if self.wire.pending() == 0 || self.wire.flush(&[], live.timeouts.write).await.is_ok() {
                        self.farewell().await;
                    }
                    return None;
                }
                Next::Http2 => return Some((self.wire, http2::takeover(self.server, self.origin, self.crowded))),
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
            let _gone = Box::pin(timeout(FAREWELL, self.wire.stream.shutdown_write())).await;
        }
    }

    /// Answers requests until there is one that takes its time, or something else.
    fn poll_next(&self, cx: &mut Context<'_>, reading: &mut Reading) -> Poll<Next> {
        loop {
            if let Some(next) = self.at_once(reading) {
                return Poll::Ready(next);
            }
            if self.wire.pending() > 0 && !(std::mem::take(&mut reading.standing) && self.wire.put_off()) {
                match self.wire.poll_drain(cx, false) {
                    Poll::Ready(Ok(())) => {}
                    Poll::Ready(Err(_)) => return Poll::Ready(Next::Over),
                    Poll::Pending => return Poll::Ready(Next::Full),
                }
            }
            let timeouts = &reading.live.timeouts;
            // The time for a head counts from its first byte, however it trickles in.
            let deadline = if self.wire.has_input() { Deadline::Rest } else { Deadline::Begin };
            if deadline != reading.deadline {
                reading.deadline = deadline;
                let first = reading.count == 0;
                let most = if self.crowded { CROWDED } else { Duration::MAX };
                self.wire.alarm.set(if first || deadline == Deadline::Rest { timeouts.header } else { timeouts.idle }.min(most));
            }
            if deadline == Deadline::Begin {
                self.wire.rest();
            }
            let begun = deadline == Deadline::Rest;
            match self.poll_more(cx, reading.live.head_limits.total + OUTPUT, begun) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Some(Ok(read))) if read > 0 => {}
                Poll::Ready(None) if begun => return Poll::Ready(Next::TooSlow),
                Poll::Ready(_) => return Poll::Ready(Next::Over),
            }
        }
    }

    /// Answers the requests that have arrived, as far as nothing has to be waited for. `None`: no whole one is left.
    fn at_once(&self, reading: &mut Reading) -> Option<Next> {
        while self.wire.has_input() {
            if self.wire.pending() >= OUTPUT {
                return Some(Next::Full);
            }
            reading.refresh(&self.server);
            let Reading { live, parser, count, standing, deadline } = reading;
            let last = *count + 1 >= live.keep_alive_requests || self.server.draining_since().is_some() || self.crowded;
            let empty = self.wire.pending() == 0;
            let parsed = match self.wire.with_input(|input| self.look(live, parser, last, input)) {
                Ok(Look::Standing(consumed)) => {
                    *standing = *standing || empty;
                    self.wire.consume(consumed);
                    *count += 1;
                    *deadline = Deadline::None;
                    continue;
                }
                Ok(Look::Parsed(Parsed::Complete(parsed))) => parsed,
                Ok(Look::Parsed(Parsed::Partial)) => return None,
                Err(_) if *count == 0 && live.http2.enabled && self.wire.with_input(|input| input.starts_with(PREFACE)) => {
                    return Some(Next::Http2);
                }
                Err(error) => return Some(Next::Refused(error)),
            };
            self.wire.consume(parsed.consumed);
            *count += 1;
            *deadline = Deadline::None;
            *standing = false;
            reactor::do_put_off();
            let asked = self.ask(live, parsed, last);
            if let Some(asked) = self.answer_at_once(live, asked) {
                return Some(Next::Asked(Box::new(asked)));
            }
        }
        None
    }

    /// Looks for a request in the input. One that the configuration answers is answered here, without ever being taken apart.
    fn look(&self, live: &Live, parser: &mut RequestParser, last: bool, input: &[u8]) -> Result<Look, HeadError> {
        let Some(usual) = parser.usual(input) else { return parser.parse_lines(input).map(Look::Parsed) };
        if !last
            && live.access.is_none()
            && live.limit.is_none()
            && let Some(standing) = usual.plain_path().and_then(|path| live.site.standing(path))
        {
            write_standing(&self.wire, standing, usual.is_head(), live.server_tokens);
            Exchange::standing(&self.server.host, standing.status);
            return Ok(Look::Standing(usual.consumed()));
        }
        match usual.into_request() {
            Some(parsed) => Ok(Look::Parsed(Parsed::Complete(parsed))),
            None => parser.parse_lines(input).map(Look::Parsed),
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

    /// Answers what is no request. Nothing after it can be understood, so the connection ends.
    async fn refuse(&self, live: &Rc<Live>, status: u16, why: &str) -> After {
        let framing = Framing {
            version: Version::Http11,
            head_only: false,
            keep_alive: false,
            tell_keep_alive: false,
            server_token: live.server_tokens,
        };
        let response = live.site.plain(Response::error(status, why), self.origin.secure);
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

    /// Says that nothing more comes, and reads what still arrives, for some time: closing at once would reset the connection
    /// and could take the answer with it (RFC 9112 §9.6).
    async fn linger(&self) {
        if self.wire.stream.shutdown_write().await.is_err() {
            return;
        }
        let alarm = Alarm::new();
        alarm.set_at(reactor::refresh_now() + LINGER);
        loop {
            let waiting = self.wire.with_input(<[u8]>::len);
            self.wire.consume(waiting);
            let read = poll_fn(|cx| match self.wire.poll_fill(cx, OUTPUT) {
                Poll::Pending => alarm.poll(cx).map(|()| Ok(0)),
                read => read,
            })
            .await;
            if !read.is_ok_and(|read| read > 0) {
                return;
            }
        }
    }
}
