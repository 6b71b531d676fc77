//! One request from its parameters to its end.

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::rc::Rc;
use std::task::Poll;

use super::asked::{Asked, Refusal};
use super::connection::Connection;
use super::inbox::Inbox;
use super::reply::Reply;
use super::server::Serving;
use crate::codec::fastcgi::ProtocolStatus;
use crate::codec::http::Method;
use crate::codec::websocket::handshake;
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
            let origin = Origin {
                peer: connection.front.clone(),
                local: connection.local.clone(),
                secure: false,
                server: connection.server.name.clone(),
                parameters: Parameters::default(),
            };
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
        let origin = Rc::new(origin);
        let exchange = Exchange::begin(&connection.server.host, live, &origin, &head, 0);
        let head_only = head.method == Method::Head;
        let limit = *serving.config.max_body;
        let mut handler = None;
        let answer = if length.is_some_and(|length| length > limit) {
            Answer::Now(Response::error(413, &format!("the body may have at most {limit} bytes")))
        } else {
            match live.site.find(&mut head) {
                Routed::Response(response) => Answer::Now(response),
                Routed::App { .. } if handshake::is_asked(&head) => Answer::Now(Response::error(501, NO_WEBSOCKET)),
                Routed::App { handler: found, name, base_length } => {
                    exchange.goes_to(name);
                    let body = if length == Some(0) { Body::empty() } else { Body::from_source(inbox.clone(), length) };
                    let uploads = live.uploads.clone();
                    let request =
                        Request { id: exchange.id(), head, body, origin, base_length, uploads, onward: live.onward(), user: None };
                    handler = Some(found.clone());
                    let answer = || {
                        let _shown = exchange.show();
                        found.request(request)
                    };
                    guarded(answer).unwrap_or_else(|| Answer::Now(self.failed(&exchange)))
                }
            }
        };
        let response = match answer {
            Answer::Now(response) => Some(response),
            Answer::Later(future) => self.wait(future, &exchange, handler.as_ref()).await,
        };
        let Some(mut response) = response else {
            exchange.received(inbox.received());
            exchange.abandoned(live);
            return connection.end(*id, 0, ProtocolStatus::Complete);
        };
        if matches!(response.body, ResponseBody::Upgrade(_)) {
            response = Response::error(501, NO_WEBSOCKET);
        }
        let status = response.status;
        exchange.answered_with(&response);
        let reply = Reply::new(connection, *id, inbox, head_only);
        exchange.answered();
        let written = {
            let watch = Watch::new(live, &exchange, handler, &response);
            reply.write(response, Some(&watch)).await
        };
        exchange.received(inbox.received());
        exchange.finish(live, status, reply.sent(), written.as_ref().err());
        match written {
            Err(error) if !inbox.is_aborted() => {
                connection.tell(*id, &format!("the answer broke off: {error}\n"));
                connection.break_off(*id);
            }
            _ => connection.end(*id, 0, ProtocolStatus::Complete),
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
