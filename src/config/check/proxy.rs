//! Proxies: addresses that are some, and limits that leave room.

use super::Checker;
use crate::apps::proxy::config::{Balance, HashKey, HostField, Proxy};
use crate::codec::http::authority;
use crate::codec::http::fields::check_field;
use crate::config::tree::Place;
use crate::units::HumanDuration;

/// Fields that a proxy writes for other ends.
const NOT_OF_CERTIFICATES: [&str; 10] = [
    "host",
    "connection",
    "content-length",
    "transfer-encoding",
    "upgrade",
    "forwarded",
    "x-forwarded-for",
    "x-forwarded-host",
    "x-forwarded-prefix",
    "x-forwarded-proto",
];

impl Checker<'_> {
    /// Makes paths of sockets and files absolute.
    pub(super) fn proxy(&mut self, place: &Place, proxy: Proxy) -> Proxy {
        let mut proxy = proxy;
        if proxy.to.is_empty() {
            self.error_with(place, "a proxy needs servers: `to`", Some("as in Proxy(to: [\"http://127.0.0.1:3000\"])".to_owned()));
        }
        let weighted: Vec<String> = proxy.weights.keys().cloned().collect();
        for text in weighted {
            let at = place.name("weights").name(text.as_str());
            if !proxy.to.contains(&text) && !proxy.backup.contains(&text) {
                self.error(&at, format!("{text:?} is not written like this in `to` or `backup`"));
            }
            self.within(&at, proxy.weights[&text], 1, 1000);
        }
        let weights = std::mem::take(&mut proxy.weights);
        let mut seen = Vec::new();
        for (name, texts) in [("to", &mut proxy.to), ("backup", &mut proxy.backup)] {
            for (index, text) in texts.iter_mut().enumerate() {
                let at = place.name(name).index(index);
                let weight = weights.get(text).copied();
                if let Some(path) = text.strip_prefix("unix:") {
                    let path = self.absolute(&at, path.as_ref());
                    self.inside_chroot(&at, &path);
                    *text = format!("unix:{}", path.display());
                }
                if let Some(weight) = weight {
                    proxy.weights.insert(text.clone(), weight);
                }
                match Proxy::url(text) {
                    Ok(url) if url.target().contains('?') => self.error(&at, "the address of a server has no query"),
                    Ok(_) if seen.contains(text) => self.error(&at, format!("{text} is there twice: give it more `weights`")),
                    Ok(_) => seen.push(text.clone()),
                    Err(error) => self.error_with(&at, error.to_string(), meant(text)),
                }
            }
        }
        if let Some(authorities) = &proxy.authorities {
            let path = self.file_to_read(&place.name("authorities"), authorities, true);
            proxy.authorities = Some(path);
        }
        for (index, path) in proxy.sendfile_roots.iter_mut().enumerate() {
            *path = self.directory_to_read(&place.name("sendfile_roots").index(index), path);
        }
        if let HostField::Name(name) = &proxy.host
            && authority::parse(name.as_bytes()).is_none()
        {
            self.error(&place.name("host"), format!("{name:?} is no host"));
        }
        if let Balance::Hash(HashKey::Header(name)) = &proxy.balance
            && (name.is_empty() || !name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte)))
        {
            self.error(&place.name("balance"), format!("{name:?} is no name of a header field"));
        }
        for name in proxy.client_certificate.keys() {
            let plain = check_field(name.as_bytes(), b"").is_ok();
            if !plain || NOT_OF_CERTIFICATES.iter().any(|own| own.eq_ignore_ascii_case(name)) {
                self.error(&place.name("client_certificate").name(name.as_str()), format!("{name:?} cannot be the name of such a field"));
            }
        }
        self.limits_of_proxy(place, &proxy);
        proxy
    }

    fn limits_of_proxy(&mut self, place: &Place, proxy: &Proxy) {
        let least = HumanDuration::milliseconds(1);
        self.within(&place.name("tries"), proxy.tries, 1, 100);
        let connections = place.name("connections");
        self.at_least(&connections.name("max"), proxy.connections.max, 1);
        self.at_least(&connections.name("idle_time"), proxy.connections.idle_time, least);
        let timeouts = place.name("timeouts");
        for (name, value) in [
            ("connect", proxy.timeouts.connect),
            ("answer", proxy.timeouts.answer),
            ("between", proxy.timeouts.between),
            ("tunnel", proxy.timeouts.tunnel),
        ] {
            self.at_least(&timeouts.name(name), value, least);
        }
        let failures = place.name("failures");
        self.at_least(&failures.name("count"), proxy.failures.count, 1);
        self.at_least(&failures.name("longest"), proxy.failures.longest, proxy.failures.away);
        if let Some(check) = &proxy.check {
            let at = place.name("check");
            if !check.path.starts_with('/') || check.path.bytes().any(|byte| byte <= b' ' || byte >= 0x7f || byte == b'#') {
                self.error(&at.name("path"), format!("{:?} is no path: it begins with a slash", check.path));
            }
            self.at_least(&at.name("interval"), check.interval, HumanDuration::milliseconds(100));
            self.at_least(&at.name("timeout"), check.timeout, least);
            for (index, status) in check.status.iter().enumerate() {
                self.within(&at.name("status").index(index), *status, 200, 599);
            }
        }
    }
}

/// What was probably meant by a text that is no address of an HTTP server.
fn meant(text: &str) -> Option<String> {
    let guess = match text.split_once("://") {
        Some(("fcgi" | "fastcgi", rest)) => {
            return Some(format!("a FastCGI server has a kind of its own: FastCgiUpstream(address: {rest:?}, …)"));
        }
        Some(("wss", rest)) => format!("https://{rest}"),
        Some((_, rest)) => format!("http://{rest}"),
        None if text.starts_with(['/', '.']) => format!("unix:{text}"),
        None => {
            let rest = text.strip_prefix("http:").unwrap_or(text).trim_start_matches('/');
            let scheme = if rest.split('/').next().is_some_and(|host| host.ends_with(":443")) { "https" } else { "http" };
            format!("{scheme}://{rest}")
        }
    };
    // A path of a socket is made absolute later.
    (guess.starts_with("unix:") || (guess != text && Proxy::url(&guess).is_ok())).then(|| format!("did you mean {guess:?}?"))
}
