//! What a server serves: its routes with the applications behind them, in force together.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::future::Future;
use std::path::PathBuf;
use std::pin::Pin;
use std::rc::Rc;

use super::access::{Auth, Basic, Door, Gate};
use super::compression::{Compression, Compressor};
use super::fixed::Prepared;
use super::headers::{Header, Hsts};
use super::route::{Action, Redirect, Route, RouteTable};
use super::{Answer, Connection, Handler, Request, Response, ResponseBody, Standing};
use crate::codec::http::{Method, RequestHead};
use crate::scoreboard::Label;
use crate::secret::Secret;

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
    /// Whether any route is not for everybody.
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
    /// only an application that could not start is missing. `label` gives an application's name in reports; `files` has the files of users,
    /// `compression` says how answers are compressed, if they are, `hsts` what browsers are told of HTTPS.
    #[must_use]
    pub fn new(
        routes: Vec<Route>,
        apps: &BTreeMap<String, Rc<dyn Handler>>,
        label: impl Fn(&str) -> Label,
        files: &BTreeMap<PathBuf, Secret>,
        compression: Option<&Compression>,
        hsts: Option<&Hsts>,
    ) -> Self {
        let table = RouteTable::new(routes);
        let end = |route: &Route| match &route.action {
            Action::App(name) => apps.get(name).map_or(End::Missing, |handler| End::App(handler.clone(), label(name))),
            Action::Reply(reply) => End::Reply(Prepared::new(reply)),
            Action::Redirect(_) | Action::Rewrite(_) => End::Elsewhere,
        };
        let compression = compression.map(|compression| Rc::new(compression.clone()));
        // One for all routes with the same terms, so that a password is checked once for all of them.
        let mut doors: BTreeMap<Basic, Rc<Door>> = BTreeMap::new();
        let mut door = |Auth::Basic(basic): &Auth| {
            let text = files.get(&basic.users).map_or("", Secret::reveal);
            doors.entry(basic.clone()).or_insert_with(|| Rc::new(Door::new(basic, text))).clone()
        };
        let guarded = |route: &Route| {
            let end = end(route);
            // What is sent elsewhere has nothing to compress.
            let compression = compression.as_ref().filter(|_| route.compress != Some(false) && !matches!(end, End::Elsewhere));
            let dressed = route.headers.is_some() || (hsts.is_some() && !matches!(route.action, Action::Rewrite(_)));
            if route.access.is_none() && compression.is_none() && !dressed {
                return end;
            }
            let (mut beyond, label): (Rc<dyn Handler>, Label) = match end {
                End::App(handler, label) => (handler, label),
                end => (Rc::new(Replying { end, route: route.clone() }), Label::default()),
            };
            if let Some(compression) = compression {
                beyond = Rc::new(Compressor::new(compression.clone(), beyond));
            }
            if let Some(access) = &route.access {
                let door = access.auth.as_ref().map(&mut door);
                beyond = Rc::new(Gate::new((**access).clone(), door, beyond));
            }
            if dressed {
                beyond = Rc::new(Header::new(route.headers.as_deref().cloned().unwrap_or_default(), hsts, beyond));
            }
            End::App(beyond, label)
        };
        let ends = table.routes().iter().map(guarded).collect();
        let guarded = table.routes().iter().any(|route| route.access.is_some());
        Self { first: None, table, ends, guarded, https_only: false }
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
            return Routed::Response(response);
        }
        if let Some((first, name)) = self.first.as_ref().filter(|(first, _)| head.path().starts_with(first.path)) {
            return Routed::App { handler: first.handler.clone(), name: *name, base_length: 0 };
        }
        if self.https_only && !secure {
            return Routed::Response(by_https(head));
        }
        for _ in 0..=MOST_REWRITES {
            if !normalise(head) {
                return Routed::Response(Response::error(400, "the path leads above the root"));
            }
            let host = if self.table.names_hosts() { comparable_host(head) } else { String::new() };
            let path = comparable(head);
            let Some((index, route)) = self.table.position(&host, path.as_bytes()) else {
                return Routed::Response(Response::error(404, "no route leads there"));
            };
            if self.guarded && self.is_evasive(&host, head.path(), index) {
                return Routed::Response(Response::error(404, "the path can be read in two ways"));
            }
            match &self.ends[index] {
                End::App(handler, name) => {
                    let base_length = base_length(route, head.path());
                    return Routed::App { handler: handler.clone(), name: *name, base_length };
                }
                End::Reply(reply) => return Routed::Response(reply.response()),
                End::Missing => return Routed::Response(missing()),
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
                        return Routed::Response(Response::error(400, "the rewritten path is no path"));
                    }
                }
            }
        }
        Routed::Response(Response::error(500, "the rewrites of the routes go in a circle"))
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
        found.is_some_and(|(other, route)| other != index && route.access.is_some())
    }
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

    fn connection(self: Rc<Self>, connection: Connection) -> Pin<Box<dyn Future<Output = ()>>> {
        drop(connection);
        Box::pin(async {})
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
        fn connection(self: Rc<Self>, _: Connection) -> Pin<Box<dyn Future<Output = ()>>> {
            Box::pin(async {})
        }
    }

    fn site() -> Site {
        let route = |path: &str, action| Route {
            host: super::super::route::Host::Any,
            path: path.into(),
            access: None,
            compress: None,
            headers: None,
            action,
        };
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
            &BTreeMap::new(),
            None,
            None,
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
