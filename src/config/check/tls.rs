//! Certificates and keys: there, readable, and made for each other.

use std::fs;
use std::io::{self, Read};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use super::Checker;
use crate::config::tree::Place;
use crate::net::Certificate;
use crate::net::tls_files::{ClientCertificates, TlsFiles, TlsPair};
use crate::net::tls_server::{self, Identity, IdentityError};
use crate::secret::Secret;
use crate::units::HumanDuration;

/// A file larger than this is something else.
const LARGEST_PEM: u64 = 1 << 20;

impl Checker<'_> {
    /// Certificates and keys, which are read here and nowhere else.
    pub(super) fn tls(&mut self, place: &Place, tls: TlsFiles, data: &Path) -> TlsFiles {
        self.within(&place.name("handshake"), tls.handshake, HumanDuration::milliseconds(100), HumanDuration::seconds(300));
        self.at_least(&place.name("max_handshakes"), tls.max_handshakes, 1);
        let acme = tls.acme.map(|acme| self.acme(&place.name("acme"), acme));
        let (certificate, key) = match &acme {
            None => self.identity(place, &tls.certificate, &tls.key),
            Some(acme) => {
                for (name, path) in [("certificate", &tls.certificate), ("key", &tls.key)] {
                    if !path.as_os_str().is_empty() {
                        let more = "further certificates stand in `others`";
                        self.error(&place.name(name), format!("with `acme` there is no `{name}`, the authority gives it ({more})"));
                    }
                }
                let file = acme.certificate_file(data);
                self.ordered(&place.name("acme"), acme, &file);
                (file.clone(), file)
            }
        };
        let mut others = Vec::new();
        for (index, pair) in tls.others.iter().enumerate() {
            let (certificate, key) = self.identity(&place.name("others").index(index), &pair.certificate, &pair.key);
            others.push(TlsPair { certificate, key });
        }
        let clients = tls.clients.as_deref().map(|path| {
            let place = place.name("clients");
            let (path, text) = self.secret(&place, path);
            if let Some(Err(error)) = text.map(|text| tls_server::check_authorities(&text)) {
                self.error(&place, format!("{}: {error}", path.display()));
            }
            path
        });
        if clients.is_none() && tls.client_certificates == ClientCertificates::Optional {
            self.error(&place.name("client_certificates"), "it must be said of which authorities they are: `clients`");
        }
        TlsFiles { certificate, key, acme, others, clients, ..tls }
    }

    /// A certificate and its key, which must fit each other.
    fn identity(&mut self, place: &Place, certificate: &Path, key: &Path) -> (PathBuf, PathBuf) {
        let (at_certificate, at_key) = (place.name("certificate"), place.name("key"));
        let (certificate, chain) = self.secret(&at_certificate, certificate);
        let (key, secret) = self.secret(&at_key, key);
        if let (Some(chain), Some(secret)) = (&chain, &secret)
            && let Err(error) = tls_server::check(Identity { certificate: chain, key: secret })
        {
            let (at, path) = if error == IdentityError::Certificate { (at_certificate, &certificate) } else { (at_key, &key) };
            self.error(&at, format!("{}: {error}", path.display()));
            return (certificate, key);
        }
        if is_open(&key) {
            self.warning(&at_key, format!("{} can be read by everybody on this machine", key.display()));
        }
        if let Some(chain) = chain {
            let trouble = match Certificate::read(&chain) {
                Some(read) => read.trouble(SystemTime::now()),
                None => Some("has names or dates that cannot be read: when it expires is not watched".to_owned()),
            };
            if let Some(trouble) = trouble {
                self.warning(&at_certificate, format!("{} {trouble}", certificate.display()));
            }
        }
        (certificate, key)
    }

    /// Reads a file of certificates, keys, users or error pages, for the workers, which may not.
    pub(super) fn secret(&mut self, place: &Place, path: &Path) -> (PathBuf, Option<String>) {
        if path.as_os_str().is_empty() {
            self.error(place, "it must be said which file that is");
            return (PathBuf::new(), None);
        }
        let count = self.problems.len();
        let path = self.file_to_read(place, path, false);
        if self.problems.len() > count {
            return (path, None);
        }
        let text = match read_short(&path) {
            Ok(text) => text,
            Err(error) => {
                self.error(place, format!("{}: {error}", path.display()));
                return (path, None);
            }
        };
        self.secrets.insert(path.clone(), Secret::new(text.clone()));
        (path, Some(text))
    }
}

/// Reads a text of a size that certificates have.
fn read_short(path: &Path) -> io::Result<String> {
    let mut text = String::new();
    fs::File::open(path)?.take(LARGEST_PEM + 1).read_to_string(&mut text)?;
    if text.len() as u64 > LARGEST_PEM {
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, "it is larger than 1 MiB"));
    }
    Ok(text)
}

/// Whether others than owner and group may read a file.
fn is_open(path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|metadata| metadata.permissions().mode() & 0o004 != 0)
}
