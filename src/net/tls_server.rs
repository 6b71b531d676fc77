//! TLS as the server (RFC 8446, RFC 5246): certificates by the name that a client asks for, tickets that every worker opens.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::fmt;
use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_lite::AsyncWriteExt;
use futures_rustls::pki_types::pem::PemObject;
use futures_rustls::pki_types::{CertificateDer, PrivateKeyDer};
use futures_rustls::rustls::crypto::{CryptoProvider, ring};
use futures_rustls::rustls::server::{Acceptor, ClientHello, NoServerSessionStorage, ResolvesServerCert, WebPkiClientVerifier};
use futures_rustls::rustls::sign::CertifiedKey;
use futures_rustls::rustls::{Error as TlsError, HandshakeKind, RootCertStore, ServerConfig};
use futures_rustls::server::TlsStream;
use futures_rustls::{Accept, LazyConfigAcceptor, TlsAcceptor};

use super::tickets;
use super::tls_challenge::{self, Proofs};
use super::tls_files::{ClientCertificates, TlsMinimum};
use super::{Socket, Stream};
use crate::log_warn;
use crate::reactor::{self, timeout};
use crate::scoreboard::{Slot, add, subtract};

/// What a client gets that speaks HTTP where TLS is spoken.
const NO_TLS: &str = "this port speaks HTTPS: the address begins with https\n";

/// How often it is said at most that too many handshakes are under way.
const COMPLAINTS: Duration = Duration::from_mins(1);

/// How long a client has to read why there is no connection.
const LINGER: Duration = Duration::from_secs(2);

/// How much is read of what it goes on to send, bytes.
const MOST_UNHEARD: usize = 64 << 10;

/// A certificate with its intermediates, and its key, as PEM texts (RFC 7468).
#[derive(Clone, Copy)]
pub struct Identity<'a> {
    /// The certificate, then the intermediate ones.
    pub certificate: &'a str,
    /// The private key: PKCS#8, PKCS#1 or SEC1.
    pub key: &'a str,
}

/// What is wrong with an identity.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IdentityError {
    /// There is no certificate in the text, or one that cannot be read.
    Certificate,
    /// There is no private key in the text, or one of a kind that is not supported.
    Key,
    /// The key belongs to another certificate.
    Mismatch,
}

impl fmt::Display for IdentityError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Certificate => "it has no certificate in PEM form that can be read",
            Self::Key => "it has no private key in PEM form of a kind that is known (RSA, ECDSA, Ed25519; not encrypted)",
            Self::Mismatch => "the key belongs to another certificate",
        })
    }
}

impl std::error::Error for IdentityError {}

/// Reads an identity, and the names it is for, lower-case.
///
/// # Errors
/// [`IdentityError`].
fn read(identity: Identity<'_>, provider: &CryptoProvider) -> Result<(CertifiedKey, Vec<String>), IdentityError> {
    let chain: Result<Vec<CertificateDer<'static>>, _> = CertificateDer::pem_slice_iter(identity.certificate.as_bytes()).collect();
    let chain = chain.ok().filter(|chain| !chain.is_empty()).ok_or(IdentityError::Certificate)?;
    let key = PrivateKeyDer::from_pem_slice(identity.key.as_bytes()).map_err(|_| IdentityError::Key)?;
    let names = {
        let certificate = webpki::EndEntityCert::try_from(&chain[0]).map_err(|_| IdentityError::Certificate)?;
        certificate.valid_dns_names().map(str::to_ascii_lowercase).collect()
    };
    match CertifiedKey::from_der(chain, key, provider) {
        Ok(certified) => Ok((certified, names)),
        Err(TlsError::InconsistentKeys(_)) => Err(IdentityError::Mismatch),
        Err(_) => Err(IdentityError::Key),
    }
}

/// Looks whether an identity can be used.
///
/// # Errors
/// [`IdentityError`].
pub fn check(identity: Identity<'_>) -> Result<(), IdentityError> {
    read(identity, &ring::default_provider()).map(drop)
}

/// Looks whether these are authorities in PEM.
///
/// # Errors
/// When the text has no certificate, or one that cannot be read.
pub fn check_authorities(pem: &str) -> io::Result<()> {
    authorities(pem).map(drop)
}

fn authorities(pem: &str) -> io::Result<RootCertStore> {
    let wrong = |what: &str| io::Error::new(io::ErrorKind::InvalidInput, what.to_owned());
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(pem.as_bytes()) {
        let certificate = certificate.map_err(|_| wrong("it is not certificates in PEM form"))?;
        roots.add(certificate).map_err(|_| wrong("it has a certificate that cannot be read"))?;
    }
    if roots.is_empty() { Err(wrong("it has no certificate in PEM form")) } else { Ok(roots) }
}

/// The certificates of a server, by name.
#[derive(Debug)]
struct Certificates {
    by_name: HashMap<String, Arc<CertifiedKey>>,
    first: Arc<CertifiedKey>,
}

impl ResolvesServerCert for Certificates {
    /// The one for exactly that name, else the one with the wildcard for it (RFC 6125 §6.4.3), else the first: the client then says
    /// itself what it does not like.
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let found = hello.server_name().and_then(|name| {
            let name = name.to_ascii_lowercase();
            let wildcard = || self.by_name.get(&format!("*.{}", name.split_once('.')?.1));
            self.by_name.get(&name).or_else(wildcard)
        });
        Some(found.unwrap_or(&self.first).clone())
    }
}

/// What handshakes may cost.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// The longest time for one.
    pub time: Duration,
    /// How many may be under way.
    pub at_once: u32,
}

/// The handshakes of a server.
#[derive(Default)]
struct UnderWay {
    count: Cell<u32>,
    /// When it was last said that there are as many as may be.
    told: Cell<Option<Instant>>,
}

/// Takes the TLS side of connections. Clones share it.
#[derive(Clone)]
pub struct TlsServer {
    config: Arc<ServerConfig>,
    /// Who knows what authorities ask for within handshakes.
    proofs: Option<Rc<dyn Proofs>>,
    limits: Limits,
    under_way: Rc<UnderWay>,
    /// Above TLS there is HTTP/1.1, so who speaks it without can be told.
    is_http: bool,
}

impl TlsServer {
    /// A server that shows these identities, the first to who asks for none of their names; `protocols` is what it speaks (RFC 7301). With
    /// `clients`, authorities in PEM, a client must or may show a certificate of one of them, at each connection: no session is resumed then.
    ///
    /// # Errors
    /// When an identity or the authorities cannot be used, or there is none.
    pub fn new(
        identities: &[Identity<'_>],
        clients: Option<(&str, ClientCertificates)>,
        minimum: TlsMinimum,
        protocols: &[&str],
        limits: Limits,
    ) -> io::Result<Self> {
        let wrong = |error: &dyn fmt::Display| io::Error::new(io::ErrorKind::InvalidInput, error.to_string());
        let provider = Arc::new(ring::default_provider());
        let mut by_name = HashMap::new();
        let mut first = None;
        for identity in identities {
            let (certified, names) = read(*identity, &provider).map_err(|error| wrong(&error))?;
            let certified = Arc::new(certified);
            for name in names {
                by_name.entry(name).or_insert_with(|| certified.clone());
            }
            first.get_or_insert(certified);
        }
        let first = first.ok_or_else(|| wrong(&"there is no certificate"))?;
        let builder = ServerConfig::builder_with_provider(provider.clone())
            .with_protocol_versions(minimum.versions())
            .map_err(|error| wrong(&error))?;
        let builder = match clients {
            None => builder.with_no_client_auth(),
            Some((pem, demand)) => {
                let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(authorities(pem)?), provider);
                let verifier = if demand == ClientCertificates::Optional { verifier.allow_unauthenticated() } else { verifier };
                builder.with_client_cert_verifier(verifier.build().map_err(|error| wrong(&error))?)
            }
        };
        let mut config = builder.with_cert_resolver(Arc::new(Certificates { by_name, first }));
        config.alpn_protocols = protocols.iter().map(|protocol| protocol.as_bytes().to_vec()).collect();
        if clients.is_none() {
            config.ticketer = tickets::tickets()?;
        } else {
            // rustls asks for no certificate when a session is resumed: one that was begun elsewhere, or before this was asked, would come in.
            config.send_tls13_tickets = 0;
            config.session_storage = Arc::new(NoServerSessionStorage {});
        }
        let is_http = protocols.contains(&"http/1.1");
        Ok(Self { config: Arc::new(config), proofs: None, limits, under_way: Rc::default(), is_http })
    }

    /// With proofs for authorities that ask whether names lead here (RFC 8737).
    #[must_use]
    pub fn proving(self, proofs: Rc<dyn Proofs>) -> Self {
        Self { proofs: Some(proofs), ..self }
    }

    /// Whether one more handshake may begin.
    #[must_use]
    pub fn has_room(&self) -> bool {
        self.under_way.count.get() < self.limits.at_once
    }

    /// Begins with a connection, which counts from now on, and is shown in `slot`.
    #[must_use]
    pub fn begin(self, slot: Slot) -> Handshake {
        let count = self.under_way.count.get() + 1;
        self.under_way.count.set(count);
        add(slot.handshakes(), 1);
        if count == self.limits.at_once {
            add(slot.handshakes_full(), 1);
            let now = reactor::now();
            if self.under_way.told.get().is_none_or(|told| now.saturating_duration_since(told) >= COMPLAINTS) {
                self.under_way.told.set(Some(now));
                log_warn!("{count} TLS handshakes are under way at once (`max_handshakes`): further connections wait");
            }
        }
        Handshake { server: self, slot }
    }
}

/// A handshake, from the connection's first moment to its end, however it ends.
pub struct Handshake {
    server: TlsServer,
    slot: Slot,
}

impl Drop for Handshake {
    fn drop(&mut self) {
        let count = &self.server.under_way.count;
        count.set(count.get().saturating_sub(1));
        subtract(self.slot.handshakes(), 1);
    }
}

impl Handshake {
    /// Does it with a client that has connected. Who speaks HTTP without TLS, where HTTP is spoken, is told.
    ///
    /// # Errors
    /// What the client did wrong, or `TimedOut`.
    pub async fn accept(self, socket: Socket) -> io::Result<Stream> {
        let accepted = timeout(self.server.limits.time, self.server.accept(socket)).await;
        match accepted.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into())) {
            Ok(stream) => {
                add(self.slot.handshakes_done(), 1);
                if stream.get_ref().1.handshake_kind() == Some(HandshakeKind::Resumed) {
                    add(self.slot.handshakes_resumed(), 1);
                }
                Ok(Stream::Tls(RefCell::new(Box::new(stream.into()))))
            }
            Err(error) => {
                add(self.slot.handshakes_failed(), 1);
                Err(error)
            }
        }
    }
}

impl TlsServer {
    async fn accept(&self, socket: Socket) -> io::Result<TlsStream<Socket>> {
        if self.is_http && socket.first_byte().await?.is_some_and(|byte| byte.is_ascii_uppercase()) {
            let head = "HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain; charset=utf-8\r\nConnection: close\r\nContent-Length: ";
            let answer = format!("{head}{}\r\n\r\n{NO_TLS}", NO_TLS.len());
            farewell(socket, answer.as_bytes()).await?;
            return Err(io::Error::new(io::ErrorKind::InvalidData, "it speaks HTTP without TLS"));
        }
        match &self.proofs {
            None => shaken(TlsAcceptor::from(self.config.clone()).accept(socket)).await,
            Some(proofs) => self.accept_or_prove(socket, &**proofs).await,
        }
    }

    /// The handshake of a client, or with an authority, which goes when it has seen the proof.
    async fn accept_or_prove(&self, socket: Socket, proofs: &dyn Proofs) -> io::Result<TlsStream<Socket>> {
        let start = LazyConfigAcceptor::new(Acceptor::default(), socket).await?;
        let Some(name) = tls_challenge::asked(&start.client_hello()) else { return shaken(start.into_stream(self.config.clone())).await };
        let Some(authorization) = proofs.proof(name.clone()).await else {
            return Err(io::Error::other(format!("it asks for the proof of {name:?}, for which no certificate is ordered")));
        };
        let mut stream = start.into_stream(tls_challenge::config(name.clone(), &authorization)?).await?;
        stream.close().await?;
        Err(io::Error::other(format!("an authority was shown that {name} leads here")))
    }
}

/// The rest of a handshake. A client that is refused is told why by an alert (RFC 8446 §6.2), and may have sent its request before it reads that.
async fn shaken(accept: Accept<Socket>) -> io::Result<TlsStream<Socket>> {
    let (error, socket) = match accept.into_fallible().await {
        Ok(stream) => return Ok(stream),
        Err(failed) => failed,
    };
    if error.kind() == io::ErrorKind::InvalidData {
        // How it takes that is its own affair.
        let _gone = timeout(LINGER, farewell(socket, b"")).await;
    }
    Err(error)
}

/// Says something and waits for the other side's end: what it still sends would otherwise break the connection off before it has read this.
async fn farewell(socket: Socket, words: &[u8]) -> io::Result<()> {
    let stream = Stream::from(socket);
    stream.write_all(words).await?;
    stream.shutdown_write().await?;
    let mut rest = [0; 1024];
    for _ in 0..MOST_UNHEARD / rest.len() {
        if stream.read(&mut rest).await? == 0 {
            break;
        }
    }
    Ok(())
}
