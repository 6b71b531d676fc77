//! What stands in front of the routes of a server: the handlers that each request meets before the one that answers.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::rc::Rc;

use super::access::{Auth, Basic, Door, Gate};
use super::compression::{Compression, Compressor};
use super::errors::{ErrorPage, ErrorPages, Pages};
use super::headers::{Changes, Header, Headers, Hsts, RequestHeader, RequestHeaders};
use super::limits::{Limit, Limited};
use super::replacing::Replaced;
use super::route::{Action, Route};
use super::{Answer, Handler, Request, Response, Routed};
use crate::limiter::Limiter;
use crate::scoreboard::Label;
use crate::secret::Secret;

/// What holds for all routes of a server.
#[derive(Clone, Copy, Default)]
pub struct Common<'a> {
    /// The server's name in the configuration.
    pub name: &'a str,
    /// The files of users, and those of error pages.
    pub files: Option<&'a BTreeMap<PathBuf, Secret>>,
    /// Pages in the place of errors.
    pub errors: &'a [ErrorPage],
    /// How answers are compressed, if they are.
    pub compression: Option<&'a Compression>,
    /// What browsers are told of HTTPS.
    pub hsts: Option<&'a Hsts>,
    /// Header fields of all answers.
    pub headers: Option<&'a Headers>,
    /// Where limits by address are counted. Without it there are none.
    pub limiter: Option<&'a Rc<Limiter>>,
}

/// What stands in front of answers that no route gives.
pub(super) struct Bare {
    pages: Option<Rc<Pages>>,
    changes: Option<Rc<Changes>>,
}

impl Bare {
    pub(super) fn new(common: &Common<'_>) -> Self {
        let changes = Changes::new(None, common.headers, common.hsts);
        Self { pages: Pages::new(common.errors, &[], common.files), changes }
    }

    /// An answer to a request that no route gets.
    pub(super) fn answer(&self, response: Response) -> Routed {
        if self.changes.is_none() && self.pages.is_none() {
            return Routed::Response(response);
        }
        let mut handler: Rc<dyn Handler> = Rc::new(Said(Cell::new(Some(response))));
        if let Some(pages) = &self.pages {
            handler = Rc::new(ErrorPages::new(pages.clone(), handler));
        }
        if let Some(changes) = &self.changes {
            handler = Rc::new(Header::new(changes.clone(), handler));
        }
        Routed::App { handler, name: Label::default(), base_length: 0 }
    }

    /// An answer to what is no request.
    pub(super) fn plain(&self, response: Response, secure: bool) -> Response {
        let response = match &self.pages {
            Some(pages) => pages.at_once(response),
            None => response,
        };
        match &self.changes {
            Some(changes) => changes.make(response, secure),
            None => response,
        }
    }
}

/// Gives an answer that is known already.
struct Said(Cell<Option<Response>>);

impl Handler for Said {
    fn request(self: Rc<Self>, _: Request) -> Answer {
        Answer::Now(self.0.take().unwrap_or_else(|| Response::error(500, "")))
    }
}

/// Puts handlers in front of routes.
pub(super) struct Front<'a> {
    common: &'a Common<'a>,
    compression: Option<Rc<Compression>>,
    /// One for all routes with the same terms, so that a password is checked once for all of them.
    doors: BTreeMap<Basic, Rc<Door>>,
}

impl<'a> Front<'a> {
    pub(super) fn new(common: &'a Common<'a>) -> Self {
        Self { common, compression: common.compression.map(|compression| Rc::new(compression.clone())), doors: BTreeMap::new() }
    }

    /// Whether anything stands in front of a route.
    pub(super) fn is_needed(&self, route: &Route) -> bool {
        // A request that is routed again meets what is in front of the other route.
        let own = route.access.is_some() || route.limits.is_some() || route.replace.is_some() || self.request_headers(route).is_some();
        !matches!(route.action, Action::Rewrite(_))
            && (own || self.compresses(route) || self.has_pages(route) || self.changes(route).is_some())
    }

    /// What is always the same is never an error of ours.
    fn has_pages(&self, route: &Route) -> bool {
        !route.errors.is_empty() || (!self.common.errors.is_empty() && !matches!(route.action, Action::Reply(_)))
    }

    /// What is sent elsewhere has nothing to compress.
    fn compresses(&self, route: &Route) -> bool {
        self.compression.is_some() && route.compress != Some(false) && matches!(route.action, Action::App(_) | Action::Reply(_))
    }

    /// Puts in front of `beyond` what belongs in front of a route, what is met first last.
    pub(super) fn put(&mut self, route: &Route, mut beyond: Rc<dyn Handler>) -> Rc<dyn Handler> {
        // What stands in front sees the request as the client sent it.
        if let Some(headers) = self.request_headers(route) {
            beyond = Rc::new(RequestHeader::new(headers, beyond));
        }
        if let Some(replace) = &route.replace {
            beyond = Rc::new(Replaced::new((**replace).clone(), beyond));
        }
        if let Some(access) = &route.access {
            let door = access.auth.as_ref().map(|auth| self.door(auth));
            beyond = Rc::new(Gate::new((**access).clone(), door, beyond));
        }
        // Before passwords are checked, which is what costs.
        if let (Some(limits), Some(limiter)) = (&route.limits, self.common.limiter) {
            let host = if route.host == super::route::Host::Any { String::new() } else { route.host.to_string() };
            let subject = format!("server {}, route {host}{}", self.common.name, route.path);
            beyond = Rc::new(Limited::new(Limit::new((**limits).clone(), limiter, subject), beyond));
        }
        if let Some(pages) = Pages::new(self.common.errors, &route.errors, self.common.files) {
            beyond = Rc::new(ErrorPages::new(pages, beyond));
        }
        if let Some(compression) = self.compression.as_ref().filter(|_| self.compresses(route)) {
            beyond = Rc::new(Compressor::new(compression.clone(), beyond));
        }
        if let Some(changes) = self.changes(route) {
            beyond = Rc::new(Header::new(changes, beyond));
        }
        beyond
    }

    fn changes(&self, route: &Route) -> Option<Rc<Changes>> {
        Changes::new(route.headers.as_deref(), self.common.headers, self.common.hsts)
    }

    /// Nobody sees the fields of a request that is not for an application.
    fn request_headers(&self, route: &Route) -> Option<RequestHeaders> {
        let is_seen = matches!(route.action, Action::App(_));
        is_seen.then(|| RequestHeaders::of_route(route.headers.as_deref(), self.common.headers)).flatten()
    }

    fn door(&mut self, Auth::Basic(basic): &Auth) -> Rc<Door> {
        let text = self.common.files.and_then(|files| files.get(&basic.users)).map_or("", Secret::reveal);
        self.doors.entry(basic.clone()).or_insert_with(|| Rc::new(Door::new(basic, text))).clone()
    }
}
