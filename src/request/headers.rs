//! Fields that a server or a route gives every answer, or takes from it.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Answer, Connection, Handler, Request, RequestId, Response};
use crate::codec::http::fields::check_field;
use crate::units::HumanDuration;
use crate::websocket::Sessions;

/// Header fields of the answers of a server or a route.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Headers {
    /// Fields that every answer has, in the place of what the application gave under these names.
    pub set: BTreeMap<String, String>,
    /// Fields that no answer has.
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

impl Headers {
    /// Whether nothing is asked for.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.set.is_empty() && self.remove.is_empty()
    }

    /// These and a server's: where both speak of a field, these count.
    fn over(&self, server: &Self) -> Self {
        let is_named = |name: &str| self.set.keys().chain(&self.remove).any(|own| own.eq_ignore_ascii_case(name));
        let mut both = self.clone();
        both.set.extend(server.set.iter().filter(|(name, _)| !is_named(name)).map(|(name, value)| (name.clone(), value.clone())));
        both.remove.extend(server.remove.iter().filter(|name| !is_named(name)).cloned());
        both
    }

    /// The first name that cannot be set or removed, or whose value cannot be sent.
    #[must_use]
    pub fn unusable(&self) -> Option<&str> {
        let names = self.remove.iter().map(|name| (name, ""));
        let mut all = self.set.iter().map(|(name, value)| (name, value.as_str())).chain(names);
        let wrong = |(name, value): &(&String, &str)| check_field(name.as_bytes(), value.as_bytes()).is_err() || is_of_the_server(name);
        all.find(wrong).map(|(name, _)| name.as_str())
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
        (hsts.is_some() || !headers.is_empty()).then(|| Rc::new(Self { headers, hsts: hsts.map(Hsts::value) }))
    }

    pub(super) fn make(&self, mut response: Response, secure: bool) -> Response {
        // What a handshake of another protocol says is between the two.
        if response.status == 101 {
            return response;
        }
        // A browser must not believe what could come from anybody on the way (RFC 6797 §7.2).
        let hsts = self.hsts.as_deref().filter(|_| secure);
        let is = |name: &[u8], other: &str| name.eq_ignore_ascii_case(other.as_bytes());
        let Headers { set, remove } = &self.headers;
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

    fn connection(self: Rc<Self>, connection: Connection) -> Pin<Box<dyn Future<Output = ()>>> {
        self.beyond.clone().connection(connection)
    }

    fn trace(&self, id: RequestId) -> Option<String> {
        self.beyond.trace(id)
    }

    fn drain(self: Rc<Self>) -> Pin<Box<dyn Future<Output = ()>>> {
        self.beyond.clone().drain()
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
        };
        let server = headers(&[("X-A", "server"), ("X-B", "server"), ("X-C", "server")], &["X-D", "X-E"]);
        let route = headers(&[("x-a", "route"), ("X-D", "route")], &["x-b"]);
        let both = headers(&[("x-a", "route"), ("X-D", "route"), ("X-C", "server")], &["x-b", "X-E"]);
        assert_eq!(route.over(&server), both);
    }

    #[test]
    fn what_cannot_be_sent_is_found() {
        let unusable =
            |name: &str, value: &str| Headers { set: [(name.to_owned(), value.to_owned())].into(), remove: vec![] }.unusable().is_some();
        assert!(!unusable("X-A", "b"));
        for (name, value) in [("X A", "b"), ("X-A", "b\r\nc"), ("content-LENGTH", "1"), ("", "")] {
            assert!(unusable(name, value), "{name}");
        }
        assert_eq!(Headers { remove: vec!["Date".to_owned()], ..Headers::default() }.unusable(), Some("Date"));
    }
}
