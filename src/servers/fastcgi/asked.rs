//! A request from its parameters (RFC 3875 §4.1, and what fronts add to it).

use std::borrow::Cow;
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
        let mut said = Said::default();
        for (count, pair) in pairs(stream).enumerate() {
            let (name, value) = pair.map_err(|_| Refusal(400, "the parameters are malformed"))?;
            if count == most {
                return Err(Refusal(431, "there are too many parameters"));
            }
            let name = std::str::from_utf8(name).map_err(|_| Refusal(400, "a parameter has a name that is not UTF-8"))?;
            parameters.push(name, value);
            said.take(name, value);
        }
        let head = said.head(&parameters)?;
        let length = match said.content_length {
            None => None,
            Some(digits) if digits.bytes().all(|digit| digit.is_ascii_digit()) => {
                Some(digits.parse().map_err(|_| Refusal(413, "CONTENT_LENGTH is beyond all measure"))?)
            }
            Some(_) => return Err(Refusal(400, "CONTENT_LENGTH is no number")),
        };
        let secure = said.https.is_some_and(|value| !value.eq_ignore_ascii_case("off"))
            || said.scheme.is_some_and(|scheme| scheme.eq_ignore_ascii_case("https"));
        let peer = address(said.remote).unwrap_or_else(|| front.clone());
        let local = address(said.server).unwrap_or_else(|| local.clone());
        let origin = Origin { secure, parameters, ..Origin::new(peer, local, server.clone()) };
        Ok(Self { head, origin, length })
    }
}

/// What parameters say that is looked at here: of each name the first value, unless it is empty or not UTF-8.
#[derive(Default)]
struct Said<'a> {
    method: Option<&'a str>,
    uri: Option<&'a str>,
    script_name: Option<&'a str>,
    path_info: Option<&'a str>,
    query: Option<&'a str>,
    protocol: Option<&'a str>,
    content_length: Option<&'a str>,
    https: Option<&'a str>,
    scheme: Option<&'a str>,
    /// Address and port of the client, and of the web server in front.
    remote: [Option<&'a str>; 2],
    server: [Option<&'a str>; 2],
    host: Option<&'a str>,
    server_name: Option<&'a str>,
}

impl<'a> Said<'a> {
    fn take(&mut self, name: &str, value: &'a [u8]) {
        let place = match name {
            "REQUEST_METHOD" => &mut self.method,
            "REQUEST_URI" => &mut self.uri,
            "SCRIPT_NAME" => &mut self.script_name,
            "PATH_INFO" => &mut self.path_info,
            "QUERY_STRING" => &mut self.query,
            "SERVER_PROTOCOL" => &mut self.protocol,
            "CONTENT_LENGTH" => &mut self.content_length,
            "HTTPS" => &mut self.https,
            "REQUEST_SCHEME" => &mut self.scheme,
            "REMOTE_ADDR" => &mut self.remote[0],
            "REMOTE_PORT" => &mut self.remote[1],
            "SERVER_ADDR" => &mut self.server[0],
            "SERVER_PORT" => &mut self.server[1],
            "HTTP_HOST" => &mut self.host,
            "SERVER_NAME" => &mut self.server_name,
            _ => return,
        };
        *place = place.or_else(|| std::str::from_utf8(value).ok().filter(|value| !value.is_empty()));
    }

    fn head(&self, parameters: &Parameters) -> Result<RequestHead, Refusal> {
        let method = self.method.ok_or(Refusal(400, "there is no REQUEST_METHOD"))?;
        if !Method::is_token(method.as_bytes()) {
            return Err(Refusal(400, "REQUEST_METHOD is no method"));
        }
        let version = if self.protocol == Some("HTTP/1.0") { Version::Http10 } else { Version::Http11 };
        let bad_target = |_| Refusal(400, "the address of the request is malformed");
        let mut head = RequestHead::new(Method::from_token(method), &self.target(), version).map_err(bad_target)?;
        let mut field = String::new();
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
            field.clear();
            field.extend(name.chars().map(|c| if c == '_' { '-' } else { c }));
            head.fields.push(&field, value).map_err(|_| Refusal(400, "a parameter is no header field"))?;
        }
        if head.authority().is_none() {
            // A front's catch-all is called `_` or nothing at all: then there is no host.
            match self.host.or(self.server_name) {
                Some(host) if head.set_authority(host).is_err() && head.fields.contains("host") => {
                    return Err(Refusal(400, "the host of the request is malformed"));
                }
                _ => {}
            }
        }
        Ok(head)
    }

    /// `REQUEST_URI` as the client sent it; without it, put together from its parts.
    fn target(&self) -> Cow<'a, str> {
        if let Some(target) = self.uri {
            return target.into();
        }
        let path = [self.script_name, self.path_info].map(Option::unwrap_or_default).concat();
        let mut target = if path.starts_with('/') { String::new() } else { "/".to_owned() };
        percent::encode_path(path.as_bytes(), &mut target);
        if let Some(query) = self.query {
            target.push('?');
            target.push_str(query);
        }
        target.into()
    }
}

fn address([ip, port]: [Option<&str>; 2]) -> Option<Peer> {
    let ip: IpAddr = ip?.parse().ok()?;
    let port = port.and_then(|port| port.parse().ok()).unwrap_or(0);
    Some(Peer::Ip(SocketAddr::new(ip.to_canonical(), port)))
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
