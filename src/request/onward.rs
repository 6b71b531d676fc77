//! Sending a request to another path of the same server without its client: the local redirect of CGI (RFC 3875 §6.2.2).

use std::rc::Rc;

use super::{Answer, Body, Request, Response, Routed, Site};
use crate::codec::http::{Method, RequestHead};

/// How often a request may be sent on before that is taken for a circle.
const MOST: u8 = 10;

/// Where a request may be sent on to. The default leads nowhere: requests that came by no server.
#[derive(Clone, Default)]
pub struct Onward {
    site: Option<Rc<Site>>,
    /// How often it was sent on.
    count: u8,
    /// The page for an error is asked for.
    for_error: bool,
}

/// Fields of a request that speak of its body or of what the client has of the first path.
const OF_THE_FIRST: [&str; 4] = ["content-length", "content-type", "transfer-encoding", "range"];

impl Onward {
    /// To what this site serves.
    #[must_use]
    pub fn new(site: &Rc<Site>) -> Self {
        Self { site: Some(site.clone()), count: 0, for_error: false }
    }

    /// The same, to ask for the page of an error.
    pub(super) fn for_error(&self) -> Self {
        Self { for_error: true, ..self.clone() }
    }

    /// Whether the page for an error is asked for.
    pub(super) fn is_for_error(&self) -> bool {
        self.for_error
    }

    /// Answers as if the client had asked for `target`, a path that may have a query: with GET and without a body, or with HEAD after HEAD.
    pub async fn send(&self, request: &Request, target: &str) -> Response {
        let Some(site) = &self.site else { return Response::error(500, "there is nowhere to send the request to") };
        if self.count >= MOST {
            let id = request.id.to_string();
            crate::log_error!(request = &id; "sent to another path {MOST} times, from {} to {target} at last: this is a circle", request.head.path());
            return Response::error(500, "the application sends requests in a circle");
        }
        let Some(mut head) = redirected(&request.head, target) else {
            return Response::error(502, "the application sent the request to something that is no path");
        };
        match site.find(&mut head, request.origin.secure) {
            Routed::Response(response) => response,
            Routed::App { handler, base_length, .. } => {
                let onward = Self { site: self.site.clone(), count: self.count + 1, for_error: self.for_error };
                let (origin, uploads) = (request.origin.clone(), request.uploads.clone());
                let request =
                    Request { id: request.id, head, body: Body::empty(), origin, base_length, uploads, onward, user: request.user.clone() };
                match handler.request(request) {
                    Answer::Now(response) => response,
                    Answer::Later(response) => response.await,
                }
            }
        }
    }
}

/// The head of the request for another path; `None` when it is none.
fn redirected(first: &RequestHead, target: &str) -> Option<RequestHead> {
    let mut head = first.clone();
    if head.method != Method::Head {
        head.method = Method::Get;
    }
    for name in OF_THE_FIRST {
        head.fields.remove(name);
    }
    if !target.starts_with('/') {
        return None;
    }
    head.set_target(target).ok()?;
    Some(head)
}
