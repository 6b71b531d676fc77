//! Who the client is behind proxies that are trusted: what they say of it, and nothing that they have only passed on.

use std::net::SocketAddr;
use std::rc::Rc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use smallvec::SmallVec;

use super::Origin;
use crate::codec::http::forwarded::{Element, address, items_from_right};
use crate::codec::http::{Fields, RequestHead};
use crate::net::{Clients, Peer};

/// Proxies in front of a server, and what they say of their clients.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Trusted {
    /// Who they are: networks, addresses, or `"unix"` for who comes by a unix socket. What others say of where a request came from is dropped.
    pub proxies: Vec<Clients>,
    /// In which fields they say it: `XForwarded` (`X-Forwarded-For`, `X-Forwarded-Proto`, `X-Forwarded-Host`) or `Forwarded` (RFC 7239). Proxies must
    /// add to these, or set them: the others are not looked at, for a client can send them itself.
    pub fields: ForwardedFields,
    /// Whether they say the host too: only for proxies that set that, whatever their client has sent.
    pub host: bool,
}

/// The fields in which proxies speak of their clients.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum ForwardedFields {
    /// `X-Forwarded-For`, `X-Forwarded-Proto`, `X-Forwarded-Host`.
    #[default]
    XForwarded,
    /// `Forwarded` (RFC 7239).
    Forwarded,
}

impl Default for Trusted {
    fn default() -> Self {
        Self { proxies: Vec::new(), fields: ForwardedFields::XForwarded, host: false }
    }
}

/// What trusted proxies say.
#[derive(Debug, Default, PartialEq, Eq)]
struct Told {
    client: Option<SocketAddr>,
    secure: Option<bool>,
    host: Option<Vec<u8>>,
}

impl Trusted {
    /// Where a request comes from that came by a connection from `origin`. The head's host becomes the one that the client asked for.
    pub fn origin(&self, head: &mut RequestHead, origin: &Rc<Origin>) -> Rc<Origin> {
        if !self.contain(&origin.peer) {
            return origin.clone();
        }
        let told = match self.fields {
            ForwardedFields::XForwarded => self.x_forwarded(&head.fields),
            ForwardedFields::Forwarded => self.forwarded(&head.fields),
        };
        if let Some(host) = told.host.filter(|_| self.host)
            && let Ok(host) = std::str::from_utf8(&host)
        {
            // What is no host is not taken for one: the request keeps its own.
            let _ = head.set_authority(host);
        }
        Rc::new(Origin {
            peer: told.client.map_or_else(|| origin.peer.clone(), Peer::Ip),
            proxy: Some(Box::new(origin.peer.clone())),
            secure: told.secure.unwrap_or(origin.secure),
            // The proxy's own, which says nothing of the client.
            certificate: None,
            ..Origin::clone(origin)
        })
    }

    /// Whether the other end of a connection is one of them.
    #[must_use]
    pub fn contain(&self, peer: &Peer) -> bool {
        self.proxies.iter().any(|clients| clients.contain(peer))
    }

    /// Goes from proxy to proxy, as long as they are trusted, and counts their words: the client is who the last of them names. What cannot be read
    /// ends it, and whoever has passed it on is the client.
    fn client(&self, named: impl Iterator<Item = Option<SocketAddr>>) -> (Option<SocketAddr>, usize) {
        let (mut client, mut count) = (None, 0);
        for named in named {
            count += 1;
            let Some(named) = named else { break };
            client = Some(named);
            if !self.contain(&Peer::Ip(named)) {
                break;
            }
        }
        (client, count)
    }

    fn x_forwarded(&self, fields: &Fields) -> Told {
        let (client, count) = self.client(from_right(fields, "x-forwarded-for").map(address));
        // A proxy either adds its word to those of the proxies in front of it, or puts it in their place.
        let word = |name| from_right(fields, name).take(count.max(1)).last();
        Told { client, secure: word("x-forwarded-proto").and_then(is_secure), host: word("x-forwarded-host").map(<[u8]>::to_vec) }
    }

    fn forwarded(&self, fields: &Fields) -> Told {
        let lines: SmallVec<[&[u8]; 4]> = fields.get_all("forwarded").collect();
        let words = || lines.iter().rev().flat_map(|line| Element::all_from_right(line));
        let (client, count) = self.client(words().map(|word| word.client()));
        let Some(word) = words().take(count).last() else { return Told::default() };
        Told { client, secure: word.proto().and_then(|proto| is_secure(&proto)), host: word.host().map(std::borrow::Cow::into_owned) }
    }
}

/// The items of all lines of a list, the last one first.
fn from_right<'a>(fields: &'a Fields, name: &str) -> impl Iterator<Item = &'a [u8]> {
    let lines: SmallVec<[&[u8]; 4]> = fields.get_all(name).collect();
    lines.into_iter().rev().flat_map(items_from_right)
}

fn is_secure(proto: &[u8]) -> Option<bool> {
    let is = |name: &[u8]| proto.eq_ignore_ascii_case(name);
    if is(b"https") || is(b"wss") {
        Some(true)
    } else if is(b"http") || is(b"ws") {
        Some(false)
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::http::{Method, Version};

    fn trusted(fields: ForwardedFields) -> Trusted {
        Trusted { proxies: ["10.0.0.0/8", "unix"].map(|text| text.parse().unwrap()).to_vec(), fields, host: true }
    }

    /// Client, scheme and host of a request with these fields from `peer`.
    fn told(trusted: &Trusted, peer: &str, fields: &[(&str, &str)]) -> (String, &'static str, String) {
        let mut head = RequestHead::new(Method::Get, "/", Version::Http11).unwrap();
        head.set_authority("own.test").unwrap();
        for (name, value) in fields {
            head.fields.push(name, value).unwrap();
        }
        let peer = if peer == "unix" { Peer::Unix(None) } else { Peer::Ip(peer.parse().unwrap()) };
        let origin = Rc::new(Origin::new(peer.clone(), Peer::Unknown, "web".into()));
        let found = trusted.origin(&mut head, &origin);
        assert_eq!(found.proxy, trusted.contain(&peer).then_some(Box::new(peer)));
        (found.peer.to_string(), if found.secure { "https" } else { "http" }, head.authority().unwrap().to_owned())
    }

    #[test]
    fn the_rightmost_address_that_is_no_proxy_is_the_client() {
        let trusted = trusted(ForwardedFields::XForwarded);
        let from = |peer: &str, list: &str| told(&trusted, peer, &[("X-Forwarded-For", list)]).0;
        for (peer, list, client) in [
            ("10.0.0.1:5", "192.0.2.1", "192.0.2.1:0"),
            ("unix", "192.0.2.1:77", "192.0.2.1:77"),
            ("10.0.0.1:5", "6.6.6.6, 192.0.2.1", "192.0.2.1:0"),
            ("10.0.0.1:5", "6.6.6.6, 192.0.2.1, 10.0.0.2", "192.0.2.1:0"),
            ("10.0.0.1:5", "10.0.0.3, 10.0.0.2", "10.0.0.3:0"),
            ("10.0.0.1:5", "6.6.6.6, nonsense, 10.0.0.2", "10.0.0.2:0"),
            ("10.0.0.1:5", "6.6.6.6, unknown", "10.0.0.1:5"),
            ("10.0.0.1:5", "", "10.0.0.1:5"),
            ("192.0.2.9:5", "6.6.6.6", "192.0.2.9:5"),
        ] {
            assert_eq!(from(peer, list), client, "{peer} {list}");
        }
        let lines = [("X-Forwarded-For", "6.6.6.6"), ("X-Forwarded-For", "192.0.2.1"), ("X-Forwarded-For", "10.0.0.2")];
        assert_eq!(told(&trusted, "10.0.0.1:5", &lines).0, "192.0.2.1:0");
    }

    #[test]
    fn scheme_and_host_are_those_of_the_proxy_that_the_client_has_reached() {
        let trusted = trusted(ForwardedFields::XForwarded);
        let from = |peer: &str, list: &str, proto: &str, host: &str| {
            let (_, scheme, host) = told(
                &trusted,
                peer,
                &[
                    ("X-Forwarded-For", list),
                    ("X-Forwarded-Proto", proto),
                    ("X-Forwarded-Host", host),
                    ("Forwarded", "proto=https;host=evil.test"),
                ],
            );
            (scheme, host)
        };
        for (list, proto, host, expected) in [
            ("192.0.2.1", "HTTPS", "a.test:81", ("https", "a.test:81")),
            ("192.0.2.1, 10.0.0.2", "https, http", "a.test, b.test", ("https", "a.test")),
            ("192.0.2.1, 10.0.0.2", "https", "a.test", ("https", "a.test")),
            ("192.0.2.1", "https, http", "evil.test, b.test", ("http", "b.test")),
            ("192.0.2.1", "gopher", "no host", ("http", "own.test")),
            ("", "https", "a.test", ("https", "a.test")),
        ] {
            let (scheme, named) = from("10.0.0.1:5", list, proto, host);
            assert_eq!((scheme, named.as_str()), expected, "{list} {proto} {host}");
        }
        assert_eq!(from("192.0.2.9:5", "1.1.1.1", "https", "a.test"), ("http", "own.test".to_owned()));
        let no_host = Trusted { host: false, ..trusted };
        assert_eq!(told(&no_host, "10.0.0.1:5", &[("X-Forwarded-Host", "a.test")]).2, "own.test");
    }

    #[test]
    fn the_standard_field_is_read_in_the_same_way() {
        let trusted = trusted(ForwardedFields::Forwarded);
        let from = |value: &str| told(&trusted, "10.0.0.1:5", &[("X-Forwarded-For", "6.6.6.6"), ("Forwarded", value)]);
        let expected = |client: &str, scheme: &'static str, host: &str| (client.to_owned(), scheme, host.to_owned());
        assert_eq!(from("for=192.0.2.1;proto=https;host=a.test, for=10.0.0.2;proto=http"), expected("192.0.2.1:0", "https", "a.test"));
        assert_eq!(from("for=6.6.6.6;host=evil.test, for=\"[2001:db8::1]\""), expected("[2001:db8::1]:0", "http", "own.test"));
        assert_eq!(from("for=_hidden;proto=https"), expected("10.0.0.1:5", "https", "own.test"));
        assert_eq!(from("\", for=192.0.2.1"), expected("192.0.2.1:0", "http", "own.test"));
    }
}
