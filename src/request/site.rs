//! What a server serves: its routes with the applications behind them, in force together.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::rc::Rc;

use super::fixed::Prepared;
use super::front::{Bare, Common, Front};
use super::route::{Action, Redirect, Route, RouteTable};
use super::{Answer, Handler, Request, Response, ResponseBody, Standing};
use crate::codec::http::{Method, RequestHead};
use crate::scoreboard::Label;

/// How often a request may be rewritten before the rules are taken for a circle.
const MOST_REWRITES: usize = 10;

/// Where a request goes.
pub enum Routed {
    /// To an application; `base_length` bytes of the path are the route's own.
    App {
        /// What answers.
        handler: Rc<dyn Handler>,
        /// Its name in reports.
        name: Label,
        /// See [`super::Request::base_length`].
        base_length: usize,
    },
    /// Nowhere: this is the answer.
    Response(Response),
}

/// What answers before the routes are looked at.
#[derive(Clone)]
pub struct First {
    /// How the path begins, as it came.
    pub path: &'static str,
    /// What answers.
    pub handler: Rc<dyn Handler>,
}

/// Routes and what they lead to.
pub struct Site {
    first: Option<(First, Label)>,
    table: RouteTable,
    /// What each route of the table leads to.
    ends: Vec<End>,
    /// For what no route answers.
    bare: Bare,
    /// Whether any route is not for everybody, or not for any number of requests.
    guarded: bool,
    /// Whether what comes unencrypted is sent to the same address by HTTPS.
    https_only: bool,
}

/// Where a route leads, looked up and made once.
enum End {
    App(Rc<dyn Handler>, Label),
    Reply(Prepared),
    /// To an application that could not be started.
    Missing,
    /// To another address or path, which depends on the request.
    Elsewhere,
}

impl Site {
    /// Joins routes and applications. A route whose application is missing answers 503: the configuration is checked before, so
    /// only an application that could not start is missing. `label` gives an application's name in reports.
    #[must_use]
    pub fn new(routes: Vec<Route>, apps: &BTreeMap<String, Rc<dyn Handler>>, label: impl Fn(&str) -> Label, common: &Common<'_>) -> Self {
        let table = RouteTable::new(routes);
        let mut front = Front::new(common);
        let end = |route: &Route| {
            let end = match &route.action {
                Action::App(name) => apps.get(name).map_or(End::Missing, |handler| End::App(handler.clone(), label(name))),
                Action::Reply(reply) => End::Reply(Prepared::new(reply)),
                Action::Redirect(_) | Action::Rewrite(_) => End::Elsewhere,
            };
            if !front.is_needed(route) {
                return end;
            }
            let (beyond, label): (Rc<dyn Handler>, Label) = match end {
                End::App(handler, label) => (handler, label),
                end => (Rc::new(Replying { end, route: route.clone() }), Label::default()),
            };
            End::App(front.put(route, beyond), label)
        };
        let ends = table.routes().iter().map(end).collect();
        let guarded = table.routes().iter().any(is_guarded);
        Self { first: None, table, ends, bare: Bare::new(common), guarded, https_only: false }
    }

    /// With something that answers before the routes; `label` is its name in reports.
    #[must_use]
    pub fn with_first(self, first: First, label: Label) -> Self {
        Self { first: Some((first, label)), ..self }
    }

    /// For requests by HTTPS alone: others are told to come again by that.
    #[must_use]
    pub fn for_https_only(self) -> Self {
        Self { https_only: true, ..self }
    }

    /// Finds who answers a request, which came encrypted if it is `secure`. The head's target becomes the rewritten and normalised one.
    #[must_use]
    pub fn find(&self, head: &mut RequestHead, secure: bool) -> Routed {
        if let Some(response) = for_everything(head) {
            return self.refuse(response);
        }
        if let Some((first, name)) = self.first.as_ref().filter(|(first, _)| head.path().starts_with(first.path)) {
            return Routed::App { handler: first.handler.clone(), name: *name, base_length: 0 };
        }
        if self.https_only && !secure {
            return self.refuse(by_https(head));
        }
        for _ in 0..=MOST_REWRITES {
            if !normalise(head) {
                return self.refuse(Response::error(400, "the path leads above the root"));
            }
            let host = if self.table.names_hosts() { comparable_host(head) } else { String::new() };
            let path = comparable(head);
            let Some((index, route)) = self.table.position(&host, path.as_bytes()) else {
                return self.refuse(Response::error(404, "no route leads there"));
            };
            if self.guarded && self.is_evasive(&host, head.path(), index) {
                return self.refuse(Response::error(404, "the path can be read in two ways"));
            }
            match &self.ends[index] {
                End::App(handler, name) => {
                    let base_length = base_length(route, head.path());
                    return Routed::App { handler: handler.clone(), name: *name, base_length };
                }
                End::Reply(reply) => return Routed::Response(reply.response()),
                End::Missing => return self.refuse(missing()),
                End::Elsewhere => {}
            }
            match &route.action {
                Action::App(_) | Action::Reply(_) => {}
                Action::Redirect(redirect) => return Routed::Response(redirected(redirect, route, head)),
                Action::Rewrite(to) => {
                    let rest = &head.path()[base_length(route, head.path())..];
                    let query = head.query().map_or(String::new(), |query| format!("?{query}"));
                    let target = format!("{}{rest}{query}", to.trim_end_matches('/'));
                    let target = if target.starts_with('/') { target } else { format!("/{target}") };
                    if head.set_target(&target).is_err() {
                        return self.refuse(Response::error(400, "the rewritten path is no path"));
                    }
                }
            }
        }
        self.refuse(Response::error(500, "the rewrites of the routes go in a circle"))
    }

    /// Answers a request without looking for its route.
    #[must_use]
    pub fn refuse(&self, response: Response) -> Routed {
        self.bare.answer(response)
    }

    /// The answer to what is no request, or to one whose handler broke off; `secure`: it goes over an encrypted connection.
    #[must_use]
    pub fn plain(&self, response: Response, secure: bool) -> Response {
        self.bare.plain(response, secure)
    }

    /// The reply that stands in the configuration for a path that can be read in one way only, where nothing else of the request matters.
    /// What is found here, [`Site::find`] finds too.
    #[must_use]
    pub fn standing(&self, path: &[u8]) -> Option<&Standing> {
        let is_first = self.first.as_ref().is_some_and(|(first, _)| path.starts_with(first.path.as_bytes()));
        if self.guarded || is_first || self.https_only || self.table.names_hosts() {
            return None;
        }
        let (index, _) = self.table.position("", path)?;
        match &self.ends[index] {
            End::Reply(reply) => reply.standing(),
            _ => None,
        }
    }

    /// Whether an application that takes empty segments, encoded slashes or backslashes for plain slashes would see a path of another route in this
    /// one, which is not for everybody: `//staff` or `/x/..%2fstaff`.
    fn is_evasive(&self, host: &str, path: &str, index: usize) -> bool {
        let path = crate::codec::percent::decode_lenient(path.as_bytes());
        let mut segments: Vec<&[u8]> = Vec::new();
        for segment in path.split(|&byte| byte == b'/' || byte == b'\\') {
            match segment {
                b"" | b"." => {}
                b".." => drop(segments.pop()),
                segment => segments.push(segment),
            }
        }
        let mut plain = vec![b'/'];
        plain.extend_from_slice(&segments.join(&b'/'));
        let found = self.table.position(host, String::from_utf8_lossy(&plain).as_bytes());
        found.is_some_and(|(other, route)| other != index && is_guarded(route))
    }
}

/// Whether a route demands something that nobody is to get around.
fn is_guarded(route: &Route) -> bool {
    route.access.is_some() || route.limits.is_some()
}

/// The end of a route without an application, behind a gate.
struct Replying {
    end: End,
    route: Route,
}

impl Handler for Replying {
    fn request(self: Rc<Self>, request: Request) -> Answer {
        Answer::Now(match (&self.end, &self.route.action) {
            (End::Reply(reply), _) => reply.response(),
            (_, Action::Redirect(redirect)) => redirected(redirect, &self.route, &request.head),
            _ => missing(),
        })
    }
}

fn missing() -> Response {
    Response::error(503, "the application could not be started; the log says why")
}

/// What is the same for every route: `OPTIONS *`, and TRACE, which would show a script the cookies that it must not see.
fn for_everything(head: &RequestHead) -> Option<Response> {
    let allow = |status| {
        let mut response = Response::new(status, ResponseBody::Empty);
        response.fields.push_static("Allow", "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS");
        response
    };
    match head.method {
        Method::Options if head.path() == "*" => Some(allow(204)),
        Method::Trace => Some(allow(405)),
        _ => None,
    }
}

/// Takes `.` and `..` out of the path (RFC 3986 §6.2.2.3), encoded ones too. `false`: it leads above the root.
fn normalise(head: &mut RequestHead) -> bool {
    if head.has_plain_path() {
        return true;
    }
    let path = head.path();
    let mut segments: Vec<&str> = Vec::new();
    let mut slash = false;
    for segment in path.split('/').skip(1) {
        let plain = segment.replace("%2e", ".").replace("%2E", ".");
        slash = matches!(plain.as_str(), "." | ".." | "");
        match plain.as_str() {
            "." => {}
            ".." => {
                if segments.pop().is_none() {
                    return false;
                }
            }
            _ => segments.push(segment),
        }
    }
    let mut target = format!("/{}", segments.join("/"));
    if slash && !target.ends_with('/') {
        target.push('/');
    }
    if target == path {
        return true;
    }
    if let Some(query) = head.query() {
        target.push('?');
        target.push_str(query);
    }
    head.set_target(&target).is_ok()
}

/// The host as routes are compared with: lower case, without the dot that may end a whole name.
fn comparable_host(head: &RequestHead) -> String {
    let host = head.host().unwrap_or_default();
    host.strip_suffix('.').unwrap_or(host).to_ascii_lowercase()
}

/// The path as routes are compared with: decoded, except an encoded slash, which separates nothing.
fn comparable(head: &RequestHead) -> Cow<'_, str> {
    let path = head.path();
    if head.has_plain_path() || !path.contains('%') {
        return Cow::Borrowed(path);
    }
    let bytes = path.as_bytes();
    let mut decoded = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let digits = bytes.get(at + 1..at + 3).and_then(|digits| std::str::from_utf8(digits).ok());
        match digits.and_then(|digits| u8::from_str_radix(digits, 16).ok()) {
            Some(byte) if bytes[at] == b'%' && byte != b'/' => {
                decoded.push(byte);
                at += 3;
            }
            _ => {
                decoded.push(bytes[at]);
                at += 1;
            }
        }
    }
    Cow::Owned(String::from_utf8_lossy(&decoded).into_owned())
}

/// How much of a request's path is the route's: as many segments as the route has.
fn base_length(route: &Route, path: &str) -> usize {
    if route.path == "/" {
        return 0;
    }
    if path.starts_with(&route.path) {
        return route.path.len();
    }
    // A path that is encoded in another way has the same segments.
    let segments = route.path.matches('/').count();
    path.match_indices('/').nth(segments).map_or(path.len(), |(at, _)| at)
}

/// Sends a client to the same address by HTTPS, on its usual port.
fn by_https(head: &RequestHead) -> Response {
    let Some(host) = head.host() else { return Response::error(400, "this is served by HTTPS alone, and the request names no host") };
    let query = head.query().map_or(String::new(), |query| format!("?{query}"));
    let to = format!("https://{host}{}{query}", head.path());
    Response::redirect(308, &to).unwrap_or_else(|_| Response::error(400, "the address cannot be asked for by HTTPS"))
}

fn redirected(redirect: &Redirect, route: &Route, head: &RequestHead) -> Response {
    let mut location = String::new();
    let mut rest = redirect.to.as_str();
    while let Some((before, after)) = rest.split_once('{') {
        location.push_str(before);
        let (name, after) = after.split_once('}').unwrap_or((after, ""));
        let path = head.path();
        match name {
            "host" => location.push_str(head.authority().unwrap_or_default()),
            "uri" => {
                location.push_str(path);
                if let Some(query) = head.query() {
                    location.push('?');
                    location.push_str(query);
                }
            }
            "path" => location.push_str(path),
            "rest" => location.push_str(&path[base_length(route, path)..]),
            "query" => location.push_str(head.query().unwrap_or_default()),
            _ => {}
        }
        rest = after;
    }
    location.push_str(rest);
    Response::redirect(redirect.status, &location).unwrap_or_else(|_| Response::error(400, "the redirect has no valid target"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::http::Version;
    use crate::request::route::FixedReply;

    struct Named;

    impl Handler for Named {
        fn request(self: Rc<Self>, _: Request) -> Answer {
            Answer::Now(Response::text(200, "ok"))
        }
    }

    fn site() -> Site {
        let route = |path: &str, action| Route::new(super::super::route::Host::Any, path, action);
        let routes = vec![
            route("/", Action::App("all".into())),
            route("/chat", Action::App("chat".into())),
            route("/old", Action::Redirect(Redirect { to: "https://{host}/new{rest}?{query}".into(), status: 301 })),
            route("/fixed", Action::Reply(FixedReply { body: "hi".into(), ..FixedReply::default() })),
            route("/shop", Action::Rewrite("/chat/shop".into())),
            route("/round", Action::Rewrite("/round/again".into())),
            route("/broken", Action::App("missing".into())),
        ];
        let handler: Rc<dyn Handler> = Rc::new(Named);
        Site::new(
            routes,
            &[("all".to_owned(), handler.clone()), ("chat".to_owned(), handler)].into(),
            |_| Label::default(),
            &Common::default(),
        )
    }

    /// Where a target leads: `base path` of an application, or `status location`.
    fn led(target: &str) -> String {
        let mut head = RequestHead::new(Method::Get, target, Version::Http11).unwrap();
        match site().find(&mut head, false) {
            Routed::App { base_length, .. } => format!("{} {}", &head.path()[..base_length], head.target()),
            Routed::Response(response) => {
                format!("{} {}", response.status, String::from_utf8_lossy(response.fields.get("location").unwrap_or_default()))
            }
        }
    }

    #[test]
    fn requests_find_their_way() {
        for (target, expected) in [
            ("/", " /"),
            ("/x?y", " /x?y"),
            ("/chat", "/chat /chat"),
            ("/chat/a", "/chat /chat/a"),
            ("/chatter", " /chatter"),
            ("/%63hat/a", "/%63hat /%63hat/a"),
            ("/chat%2Fa", " /chat%2Fa"),
            ("/x/../chat/./a?q", "/chat /chat/a?q"),
            ("/x/%2e%2E/chat", "/chat /chat"),
            ("/chat/..", " /"),
            ("/../chat", "400 "),
            ("/.well-known/x", " /.well-known/x"),
            ("http://h.example/old/a?b=c", "301 https://h.example/new/a?b=c"),
            ("/fixed", "200 "),
            ("/shop/1?x", "/chat /chat/shop/1?x"),
            ("/round", "500 "),
            ("/broken", "503 "),
        ] {
            assert_eq!(led(target), expected, "{target}");
        }
    }

    #[test]
    fn trace_and_options_for_the_server_have_one_answer() {
        let mut head = RequestHead::new(Method::Options, "*", Version::Http11).unwrap();
        assert!(
            matches!(site().find(&mut head, false), Routed::Response(response) if response.status == 204 && response.fields.get("allow").is_some())
        );
        let mut head = RequestHead::new(Method::Trace, "/", Version::Http11).unwrap();
        assert!(matches!(site().find(&mut head, false), Routed::Response(response) if response.status == 405));
    }
}
