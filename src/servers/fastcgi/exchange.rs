//! One request from its parameters to its end.

use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::Poll;

use super::asked::{Asked, Refusal};
use super::connection::Connection;
use super::inbox::Inbox;
use super::reply::Reply;
use super::server::Serving;
use super::spool::Spool;
use super::stored_body::{self, StoredBody};
use crate::codec::fastcgi::ProtocolStatus;
use crate::codec::http::Method;
use crate::codec::websocket::handshake;
use crate::log_warn;
use crate::reactor::Alarm;
use crate::request::{Answer, Body, Handler, Origin, Parameters, Request, Response, ResponseBody, Routed};
use crate::servers::guarded::{broken, guarded};
use crate::servers::record::Exchange;
use crate::servers::watch::Watch;

/// What a WebSocket handshake gets: FastCGI has no way to go on with another protocol.
const NO_WEBSOCKET: &str = "a WebSocket cannot be opened through FastCGI; let the web server pass it on by HTTP";

/// Answers a request, or says why it is none.
pub(super) async fn answer(connection: Rc<Connection>, id: u16, inbox: Rc<Inbox>, serving: Rc<Serving>, asked: Result<Asked, Refusal>) {
    match asked {
        Ok(asked) => Running { connection, id, inbox, serving }.serve(asked).await,
        Err(Refusal(status, why)) => {
            let origin = Origin::new(connection.front.clone(), connection.local.clone(), connection.server.name.clone());
            let reply = Reply::new(&connection, id, &inbox, false);
            // Who asked this may be gone already; it is recorded all the same.
            let _ = reply.write(Response::error(status, why), None).await;
            Exchange::refused(&connection.server.host, &serving.live, &origin, status, reply.sent());
            connection.end(id, 0, ProtocolStatus::Complete);
        }
    }
}

struct Running {
    connection: Rc<Connection>,
    id: u16,
    inbox: Rc<Inbox>,
    serving: Rc<Serving>,
}

impl Running {
    async fn serve(self, asked: Asked) {
        let Asked { mut head, origin, length } = asked;
        let Self { connection, id, inbox, serving } = &self;
        let live = &serving.live;
        let origin = live.origin(&mut head, &Rc::new(origin));
        let exchange = Exchange::begin(&connection.server.host, live, &origin, &head, 0);
        let method = head.method.clone();
        let mut handler = None;
        let mut stored = None;
        let answer = match self.body(&origin.parameters, length).await {
            Err(response) => Answer::Now(response),
            Ok((body, file)) => {
                stored = file;
                match live.site.find(&mut head, origin.secure) {
                    Routed::Response(response) => Answer::Now(response),
                    Routed::App { .. } if handshake::is_asked(&head) => Answer::Now(Response::error(501, NO_WEBSOCKET)),
                    Routed::App { handler: found, name, base_length } => {
                        exchange.goes_to(name);
                        let uploads = live.uploads.clone();
                        let request = Request {
                            id: exchange.id(),
                            head,
                            body,
                            origin: origin.clone(),
                            base_length,
                            uploads,
                            onward: live.onward(),
                            user: None,
                        };
                        handler = Some(found.clone());
                        let answer = || {
                            let _shown = exchange.show();
                            found.request(request)
                        };
                        guarded(answer).unwrap_or_else(|| Answer::Now(self.failed(&exchange)))
                    }
                }
            }
        };
        let received = || stored.as_ref().map_or_else(|| inbox.received(), |file| file.read());
        let response = match answer {
            Answer::Now(response) => Some(response),
            Answer::Later(future) => self.wait(future, &exchange, handler.as_ref()).await,
        };
        let Some(mut response) = response else {
            exchange.received(received());
            exchange.abandoned(live);
            return connection.end(*id, 0, ProtocolStatus::Complete);
        };
        if matches!(response.body, ResponseBody::Upgrade(_)) {
            response = Response::error(501, NO_WEBSOCKET);
        }
        exchange.answered_with(&response);
        let mut as_file = 0;
        if let Some(spool) = serving.spool.as_ref().filter(|spool| spool.wants(&origin.parameters, &method, &response)) {
            let Some(stored) = self.store(spool, response).await else {
                exchange.received(received());
                exchange.abandoned(live);
                return connection.end(*id, 0, ProtocolStatus::Complete);
            };
            (response, as_file) = stored;
        }
        let status = response.status;
        let reply = Reply::new(connection, *id, inbox, method == Method::Head);
        exchange.answered();
        let written = {
            let watch = Watch::new(live, &exchange, handler, &response);
            reply.write(response, Some(&watch)).await
        };
        exchange.received(received());
        exchange.finish(live, status, as_file.max(reply.sent()), written.as_ref().err());
        match written {
            Err(error) if !inbox.is_aborted() => {
                connection.tell(*id, &format!("the answer broke off: {error}\n"));
                connection.break_off(*id);
            }
            _ => connection.end(*id, 0, ProtocolStatus::Complete),
        }
    }

    /// The body of a request, from the connection or from where the front has stored it; else the answer.
    async fn body(&self, parameters: &Parameters, length: Option<u64>) -> Result<(Body, Option<Rc<StoredBody>>), Response> {
        let limit = *self.serving.config.max_body;
        let too_large = || Response::error(413, &format!("the body may have at most {limit} bytes"));
        if length.is_some_and(|length| length > limit) {
            return Err(too_large());
        }
        let Some(path) = stored_body::named(parameters) else {
            let body = if length == Some(0) { Body::empty() } else { Body::from_source(self.inbox.clone(), length) };
            return Ok((body, None));
        };
        let file = StoredBody::open(&self.serving.body_files, path).await.map_err(|why| {
            log_warn!("{}: {}", self.connection.server.name, stored_body::refusal(&why));
            Response::error(500, "the web server has stored the body where it is not read; the log says why")
        })?;
        if file.length() > limit {
            return Err(too_large());
        }
        if length.is_some_and(|length| length != file.length()) {
            return Err(Response::error(400, "the stored body is shorter or longer than CONTENT_LENGTH"));
        }
        Ok((Body::from_source(file.clone(), Some(file.length())), Some(file)))
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
    async fn wait(
        &self,
        mut future: Pin<Box<dyn Future<Output = Response>>>,
        exchange: &Exchange,
        handler: Option<&Rc<dyn Handler>>,
    ) -> Option<Response> {
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
                None => return Poll::Ready(Some(self.failed(exchange))),
            }
            if slow.poll(cx).is_ready() {
                slow.clear();
                exchange.report_waiting(handler.and_then(|handler| handler.trace(exchange.id())).as_deref());
            }
            self.inbox.poll_aborted(cx).map(|()| None)
        })
        .await
    }

    /// The answer for an application that failed; the front's log hears of it too.
    fn failed(&self, exchange: &Exchange) -> Response {
        self.connection.tell(self.id, &format!("the application failed; the log of skep has more under {}\n", exchange.id()));
        broken(exchange.id())
    }
}
