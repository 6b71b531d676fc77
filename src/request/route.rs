//! Which application answers a request: routes by host and path.

use std::borrow::Cow;
use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::access::{Access, Auth};
use super::errors::ErrorPage;
use super::headers::Headers;
use super::limits::Limits;
use super::replacing::Replace;
use super::router::RouteIndex;
use crate::net::Clients;

/// One route as `config.ron` has it: what it matches, and exactly one of `app`, `redirect`, `reply`, `rewrite`.
///
/// Of all routes that match, the one with the exact host wins over a wildcard, a longer wildcard over a shorter one, any host named over none;
/// then the longest path wins. A path matches whole segments: `/chat` takes `/chat` and `/chat/room`, not `/chatter`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename = "Route", deny_unknown_fields, default)]
pub struct WrittenRoute {
    /// The host, exact (`"example.com"`) or every name below one (`"*.example.com"`). None: every host.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
    /// The path that a request's path must be or lie under. It begins with a slash; `"/"` takes everything.
    pub path: String,
    /// The name of the application that answers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub app: Option<String>,
    /// Answers with a redirect.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub redirect: Option<Redirect>,
    /// Answers with a fixed reply.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reply: Option<FixedReply>,
    /// Puts this path in the place of the matched one and routes the request again, at most ten times.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rewrite: Option<String>,
    /// Clients that may use it: networks, addresses, or `"unix"` for who comes by a unix socket. Others: 403. An empty list: everybody.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub allow: Vec<Clients>,
    /// Clients that may not, even if they are among `allow`: 403.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub deny: Vec<Clients>,
    /// How clients must say who they are, such as `Basic(realm: "staff", users: "users")`. None: they need not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub auth: Option<Auth>,
    /// Whether its answers are compressed, where the server's are: `false` for those that have a secret beside something that others choose
    /// (docs/compression.md). None: as the server's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub compress: Option<bool>,
    /// Header fields that all its answers have or have not, refusals too.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub headers: Option<Box<Headers>>,
    /// How much one address may ask of it: `(rate: "5/m")`. It holds beside the server's own `limits`. None: as much as it likes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limits: Option<Box<Limits>>,
    /// Pages in the place of errors, before the server's own `errors`: docs/errors.md.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub errors: Vec<ErrorPage>,
    /// Strings that are replaced in the bodies of its answers: docs/replace.md.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub replace: Option<Box<Replace>>,
}

/// A redirect.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Redirect {
    /// Where to, as a URL or a path. `{host}` stands for the request's host, `{uri}` for its path and query, `{path}` for its path,
    /// `{rest}` for what follows the matched path, `{query}` for what follows the question mark.
    pub to: String,
    /// 301, 302, 303, 307 or 308.
    pub status: u16,
}

impl Default for Redirect {
    fn default() -> Self {
        Self { to: String::new(), status: 302 }
    }
}

/// A reply that is the same every time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct FixedReply {
    /// The status, 200 to 599.
    pub status: u16,
    /// The Content-Type.
    pub content_type: String,
    /// The body.
    pub body: String,
    /// More headers.
    pub headers: BTreeMap<String, String>,
}

impl Default for FixedReply {
    fn default() -> Self {
        Self { status: 200, content_type: "text/plain; charset=utf-8".to_owned(), body: String::new(), headers: BTreeMap::new() }
    }
}

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

/// What is wrong with a route.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RouteError {
    /// No path, or one that does not begin with a slash.
    BadPath(String),
    /// A path with a segment `.` or `..`, a query, or a control character.
    UnsafePath(String),
    /// None of the actions is there.
    NoAction,
    /// More than one action: their names.
    ManyActions(Vec<&'static str>),
    /// A `*` anywhere but as the whole first label.
    BadWildcard(String),
    /// Something that is no host name.
    BadHost(String),
    /// A redirect without a target.
    NoTarget,
    /// A redirect with a status that is none.
    NotRedirect(u16),
    /// A `{name}` in a redirect that stands for nothing.
    UnknownPlaceholder(String),
    /// A fixed reply with a status outside 200 to 599.
    BadStatus(u16),
    /// A header whose name or value cannot be sent.
    BadHeader(String),
    /// A header of requests whose name or value cannot be sent, or that is not to be changed.
    BadRequestHeader(String),
    /// Demands on clients at a route that is left again.
    AccessOfRewrite,
    /// Header fields at a route that is left again.
    HeadersOfRewrite,
    /// Limits at a route that is left again.
    LimitsOfRewrite,
    /// Error pages at a route that is left again.
    ErrorsOfRewrite,
    /// An error page that does not make sense, in words.
    BadErrors(String),
    /// Strings to replace at a route that answers nothing itself.
    ReplaceElsewhere,
    /// Strings that cannot be replaced, in words.
    BadReplace(String),
    /// Limits that do not make sense, in words.
    BadLimits(&'static str),
    /// A realm that cannot be sent.
    BadRealm,
}

impl fmt::Display for RouteError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::BadPath(path) => write!(f, "a route's path begins with a slash, as in \"/{}\"", path.trim_start_matches('/')),
            Self::UnsafePath(path) => {
                write!(f, "`{path}` matches no request: a path has no `.` or `..` segment, query, fragment or control character")
            }
            Self::NoAction => write!(f, "a route needs one of `app`, `redirect`, `reply` or `rewrite`"),
            Self::ManyActions(names) => write!(f, "a route does one thing, this one has `{}`", names.join("` and `")),
            Self::BadWildcard(host) => write!(f, "`{host}`: a wildcard stands for the whole first part of a name, as in \"*.example.com\""),
            Self::BadHost(host) => write!(f, "`{host}` is no host name: write it without scheme, port or path, as in \"example.com\""),
            Self::NoTarget => write!(f, "a redirect needs `to`, as in (to: \"https://{{host}}{{uri}}\")"),
            Self::NotRedirect(status) => write!(f, "{status} is no redirect: 301, 302, 303, 307 or 308"),
            Self::UnknownPlaceholder(name) => {
                write!(f, "`{{{name}}}` stands for nothing: use {{host}}, {{uri}}, {{path}}, {{rest}} or {{query}}")
            }
            Self::BadStatus(status) => write!(f, "{status} is no status for a reply: 200 to 599"),
            Self::AccessOfRewrite => {
                write!(
                    f,
                    "`allow`, `deny` and `auth` stand at the route that answers: a rewritten request is routed again, and what that route demands counts"
                )
            }
            Self::HeadersOfRewrite => {
                write!(f, "`headers` stand at the route that answers: a rewritten request is routed again, and what stands there counts")
            }
            Self::LimitsOfRewrite => {
                write!(f, "`limits` stand at the route that answers: a rewritten request is routed again, and what stands there counts")
            }
            Self::ErrorsOfRewrite => {
                write!(f, "`errors` stand at the route that answers: a rewritten request is routed again, and what stands there counts")
            }
            Self::BadErrors(why) => f.write_str(why),
            Self::ReplaceElsewhere => {
                write!(f, "`replace` stands at a route with an `app`: what stands in the configuration can be written as it is to be")
            }
            Self::BadReplace(why) => f.write_str(why),
            Self::BadLimits(why) => f.write_str(why),
            Self::BadRealm => write!(f, "a realm is printable ASCII without quotes and backslashes"),
            Self::BadHeader(name) => write!(
                f,
                "the header `{name}` cannot be sent: its name or value has characters that end or break a header line, or it is one the server sets itself"
            ),
            Self::BadRequestHeader(name) => write!(
                f,
                "the header `{name}` of requests cannot be changed: its name or value has characters that end or break a header line, or it frames the request or says where it came from"
            ),
        }
    }
}

impl std::error::Error for RouteError {}

/// What `{name}` may be in a redirect.
const PLACEHOLDERS: [&str; 5] = ["host", "uri", "path", "rest", "query"];

/// Headers that frame the message; a fixed reply must not set them.
const FRAMING: [&str; 5] = ["content-length", "transfer-encoding", "connection", "content-type", "date"];

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

/// Checks a path that is compared with requests, and takes the closing slash away.
fn route_path(path: &str) -> Result<String, RouteError> {
    if !path.starts_with('/') {
        return Err(RouteError::BadPath(path.to_owned()));
    }
    let unsafe_segment = path.split('/').any(|segment| segment == "." || segment == "..");
    if unsafe_segment || path.contains(['?', '#']) || path.contains(|c: char| c.is_control()) {
        return Err(RouteError::UnsafePath(path.to_owned()));
    }
    let trimmed = path.trim_end_matches('/');
    Ok(if trimmed.is_empty() { "/".to_owned() } else { trimmed.to_owned() })
}

impl Redirect {
    fn check(&self) -> Result<(), RouteError> {
        if self.to.is_empty() {
            return Err(RouteError::NoTarget);
        }
        if !matches!(self.status, 301 | 302 | 303 | 307 | 308) {
            return Err(RouteError::NotRedirect(self.status));
        }
        if self.to.contains(|c: char| c.is_control()) {
            return Err(RouteError::BadHeader("Location".to_owned()));
        }
        for piece in self.to.split('{').skip(1) {
            let name = piece.split('}').next().unwrap_or(piece);
            if !PLACEHOLDERS.contains(&name) || !piece.contains('}') {
                return Err(RouteError::UnknownPlaceholder(name.to_owned()));
            }
        }
        Ok(())
    }
}

impl FixedReply {
    fn check(&self) -> Result<(), RouteError> {
        if !(200..600).contains(&self.status) {
            return Err(RouteError::BadStatus(self.status));
        }
        let token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
        for (name, value) in &self.headers {
            let framing = FRAMING.iter().any(|framing| framing.eq_ignore_ascii_case(name));
            if name.is_empty() || framing || !name.bytes().all(token) || value.contains(|c: char| c.is_control() && c != '\t') {
                return Err(RouteError::BadHeader(name.clone()));
            }
        }
        if self.content_type.contains(|c: char| c.is_control()) {
            return Err(RouteError::BadHeader("Content-Type".to_owned()));
        }
        Ok(())
    }
}

/// What a route demands, if anything.
fn access(allow: Vec<Clients>, deny: Vec<Clients>, auth: Option<Auth>, action: &Action) -> Result<Option<Box<Access>>, RouteError> {
    if allow.is_empty() && deny.is_empty() && auth.is_none() {
        return Ok(None);
    }
    if matches!(action, Action::Rewrite(_)) {
        return Err(RouteError::AccessOfRewrite);
    }
    if let Some(Auth::Basic(basic)) = &auth {
        let printable = |byte: u8| matches!(byte, b' '..=b'~') && !b"\"\\".contains(&byte);
        if basic.realm.is_empty() || !basic.realm.bytes().all(printable) {
            return Err(RouteError::BadRealm);
        }
    }
    Ok(Some(Box::new(Access { allow, deny, auth })))
}

/// How much an address may ask of a route.
fn limits(limits: Option<Box<Limits>>, action: &Action) -> Result<Option<Box<Limits>>, RouteError> {
    let Some(limits) = limits else { return Ok(None) };
    if matches!(action, Action::Rewrite(_)) {
        return Err(RouteError::LimitsOfRewrite);
    }
    if limits.connections.is_some() {
        return Err(RouteError::BadLimits("`connections` is a limit of a server, before any route is known: a route has `concurrent`"));
    }
    limits.nonsense().map_or(Ok(Some(limits)), |why| Err(RouteError::BadLimits(why)))
}

impl TryFrom<WrittenRoute> for Route {
    type Error = RouteError;

    fn try_from(written: WrittenRoute) -> Result<Self, RouteError> {
        let host = written.host.as_deref().map_or(Ok(Host::Any), Host::parse)?;
        let path = route_path(&written.path)?;
        let mut actions = Vec::new();
        if let Some(app) = written.app {
            actions.push(("app", Action::App(app)));
        }
        if let Some(redirect) = written.redirect {
            redirect.check()?;
            actions.push(("redirect", Action::Redirect(redirect)));
        }
        if let Some(reply) = written.reply {
            reply.check()?;
            actions.push(("reply", Action::Reply(reply)));
        }
        if let Some(rewrite) = written.rewrite {
            actions.push(("rewrite", Action::Rewrite(route_path(&rewrite)?)));
        }
        if actions.len() > 1 {
            return Err(RouteError::ManyActions(actions.into_iter().map(|(name, _)| name).collect()));
        }
        let (_, action) = actions.pop().ok_or(RouteError::NoAction)?;
        let access = access(written.allow, written.deny, written.auth, &action)?;
        let headers = written.headers.filter(|headers| !headers.is_empty());
        if let Some(name) = headers.as_deref().and_then(Headers::unusable) {
            return Err(RouteError::BadHeader(name.to_owned()));
        }
        if let Some(name) = headers.as_deref().and_then(|headers| headers.request.unusable()) {
            return Err(RouteError::BadRequestHeader(name.to_owned()));
        }
        if headers.is_some() && matches!(action, Action::Rewrite(_)) {
            return Err(RouteError::HeadersOfRewrite);
        }
        let limits = limits(written.limits, &action)?;
        let errors = written.errors;
        if let Some(why) = errors.iter().find_map(ErrorPage::nonsense) {
            return Err(RouteError::BadErrors(why));
        }
        if !errors.is_empty() && matches!(action, Action::Rewrite(_)) {
            return Err(RouteError::ErrorsOfRewrite);
        }
        let replace = written.replace;
        if replace.is_some() && !matches!(action, Action::App(_)) {
            return Err(RouteError::ReplaceElsewhere);
        }
        if let Some(why) = replace.as_deref().and_then(Replace::nonsense) {
            return Err(RouteError::BadReplace(why));
        }
        Ok(Self { host, path, access, compress: written.compress, headers, limits, errors, replace, action })
    }
}

impl From<Route> for WrittenRoute {
    fn from(route: Route) -> Self {
        let host = match route.host {
            Host::Any => None,
            host => Some(host.to_string()),
        };
        let Route { path, compress, headers, limits, errors, replace, .. } = route;
        let mut written = Self { host, path, compress, headers, limits, errors, replace, ..Self::default() };
        if let Some(access) = route.access {
            let Access { allow, deny, auth } = *access;
            (written.allow, written.deny, written.auth) = (allow, deny, auth);
        }
        match route.action {
            Action::App(app) => written.app = Some(app),
            Action::Redirect(redirect) => written.redirect = Some(redirect),
            Action::Reply(reply) => written.reply = Some(reply),
            Action::Rewrite(rewrite) => written.rewrite = Some(rewrite),
        }
        written
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
