//! What proxies say of where a request came from: `Forwarded` (RFC 7239) and `X-Forwarded-For`, read from its right end.
//!
//! Each proxy adds behind what is there, so only the right end is known to be of somebody who is trusted. What stands further left, a client may have
//! made up, and nothing there may change how the right is read: an open quote does not reach it.

use std::borrow::Cow;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use super::fields::trim_space;
use super::parameters::Parameterised;

/// One proxy's word in a `Forwarded` field (RFC 7239 §4).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Element<'a> {
    element: Cow<'a, [u8]>,
}

impl<'a> Element<'a> {
    /// The words of a field's value, the last one first.
    pub fn all_from_right(value: &'a [u8]) -> impl Iterator<Item = Self> {
        items_from_right(value).map(|item| Self { element: Cow::Owned([b";", item].concat()) })
    }

    /// Who has sent the request to this proxy (§5.2); `None` where it does not say, or hides it.
    #[must_use]
    pub fn client(&self) -> Option<SocketAddr> {
        address(&self.get("for")?)
    }

    /// By which protocol (§5.4).
    #[must_use]
    pub fn proto(&self) -> Option<Cow<'_, [u8]>> {
        self.get("proto")
    }

    /// Which host was asked for (§5.3).
    #[must_use]
    pub fn host(&self) -> Option<Cow<'_, [u8]>> {
        self.get("host")
    }

    fn get(&self, name: &str) -> Option<Cow<'_, [u8]>> {
        Parameterised::new(&self.element).get(name)
    }
}

/// The items of a list, the last one first; a comma in a quoted string separates nothing.
pub fn items_from_right(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = Some(value);
    std::iter::from_fn(move || {
        loop {
            let value = rest?;
            let at = last_comma(value);
            rest = at.map(|at| &value[..at]);
            let item = trim_space(&value[at.map_or(0, |at| at + 1)..]);
            if !item.is_empty() {
                return Some(item);
            }
        }
    })
}

/// The last comma that is in no quoted string. A quote without its partner, on the left, is like any other character.
fn last_comma(value: &[u8]) -> Option<usize> {
    let mut end = value.len();
    loop {
        let at = memchr::memrchr2(b',', b'"', &value[..end])?;
        end = match value[at] {
            b',' => return Some(at),
            // The quote that closes a string: on with what is in front of the one that opens it.
            _ => opening_quote(&value[..at]).unwrap_or(at),
        };
    }
}

/// The last quote that is not escaped.
fn opening_quote(value: &[u8]) -> Option<usize> {
    memchr::memrchr_iter(b'"', value).find(|&at| value[..at].iter().rev().take_while(|&&byte| byte == b'\\').count() % 2 == 0)
}

/// An address as proxies write it, with or without a port (0 then): `192.0.2.1`, `192.0.2.1:80`, `2001:db8::1`, `[2001:db8::1]:80`. `None` for what
/// hides it (`unknown`, `_name`) and for everything else. IPv4 in IPv6's clothes is IPv4.
#[must_use]
pub fn address(text: &[u8]) -> Option<SocketAddr> {
    let text = std::str::from_utf8(trim_space(text)).ok()?;
    let at = |ip: IpAddr, port| Some(SocketAddr::new(ip.to_canonical(), port));
    if let Ok(ip) = text.parse() {
        return at(ip, 0);
    }
    if let Some((ip, rest)) = text.strip_prefix('[').and_then(|text| text.split_once(']')) {
        let port = if rest.is_empty() { 0 } else { port(rest.strip_prefix(':')?)? };
        return at(ip.parse::<Ipv6Addr>().ok()?.into(), port);
    }
    let (ip, digits) = text.split_once(':')?;
    at(ip.parse::<Ipv4Addr>().ok()?.into(), port(digits)?)
}

/// A port, or one that is hidden (RFC 7239 §6.3): 0.
fn port(text: &str) -> Option<u16> {
    if text.starts_with('_') {
        return Some(0);
    }
    let digits = !text.is_empty() && text.len() <= 5 && text.bytes().all(|byte| byte.is_ascii_digit());
    if digits { text.parse().ok() } else { None }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn addresses_are_read_as_proxies_write_them() {
        let read = |text: &str| address(text.as_bytes()).map(|address| address.to_string()).unwrap_or_default();
        for (text, address) in [
            ("192.0.2.1", "192.0.2.1:0"),
            (" 192.0.2.1\t", "192.0.2.1:0"),
            ("192.0.2.1:47011", "192.0.2.1:47011"),
            ("192.0.2.1:_x", "192.0.2.1:0"),
            ("2001:DB8::1", "[2001:db8::1]:0"),
            ("[2001:db8::1]", "[2001:db8::1]:0"),
            ("[2001:db8::1]:80", "[2001:db8::1]:80"),
            ("::ffff:192.0.2.1", "192.0.2.1:0"),
        ] {
            assert_eq!(read(text), address, "{text}");
        }
        for text in [
            "",
            "unknown",
            "_hidden",
            "192.0.2",
            "192.0.2.1:",
            "192.0.2.1:+1",
            "192.0.2.1:65536",
            "[192.0.2.1]",
            "[::1",
            "[::1]80",
            "::1%eth0",
            "a.example",
            "\"192.0.2.1\"",
            "192.0.2.1 192.0.2.2",
        ] {
            assert_eq!(read(text), "", "{text}");
        }
    }

    #[test]
    fn words_are_read_from_the_right() {
        let read = |value: &str| -> Vec<_> {
            let text = |value: Option<Cow<'_, [u8]>>| value.map(|value| String::from_utf8(value.into_owned()).unwrap()).unwrap_or_default();
            let all = Element::all_from_right(value.as_bytes());
            all.map(|word| (word.client().map(|client| client.to_string()).unwrap_or_default(), text(word.proto()), text(word.host())))
                .collect()
        };
        let word = |client: &str, proto: &str, host: &str| (client.to_owned(), proto.to_owned(), host.to_owned());
        assert_eq!(
            read("For=192.0.2.1;Proto=https;by=_x , for=\"[2001:db8::1]:80\"; host=\"a,b:80\",,"),
            [word("[2001:db8::1]:80", "", "a,b:80"), word("192.0.2.1:0", "https", "")]
        );
        // What a client has made up changes nothing of what its proxy adds.
        for before in ["\"", "for=\"x", "for=\"x\\", "for=\\\"", ";;;=,\"\"\"", "for=\"a\\\\"] {
            assert_eq!(read(&format!("{before}, for=192.0.2.1;proto=http"))[0], word("192.0.2.1:0", "http", ""), "{before}");
        }
        assert_eq!(read("for=_secret"), [word("", "", "")]);
        assert_eq!(read(" , "), []);
    }

    proptest! {
        #[test]
        fn what_is_added_at_the_right_is_what_is_read_first(before in proptest::collection::vec(any::<u8>(), 0..40), quoted in any::<bool>()) {
            let own = if quoted { &b"for=\"[2001:db8::1]:1\";host=\"a,b\""[..] } else { b"for=\"[2001:db8::1]:1\"" };
            let value = [&before[..], b", ", own].concat();
            let first = Element::all_from_right(&value).next().unwrap();
            prop_assert_eq!(first.client(), Some("[2001:db8::1]:1".parse().unwrap()));
            prop_assert_eq!(first.host().is_some(), quoted);
            // The rest is read to its end.
            prop_assert!(items_from_right(&value).count() <= value.len());
        }

        #[test]
        fn no_text_is_too_odd_for_an_address(text in proptest::collection::vec(any::<u8>(), 0..40)) {
            if let Some(read) = address(&text) {
                prop_assert_eq!(address(read.to_string().as_bytes()), Some(read));
            }
        }
    }
}
