//! Certificates by ACME: what an authority would refuse is refused here.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::path::Path;

use super::Checker;
use crate::clients::http::Url;
use crate::config::ordered;
use crate::config::settings::Settings;
use crate::config::tree::Place;
use crate::config::written::Server;
use crate::net::Address;
use crate::net::acme::{Acme, Challenge};
use crate::net::placeholder::placeholder;
use crate::net::tls_server;
use crate::secret::Secret;

/// Names in one certificate that authorities allow.
const MOST_NAMES: usize = 100;
impl Checker<'_> {
    /// What is ordered, and from whom.
    pub(super) fn acme(&mut self, place: &Place, mut acme: Acme) -> Acme {
        if !acme.agree {
            self.error(
                &place.name("agree"),
                "an authority gives certificates only to who agrees to its terms of service (its directory says where they are): `agree: true`",
            );
        }
        let domains = place.name("domains");
        if acme.domains.is_empty() || acme.domains.len() > MOST_NAMES {
            self.error(&domains, format!("a certificate is for 1 to {MOST_NAMES} names: `domains: [\"example.com\"]`"));
        }
        let mut seen = BTreeSet::new();
        for (index, name) in acme.domains.iter_mut().enumerate() {
            *name = name.to_ascii_lowercase();
            let wrong = wrong_name(name).or_else(|| (!seen.insert(name.clone())).then(|| "it stands here twice".to_owned()));
            if let Some(wrong) = wrong {
                self.error(&domains.index(index), format!("{name}: {wrong}"));
            }
        }
        if let Some(contact) = &acme.contact
            && !contact.strip_prefix("mailto:").is_some_and(|address| address.contains('@') && !address.contains([',', '?', ' ']))
        {
            self.error(&place.name("contact"), "it is `mailto:` and one address, such as mailto:you@example.com");
        }
        match Url::parse(&acme.directory) {
            Ok(url) if url.is_secure() && url.socket().is_none() => {}
            Ok(_) => self.error(&place.name("directory"), "an authority is spoken with over https only"),
            Err(error) => self.error(&place.name("directory"), error.to_string()),
        }
        if let Some(roots) = acme.roots.take() {
            let at = place.name("roots");
            let (path, text) = self.secret(&at, &roots);
            if let Some(Err(error)) = text.map(|text| tls_server::check_authorities(&text)) {
                self.error(&at, format!("{}: {error}", path.display()));
            }
            acme.roots = Some(path);
        }
        acme
    }

    /// The certificate itself, as far as there is one.
    pub(super) fn ordered(&mut self, place: &Place, acme: &Acme, file: &Path) {
        let text = ordered::identity(file, acme).or_else(|why| {
            self.warning(place, format!("{why}; until another is there, clients are shown one that they do not trust"));
            placeholder(&acme.domains)
        });
        // Names that cannot be in a certificate were reported.
        if let Ok(text) = text {
            self.secrets.insert(file.to_owned(), Secret::new(text));
        }
    }

    /// Authorities ask on one port only, for each way of asking.
    pub(super) fn way_of_challenges(&mut self, settings: &Settings) {
        let listens = |server: &Server, port: u16| {
            server.listen().iter().any(|address| matches!(address, Address::Tcp(address) if address.port() == port))
        };
        let answers = |server: &Server, way: Challenge| {
            let speaks = match way {
                Challenge::Http01 => matches!(server, Server::Http(_)) && server.tls().is_none(),
                Challenge::TlsAlpn01 => server.tls().is_some(),
            };
            speaks && listens(server, way.port())
        };
        for (name, server) in &settings.servers {
            let Some(acme) = server.tls().and_then(|tls| tls.acme.as_ref()) else { continue };
            let way = acme.challenge;
            if settings.servers.values().any(|server| answers(server, way)) {
                continue;
            }
            let who = match way {
                Challenge::Http01 => "no server of the kind `Http`",
                Challenge::TlsAlpn01 => "no server with TLS",
            };
            self.warning(
                &Place::top().name("servers").name(name.as_str()).name("tls").name("acme"),
                format!("the authority will ask on port {}, where {who} listens here: another must pass its questions on", way.port()),
            );
        }
    }
}

/// Why an authority would not take a name for this challenge.
fn wrong_name(name: &str) -> Option<String> {
    let label = |label: &str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    if name.trim_matches(['[', ']']).parse::<IpAddr>().is_ok() {
        Some("a certificate for an address cannot be ordered, only for names".to_owned())
    } else if name.starts_with("*.") {
        Some("a wildcard cannot be shown to lead here by the challenges Http01 and TlsAlpn01: name each host".to_owned())
    } else if name.len() > 253 || !name.contains('.') || !name.split('.').all(label) {
        Some("it is no public host name (letters, digits, `-` and dots; others in their form with `xn--`)".to_owned())
    } else {
        None
    }
}
