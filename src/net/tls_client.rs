//! TLS as the client, with the roots that Mozilla ships.

use std::cell::RefCell;
use std::io;
use std::sync::{Arc, OnceLock};

use futures_rustls::TlsConnector;
use futures_rustls::pki_types::ServerName;
use futures_rustls::rustls::crypto::ring;
use futures_rustls::rustls::{ClientConfig, RootCertStore};

use super::{Socket, Stream};

/// What all connections share: made at the first one, for it takes a while and some memory.
fn configuration() -> io::Result<Arc<ClientConfig>> {
    static SHARED: OnceLock<Arc<ClientConfig>> = OnceLock::new();
    if let Some(shared) = SHARED.get() {
        return Ok(shared.clone());
    }
    let roots = RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() };
    let configuration = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(io::Error::other)?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(SHARED.get_or_init(|| Arc::new(configuration)).clone())
}

/// Speaks TLS over a connected socket, with a server whose certificate is for `name` (a host name or an IP address). The caller bounds the time.
///
/// # Errors
/// What the socket or TLS says: above all a certificate that is not to be trusted.
pub async fn connect_tls(socket: Socket, name: &str) -> io::Result<Stream> {
    let name = ServerName::try_from(name.to_owned()).map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error))?;
    let stream = TlsConnector::from(configuration()?).connect(name, socket).await?;
    Ok(Stream::TlsClient(RefCell::new(Box::new(stream))))
}
