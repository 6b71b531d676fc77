//! A request from its fields (RFC 9113 §8.3).

use h2::RecvStream;

use crate::codec::http::{Method, RequestHead, Version};
use crate::codec::websocket::handshake;

/// What a client asks.
pub(super) struct Asked {
    pub(super) head: RequestHead,
    pub(super) body: RecvStream,
    /// The announced length of the body in bytes.
    pub(super) length: Option<u64>,
    /// It waits to be told to send the body (RFC 9110 §10.1.1).
    pub(super) expects: bool,
    /// It asks for WebSocket; what comes behind it is no body.
    pub(super) websocket: bool,
}

/// Why a request is none: the status that answers it, and in words.
pub(super) struct Refusal(pub(super) u16, pub(super) &'static str);

impl Asked {
    pub(super) fn read(request: http::Request<RecvStream>, most_line: usize, most_fields: usize) -> Result<Self, Refusal> {
        let (parts, body) = request.into_parts();
        let protocol = parts.extensions.get::<h2::ext::Protocol>().map(h2::ext::Protocol::as_str);
        let method = match (Method::from_token(parts.method.as_str()), protocol) {
            // RFC 8441: what HTTP/1.1 asks by a GET.
            (Method::Connect, Some("websocket")) => Method::Get,
            (Method::Connect, Some(_)) => return Err(Refusal(501, "of other protocols only websocket is spoken here")),
            (Method::Connect, None) => return Err(Refusal(501, "CONNECT is not supported here")),
            (method, _) => method,
        };
        let target = parts.uri.path_and_query().map_or("/", |target| target.as_str());
        if target.len() + parts.method.as_str().len() + " HTTP/2.0 ".len() > most_line {
            return Err(Refusal(414, "the request line is too long"));
        }
        if parts.headers.len() > most_fields {
            return Err(Refusal(431, "there are too many header fields"));
        }
        let mut head = RequestHead::new(method, target, Version::Http2).map_err(|_| Refusal(400, "the path is malformed"))?;
        let host = one(&parts.headers, "host")?;
        let authority = match (parts.uri.authority(), host) {
            // What two programs could read differently must not choose a virtual host (§8.3.1).
            (Some(authority), Some(host)) if !host.eq_ignore_ascii_case(authority.as_str()) => {
                return Err(Refusal(400, "`host` is not the authority of the request"));
            }
            (Some(authority), _) => Some(authority.as_str()),
            (None, host) => host,
        };
        let Some(authority) = authority else { return Err(Refusal(400, "the request names no host")) };
        head.set_authority(authority).map_err(|_| Refusal(400, "the host of the request is malformed"))?;
        let malformed = |_| Refusal(400, "a header field is malformed");
        head.fields.push("host", authority).map_err(malformed)?;
        // Cookies come one by one, so that they are compressed well; applications know one field (§8.2.3).
        let cookies: Vec<&[u8]> = parts.headers.get_all("cookie").iter().map(http::HeaderValue::as_bytes).collect();
        if !cookies.is_empty() {
            head.fields.push("cookie", cookies.join(&b"; "[..])).map_err(malformed)?;
        }
        for (name, value) in &parts.headers {
            if !matches!(name.as_str(), "host" | "cookie") {
                head.fields.push(name.as_str(), value.as_bytes()).map_err(malformed)?;
            }
        }
        let websocket = protocol.is_some();
        if websocket {
            let mut key = [0; 16];
            getrandom::fill(&mut key).map_err(|_| Refusal(503, "there is no randomness"))?;
            handshake::ask(&mut head, key);
        }
        let length = match one(&parts.headers, "content-length")? {
            _ if websocket => Some(0),
            None if body.is_end_stream() => Some(0),
            None => None,
            Some(digits) => Some(digits.parse().map_err(|_| Refusal(400, "content-length is no number"))?),
        };
        let expects = match one(&parts.headers, "expect")? {
            None => false,
            Some(_) if websocket => false,
            Some(wish) if wish.eq_ignore_ascii_case("100-continue") => length != Some(0),
            Some(_) => return Err(Refusal(417, "an expectation other than 100-continue is given")),
        };
        Ok(Self { head, body, length, expects, websocket })
    }
}

/// The value of a field that may come once.
fn one<'a>(fields: &'a http::HeaderMap, name: &str) -> Result<Option<&'a str>, Refusal> {
    let mut all = fields.get_all(name).iter();
    match (all.next(), all.next()) {
        (None, _) => Ok(None),
        (Some(value), None) => value.to_str().map(Some).map_err(|_| Refusal(400, "a header field is malformed")),
        (Some(_), Some(_)) => Err(Refusal(400, "a field is repeated that may come once")),
    }
}
