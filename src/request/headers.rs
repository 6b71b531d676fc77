//! Fields that a server or a route gives every answer, or takes from it.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::rc::Rc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Answer, Handler, Request, Response};
use crate::codec::http::fields::check_field;
use crate::units::HumanDuration;
use crate::websocket::Sessions;

/// Header fields of the answers of a server or a route, and of requests on their way to applications.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Headers {
    /// Fields that every answer has, in the place of what the application gave under these names.
    pub set: BTreeMap<String, String>,
    /// Fields that no answer has.
    pub remove: Vec<String>,
    /// Fields of requests, as applications and the servers behind a proxy see them.
    pub request: RequestHeaders,
}

/// Header fields of requests as applications see them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct RequestHeaders {
    /// Fields that every request has, in the place of what the client sent under these names.
    pub set: BTreeMap<String, String>,
    /// Fields that no request has.
    pub remove: Vec<String>,
}

/// Says to browsers that a host is to be reached by HTTPS alone (RFC 6797).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Hsts {
    /// How long they keep to that, from each answer on. `"0s"`: no longer.
    pub max_age: HumanDuration,
    /// Whether it holds for all names below the host too.
    pub subdomains: bool,
    /// Whether browsers may know it before their first visit. It can hardly be taken back: <https://hstspreload.org>.
    pub preload: bool,
}

impl Default for Hsts {
    fn default() -> Self {
        Self { max_age: HumanDuration::seconds(365 * 86_400), subdomains: false, preload: false }
    }
}

impl Hsts {
    fn value(&self) -> String {
        let mut value = format!("max-age={}", self.max_age.as_secs());
        for (is_so, directive) in [(self.subdomains, "; includeSubDomains"), (self.preload, "; preload")] {
            value.push_str(if is_so { directive } else { "" });
        }
        value
    }
}

/// Fields that frame a message or that the server sets itself.
const OF_THE_SERVER: [&str; 8] =
    ["connection", "content-encoding", "content-length", "date", "keep-alive", "server", "transfer-encoding", "upgrade"];

/// Whether a field is one that no route may set.
pub(super) fn is_of_the_server(name: &str) -> bool {
    OF_THE_SERVER.iter().any(|own| own.eq_ignore_ascii_case(name))
}

/// Fields of requests that frame a message, choose what answers, or say where a request came from: those are others' to write.
fn is_of_the_request(name: &str) -> bool {
    const NAMES: [&str; 14] = [
        "connection",
        "content-length",
        "expect",
        "forwarded",
        "host",
        "http2-settings",
        "keep-alive",
        "proxy-authorization",
        "proxy-connection",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
        "x-real-ip",
    ];
    let begins = |with: &str| name.get(..with.len()).is_some_and(|start| start.eq_ignore_ascii_case(with));
    NAMES.iter().any(|own| own.eq_ignore_ascii_case(name)) || begins("x-forwarded-") || begins("sec-websocket-")
}

type Fields = BTreeMap<String, String>;

/// What a route says of fields, and beside it what its server says of others.
fn over(route: (&Fields, &[String]), server: (&Fields, &[String])) -> (Fields, Vec<String>) {
    let is_named = |name: &str| route.0.keys().chain(route.1).any(|own| own.eq_ignore_ascii_case(name));
    let (mut set, mut remove) = (route.0.clone(), route.1.to_vec());
    set.extend(server.0.iter().filter(|(name, _)| !is_named(name)).map(|(name, value)| (name.clone(), value.clone())));
    remove.extend(server.1.iter().filter(|name| !is_named(name)).cloned());
    (set, remove)
}

/// The first name that cannot be set or removed, or whose value cannot be sent.
fn unusable<'a>(set: &'a Fields, remove: &'a [String], is_anothers: fn(&str) -> bool) -> Option<&'a str> {
    let names = remove.iter().map(|name| (name, ""));
    let mut all = set.iter().map(|(name, value)| (name, value.as_str())).chain(names);
    let wrong = |(name, value): &(&String, &str)| check_field(name.as_bytes(), value.as_bytes()).is_err() || is_anothers(name);
    all.find(wrong).map(|(name, _)| name.as_str())
}

impl RequestHeaders {
    /// Whether nothing is asked for.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.set.is_empty() && self.remove.is_empty()
    }

    /// The first name that cannot be set or removed, or whose value cannot be sent.
    #[must_use]
    pub fn unusable(&self) -> Option<&str> {
        unusable(&self.set, &self.remove, is_of_the_request)
    }

    /// What is changed in the requests of a route; `None`: nothing.
    pub(super) fn of_route(route: Option<&Headers>, server: Option<&Headers>) -> Option<Self> {
        let nothing = Self::default();
        let own = route.map_or(&nothing, |headers| &headers.request);
        let common = server.map_or(&nothing, |headers| &headers.request);
        let (set, remove) = over((&own.set, &own.remove), (&common.set, &common.remove));
        Some(Self { set, remove }).filter(|headers| !headers.is_empty())
    }

    fn make(&self, request: &mut Request) {
        for name in &self.remove {
            request.head.fields.remove(&name.to_ascii_lowercase());
        }
        for (name, value) in &self.set {
            // Checked with the configuration.
            let _ = request.head.fields.set(&name.to_ascii_lowercase(), value);
        }
    }
}

impl Headers {
    /// Whether nothing is asked for.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        !self.changes_answers() && self.request.is_empty()
    }

    fn changes_answers(&self) -> bool {
        !(self.set.is_empty() && self.remove.is_empty())
    }

    /// These and a server's, of answers: where both speak of a field, these count.
    fn over(&self, server: &Self) -> Self {
        let (set, remove) = over((&self.set, &self.remove), (&server.set, &server.remove));
        Self { set, remove, request: RequestHeaders::default() }
    }

    /// The first name that cannot be set in answers or removed from them, or whose value cannot be sent.
    #[must_use]
    pub fn unusable(&self) -> Option<&str> {
        unusable(&self.set, &self.remove, is_of_the_server)
    }
}

/// The value of `Strict-Transport-Security` and what else is changed, ready to be used.
pub(super) struct Changes {
    headers: Headers,
    hsts: Option<String>,
}

/// A handler that changes the fields of what another answers.
pub(super) struct Header {
    changes: Rc<Changes>,
    beyond: Rc<dyn Handler>,
}

impl Header {
    pub(super) fn new(changes: Rc<Changes>, beyond: Rc<dyn Handler>) -> Self {
        Self { changes, beyond }
    }

    fn change(&self, secure: bool, answer: Answer) -> Answer {
        match answer {
            Answer::Now(response) => Answer::Now(self.changes.make(response, secure)),
            Answer::Later(response) => {
                let changes = self.changes.clone();
                Answer::Later(Box::pin(async move { changes.make(response.await, secure) }))
            }
        }
    }
}

impl Changes {
    /// What is changed in the answers of a route, or in those that no route gives; `None`: nothing.
    pub(super) fn new(route: Option<&Headers>, server: Option<&Headers>, hsts: Option<&Hsts>) -> Option<Rc<Self>> {
        let nothing = Headers::default();
        let headers = route.unwrap_or(&nothing).over(server.unwrap_or(&nothing));
        (hsts.is_some() || headers.changes_answers()).then(|| Rc::new(Self { headers, hsts: hsts.map(Hsts::value) }))
    }

    pub(super) fn make(&self, mut response: Response, secure: bool) -> Response {
        // What a handshake of another protocol says is between the two.
        if response.status == 101 {
            return response;
        }
        // A browser must not believe what could come from anybody on the way (RFC 6797 §7.2).
        let hsts = self.hsts.as_deref().filter(|_| secure);
        let is = |name: &[u8], other: &str| name.eq_ignore_ascii_case(other.as_bytes());
        let Headers { set, remove, .. } = &self.headers;
        response.map_fields(|name, value| {
            let gone = set.keys().chain(remove).any(|other| is(name, other)) || (hsts.is_some() && is(name, "strict-transport-security"));
            (!gone).then_some(Cow::Borrowed(value))
        });
        let own = set.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        for (name, value) in own.chain(hsts.map(|value| ("Strict-Transport-Security", value))) {
            // Checked with the configuration.
            let _ = response.fields.push(name, value);
        }
        response
    }
}

impl Handler for Header {
    fn request(self: Rc<Self>, request: Request) -> Answer {
        let secure = request.origin.secure;
        let answer = self.beyond.clone().request(request);
        self.change(secure, answer)
    }

    fn websocket(self: Rc<Self>, request: Request, sessions: &Rc<Sessions>) -> Answer {
        let secure = request.origin.secure;
        let answer = self.beyond.clone().websocket(request, sessions);
        self.change(secure, answer)
    }

    fn beyond(&self) -> Option<&Rc<dyn Handler>> {
        Some(&self.beyond)
    }
}

/// A handler that changes the fields of requests before another sees them.
pub(super) struct RequestHeader {
    headers: RequestHeaders,
    beyond: Rc<dyn Handler>,
}

impl RequestHeader {
    pub(super) fn new(headers: RequestHeaders, beyond: Rc<dyn Handler>) -> Self {
        Self { headers, beyond }
    }
}

impl Handler for RequestHeader {
    fn request(self: Rc<Self>, mut request: Request) -> Answer {
        self.headers.make(&mut request);
        self.beyond.clone().request(request)
    }

    fn websocket(self: Rc<Self>, mut request: Request, sessions: &Rc<Sessions>) -> Answer {
        self.headers.make(&mut request);
        self.beyond.clone().websocket(request, sessions)
    }

    fn beyond(&self) -> Option<&Rc<dyn Handler>> {
        Some(&self.beyond)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn made(headers: Headers, hsts: Option<&Hsts>, secure: bool, status: u16) -> String {
        let mut response = Response::text(status, "x");
        response.fields.push_static("X-Powered-By", "something");
        response.fields.push_static("x-frame-options", "ALLOWALL");
        response.prepared = Some("X-Powered-By: more\r\n".into());
        let changes = Changes { headers, hsts: hsts.map(Hsts::value) };
        let made = changes.make(response, secure);
        assert!(made.prepared.is_none() || status == 101);
        String::from_utf8(made.fields.block().to_vec()).unwrap()
    }

    #[test]
    fn fields_are_set_and_removed() {
        let headers = Headers {
            set: [("X-Frame-Options".to_owned(), "DENY".to_owned()), ("X-New".to_owned(), "1".to_owned())].into(),
            remove: vec!["x-powered-by".to_owned()],
            ..Headers::default()
        };
        let hsts = Hsts { subdomains: true, ..Hsts::default() };
        let plain = "Content-Type: text/plain; charset=utf-8\r\nX-Frame-Options: DENY\r\nX-New: 1\r\n";
        assert_eq!(made(headers.clone(), None, true, 200), plain);
        assert_eq!(made(headers.clone(), Some(&hsts), false, 404), plain);
        let secure = format!("{plain}Strict-Transport-Security: max-age=31536000; includeSubDomains\r\n");
        assert_eq!(made(headers.clone(), Some(&hsts), true, 500), secure);
        assert!(made(headers, Some(&hsts), true, 101).contains("X-Powered-By"));
    }

    #[test]
    fn a_route_is_heard_before_its_server() {
        let headers = |set: &[(&str, &str)], remove: &[&str]| Headers {
            set: set.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect(),
            remove: remove.iter().map(|name| (*name).to_owned()).collect(),
            ..Headers::default()
        };
        let server = headers(&[("X-A", "server"), ("X-B", "server"), ("X-C", "server")], &["X-D", "X-E"]);
        let route = headers(&[("x-a", "route"), ("X-D", "route")], &["x-b"]);
        let both = headers(&[("x-a", "route"), ("X-D", "route"), ("X-C", "server")], &["x-b", "X-E"]);
        assert_eq!(route.over(&server), both);
    }

    #[test]
    fn what_cannot_be_sent_is_found() {
        let unusable = |name: &str, value: &str| {
            Headers { set: [(name.to_owned(), value.to_owned())].into(), ..Headers::default() }.unusable().is_some()
        };
        assert!(!unusable("X-A", "b"));
        for (name, value) in [("X A", "b"), ("X-A", "b\r\nc"), ("content-LENGTH", "1"), ("", "")] {
            assert!(unusable(name, value), "{name}");
        }
        assert_eq!(Headers { remove: vec!["Date".to_owned()], ..Headers::default() }.unusable(), Some("Date"));
    }

    #[test]
    fn what_is_others_to_say_in_a_request_is_found() {
        let unusable = |name: &str| RequestHeaders { remove: vec![name.to_owned()], ..RequestHeaders::default() }.unusable().is_some();
        for name in ["Host", "X-Forwarded-For", "Forwarded", "Sec-WebSocket-Key", "TE", "Content-Length", "a b"] {
            assert!(unusable(name), "{name}");
        }
        for name in ["Accept-Encoding", "X-Api-Key", "Cookie", "Authorization", "X-Forwarde"] {
            assert!(!unusable(name), "{name}");
        }
    }
}
