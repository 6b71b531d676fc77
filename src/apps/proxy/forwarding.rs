//! The head of a request as a server gets it (RFC 9110 §7.6, RFC 7239): written anew, without what belongs to the client's connection, and with what
//! is known of the client.

use smallvec::SmallVec;

use super::config::{CertificatePart, HostField, Proxy};
use super::upstream::Upstream;
use crate::codec::http::fields::list_items;
use crate::codec::http::{Fields, Method};
use crate::net::{ClientCertificate, ClientName};
use crate::request::Request;

/// What is done to heads.
pub(super) struct Forwarding {
    pub(super) strip: bool,
    host: HostField,
    /// Lower-case names of fields, and what they tell of the client's certificate.
    certificate: Vec<(String, CertificatePart)>,
    /// Each connection serves one request.
    closes: bool,
}

/// What becomes of a field of the client.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Fate {
    Passes,
    /// It belongs to the client's connection, or is written by us.
    Stays,
    /// It says something of where the request came from: the word of a trusted proxy.
    Told,
}

impl Forwarding {
    pub(super) fn new(config: &Proxy) -> Self {
        let certificate = config.client_certificate.iter().map(|(name, part)| (name.to_ascii_lowercase(), *part)).collect();
        Self { strip: config.strip, host: config.host.clone(), certificate, closes: config.proxy_protocol.is_some() }
    }

    /// Writes the head for `upstream`. `length`: of the body; `None`: it is chunked. `upgrade`: WebSocket is asked for.
    pub(super) fn write(&self, request: &Request, upstream: &Upstream, length: Option<u64>, upgrade: bool) -> Vec<u8> {
        let head = &request.head;
        let mut out = Vec::with_capacity(512);
        out.extend_from_slice(head.method.as_str().as_bytes());
        out.push(b' ');
        self.write_target(request, upstream, &mut out);
        out.extend_from_slice(b" HTTP/1.1\r\n");
        let own = &upstream.authority;
        let host = match &self.host {
            HostField::Keep => head.authority().unwrap_or(own),
            HostField::Upstream => own,
            HostField::Name(name) => name,
        };
        field(&mut out, "host", host.as_bytes());
        let trusts = request.origin.proxy.is_some();
        let named: SmallVec<[&[u8]; 4]> = head.fields.get_all("connection").flat_map(list_items).collect();
        for (name, value) in head.fields.iter() {
            let passes = match self.fate(name) {
                Fate::Passes => !named.iter().any(|named| named.eq_ignore_ascii_case(name.as_bytes())),
                Fate::Stays => false,
                Fate::Told => trusts && !self.is_written(name, request),
            };
            if passes {
                field(&mut out, name, value);
            }
        }
        self.write_origin(request, trusts, &mut out);
        self.write_certificate(request.origin.certificate.as_deref(), &mut out);
        match length {
            Some(0) if !matches!(head.method, Method::Post | Method::Put | Method::Patch) => {}
            Some(length) => field(&mut out, "content-length", itoa::Buffer::new().format(length).as_bytes()),
            None => field(&mut out, "transfer-encoding", b"chunked"),
        }
        if upgrade {
            out.extend_from_slice(b"connection: upgrade\r\nupgrade: websocket\r\n");
        } else if self.closes {
            out.extend_from_slice(b"connection: close\r\n");
        }
        out.extend_from_slice(b"\r\n");
        out
    }

    fn write_target(&self, request: &Request, upstream: &Upstream, out: &mut Vec<u8>) {
        out.extend_from_slice(upstream.prefix().as_bytes());
        let path = if self.strip { request.path() } else { request.head.path() };
        encode(path, b"\"<>\\^`{|}", out);
        if let Some(query) = request.head.query() {
            out.push(b'?');
            encode(query, b"", out);
        }
    }

    /// Whether a field about where the request came from is put together anew from all of its lines.
    fn is_written(&self, name: &str, request: &Request) -> bool {
        matches!(name, "x-forwarded-for" | "x-forwarded-proto" | "x-forwarded-host" | "forwarded")
            || name == "x-forwarded-prefix" && self.strip && !request.base().is_empty()
    }

    fn write_origin(&self, request: &Request, trusts: bool, out: &mut Vec<u8>) {
        let (fields, origin) = (&request.head.fields, &request.origin);
        // Who has sent it to us; whom a trusted proxy names stands in front of that.
        let sender = origin.proxy.as_deref().unwrap_or(&origin.peer).ip();
        let address = sender.map_or_else(|| "unknown".to_owned(), |ip| ip.to_string());
        let scheme: &[u8] = if origin.secure { b"https" } else { b"http" };
        let host = request.head.authority().unwrap_or_default();
        appended(out, fields, "x-forwarded-for", trusts, address.as_bytes());
        field(out, "x-forwarded-proto", scheme);
        if !host.is_empty() {
            field(out, "x-forwarded-host", host.as_bytes());
        }
        if self.strip && !request.base().is_empty() {
            field(out, "x-forwarded-prefix", request.base().as_bytes());
        }
        let mut element = String::with_capacity(64 + host.len());
        let quote = if sender.is_some_and(|ip| ip.is_ipv6()) { ["\"[", "]\""] } else { ["", ""] };
        element.extend(["for=", quote[0], &address, quote[1]]);
        // What would have to be escaped is in no host that anybody has.
        if !host.is_empty() && !host.contains(['"', '\\']) {
            let quote = if host.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._".contains(&byte)) { "" } else { "\"" };
            element.extend([";host=", quote, host, quote]);
        }
        element.push_str(if origin.secure { ";proto=https" } else { ";proto=http" });
        appended(out, fields, "forwarded", trusts, element.as_bytes());
    }

    fn write_certificate(&self, shown: Option<&ClientCertificate>, out: &mut Vec<u8>) {
        for (name, part) in &self.certificate {
            let Some(shown) = shown else {
                if *part == CertificatePart::Verified {
                    field(out, name, b"NONE");
                }
                continue;
            };
            let value = match part {
                CertificatePart::Whole => format!(":{}:", shown.base64()),
                CertificatePart::Verified => "SUCCESS".to_owned(),
                CertificatePart::Subject => ascii(&shown.subject),
                CertificatePart::Issuer => ascii(&shown.issuer),
                CertificatePart::Serial => shown.serial.clone(),
                CertificatePart::Fingerprint => shown.fingerprint.clone(),
                CertificatePart::Names => ascii(&shown.names.iter().map(ClientName::as_str).collect::<Vec<_>>().join(",")),
            };
            field(out, name, value.as_bytes());
        }
    }

    /// What becomes of a field. A server that turns `_` into `-`, as CGI makes it, must not find a field that we took out under such a name.
    fn fate(&self, name: &str) -> Fate {
        if name.contains('_') {
            let passes = self.fate_of(&name.replace('_', "-")) == Fate::Passes;
            return if passes { Fate::Passes } else { Fate::Stays };
        }
        self.fate_of(name)
    }

    fn fate_of(&self, name: &str) -> Fate {
        let is_ours = self.certificate.iter().any(|(own, _)| own == name || own.contains('_') && own.replace('_', "-") == name);
        if is_ours { Fate::Stays } else { fate_of(name) }
    }
}

/// As it may stand in a field: what is no printable ASCII as RFC 4514 §2.4 writes it, a backslash and two digits for each byte.
fn ascii(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if (b' '..=b'~').contains(&byte) {
            out.push(char::from(byte));
        } else {
            out.extend(['\\', char::from(DIGITS[usize::from(byte >> 4)]), char::from(DIGITS[usize::from(byte & 15)])]);
        }
    }
    out
}

const DIGITS: &[u8; 16] = b"0123456789ABCDEF";

fn field(out: &mut Vec<u8>, name: &str, value: &[u8]) {
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b": ");
    out.extend_from_slice(value);
    out.extend_from_slice(b"\r\n");
}

/// Writes a list: what a trusted proxy said, and our own behind it.
fn appended(out: &mut Vec<u8>, fields: &Fields, name: &str, trusts: bool, own: &[u8]) {
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b": ");
    if trusts {
        for told in fields.get_all(name).filter(|told| !told.is_empty()) {
            out.extend_from_slice(told);
            out.extend_from_slice(b", ");
        }
    }
    out.extend_from_slice(own);
    out.extend_from_slice(b"\r\n");
}

fn fate_of(name: &str) -> Fate {
    match name {
        "host"
        | "content-length"
        | "transfer-encoding"
        | "connection"
        | "keep-alive"
        | "proxy-connection"
        | "proxy-authorization"
        | "proxy-authenticate"
        | "te"
        | "trailer"
        | "upgrade"
        | "http2-settings"
        | "expect" => Fate::Stays,
        // RFC 9440 §4: only who ends the client's TLS may speak of its certificate.
        "forwarded" | "x-real-ip" | "client-cert" | "client-cert-chain" => Fate::Told,
        other if other.starts_with("x-forwarded-") => Fate::Told,
        _ => Fate::Passes,
    }
}

/// Appends a part of a target with everything encoded that is not ASCII, or is one of `more`: a server may take such bytes for something else.
fn encode(text: &str, more: &[u8], out: &mut Vec<u8>) {
    for &byte in text.as_bytes() {
        if byte.is_ascii() && !more.contains(&byte) {
            out.push(byte);
        } else {
            out.extend_from_slice(&[b'%', DIGITS[usize::from(byte >> 4)], DIGITS[usize::from(byte & 15)]]);
        }
    }
}
