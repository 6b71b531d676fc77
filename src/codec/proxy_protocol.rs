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

#[cfg(test)]
mod tests {
    use super::*;

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
