//! Which application answers a request: routes by host and path.

mod error;
mod written;

use std::borrow::Cow;
use std::cmp::Reverse;
use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use self::error::RouteError;
pub use self::written::{FixedReply, Redirect, WrittenRoute};
use super::access::Access;
use super::errors::ErrorPage;
use super::headers::Headers;
use super::limits::Limits;
use super::replacing::Replace;
use super::router::RouteIndex;

/// A checked route.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "WrittenRoute", into = "WrittenRoute")]
pub struct Route {
    /// The hosts it is for.
    pub host: Host,
    /// The path it is for: begins with a slash and ends with none, except `"/"` itself.
    pub path: String,
    /// What it demands of clients, if it is not for everybody.
    pub access: Option<Box<Access>>,
    /// Whether its answers are compressed; `None`: as the server's.
    pub compress: Option<bool>,
    /// Header fields that all its answers have or have not.
    pub headers: Option<Box<Headers>>,
    /// How much one address may ask of it.
    pub limits: Option<Box<Limits>>,
    /// Pages in the place of errors.
    pub errors: Vec<ErrorPage>,
    /// Strings that are replaced in its answers.
    pub replace: Option<Box<Replace>>,
    /// What it does.
    pub action: Action,
}

impl JsonSchema for Route {
    fn schema_name() -> Cow<'static, str> {
        WrittenRoute::schema_name()
    }

    fn json_schema(generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
        WrittenRoute::json_schema(generator)
    }
}

/// The hosts a route is for. Names are lower case and have no port.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Host {
    /// This name.
    Exact(String),
    /// Every name that ends with this text, which begins with a dot: `*.example.com` is `.example.com`.
    Below(String),
    /// Every host, and requests that name none.
    Any,
}

/// What a route does with a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// The application of this name answers.
    App(String),
    /// The client is sent elsewhere.
    Redirect(Redirect),
    /// Always the same answer.
    Reply(FixedReply),
    /// This path takes the place of the matched one, and the request is routed again.
    Rewrite(String),
}

impl Host {
    /// Reads `"example.com"`, `"*.example.com"`, an IP address or `"*"`.
    ///
    /// # Errors
    /// [`RouteError::BadWildcard`] and [`RouteError::BadHost`].
    pub fn parse(text: &str) -> Result<Self, RouteError> {
        if text == "*" {
            return Ok(Self::Any);
        }
        let (name, wildcard) = match text.strip_prefix("*.") {
            Some(name) => (name, true),
            None => (text, false),
        };
        if name.contains('*') {
            return Err(RouteError::BadWildcard(text.to_owned()));
        }
        let literal =
            name.strip_prefix('[').and_then(|name| name.strip_suffix(']')).is_some_and(|name| name.parse::<std::net::Ipv6Addr>().is_ok());
        let label = |label: &str| {
            !label.is_empty() && label.len() <= 63 && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_')
        };
        if !literal && (name.len() > 253 || !name.split('.').all(label)) {
            return Err(RouteError::BadHost(text.to_owned()));
        }
        let name = name.to_ascii_lowercase();
        Ok(if wildcard { Self::Below(format!(".{name}")) } else { Self::Exact(name) })
    }

    /// How closely it names a host: the greater wins.
    fn closeness(&self) -> (u8, usize) {
        match self {
            Self::Exact(_) => (2, 0),
            Self::Below(suffix) => (1, suffix.len()),
            Self::Any => (0, 0),
        }
    }
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Any => f.write_str("*"),
            Self::Exact(name) => f.write_str(name),
            Self::Below(suffix) => write!(f, "*{suffix}"),
        }
    }
}

impl Route {
    /// A route that demands nothing and adds nothing. The path begins with a slash and ends with none, except `"/"` itself.
    #[must_use]
    pub fn new(host: Host, path: impl Into<String>, action: Action) -> Self {
        Self {
            host,
            path: path.into(),
            access: None,
            compress: None,
            headers: None,
            limits: None,
            errors: Vec::new(),
            replace: None,
            action,
        }
    }

    /// What follows the matched path: empty, or it begins with a slash. For the route `/` it is the whole path.
    #[must_use]
    pub fn rest<'path>(&self, path: &'path str) -> &'path str {
        if self.path == "/" { path } else { path.strip_prefix(self.path.as_str()).unwrap_or("") }
    }
}

/// Routes in the order in which they are tried.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RouteTable {
    routes: Vec<Route>,
    index: RouteIndex,
}

impl RouteTable {
    /// Orders the routes: the closest host first, then the longest path.
    #[must_use]
    pub fn new(mut routes: Vec<Route>) -> Self {
        routes.sort_by_key(|route| Reverse((route.host.closeness(), route.path.len())));
        let index = RouteIndex::new(&routes);
        Self { routes, index }
    }

    /// The route for a host (lower case, no port; empty when the request names none) and a decoded, normalised path.
    #[must_use]
    pub fn find(&self, host: &str, path: &str) -> Option<&Route> {
        self.position(host, path.as_bytes()).map(|(_, route)| route)
    }

    /// [`RouteTable::find`] with the route's place in [`RouteTable::routes`].
    #[must_use]
    pub fn position(&self, host: &str, path: &[u8]) -> Option<(usize, &Route)> {
        let place = self.index.find(host, path)?;
        self.routes.get(place).map(|route| (place, route))
    }

    /// Whether the host of a request makes a difference.
    #[must_use]
    pub fn names_hosts(&self) -> bool {
        self.index.names_hosts()
    }

    /// The routes in the order in which they are tried.
    #[must_use]
    pub fn routes(&self) -> &[Route] {
        &self.routes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn app(host: &str, path: &str, name: &str) -> Route {
        let host = (!host.is_empty()).then(|| host.to_owned());
        WrittenRoute { host, path: path.to_owned(), app: Some(name.to_owned()), ..WrittenRoute::default() }.try_into().unwrap()
    }

    fn refused(change: impl FnOnce(&mut WrittenRoute)) -> RouteError {
        let mut written = WrittenRoute { path: "/".to_owned(), ..WrittenRoute::default() };
        change(&mut written);
        Route::try_from(written).unwrap_err()
    }

    #[test]
    fn the_closest_host_then_the_longest_path_wins() {
        let table = RouteTable::new(vec![
            app("", "/", "all"),
            app("", "/chat", "chat"),
            app("", "/chat/room/", "room"),
            app("*.example.com", "/", "below"),
            app("*.deep.example.com", "/", "deep"),
            app("Example.com", "/", "exact"),
            app("www.example.com", "/shop", "shop"),
        ]);
        let found = |host: &str, path: &str| match &table.find(host, path).unwrap().action {
            Action::App(name) => name.clone(),
            other => panic!("{other:?}"),
        };
        assert_eq!(found("", "/"), "all");
        assert_eq!(found("other.org", "/chat"), "chat");
        assert_eq!(found("other.org", "/chat/"), "chat");
        assert_eq!(found("other.org", "/chatter"), "all");
        assert_eq!(found("other.org", "/chat/room"), "room");
        assert_eq!(found("other.org", "/chat/rooms"), "chat");
        assert_eq!(found("example.com", "/chat"), "exact");
        assert_eq!(found("a.example.com", "/"), "below");
        assert_eq!(found("a.deep.example.com", "/"), "deep");
        assert_eq!(found("notexample.com", "/"), "all");
        assert_eq!(found("www.example.com", "/shop/cart"), "shop");
        assert_eq!(found("www.example.com", "/"), "below");
    }

    #[test]
    fn rest_begins_at_a_segment() {
        assert_eq!(app("", "/", "a").rest("/x/y"), "/x/y");
        assert_eq!(app("", "/x", "a").rest("/x/y"), "/y");
        assert_eq!(app("", "/x", "a").rest("/x"), "");
    }

    #[test]
    fn refuses_what_cannot_work() {
        assert_eq!(refused(|_| ()), RouteError::NoAction);
        assert_eq!(
            refused(|route| {
                route.app = Some("a".into());
                route.rewrite = Some("/b".into());
            }),
            RouteError::ManyActions(vec!["app", "rewrite"])
        );
        assert_eq!(refused(|route| route.path = "chat".into()), RouteError::BadPath("chat".into()));
        assert_eq!(refused(|route| route.path = "/a/../b".into()), RouteError::UnsafePath("/a/../b".into()));
        assert_eq!(refused(|route| route.host = Some("www.*.com".into())), RouteError::BadWildcard("www.*.com".into()));
        assert_eq!(refused(|route| route.host = Some("*example.com".into())), RouteError::BadWildcard("*example.com".into()));
        assert_eq!(refused(|route| route.host = Some("http://a".into())), RouteError::BadHost("http://a".into()));
        assert_eq!(refused(|route| route.redirect = Some(Redirect::default())), RouteError::NoTarget);
        assert_eq!(refused(|route| route.redirect = Some(Redirect { to: "/".into(), status: 200 })), RouteError::NotRedirect(200));
        assert_eq!(
            refused(|route| route.redirect = Some(Redirect { to: "/{x}".into(), status: 302 })),
            RouteError::UnknownPlaceholder("x".into())
        );
        assert_eq!(refused(|route| route.reply = Some(FixedReply { status: 99, ..FixedReply::default() })), RouteError::BadStatus(99));
        let header =
            |name: &str, value: &str| FixedReply { headers: [(name.to_owned(), value.to_owned())].into(), ..FixedReply::default() };
        assert_eq!(refused(|route| route.reply = Some(header("X-A", "a\r\nb"))), RouteError::BadHeader("X-A".into()));
        assert_eq!(refused(|route| route.reply = Some(header("Content-Length", "1"))), RouteError::BadHeader("Content-Length".into()));
    }
}
