//! What a client's certificate says of the client (RFC 5280), once its authority was found to be one of ours.

use std::fmt::{self, Write};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest, Sha256};
use x509_cert::certificate::{CertificateInner, Raw};
use x509_cert::der::Decode;
use x509_cert::ext::pkix::SubjectAltName;
use x509_cert::ext::pkix::name::GeneralName;

use super::certificate;

/// The certificate of a client, verified in the handshake.
#[derive(Clone, PartialEq, Eq)]
pub struct ClientCertificate {
    /// Whom it is for, as RFC 4514 writes it: `CN=kim,O=Example`.
    pub subject: String,
    /// The first common name of the subject; empty when it has none.
    pub common_name: String,
    /// The authority, as RFC 4514 writes it.
    pub issuer: String,
    /// The number that the authority gave it, in hexadecimal.
    pub serial: String,
    /// The names it is for (§4.2.1.6).
    pub names: Vec<ClientName>,
    /// SHA-256 of the whole, in hexadecimal.
    pub fingerprint: String,
    /// The first second in which it holds, since the Unix epoch.
    pub begins: u64,
    /// The last one.
    pub ends: u64,
    der: Box<[u8]>,
}

/// A name in the certificate of a client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ClientName {
    /// Of a host, lower-case.
    Dns(String),
    /// An IP address.
    Address(String),
    /// An address of electronic mail.
    Email(String),
    /// A URI, such as those of SPIFFE.
    Uri(String),
}

impl ClientName {
    /// The name itself.
    #[must_use]
    pub fn as_str(&self) -> &str {
        let (Self::Dns(name) | Self::Address(name) | Self::Email(name) | Self::Uri(name)) = self;
        name
    }
}

impl ClientCertificate {
    /// Reads a certificate in DER. `None` where something in it is not written as it must be.
    #[must_use]
    pub fn read(der: &[u8]) -> Option<Self> {
        let read = CertificateInner::<Raw>::from_der(der).ok()?;
        let content = read.tbs_certificate();
        let names = match content.get_extension::<SubjectAltName>().ok()? {
            Some((_, SubjectAltName(names))) => names.iter().filter_map(name).collect(),
            None => Vec::new(),
        };
        let subject = content.subject();
        Some(Self {
            subject: subject.to_string(),
            common_name: subject.common_name().ok().flatten().map(|name| plain(&name.value())).unwrap_or_default(),
            issuer: content.issuer().to_string(),
            serial: serial(content.serial_number().as_bytes()),
            names,
            fingerprint: hex(&Sha256::digest(der)),
            begins: content.validity().not_before.to_unix_duration().as_secs(),
            ends: content.validity().not_after.to_unix_duration().as_secs(),
            der: der.into(),
        })
    }

    /// The whole of it as a text (RFC 7468).
    #[must_use]
    pub fn pem(&self) -> String {
        let body = self.base64();
        let mut text = String::with_capacity(body.len() + body.len() / 64 + 64);
        text.push_str("-----BEGIN CERTIFICATE-----\n");
        for line in body.as_bytes().chunks(64) {
            text.extend(line.iter().map(|&byte| char::from(byte)));
            text.push('\n');
        }
        text.push_str("-----END CERTIFICATE-----\n");
        text
    }

    /// The whole of it, in DER, as base64.
    #[must_use]
    pub fn base64(&self) -> String {
        STANDARD.encode(&self.der)
    }
}

impl fmt::Debug for ClientCertificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientCertificate").field("subject", &self.subject).field("fingerprint", &self.fingerprint).finish_non_exhaustive()
    }
}

fn name(name: &GeneralName) -> Option<ClientName> {
    match name {
        GeneralName::DnsName(_) => certificate::name(name).map(|name| ClientName::Dns(plain(&name))),
        GeneralName::IpAddress(_) => certificate::name(name).map(ClientName::Address),
        GeneralName::Rfc822Name(name) => Some(ClientName::Email(plain(name.as_str()))),
        GeneralName::UniformResourceIdentifier(name) => Some(ClientName::Uri(plain(name.as_str()))),
        _ => None,
    }
}

/// Without characters that end a line or a text where it goes.
fn plain(text: &str) -> String {
    text.replace(char::is_control, "\u{fffd}")
}

/// As people write it: a byte that only says that the number is not negative is none of it.
fn serial(bytes: &[u8]) -> String {
    hex(match bytes {
        [0, rest @ ..] if !rest.is_empty() => rest,
        bytes => bytes,
    })
}

fn hex(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len() * 2);
    for byte in bytes {
        let _ = write!(text, "{byte:02x}");
    }
    text
}

#[cfg(test)]
mod tests {
    use rcgen::string::Ia5String;
    use rcgen::{CertificateParams, DnType, KeyPair, SanType, SerialNumber};

    use super::*;

    #[test]
    fn what_it_says_is_read() {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(vec!["Client.Test".to_owned(), "192.0.2.1".to_owned()]).unwrap();
        params.distinguished_name.push(DnType::OrganizationName, "A, B");
        params.distinguished_name.push(DnType::CommonName, "k\u{ed}m\r\nX: y");
        params.subject_alt_names.push(SanType::Rfc822Name(Ia5String::try_from("kim@client.test").unwrap()));
        params.subject_alt_names.push(SanType::URI(Ia5String::try_from("spiffe://test/kim").unwrap()));
        params.serial_number = Some(SerialNumber::from(0x1234_u64));
        let made = params.self_signed(&key).unwrap();
        let read = ClientCertificate::read(made.der()).unwrap();
        assert!(read.subject.contains("O=A\\, B") && read.subject.contains("CN=k\u{ed}m\\0d\\0aX: y"), "{}", read.subject);
        assert_eq!((read.common_name.as_str(), &read.issuer), ("k\u{ed}m\u{fffd}\u{fffd}X: y", &read.subject));
        assert_eq!((read.serial.as_str(), read.fingerprint.len()), ("1234", 64));
        let names: Vec<_> = read.names.iter().map(ClientName::as_str).collect();
        assert_eq!(names, ["client.test", "192.0.2.1", "kim@client.test", "spiffe://test/kim"]);
        assert_eq!(read.pem().replace("\r\n", "\n").trim(), made.pem().replace("\r\n", "\n").trim());
        for at in 0..made.der().len() {
            assert_eq!(ClientCertificate::read(&made.der()[..at]), None, "{at}");
        }
    }
}
