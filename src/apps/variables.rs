//! What a program is told about a request: the meta-variables of CGI (RFC 3875 §4.1), which FastCGI applications get as parameters.

use std::borrow::Cow;

use crate::codec::http::RequestHead;
use crate::net::{ClientCertificate, ClientName, Peer};
use crate::request::Request;

/// Names and values.
pub(super) type Variables = Vec<(Cow<'static, str>, Vec<u8>)>;

/// Which program a request is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Script {
    /// The directory, without a slash at its end.
    pub(super) root: String,
    /// The program's path below it, decoded, without slashes at its ends.
    pub(super) path: String,
    /// What follows that in the request's path, decoded: empty, or it begins with a slash.
    pub(super) info: String,
}

impl Script {
    /// The file.
    pub(super) fn file(&self) -> String {
        format!("{}/{}", self.root, self.path)
    }
}

/// Fields that speak of the connection to us, or that a program could take for something else: `Proxy` would become `HTTP_PROXY`, by which many
/// libraries choose whom they send their own requests to (httpoxy, CVE-2016-5385).
const KEPT_BACK: [&str; 10] =
    ["proxy", "content-type", "content-length", "connection", "keep-alive", "transfer-encoding", "te", "trailer", "upgrade", "expect"];

/// What a front may know of the client and we do not.
const OF_THE_FRONT: [&str; 4] = ["AUTH_TYPE", "REMOTE_USER", "REMOTE_IDENT", "REMOTE_HOST"];

/// The variables of a request for `script`, whose body has `length` bytes; with `authorization` the client's credentials are among them.
pub(super) fn variables(request: &Request, script: &Script, length: Option<u64>, authorization: bool) -> Variables {
    let mut all = Variables::with_capacity(40);
    let mut push = |name: &'static str, value: &str| all.push((name.into(), value.as_bytes().to_vec()));
    let (head, origin) = (&request.head, &request.origin);
    push("GATEWAY_INTERFACE", "CGI/1.1");
    push("SERVER_SOFTWARE", concat!("skep/", env!("CARGO_PKG_VERSION")));
    push("SERVER_PROTOCOL", head.version.as_str());
    push("REQUEST_METHOD", head.method.as_str());
    push("REQUEST_URI", head.target());
    push("REQUEST_SCHEME", if origin.secure { "https" } else { "http" });
    push("QUERY_STRING", head.query().unwrap_or_default());
    if origin.secure {
        push("HTTPS", "on");
    }
    let decoded = |path: &str| crate::codec::percent::decode_path(path).map(Cow::into_owned);
    push("SCRIPT_NAME", &format!("{}/{}", decoded(request.base()).unwrap_or_default(), script.path));
    push("SCRIPT_FILENAME", &script.file());
    push("DOCUMENT_ROOT", &script.root);
    // php-cgi runs nothing without it: it is how it knows that a server has called it.
    push("REDIRECT_STATUS", "200");
    if !script.info.is_empty() {
        push("PATH_INFO", &script.info);
        push("PATH_TRANSLATED", &format!("{}{}", script.root, script.info));
    }
    let address = |peer: &Peer| peer.ip().map(|ip| ip.to_string());
    let local = address(&origin.local);
    push("SERVER_NAME", head.host().or(local.as_deref()).unwrap_or("localhost"));
    let port = origin.local.port().unwrap_or(if origin.secure { 443 } else { 80 });
    push("SERVER_PORT", &port.to_string());
    if let Some(local) = &local {
        push("SERVER_ADDR", local);
    }
    push("REMOTE_ADDR", address(&origin.peer).as_deref().unwrap_or("unix:"));
    // What a proxy tells of its client is mostly without a port.
    if let Some(port) = origin.peer.port().filter(|&port| port > 0) {
        push("REMOTE_PORT", &port.to_string());
    }
    // A body of no bytes is told where the client told of it (§4.1.2).
    if let Some(length) = length.filter(|&length| length > 0 || head.fields.contains("content-length")) {
        push("CONTENT_LENGTH", &length.to_string());
    }
    if let Some(kind) = head.fields.get("content-type") {
        all.push(("CONTENT_TYPE".into(), kind.to_vec()));
    }
    // Whom the front knows is nobody here where the route has asked for a password itself.
    if let Some(user) = &request.user {
        all.push(("AUTH_TYPE".into(), b"Basic".to_vec()));
        all.push(("REMOTE_USER".into(), user.as_bytes().to_vec()));
    }
    for name in OF_THE_FRONT {
        let ours = request.user.is_some() && matches!(name, "AUTH_TYPE" | "REMOTE_USER");
        if !ours && let Some(value) = origin.parameters.get(name) {
            all.push((name.into(), value.to_vec()));
        }
    }
    match &origin.certificate {
        Some(certificate) => push_certificate(certificate, &mut all),
        // Ours is the word where the client has come to us. Headers have `HTTP_` in front, so these can be of a front alone.
        None => match origin.parameters.iter().filter(|(name, _)| name.starts_with(OF_CERTIFICATES)) {
            told if origin.parameters.get("SSL_CLIENT_VERIFY").is_some() => {
                all.extend(told.map(|(name, value)| (name.to_owned().into(), value.to_vec())));
            }
            _ if origin.secure => all.push(("SSL_CLIENT_VERIFY".into(), b"NONE".to_vec())),
            _ => {}
        },
    }
    push_fields(head, authorization, &mut all);
    all
}

/// How the names of variables about the client's certificate begin.
const OF_CERTIFICATES: &str = "SSL_CLIENT_";

/// What Apache's mod_ssl tells of the client's certificate, under its names; the fingerprint is what others add to it.
fn push_certificate(certificate: &ClientCertificate, all: &mut Variables) {
    let mut push = |name: Cow<'static, str>, value: &str| all.push((name, value.as_bytes().to_vec()));
    push("SSL_CLIENT_VERIFY".into(), "SUCCESS");
    push("SSL_CLIENT_S_DN".into(), &certificate.subject);
    push("SSL_CLIENT_S_DN_CN".into(), &certificate.common_name);
    push("SSL_CLIENT_I_DN".into(), &certificate.issuer);
    push("SSL_CLIENT_M_SERIAL".into(), &certificate.serial.to_ascii_uppercase());
    push("SSL_CLIENT_V_START".into(), &openssl_date(certificate.begins));
    push("SSL_CLIENT_V_END".into(), &openssl_date(certificate.ends));
    push("SSL_CLIENT_FINGERPRINT".into(), &certificate.fingerprint);
    push("SSL_CLIENT_CERT".into(), &certificate.pem());
    let mut counts = [0_usize; 2];
    for name in &certificate.names {
        let (kind, count) = match name {
            ClientName::Dns(_) => ("DNS", &mut counts[0]),
            ClientName::Email(_) => ("Email", &mut counts[1]),
            ClientName::Address(_) | ClientName::Uri(_) => continue,
        };
        push(format!("SSL_CLIENT_SAN_{kind}_{count}").into(), name.as_str());
        *count += 1;
    }
}

/// A moment as OpenSSL prints it: `Nov  8 09:10:11 2026 GMT`.
fn openssl_date(seconds: u64) -> String {
    let moment = jiff::Timestamp::from_second(i64::try_from(seconds).unwrap_or(i64::MAX)).unwrap_or(jiff::Timestamp::MAX);
    moment.strftime("%b %e %H:%M:%S %Y GMT").to_string()
}

/// The header fields. A name with other characters than letters, digits and hyphens is left out: `X_A` must not pass for `X-A`, which a front may
/// have checked. Fields of one name become one, their values in a list.
fn push_fields(head: &RequestHead, authorization: bool, all: &mut Variables) {
    let first = all.len();
    for (name, value) in head.fields.iter() {
        let plain = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
        if !plain || KEPT_BACK.contains(&name) || (name.ends_with("authorization") && !authorization) {
            continue;
        }
        let variable = format!("HTTP_{}", name.to_ascii_uppercase().replace('-', "_"));
        match all[first..].iter_mut().find(|(known, _)| *known == variable) {
            Some((_, values)) => {
                values.extend_from_slice(if name == "cookie" { b"; " } else { b", " });
                values.extend_from_slice(value);
            }
            None => all.push((variable.into(), value.to_vec())),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::rc::Rc;

    use super::*;
    use crate::codec::http::{Method, Version};
    use crate::request::{Body, Onward, Origin, Parameters, RequestId};

    fn told(fields: &[(&str, &str)], authorization: bool, length: Option<u64>) -> BTreeMap<String, String> {
        let mut head = RequestHead::new(Method::Post, "/b%20c/a.py/x%20y?q=%20", Version::Http11).unwrap();
        for (name, value) in fields {
            head.fields.push(name, value).unwrap();
        }
        let mut parameters = Parameters::default();
        parameters.push("REMOTE_USER", b"kim");
        parameters.push("LD_PRELOAD", b"/evil.so");
        let ends = ["192.0.2.1:1234", "[::1]:443"].map(|address| Peer::Ip(address.parse().unwrap()));
        let [peer, local] = ends;
        let origin = Origin { secure: true, parameters, ..Origin::new(peer, local, "web".into()) };
        let request = Request {
            id: RequestId(1),
            head,
            body: Body::empty(),
            origin: Rc::new(origin),
            base_length: "/b%20c".len(),
            uploads: Rc::default(),
            onward: Onward::default(),
            user: None,
        };
        let script = Script { root: "/srv".into(), path: "a.py".into(), info: "/x y".into() };
        let text = |(name, value): (Cow<'_, str>, Vec<u8>)| (name.into_owned(), String::from_utf8(value).unwrap());
        let all = variables(&request, &script, length, authorization);
        let count = all.len();
        let map: BTreeMap<_, _> = all.into_iter().map(text).collect();
        assert_eq!(map.len(), count, "every name once");
        map
    }

    #[test]
    fn the_request_is_told_and_nothing_else() {
        let told = told(&[("Content-Type", "text/plain"), ("X-A", "1")], false, Some(5));
        for (name, value) in [
            ("REQUEST_METHOD", "POST"),
            ("REQUEST_URI", "/b%20c/a.py/x%20y?q=%20"),
            ("QUERY_STRING", "q=%20"),
            ("SCRIPT_NAME", "/b c/a.py"),
            ("SCRIPT_FILENAME", "/srv/a.py"),
            ("PATH_INFO", "/x y"),
            ("PATH_TRANSLATED", "/srv/x y"),
            ("SERVER_NAME", "::1"),
            ("SERVER_PORT", "443"),
            ("REMOTE_ADDR", "192.0.2.1"),
            ("REMOTE_USER", "kim"),
            ("HTTPS", "on"),
            ("CONTENT_TYPE", "text/plain"),
            ("CONTENT_LENGTH", "5"),
            ("HTTP_X_A", "1"),
        ] {
            assert_eq!(told.get(name).map(String::as_str), Some(value), "{name}");
        }
        assert!(!told.contains_key("LD_PRELOAD") && !told.contains_key("HTTP_CONTENT_TYPE"));
    }

    #[test]
    fn fields_cannot_pass_for_others() {
        let fields =
            [("Proxy", "http://evil"), ("X_A", "2"), ("X-A", "1"), ("X-A", "3"), ("Cookie", "a=1"), ("Cookie", "b=2"), ("X.B", "4")];
        let told = told(&[&fields[..], &[("Authorization", "Basic eA=="), ("Proxy-Authorization", "x")]].concat(), false, None);
        let http: Vec<_> = told.iter().filter(|(name, _)| name.starts_with("HTTP_")).map(|(name, value)| (&**name, &**value)).collect();
        assert_eq!(http, [("HTTP_COOKIE", "a=1; b=2"), ("HTTP_X_A", "1, 3")]);
        assert!(!told.contains_key("CONTENT_LENGTH"));
    }

    #[test]
    fn certificates_of_clients_are_told_under_the_usual_names() {
        let key = rcgen::KeyPair::generate().unwrap();
        let mut params = rcgen::CertificateParams::new(vec!["one.test".to_owned(), "two.test".to_owned()]).unwrap();
        params.distinguished_name = rcgen::DistinguishedName::new();
        params.distinguished_name.push(rcgen::DnType::CommonName, "kim");
        params.serial_number = Some(rcgen::SerialNumber::from(0xab_u64));
        params.not_before = rcgen::date_time_ymd(2026, 11, 8);
        let made = params.self_signed(&key).unwrap();
        let mut all = Variables::new();
        push_certificate(&ClientCertificate::read(made.der()).unwrap(), &mut all);
        let text = |(name, value): &(Cow<'_, str>, Vec<u8>)| (name.to_string(), String::from_utf8(value.clone()).unwrap());
        let all: BTreeMap<_, _> = all.iter().map(text).collect();
        for (name, value) in [
            ("VERIFY", "SUCCESS"),
            ("S_DN", "CN=kim"),
            ("S_DN_CN", "kim"),
            ("I_DN", "CN=kim"),
            ("M_SERIAL", "AB"),
            ("V_START", "Nov  8 00:00:00 2026 GMT"),
            ("SAN_DNS_0", "one.test"),
            ("SAN_DNS_1", "two.test"),
        ] {
            assert_eq!(all.get(&format!("SSL_CLIENT_{name}")).map(String::as_str), Some(value), "{name}");
        }
        assert!(all["SSL_CLIENT_CERT"].starts_with("-----BEGIN CERTIFICATE-----\n"));
    }

    #[test]
    fn credentials_and_empty_bodies_are_told_where_they_should_be() {
        let told = told(&[("Authorization", "Basic eA=="), ("Content-Length", "0")], true, Some(0));
        assert_eq!(told.get("HTTP_AUTHORIZATION").map(String::as_str), Some("Basic eA=="));
        assert_eq!(told.get("CONTENT_LENGTH").map(String::as_str), Some("0"));
    }
}
