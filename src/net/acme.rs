//! Certificates that an authority gives out by ACME (RFC 8555): which, by whom, and the files in which they are kept.

use std::fs::{self, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// A file larger than this is no certificate with its key, bytes.
const LARGEST: u64 = 1 << 20;
/// So much of a name is in the name of its file, characters.
const LONGEST_NAME: usize = 100;
/// Bytes of a digest that tell files apart.
const DIGEST: usize = 8;

/// A certificate that is ordered, kept and renewed without anybody's doing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Acme {
    /// The names that the certificate is for. Each must lead to this machine; no wildcards, no addresses.
    pub domains: Vec<String>,
    /// Whom the authority tells what concerns the account: `mailto:` and an address.
    pub contact: Option<String>,
    /// The authority's directory (RFC 8555 §7.1.1).
    pub directory: String,
    /// How it is shown that the names lead here.
    pub challenge: Challenge,
    /// You agree to the authority's terms of service. Without that it gives no certificate.
    pub agree: bool,
    /// PEM file with the authorities that the directory's own certificate is of; without it, the public ones.
    pub roots: Option<PathBuf>,
}

impl Default for Acme {
    fn default() -> Self {
        Self {
            domains: Vec::new(),
            contact: None,
            directory: "https://acme-v02.api.letsencrypt.org/directory".to_owned(),
            challenge: Challenge::default(),
            agree: false,
            roots: None,
        }
    }
}

/// How it is shown that names lead here.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Challenge {
    /// The authority asks for a file over HTTP, on port 80 (RFC 8555 §8.3). Every server of the kind `Http` answers.
    #[default]
    Http01,
    /// The authority asks within a TLS handshake, on port 443 (RFC 8737). Every server with TLS answers.
    TlsAlpn01,
}

impl Challenge {
    /// As authorities call it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Http01 => "http-01",
            Self::TlsAlpn01 => "tls-alpn-01",
        }
    }

    /// The port on which they ask.
    #[must_use]
    pub fn port(self) -> u16 {
        match self {
            Self::Http01 => 80,
            Self::TlsAlpn01 => 443,
        }
    }
}

impl Acme {
    /// The file of the certificate, its intermediates and its key below a data directory: one, so that they are always of one another.
    #[must_use]
    pub fn certificate_file(&self, data: &Path) -> PathBuf {
        let mut of = vec![self.directory.as_str()];
        of.extend(self.domains.iter().map(String::as_str));
        // The digest tells them apart; the name is for people, and a file's may not be as long as a host's.
        let first: String = self.domains.first().map_or("none", String::as_str).chars().take(LONGEST_NAME).collect();
        data.join("acme").join(format!("{first}-{}.pem", digest(&of)))
    }

    /// The file of the account's key: one for each authority and contact.
    #[must_use]
    pub fn account_file(&self, data: &Path) -> PathBuf {
        data.join("acme").join(format!("account-{}.key", digest(&[&self.directory, self.contact.as_deref().unwrap_or_default()])))
    }
}

fn digest(parts: &[&str]) -> String {
    let digest = Sha256::digest(parts.join("\n"));
    digest.iter().take(DIGEST).map(|byte| format!("{byte:02x}")).collect()
}

/// The text of such a file; `None` when there is none.
///
/// Who reads it may be root, and who wrote it is not: a name in its place that leads to what only root may read is refused.
///
/// # Errors
/// It cannot be read, is too large, or is not its directory's owner's.
pub fn stored(path: &Path) -> io::Result<Option<String>> {
    let file = match OpenOptions::new().read(true).custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK).open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let (metadata, directory) = (file.metadata()?, fs::metadata(path.parent().unwrap_or(path))?);
    if !metadata.is_file() || metadata.uid() != directory.uid() {
        return Err(io::Error::new(io::ErrorKind::PermissionDenied, "it is no file of its directory's owner"));
    }
    let mut text = String::new();
    file.take(LARGEST + 1).read_to_string(&mut text)?;
    if text.len() as u64 > LARGEST {
        return Err(io::ErrorKind::FileTooLarge.into());
    }
    Ok(Some(text))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn other_names_and_authorities_have_other_files() {
        let data = Path::new("/data");
        let one = Acme { domains: vec!["a.test".into()], ..Acme::default() };
        let more = Acme { domains: vec!["a.test".into(), "b.test".into()], ..one.clone() };
        let elsewhere = Acme { directory: "https://b.test/".into(), ..one.clone() };
        let files = [&one, &more, &elsewhere].map(|acme| acme.certificate_file(data));
        assert!(files[0].to_str().is_some_and(|file| file.starts_with("/data/acme/a.test-")), "{files:?}");
        assert!(files[0] != files[1] && files[0] != files[2] && files[1] != files[2], "{files:?}");
        assert_eq!(one.account_file(data), more.account_file(data));
        assert_ne!(one.account_file(data), elsewhere.account_file(data));
    }

    #[test]
    fn links_are_not_followed() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        fs::write(path("file"), "text").unwrap();
        symlink(path("file"), path("link")).unwrap();
        assert_eq!(stored(&path("file")).unwrap().as_deref(), Some("text"));
        assert_eq!(stored(&path("none")).unwrap(), None);
        assert!(stored(&path("link")).is_err());
        assert!(stored(folder.path()).is_err());
    }
}
