//! What stands in front of a route of which an address may ask only so much.

use std::rc::Rc;

use super::{Limit, Pass, holding};
use crate::limiter::Held;
use crate::request::{Answer, Handler, Request, Response, ResponseBody};
use crate::websocket::Sessions;

/// A handler that lets only so many requests of an address through to another.
pub(crate) struct Limited {
    limit: Rc<Limit>,
    beyond: Rc<dyn Handler>,
}

impl Limited {
    pub(crate) fn new(limit: Rc<Limit>, beyond: Rc<dyn Handler>) -> Self {
        Self { limit, beyond }
    }

    fn pass(&self, request: Request, go: impl FnOnce(Rc<dyn Handler>, Request) -> Answer) -> Answer {
        let held = match self.limit.admit(&request.origin.peer) {
            Pass::Refused(response) => return Answer::Now(response),
            Pass::Through(held) => held,
        };
        let answer = go(self.beyond.clone(), request);
        match (held, answer) {
            (None, answer) => answer,
            (Some(held), Answer::Now(response)) => Answer::Now(with(held, response)),
            (Some(held), Answer::Later(response)) => Answer::Later(Box::pin(async { with(held, response.await) })),
        }
    }
}

/// A response that is under way until it is sent, or its connection has ended.
fn with(held: Held, mut response: Response) -> Response {
    match response.body {
        ResponseBody::Upgrade(takeover) => response.body = ResponseBody::Upgrade(holding(takeover, vec![held])),
        _ => response.held.push(held),
    }
    response
}

impl Handler for Limited {
    fn request(self: Rc<Self>, request: Request) -> Answer {
        self.pass(request, Handler::request)
    }

    fn websocket(self: Rc<Self>, request: Request, sessions: &Rc<Sessions>) -> Answer {
        self.pass(request, |beyond, request| beyond.websocket(request, sessions))
    }

    fn beyond(&self) -> Option<&Rc<dyn Handler>> {
        Some(&self.beyond)
    }
}
