//! What stands in front of a route that is not for everybody.

use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;

use super::Access;
use super::door::{Asked, Door};
use crate::request::{Answer, Connection, Handler, Request, Response};
use crate::websocket::Sessions;

/// A handler that lets only those through to another who may use the route.
pub(crate) struct Gate {
    access: Access,
    door: Option<Rc<Door>>,
    beyond: Rc<dyn Handler>,
}

impl Gate {
    pub(crate) fn new(access: Access, door: Option<Rc<Door>>, beyond: Rc<dyn Handler>) -> Self {
        Self { access, door, beyond }
    }

    fn pass(&self, mut request: Request, go: impl FnOnce(Rc<dyn Handler>, Request) -> Answer + 'static) -> Answer {
        if !self.access.admits(&request.origin.peer) {
            return Answer::Now(Response::error(403, "not from this address"));
        }
        let beyond = self.beyond.clone();
        let Some(door) = &self.door else { return go(beyond, request) };
        match door.ask(&request.head) {
            Asked::Refused(response) => Answer::Now(response),
            Asked::Known(user) => {
                request.user = Some(user.clone());
                match go(beyond, request) {
                    Answer::Now(response) => Answer::Now(to(user, response)),
                    Answer::Later(response) => Answer::Later(Box::pin(async { to(user, response.await) })),
                }
            }
            Asked::Unknown(credentials) => {
                let door = door.clone();
                Answer::Later(Box::pin(async move {
                    let user = match door.check(credentials, &request.origin.peer).await {
                        Ok(user) => user,
                        Err(response) => return response,
                    };
                    request.user = Some(user.clone());
                    to(
                        user,
                        match go(beyond, request) {
                            Answer::Now(response) => response,
                            Answer::Later(response) => response.await,
                        },
                    )
                }))
            }
        }
    }
}

/// A response for this user.
fn to(user: Rc<str>, response: Response) -> Response {
    Response { user: Some(user), ..response }
}

impl Handler for Gate {
    fn request(self: Rc<Self>, request: Request) -> Answer {
        self.pass(request, Handler::request)
    }

    fn websocket(self: Rc<Self>, request: Request, sessions: &Rc<Sessions>) -> Answer {
        let sessions = sessions.clone();
        self.pass(request, move |beyond, request| beyond.websocket(request, &sessions))
    }

    fn beyond(&self) -> Option<&Rc<dyn Handler>> {
        Some(&self.beyond)
    }

    fn connection(self: Rc<Self>, connection: Connection) -> Pin<Box<dyn Future<Output = ()>>> {
        // Routes are of requests: no raw connection comes this way, and none gets past without being looked at.
        drop(connection);
        Box::pin(async {})
    }
}
