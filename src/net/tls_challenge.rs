//! The proof, within a handshake, that a name leads here (RFC 8737).

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;

use futures_rustls::pki_types::{CertificateDer, PrivateKeyDer};
use futures_rustls::rustls::ServerConfig;
use futures_rustls::rustls::crypto::ring;
use futures_rustls::rustls::server::ClientHello;
use futures_rustls::rustls::sign::{CertifiedKey, SingleCertAndKey};
use rcgen::{CertificateParams, CustomExtension, DistinguishedName, KeyPair};
use sha2::{Digest, Sha256};

/// What an authority asks to speak that wants to see the proof, and nothing else beside it.
const PROTOCOL: &[u8] = b"acme-tls/1";

/// Who knows the proofs.
pub trait Proofs {
    /// The key authorization (RFC 8555 §8.1) that is the proof for a name; `None` when no certificate is ordered for it now.
    fn proof(&self, name: String) -> Pin<Box<dyn Future<Output = Option<String>>>>;
}

/// The name whose proof a client asks for; `None` when it asks for something else.
pub(super) fn asked(hello: &ClientHello<'_>) -> Option<String> {
    let mut protocols = hello.alpn()?;
    (protocols.next() == Some(PROTOCOL) && protocols.next().is_none()).then(|| hello.server_name().unwrap_or_default().to_ascii_lowercase())
}

/// What shows the proof: a certificate of its own for exactly this name, with the digest of the authorization in it (§3).
///
/// # Errors
/// The name cannot be in a certificate, or there are no random bytes.
pub(super) fn config(name: String, authorization: &str) -> io::Result<Arc<ServerConfig>> {
    let key = KeyPair::generate().map_err(io::Error::other)?;
    let mut params = CertificateParams::new(vec![name]).map_err(io::Error::other)?;
    params.distinguished_name = DistinguishedName::new();
    params.custom_extensions = vec![CustomExtension::new_acme_identifier(&Sha256::digest(authorization))];
    let certificate: CertificateDer<'static> = params.self_signed(&key).map_err(io::Error::other)?.into();
    let key = PrivateKeyDer::try_from(key.serialize_der()).map_err(io::Error::other)?;
    let key = ring::sign::any_supported_type(&key).map_err(io::Error::other)?;
    // Not checked whether the two belong together: the check refuses the extension, which is critical and which only authorities know.
    let certified = SingleCertAndKey::from(CertifiedKey::new(vec![certificate], key));
    let mut config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(io::Error::other)?
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(certified));
    config.alpn_protocols = vec![PROTOCOL.to_vec()];
    Ok(Arc::new(config))
}
