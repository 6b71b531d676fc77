//! A request from its parameters (RFC 3875 §4.1, and what fronts add to it).

use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;

use crate::codec::fastcgi::pairs;
use crate::codec::http::{Method, RequestHead, Version};
use crate::codec::percent;
use crate::net::Peer;
use crate::request::{Origin, Parameters};

/// What a front asks.
pub(super) struct Asked {
    pub(super) head: RequestHead,
    pub(super) origin: Origin,
    /// The announced length of the body in bytes.
    pub(super) length: Option<u64>,
}

/// Why parameters are no request: the status that answers it, and in words.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Refusal(pub(super) u16, pub(super) &'static str);

impl Asked {
    /// Reads the parameters of a request that came from `front` to `local`, at most `most` of them.
    pub(super) fn read(stream: &[u8], most: usize, (front, local): (&Peer, &Peer), server: &Rc<str>) -> Result<Self, Refusal> {
        let mut parameters = Parameters::default();
        for (count, pair) in pairs(stream).enumerate() {
            let (name, value) = pair.map_err(|_| Refusal(400, "the parameters are malformed"))?;
            if count == most {
                return Err(Refusal(431, "there are too many parameters"));
            }
            let name = std::str::from_utf8(name).map_err(|_| Refusal(400, "a parameter has a name that is not UTF-8"))?;
            parameters.push(name, value);
        }
        let head = head(&parameters)?;
        let length = match text(&parameters, "CONTENT_LENGTH") {
            None => None,
            Some(digits) if digits.bytes().all(|digit| digit.is_ascii_digit()) => {
                Some(digits.parse().map_err(|_| Refusal(413, "CONTENT_LENGTH is beyond all measure"))?)
            }
            Some(_) => return Err(Refusal(400, "CONTENT_LENGTH is no number")),
        };
        let secure = text(&parameters, "HTTPS").is_some_and(|value| !value.eq_ignore_ascii_case("off"))
            || text(&parameters, "REQUEST_SCHEME").is_some_and(|scheme| scheme.eq_ignore_ascii_case("https"));
        let peer = address(&parameters, "REMOTE_ADDR", "REMOTE_PORT").unwrap_or_else(|| front.clone());
        let local = address(&parameters, "SERVER_ADDR", "SERVER_PORT").unwrap_or_else(|| local.clone());
        let origin = Origin { secure, parameters, ..Origin::new(peer, local, server.clone()) };
        Ok(Self { head, origin, length })
    }
}

/// The value of a parameter that is there, not empty, and UTF-8.
fn text<'a>(parameters: &'a Parameters, name: &str) -> Option<&'a str> {
    parameters.get(name).and_then(|value| std::str::from_utf8(value).ok()).filter(|value| !value.is_empty())
}

fn address(parameters: &Parameters, ip: &str, port: &str) -> Option<Peer> {
    let ip: IpAddr = text(parameters, ip)?.parse().ok()?;
    let port = text(parameters, port).and_then(|port| port.parse().ok()).unwrap_or(0);
    Some(Peer::Ip(SocketAddr::new(ip.to_canonical(), port)))
}

fn head(parameters: &Parameters) -> Result<RequestHead, Refusal> {
    let method = text(parameters, "REQUEST_METHOD").ok_or(Refusal(400, "there is no REQUEST_METHOD"))?;
    if !Method::is_token(method.as_bytes()) {
        return Err(Refusal(400, "REQUEST_METHOD is no method"));
    }
    let version = if text(parameters, "SERVER_PROTOCOL") == Some("HTTP/1.0") { Version::Http10 } else { Version::Http11 };
    let bad_target = |_| Refusal(400, "the address of the request is malformed");
    let mut head = RequestHead::new(Method::from_token(method), &target(parameters), version).map_err(bad_target)?;
    for (name, value) in parameters.iter() {
        let name = match name {
            "CONTENT_TYPE" | "CONTENT_LENGTH" if !value.is_empty() => name,
            // Fronts that say it both ways mean one field.
            "HTTP_CONTENT_TYPE" | "HTTP_CONTENT_LENGTH" => continue,
            _ => match name.strip_prefix("HTTP_") {
                Some(name) => name,
                None => continue,
            },
        };
        head.fields.push(&name.replace('_', "-"), value).map_err(|_| Refusal(400, "a parameter is no header field"))?;
    }
    if head.authority().is_none() {
        let host = text(parameters, "HTTP_HOST").or_else(|| text(parameters, "SERVER_NAME"));
        // A front's catch-all is called `_` or nothing at all: then there is no host.
        match host {
            Some(host) if head.set_authority(host).is_err() && head.fields.contains("host") => {
                return Err(Refusal(400, "the host of the request is malformed"));
            }
            _ => {}
        }
    }
    Ok(head)
}

/// `REQUEST_URI` as the client sent it; without it, put together from its parts.
fn target(parameters: &Parameters) -> String {
    if let Some(target) = text(parameters, "REQUEST_URI") {
        return target.to_owned();
    }
    let path = [text(parameters, "SCRIPT_NAME"), text(parameters, "PATH_INFO")].map(Option::unwrap_or_default).concat();
    let mut target = if path.starts_with('/') { String::new() } else { "/".to_owned() };
    percent::encode_path(path.as_bytes(), &mut target);
    if let Some(query) = text(parameters, "QUERY_STRING") {
        target.push('?');
        target.push_str(query);
    }
    target
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::fastcgi::write_pair;

    fn read(parameters: &[(&str, &str)]) -> Result<Asked, Refusal> {
        let mut stream = Vec::new();
        for (name, value) in parameters {
            write_pair(name.as_bytes(), value.as_bytes(), &mut stream);
        }
        Asked::read(&stream, 20, (&Peer::Unknown, &Peer::Unknown), &"fcgi".into())
    }

    fn refused(parameters: &[(&str, &str)]) -> Option<u16> {
        read(parameters).err().map(|refusal| refusal.0)
    }

    #[test]
    fn parameters_make_a_request() {
        let asked = read(&[
            ("REQUEST_METHOD", "POST"),
            ("REQUEST_URI", "/a%20b?c=d"),
            ("QUERY_STRING", "c=d"),
            ("SERVER_PROTOCOL", "HTTP/2.0"),
            ("HTTP_HOST", "example.com:8080"),
            ("HTTP_X_FORWARDED_PROTO", "https"),
            ("CONTENT_TYPE", "text/plain"),
            ("CONTENT_LENGTH", "5"),
            ("REMOTE_ADDR", "::ffff:192.0.2.1"),
            ("REMOTE_PORT", "4711"),
            ("HTTPS", "on"),
            ("DOCUMENT_ROOT", "/var/www"),
        ])
        .unwrap();
        let head = &asked.head;
        assert_eq!((head.path(), head.query(), head.host(), head.version), ("/a%20b", Some("c=d"), Some("example.com"), Version::Http11));
        assert_eq!(head.fields.get_str("x-forwarded-proto"), Some("https"));
        assert_eq!(head.fields.get_str("content-type"), Some("text/plain"));
        assert_eq!((asked.length, asked.origin.secure, asked.origin.peer.to_string()), (Some(5), true, "192.0.2.1:4711".into()));
        assert_eq!(asked.origin.parameters.get("DOCUMENT_ROOT"), Some(&b"/var/www"[..]));
    }

    #[test]
    fn without_request_uri_the_parts_are_put_together() {
        let parts = [("REQUEST_METHOD", "GET"), ("SCRIPT_NAME", "/a b"), ("PATH_INFO", "/c"), ("QUERY_STRING", "d"), ("SERVER_NAME", "_")];
        assert_eq!(read(&parts).unwrap().head.target(), "/a%20b/c?d");
    }

    #[test]
    fn what_is_no_request_is_refused() {
        assert_eq!(refused(&[("REQUEST_URI", "/")]), Some(400));
        assert_eq!(refused(&[("REQUEST_METHOD", "G T"), ("REQUEST_URI", "/")]), Some(400));
        assert_eq!(refused(&[("REQUEST_METHOD", "GET"), ("REQUEST_URI", "a b")]), Some(400));
        assert_eq!(refused(&[("REQUEST_METHOD", "GET"), ("HTTP_HOST", "a b")]), Some(400));
        assert_eq!(refused(&[("REQUEST_METHOD", "GET"), ("HTTP_X", "a\r\nb: c")]), Some(400));
        assert_eq!(refused(&[("REQUEST_METHOD", "GET"), ("CONTENT_LENGTH", "-1")]), Some(400));
        assert_eq!(refused(&[("REQUEST_METHOD", "GET"); 21]), Some(431));
        assert_eq!(refused(&[("REQUEST_METHOD", "GET"), ("CONTENT_LENGTH", "")]), None);
    }
}
