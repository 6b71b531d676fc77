//! TLS as the client, with the roots that Mozilla ships or with given ones.

use std::cell::RefCell;
use std::io;
use std::sync::{Arc, OnceLock};

use futures_rustls::TlsConnector;
use futures_rustls::pki_types::pem::PemObject;
use futures_rustls::pki_types::{CertificateDer, ServerName};
use futures_rustls::rustls::crypto::ring;
use futures_rustls::rustls::{CertificateError, ClientConfig, Error as TlsError, RootCertStore};

use super::{Socket, Stream};

/// Whom a client trusts, and what it offers to speak. Clones share it.
#[derive(Clone)]
pub struct TlsSettings(Arc<ClientConfig>);

impl TlsSettings {
    /// With the roots that Mozilla ships: made at the first call, for it takes a while and some memory.
    ///
    /// # Errors
    /// When the cryptography cannot be set up.
    pub fn shared() -> io::Result<TlsSettings> {
        static SHARED: OnceLock<Arc<ClientConfig>> = OnceLock::new();
        if let Some(shared) = SHARED.get() {
            return Ok(TlsSettings(shared.clone()));
        }
        let configuration = trusting(RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() })?;
        Ok(TlsSettings(SHARED.get_or_init(|| Arc::new(configuration)).clone()))
    }

    /// Trusting these certificates in PEM (RFC 7468), and no others.
    ///
    /// # Errors
    /// When the text has no certificate, or one that cannot be read.
    pub fn with_authorities(pem: &str) -> io::Result<TlsSettings> {
        let wrong = |what: &str| io::Error::new(io::ErrorKind::InvalidInput, what.to_owned());
        let mut roots = RootCertStore::empty();
        for certificate in CertificateDer::pem_slice_iter(pem.as_bytes()) {
            let certificate = certificate.map_err(|_| wrong("the authorities are not certificates in PEM"))?;
            roots.add(certificate).map_err(|_| wrong("a certificate of the authorities cannot be read"))?;
        }
        if roots.is_empty() {
            return Err(wrong("the authorities have no certificate in PEM"));
        }
        Ok(TlsSettings(Arc::new(trusting(roots)?)))
    }

    /// The same, offering this protocol (RFC 7301), such as `http/1.1`.
    #[must_use]
    pub fn offering(&self, protocol: &str) -> TlsSettings {
        let mut configuration = ClientConfig::clone(&self.0);
        configuration.alpn_protocols = vec![protocol.as_bytes().to_vec()];
        TlsSettings(Arc::new(configuration))
    }
}

fn trusting(roots: RootCertStore) -> io::Result<ClientConfig> {
    Ok(ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(io::Error::other)?
        .with_root_certificates(roots)
        .with_no_client_auth())
}

/// Speaks TLS over a connected socket, with a server whose certificate is for `name` (a host name or an IP address). The caller bounds the time.
///
/// # Errors
/// What the socket or TLS says: above all a certificate that is not to be trusted.
pub async fn connect_tls(socket: Socket, name: &str) -> io::Result<Stream> {
    connect_tls_with(socket, name, TlsSettings::shared()?).await
}

/// As [`connect_tls`], with settings of one's own.
///
/// # Errors
/// As [`connect_tls`].
pub async fn connect_tls_with(socket: Socket, name: &str, settings: TlsSettings) -> io::Result<Stream> {
    let name = ServerName::try_from(name.to_owned()).map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error))?;
    let stream = TlsConnector::from(settings.0).connect(name, socket).await.map_err(in_words)?;
    Ok(Stream::Tls(RefCell::new(Box::new(stream.into()))))
}

/// Says in words what is wrong with a certificate.
fn in_words(error: io::Error) -> io::Error {
    let Some(TlsError::InvalidCertificate(why)) = error.get_ref().and_then(|inner| inner.downcast_ref()) else { return error };
    let words = match why {
        CertificateError::UnknownIssuer => "the certificate is of no known authority".to_owned(),
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => "the certificate has expired".to_owned(),
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => "the certificate is not valid yet".to_owned(),
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
            "the certificate is for another name".to_owned()
        }
        CertificateError::Revoked => "the certificate was revoked".to_owned(),
        other => format!("the certificate is not to be trusted: {other}"),
    };
    io::Error::new(io::ErrorKind::InvalidData, words)
}
