//! One request from its parameters to its end.

use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::Poll;

use bytes::Bytes;

use super::asked::{Asked, Refusal};
use super::connection::Connection;
use super::inbox::Inbox;
use super::reply::Reply;
use super::server::Serving;
use super::spool::Spool;
use super::stored_body::{self, StoredBody};
use crate::codec::fastcgi::ProtocolStatus;
use crate::codec::http::{Method, RequestHead};
use crate::codec::websocket::handshake;
use crate::log_warn;
use crate::reactor::{Alarm, Scope};
use crate::request::{Answer, Body, Handler, Origin, Request, Response, ResponseBody, Routed};
use crate::servers::guarded::{broken, guarded};
use crate::servers::record::Exchange;
use crate::servers::watch::Watch;

/// What a WebSocket handshake gets: FastCGI has no way to go on with another protocol.
const NO_WEBSOCKET: &str = "a WebSocket cannot be opened through FastCGI; let the web server pass it on by HTTP";

/// The body of an answer that needs no further wait may have so many bytes, and its head too.
const SMALL: usize = 4 << 10;

/// Answers a request, or says why it is none. What needs no wait is answered at once, everything else in a task of its own.
pub(super) fn begin(
    connection: &Rc<Connection>,
    id: u16,
    inbox: Rc<Inbox>,
    serving: Rc<Serving>,
    asked: Result<Asked, Refusal>,
    scope: &Scope,
) {
    let connection = connection.clone();
    let Asked { mut head, origin, length } = match asked {
        Ok(asked) => asked,
        Err(refusal) => return scope.spawn(refuse(connection, id, inbox, serving, refusal)),
    };
    let origin = serving.live.origin(&mut head, &Rc::new(origin));
    let exchange = Exchange::begin(&connection.server.host, &serving.live, &origin, &head, 0);
    let method = head.method.clone();
    let mut running = Running { connection, id, inbox, serving, origin, exchange, method, handler: None, stored: None };
    let refusal = running.exchange.refusal(&running.serving.live);
    if refusal.is_none() && stored_body::named(&running.origin.parameters).is_some() {
        return scope.spawn(async move {
            let body = running.stored_body(length).await;
            let answer = running.ask(head, body);
            running.conclude(answer).await;
        });
    }
    let body = match refusal {
        Some(response) => Err(response),
        None => running.body(length),
    };
    let answer = running.ask(head, body);
    if let Some(answer) = running.answer_at_once(answer) {
        scope.spawn(running.conclude(answer));
    }
}

/// Answers what is no request.
async fn refuse(connection: Rc<Connection>, id: u16, inbox: Rc<Inbox>, serving: Rc<Serving>, Refusal(status, why): Refusal) {
    let origin = Origin::new(connection.front.clone(), connection.local.clone(), connection.server.name.clone());
    let reply = Reply::new(&connection, id, &inbox, false);
    // Who asked this may be gone already; it is recorded all the same.
    let response = serving.live.site.plain(Response::error(status, why), false);
    let _ = reply.write(response, None).await;
    Exchange::refused(&connection.server.host, &serving.live, &origin, status, reply.sent());
    connection.end(id, 0, ProtocolStatus::Complete);
}

struct Running {
    connection: Rc<Connection>,
    id: u16,
    inbox: Rc<Inbox>,
    serving: Rc<Serving>,
    origin: Rc<Origin>,
    exchange: Exchange,
    method: Method,
    /// What answers, if an application does.
    handler: Option<Rc<dyn Handler>>,
    /// The body, if the front has stored it.
    stored: Option<Rc<StoredBody>>,
}

impl Running {
    /// Gives the request to whoever answers it.
    fn ask(&mut self, mut head: RequestHead, body: Result<Body, Response>) -> Answer {
        let live = &self.serving.live;
        let (routed, body) = match body {
            Err(response) => (live.site.refuse(response), Body::empty()),
            Ok(body) => match live.site.find(&mut head, self.origin.secure) {
                Routed::App { .. } if handshake::is_asked(&head) => (live.site.refuse(Response::error(501, NO_WEBSOCKET)), body),
                routed => (routed, body),
            },
        };
        match routed {
            Routed::Response(response) => Answer::Now(response),
            Routed::App { handler, name, base_length } => {
                self.exchange.goes_to(name);
                let request = Request {
                    id: self.exchange.id(),
                    head,
                    body,
                    origin: self.origin.clone(),
                    base_length,
                    uploads: live.uploads.clone(),
                    onward: live.onward(),
                    user: None,
                };
                self.handler = Some(handler.clone());
                let answer = || {
                    let _shown = self.exchange.show();
                    handler.request(request)
                };
                guarded(answer).unwrap_or_else(|| Answer::Now(self.failed()))
            }
        }
    }

    /// Writes an answer that is there already and small, to a request that has come whole; gives any other back.
    fn answer_at_once(&self, answer: Answer) -> Option<Answer> {
        let Answer::Now(response) = &answer else { return Some(answer) };
        let small = match &response.body {
            ResponseBody::Empty => true,
            ResponseBody::Bytes(bytes) => bytes.len() <= SMALL,
            _ => false,
        };
        let fields = response.fields.block().len() + response.prepared.as_ref().map_or(0, Bytes::len);
        let whole = self.inbox.is_whole() && !self.inbox.is_aborted();
        if !small || fields > SMALL || !whole || !self.connection.has_room() || self.spool(response).is_some() {
            return Some(answer);
        }
        self.exchange.answered_with(response);
        let reply = self.reply();
        reply.write_small(response);
        self.exchange.received(self.received());
        self.exchange.finish(&self.serving.live, response.status, reply.sent(), None);
        self.connection.end(self.id, 0, ProtocolStatus::Complete);
        None
    }

    /// Waits for the answer, and sends it.
    async fn conclude(self, answer: Answer) {
        let Self { connection, id, inbox, serving, exchange, handler, .. } = &self;
        let live = &serving.live;
        let response = match answer {
            Answer::Now(response) => Some(response),
            Answer::Later(future) => self.wait(future).await,
        };
        let Some(mut response) = response else { return self.abandon() };
        if matches!(response.body, ResponseBody::Upgrade(_)) {
            response = live.site.plain(Response::error(501, NO_WEBSOCKET), self.origin.secure);
        }
        exchange.answered_with(&response);
        let mut as_file = 0;
        if let Some(spool) = self.spool(&response) {
            let Some(stored) = self.store(spool, response).await else { return self.abandon() };
            (response, as_file) = stored;
        }
        let status = response.status;
        let reply = self.reply();
        exchange.answered();
        let written = {
            let watch = Watch::new(live, exchange, handler.clone(), &response);
            reply.write(response, Some(&watch)).await
        };
        exchange.received(self.received());
        exchange.finish(live, status, as_file.max(reply.sent()), written.as_ref().err());
        match written {
            Err(error) if !inbox.is_aborted() => {
                connection.tell(*id, &format!("the answer broke off: {error}\n"));
                connection.break_off(*id);
            }
            _ => connection.end(*id, 0, ProtocolStatus::Complete),
        }
    }

    /// Nobody wants the answer any more.
    fn abandon(&self) {
        self.exchange.received(self.received());
        self.exchange.abandoned(&self.serving.live);
        self.connection.end(self.id, 0, ProtocolStatus::Complete);
    }

    fn reply(&self) -> Reply<'_> {
        Reply::new(&self.connection, self.id, &self.inbox, self.method == Method::Head)
    }

    /// Bytes of the body that were received.
    fn received(&self) -> u64 {
        self.stored.as_ref().map_or_else(|| self.inbox.received(), |file| file.read())
    }

    /// Where the answer is stored for the front, if it is.
    fn spool(&self, response: &Response) -> Option<&Rc<Spool>> {
        self.serving.spool.as_ref().filter(|spool| spool.wants(&self.origin.parameters, &self.method, response))
    }

    /// The body of a request as the connection brings it; else the answer.
    #[expect(clippy::result_large_err, reason = "the answer is used at once")]
    fn body(&self, length: Option<u64>) -> Result<Body, Response> {
        let limit = *self.serving.config.max_body;
        if length.is_some_and(|length| length > limit) {
            return Err(too_large(limit));
        }
        // Fronts tell no length of a body that is not there.
        let none = length.is_none() && self.inbox.is_whole() && self.inbox.received() == 0;
        Ok(if none || length == Some(0) { Body::empty() } else { Body::from_source(self.inbox.clone(), length) })
    }

    /// The body of a request from where the front has stored it; else the answer.
    async fn stored_body(&mut self, length: Option<u64>) -> Result<Body, Response> {
        let limit = *self.serving.config.max_body;
        if length.is_some_and(|length| length > limit) {
            return Err(too_large(limit));
        }
        let Some(path) = stored_body::named(&self.origin.parameters) else { return self.body(length) };
        let file = StoredBody::open(&self.serving.body_files, path).await.map_err(|why| {
            log_warn!("{}: {}", self.connection.server.name, stored_body::refusal(&why));
            Response::error(500, "the web server has stored the body where it is not read; the log says why")
        })?;
        if file.length() > limit {
            return Err(too_large(limit));
        }
        if length.is_some_and(|length| length != file.length()) {
            return Err(Response::error(400, "the stored body is shorter or longer than CONTENT_LENGTH"));
        }
        self.stored = Some(file.clone());
        Ok(Body::from_source(file.clone(), Some(file.length())))
    }

    /// Makes a file of an answer, and tells its length; `None` when nobody wants it any more.
    async fn store(&self, spool: &Spool, response: Response) -> Option<(Response, u64)> {
        let mut storing = pin!(spool.store(response));
        poll_fn(|cx| match storing.as_mut().poll(cx) {
            Poll::Ready(stored) => Poll::Ready(Some(stored)),
            Poll::Pending => self.inbox.poll_aborted(cx).map(|()| None),
        })
        .await
        .map(|stored| {
            stored.unwrap_or_else(|error| {
                self.connection.tell(self.id, &format!("the answer broke off: {error}\n"));
                (Response::error(502, "the answer broke off"), 0)
            })
        })
    }

    /// Waits for an answer; `None` when nobody wants it any more.
    async fn wait(&self, mut future: Pin<Box<dyn Future<Output = Response>>>) -> Option<Response> {
        let exchange = &self.exchange;
        let slow = Alarm::new();
        if let Some(at) = exchange.report_at(&self.serving.live) {
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
                None => return Poll::Ready(Some(self.failed())),
            }
            if slow.poll(cx).is_ready() {
                slow.clear();
                exchange.report_waiting(self.handler.as_ref().and_then(|handler| handler.trace(exchange.id())).as_deref());
            }
            self.inbox.poll_aborted(cx).map(|()| None)
        })
        .await
    }

    /// The answer for an application that failed; the front's log hears of it too.
    fn failed(&self) -> Response {
        let id = self.exchange.id();
        self.connection.tell(self.id, &format!("the application failed; the log of skep has more under {id}\n"));
        self.serving.live.site.plain(broken(id), self.origin.secure)
    }
}

fn too_large(limit: u64) -> Response {
    Response::error(413, &format!("the body may have at most {limit} bytes"))
}
