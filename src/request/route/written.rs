//! Routes as they are written in the configuration, and what makes checked ones of them.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Action, Host, Route, RouteError};
use crate::net::Clients;
use crate::request::access::{Access, Auth};
use crate::request::errors::ErrorPage;
use crate::request::headers::Headers;
use crate::request::limits::Limits;
use crate::request::replacing::Replace;

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

/// What `{name}` may be in a redirect.
const PLACEHOLDERS: [&str; 5] = ["host", "uri", "path", "rest", "query"];

/// Headers that frame the message; a fixed reply must not set them.
const FRAMING: [&str; 5] = ["content-length", "transfer-encoding", "connection", "content-type", "date"];

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
