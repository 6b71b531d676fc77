//! What can be wrong with a route, in words for who wrote it.

use std::fmt;

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
