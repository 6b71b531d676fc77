//! The upgrade (RFC 6455 §4), seen from both sides.

use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use sha1::{Digest, Sha1};

use crate::codec::http::fields::list_items;
use crate::codec::http::{Fields, Method, RequestHead, ResponseHead, Version};

/// The version that this is.
pub const VERSION: &str = "13";
/// What is hashed behind the key (RFC 6455 §1.3).
const GUID: &[u8] = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

/// Why an upgrade is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// Another version than 13: 426, with the one that is spoken.
    Version,
    /// No key, or one that is not 16 bytes in Base64: 400.
    Key,
    /// A page of this origin may not: 403.
    Origin,
}

impl Refusal {
    /// The status that answers it.
    #[must_use]
    pub fn status(self) -> u16 {
        match self {
            Self::Version => 426,
            Self::Key => 400,
            Self::Origin => 403,
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Version => "the version of WebSocket spoken here is 13",
            Self::Key => "Sec-WebSocket-Key is not 16 bytes in Base64",
            Self::Origin => "pages of this origin may not connect",
        })
    }
}

impl std::error::Error for Refusal {}

/// Whether a request asks for WebSocket. Anything else that it says about an upgrade is left to the application, like any request.
#[must_use]
pub fn is_asked(head: &RequestHead) -> bool {
    head.method == Method::Get
        && head.version == Version::Http11
        && head.fields.contains_token("upgrade", "websocket")
        && head.fields.contains_token("connection", "upgrade")
}

/// Checks what must be right with a request that asks for it (RFC 6455 §4.2.1).
///
/// # Errors
/// [`Refusal`].
pub fn check(head: &RequestHead) -> Result<(), Refusal> {
    if head.fields.get_str("sec-websocket-version").map(str::trim) != Some(VERSION) {
        return Err(Refusal::Version);
    }
    if has_key(head) { Ok(()) } else { Err(Refusal::Key) }
}

/// Whether a request has the one key that its answer must fit to.
#[must_use]
pub fn has_key(head: &RequestHead) -> bool {
    let mut keys = head.fields.get_all("sec-websocket-key");
    match (keys.next(), keys.next()) {
        (Some(key), None) => STANDARD.decode(key.trim_ascii()).is_ok_and(|key| key.len() == 16),
        _ => false,
    }
}

/// Gives a request that asks for WebSocket by another protocol's means (RFC 8441 §5) the fields with which HTTP/1.1 asks, so that whoever answers
/// needs to know one form only.
pub fn ask(head: &mut RequestHead, key: [u8; 16]) {
    let fields = [("upgrade", "websocket"), ("connection", "Upgrade"), ("sec-websocket-key", &STANDARD.encode(key))];
    for (name, value) in fields {
        // They are valid, and so few that there is room.
        let _ = head.fields.set(name, value);
    }
}

/// The key of a request, as it was sent.
#[must_use]
pub fn key(head: &RequestHead) -> &[u8] {
    head.fields.get("sec-websocket-key").unwrap_or_default().trim_ascii()
}

/// What answers a key (RFC 6455 §4.2.2).
#[must_use]
pub fn accept(key: &[u8]) -> String {
    let mut hash = Sha1::new();
    hash.update(key);
    hash.update(GUID);
    STANDARD.encode(hash.finalize())
}

/// The subprotocols that a client offers, the preferred first.
pub fn protocols(fields: &Fields) -> impl Iterator<Item = &str> {
    fields.get_all("sec-websocket-protocol").flat_map(list_items).filter_map(|item| std::str::from_utf8(item).ok())
}

/// Whether a page of this origin may connect. `origins` are whole (`https://example.com`), with one wildcard in front of the host
/// (`https://*.example.com`), or `*`. Without any, a page must come from the host that it connects to. What sends no `Origin` is no page.
#[must_use]
pub fn may_connect(head: &RequestHead, origins: &[String]) -> bool {
    let Some(origin) = head.fields.get("origin") else { return true };
    let Ok(origin) = std::str::from_utf8(origin) else { return false };
    let origin = origin.trim();
    if origins.is_empty() {
        let host = origin.split_once("://").map(|(_, host)| host);
        return match (host, head.authority()) {
            (Some(host), Some(authority)) => without_default_port(host).eq_ignore_ascii_case(without_default_port(authority)),
            _ => false,
        };
    }
    origins.iter().any(|allowed| allowed == "*" || matches(allowed, origin))
}

/// A port that a browser leaves out.
fn without_default_port(host: &str) -> &str {
    host.strip_suffix(":80").or_else(|| host.strip_suffix(":443")).unwrap_or(host)
}

fn matches(allowed: &str, origin: &str) -> bool {
    match allowed.split_once("://*.") {
        None => allowed.eq_ignore_ascii_case(origin),
        Some((scheme, domain)) => origin.split_once("://").is_some_and(|(have, host)| {
            let Some(start) = host.len().checked_sub(domain.len() + 1) else { return false };
            have.eq_ignore_ascii_case(scheme)
                && start > 0
                && host.is_char_boundary(start)
                && host.as_bytes()[start] == b'.'
                && host[start + 1..].eq_ignore_ascii_case(domain)
        }),
    }
}

/// Why a server's answer is not the start of a WebSocket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AnswerError {
    /// Another status than 101.
    Status(u16),
    /// `Upgrade` or `Connection` do not say what they must.
    Upgrade,
    /// `Sec-WebSocket-Accept` does not answer our key.
    Accept,
    /// A subprotocol that was not offered.
    Protocol,
}

impl fmt::Display for AnswerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Status(status) => write!(f, "the server answered with status {status}"),
            Self::Upgrade => f.write_str("the server did not switch to WebSocket"),
            Self::Accept => f.write_str("the server did not answer the key"),
            Self::Protocol => f.write_str("the server chose a subprotocol that was not offered"),
        }
    }
}

impl std::error::Error for AnswerError {}

/// Checks a server's answer (RFC 6455 §4.1); gives the subprotocol that it chose.
///
/// # Errors
/// [`AnswerError`].
pub fn check_answer<'a>(head: &'a ResponseHead, key: &str, offered: &[String]) -> Result<Option<&'a str>, AnswerError> {
    if head.status != 101 {
        return Err(AnswerError::Status(head.status));
    }
    if !head.fields.contains_token("upgrade", "websocket") || !head.fields.contains_token("connection", "upgrade") {
        return Err(AnswerError::Upgrade);
    }
    if head.fields.get("sec-websocket-accept").map(<[u8]>::trim_ascii) != Some(accept(key.as_bytes()).as_bytes()) {
        return Err(AnswerError::Accept);
    }
    match head.fields.get_str("sec-websocket-protocol").map(str::trim) {
        None => Ok(None),
        Some(chosen) if offered.iter().any(|offered| offered == chosen) => Ok(Some(chosen)),
        Some(_) => Err(AnswerError::Protocol),
    }
}
