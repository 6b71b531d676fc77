//! The PROXY protocol, versions 1 and 2 (haproxy.org, doc/proxy-protocol.txt): what a proxy says of a connection before its first byte.

use std::net::{IpAddr, SocketAddr};

/// The first bytes of version 2 (section 2.2).
const SIGNATURE: [u8; 12] = *b"\r\n\r\n\0\r\nQUIT\n";

/// Both ends of the client's connection in one family; an IPv4 address is mapped where the other is IPv6.
fn alike(client: SocketAddr, local: SocketAddr) -> (SocketAddr, SocketAddr) {
    let mapped = |address: SocketAddr| match address.ip() {
        IpAddr::V4(ip) => SocketAddr::new(ip.to_ipv6_mapped().into(), address.port()),
        IpAddr::V6(_) => address,
    };
    if client.is_ipv4() == local.is_ipv4() { (client, local) } else { (mapped(client), mapped(local)) }
}

/// Appends the line of version 1 (section 2.1): who the client is, and which of our addresses it reached. `None`: not over IP.
pub fn write_v1(ends: Option<(SocketAddr, SocketAddr)>, out: &mut Vec<u8>) {
    let Some((client, local)) = ends else {
        out.extend_from_slice(b"PROXY UNKNOWN\r\n");
        return;
    };
    let (client, local) = alike(client, local);
    let family = if client.is_ipv4() { "TCP4" } else { "TCP6" };
    let line = format!("PROXY {family} {} {} {} {}\r\n", client.ip(), local.ip(), client.port(), local.port());
    out.extend_from_slice(line.as_bytes());
}

/// Appends the block of version 2 (section 2.2): who the client is, and which of our addresses it reached. `None`: not over IP.
pub fn write_v2(ends: Option<(SocketAddr, SocketAddr)>, out: &mut Vec<u8>) {
    out.extend_from_slice(&SIGNATURE);
    let Some((client, local)) = ends else {
        // LOCAL, of no family: the receiver takes the connection's own addresses.
        out.extend_from_slice(&[0x20, 0, 0, 0]);
        return;
    };
    let (client, local) = alike(client, local);
    let (family, length) = if client.is_ipv4() { (0x11, 12u16) } else { (0x21, 36) };
    out.extend_from_slice(&[0x21, family]);
    out.extend_from_slice(&length.to_be_bytes());
    for address in [client, local] {
        match address.ip() {
            IpAddr::V4(ip) => out.extend_from_slice(&ip.octets()),
            IpAddr::V6(ip) => out.extend_from_slice(&ip.octets()),
        }
    }
    for address in [client, local] {
        out.extend_from_slice(&address.port().to_be_bytes());
    }
}

/// What a proxy has said of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Announced {
    /// How many bytes that took.
    pub length: usize,
    /// Who the client is, and which address it reached. `None`: the proxy speaks for itself (a check of its own), or the client did not come
    /// over IP: the connection's own ends count.
    pub ends: Option<(SocketAddr, SocketAddr)>,
}

/// What came is no announcement.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Malformed;

/// The longest announcement that is taken, bytes: addresses and 4 KiB of further values.
pub const MOST: usize = 16 + 36 + (4 << 10);

/// The longest line of version 1 (section 2.1).
const LINE: usize = 107;

/// Reads an announcement of either version at the start of `bytes`. `None`: it has not come whole.
///
/// # Errors
/// [`Malformed`]; nothing that follows can be trusted then.
pub fn read(bytes: &[u8]) -> Result<Option<Announced>, Malformed> {
    let common = bytes.len().min(SIGNATURE.len());
    if bytes[..common] == SIGNATURE[..common] && common > 0 {
        return read_v2(bytes);
    }
    let word = b"PROXY ";
    let common = bytes.len().min(word.len());
    if bytes[..common] != word[..common] {
        return Err(Malformed);
    }
    match bytes.iter().take(LINE).position(|&byte| byte == b'\n') {
        Some(end) => {
            let line = bytes[..end].strip_suffix(b"\r").and_then(|line| std::str::from_utf8(line).ok()).ok_or(Malformed)?;
            Ok(Some(Announced { length: end + 1, ends: read_line(line)? }))
        }
        None if bytes.len() >= LINE => Err(Malformed),
        None => Ok(None),
    }
}

fn read_line(line: &str) -> Result<Option<(SocketAddr, SocketAddr)>, Malformed> {
    let mut words = line.split(' ').skip(1);
    let is_v4 = match words.next() {
        // What stands behind it says nothing.
        Some("UNKNOWN") => return Ok(None),
        Some("TCP4") => true,
        Some("TCP6") => false,
        _ => return Err(Malformed),
    };
    let mut next = || words.next().ok_or(Malformed);
    let [client, local] = [next()?, next()?].map(|text| text.parse::<IpAddr>().ok().filter(|ip| ip.is_ipv4() == is_v4));
    let [client_port, local_port] = [next()?, next()?].map(port);
    match (client, local, client_port, local_port, words.next()) {
        (Some(client), Some(local), Some(client_port), Some(local_port), None) => {
            Ok(Some((SocketAddr::new(client, client_port), SocketAddr::new(local, local_port))))
        }
        _ => Err(Malformed),
    }
}

/// A decimal number without a sign or zeros in front.
fn port(text: &str) -> Option<u16> {
    let is_plain = text.bytes().all(|byte| byte.is_ascii_digit()) && (text == "0" || !text.starts_with('0'));
    text.parse().ok().filter(|_| is_plain)
}

fn read_v2(bytes: &[u8]) -> Result<Option<Announced>, Malformed> {
    let Some((head, rest)) = bytes.split_first_chunk::<16>() else { return Ok(None) };
    let (version, family) = (head[12], head[13]);
    let announced = usize::from(u16::from_be_bytes([head[14], head[15]]));
    let length = head.len() + announced;
    if version >> 4 != 2 || length > MOST {
        return Err(Malformed);
    }
    let Some(block) = rest.get(..announced) else { return Ok(None) };
    let ends = match (version & 0xf, family) {
        // LOCAL, or a family that is not of IP.
        (0, _) | (1, 0x00 | 0x31 | 0x32) => None,
        (1, 0x11 | 0x12) => Some(ends_of::<4>(block).ok_or(Malformed)?),
        (1, 0x21 | 0x22) => Some(ends_of::<16>(block).ok_or(Malformed)?),
        _ => return Err(Malformed),
    };
    Ok(Some(Announced { length, ends }))
}

/// Two addresses of so many bytes, then two ports.
fn ends_of<const SIZE: usize>(block: &[u8]) -> Option<(SocketAddr, SocketAddr)>
where
    IpAddr: From<[u8; SIZE]>,
{
    let (client, rest) = block.split_first_chunk::<SIZE>()?;
    let (local, rest) = rest.split_first_chunk::<SIZE>()?;
    let (client_port, rest) = rest.split_first_chunk::<2>()?;
    let (local_port, _) = rest.split_first_chunk::<2>()?;
    let end = |ip: [u8; SIZE], port: [u8; 2]| SocketAddr::new(ip.into(), u16::from_be_bytes(port));
    Some((end(*client, *client_port), end(*local, *local_port)))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn address() -> impl Strategy<Value = SocketAddr> {
        (any::<IpAddr>(), any::<u16>()).prop_map(|(ip, port)| SocketAddr::new(ip, port))
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_back(client in address(), local in address(), unknown in any::<bool>(), two in any::<bool>(), cut in any::<prop::sample::Index>()) {
            let ends = (!unknown).then_some((client, local));
            let mut bytes = Vec::new();
            if two { write_v2(ends, &mut bytes) } else { write_v1(ends, &mut bytes) }
            let length = bytes.len();
            prop_assert_eq!(read(&bytes[..cut.index(length)]), Ok(None));
            bytes.extend_from_slice(b"GET / HTTP/1.1\r\n");
            prop_assert_eq!(read(&bytes), Ok(Some(Announced { length, ends: ends.map(|(client, local)| alike(client, local)) })));
        }

        #[test]
        fn any_bytes_give_a_verdict_that_more_bytes_do_not_change(
            start in prop_oneof![Just(&b""[..]), Just(&b"PROXY "[..]), Just(&b"PROXY TCP4 "[..]), Just(&SIGNATURE[..]), Just(&b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c"[..])],
            rest in prop::collection::vec(any::<u8>(), 0..60),
            cut in any::<prop::sample::Index>(),
        ) {
            let bytes = [start, &rest].concat();
            let whole = read(&bytes);
            match read(&bytes[..cut.index(bytes.len() + 1)]) {
                Ok(None) => {}
                verdict => prop_assert_eq!(verdict, whole),
            }
        }
    }

    #[test]
    fn what_is_no_announcement_is_refused() {
        for text in [
            "GET / HTTP/1.1\r\n",
            "PROXY TCP4 1.2.3.4 5.6.7.8 1 65536\r\n",
            "PROXY TCP4 1.2.3.4 5.6.7.8 1 +2\r\n",
            "PROXY TCP4 1.2.3.4 5.6.7.8 01 2\r\n",
            "PROXY TCP4 1.2.3.4 5.6.7.8 1 2 \r\n",
            "PROXY TCP4 1.2.3.4 ::1 1 2\r\n",
            "PROXY TCP6 1.2.3.4 5.6.7.8 1 2\r\n",
            "PROXY TCP4 1.2.3.4 5.6.7.8 1 2\n",
            "PROXY UDP4 1.2.3.4 5.6.7.8 1 2\r\n",
            "PROXY TCP4 1.2.3.4\r\n",
            "\r\n\r\nx",
        ] {
            assert_eq!(read(text.as_bytes()), Err(Malformed), "{text:?}");
        }
        assert_eq!(read(&[b"PROXY UNKNOWN ".as_slice(), &[b'x'; 200]].concat()), Err(Malformed));
        let v2 = |tail: &[u8]| read(&[&SIGNATURE, tail].concat());
        assert_eq!(v2(&[0x11, 0x11, 0, 12]), Err(Malformed));
        assert_eq!(v2(&[0x22, 0x11, 0, 0]), Err(Malformed));
        assert_eq!(v2(&[0x21, 0x11, 0, 4, 1, 2, 3, 4]), Err(Malformed));
        assert_eq!(v2(&[0x21, 0x11, 0xff, 0xff]), Err(Malformed));
        assert_eq!(v2(&[0x20, 0, 0, 2, 1, 1]), Ok(Some(Announced { length: 18, ends: None })));
    }

    fn ends(client: &str, local: &str) -> (SocketAddr, SocketAddr) {
        (client.parse().unwrap(), local.parse().unwrap())
    }

    #[test]
    fn lines_are_those_of_the_document() {
        let line = |ends| {
            let mut out = Vec::new();
            write_v1(ends, &mut out);
            String::from_utf8(out).unwrap()
        };
        // Section 2.1, its examples.
        assert_eq!(line(Some(ends("192.168.0.1:56324", "192.168.0.11:443"))), "PROXY TCP4 192.168.0.1 192.168.0.11 56324 443\r\n");
        assert_eq!(line(None), "PROXY UNKNOWN\r\n");
        assert_eq!(line(Some(ends("[2001:db8::1]:1", "10.0.0.1:2"))), "PROXY TCP6 2001:db8::1 ::ffff:10.0.0.1 1 2\r\n");
        let longest = "[ffff:f:f:f:ffff:ffff:ffff:ffff]:65535";
        assert!(line(Some(ends(longest, longest))).len() <= 107);
    }

    #[test]
    fn blocks_are_as_long_as_they_say() {
        for (given, family, length) in
            [(Some(ends("10.0.0.1:258", "10.0.0.2:3")), 0x2111, 12), (Some(ends("[::1]:1", "[::2]:2")), 0x2121, 36), (None, 0x2000, 0)]
        {
            let mut out = Vec::new();
            write_v2(given, &mut out);
            assert_eq!(out[..12], SIGNATURE);
            assert_eq!(u16::from_be_bytes([out[12], out[13]]), family);
            assert_eq!(usize::from(u16::from_be_bytes([out[14], out[15]])), length);
            assert_eq!(out.len(), 16 + length);
        }
        let mut out = Vec::new();
        write_v2(Some(ends("10.0.0.1:258", "10.0.0.2:3")), &mut out);
        assert_eq!(out[16..], [10, 0, 0, 1, 10, 0, 0, 2, 1, 2, 0, 3]);
    }
}
