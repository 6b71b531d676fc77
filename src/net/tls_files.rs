//! Where the certificates of a TLS listener are.

use std::path::PathBuf;

use futures_rustls::rustls::SupportedProtocolVersion;
use futures_rustls::rustls::version::{TLS12, TLS13};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::acme::Acme;
use crate::units::HumanDuration;

/// The certificates that a listener shows to its clients, and what it asks of them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct TlsFiles {
    /// PEM file with the certificate first and the intermediate ones after it. It is for clients that ask for one of its names, or for none that
    /// is known here.
    pub certificate: PathBuf,
    /// PEM file with the private key. It is read before privileges are dropped.
    pub key: PathBuf,
    /// A certificate that an authority gives out by ACME, instead of `certificate` and `key`: it is ordered, kept in the data directory and renewed.
    pub acme: Option<Acme>,
    /// Further certificates, each for the names that are in it.
    pub others: Vec<TlsPair>,
    /// PEM file with authorities: clients show a certificate of one of them.
    pub clients: Option<PathBuf>,
    /// Whether a client that shows none is refused: `Required`, or `Optional`. One that is no good is always refused.
    pub client_certificates: ClientCertificates,
    /// The oldest version that is spoken.
    pub minimum: TlsMinimum,
    /// The longest time for a handshake.
    pub handshake: HumanDuration,
    /// Handshakes under way at the same time, in each worker. Further connections wait in the kernel's queue.
    pub max_handshakes: u32,
}

impl Default for TlsFiles {
    fn default() -> Self {
        Self {
            certificate: PathBuf::new(),
            key: PathBuf::new(),
            acme: None,
            others: Vec::new(),
            clients: None,
            client_certificates: ClientCertificates::default(),
            minimum: TlsMinimum::default(),
            handshake: HumanDuration::seconds(10),
            max_handshakes: 1000,
        }
    }
}

/// A certificate and its key.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct TlsPair {
    /// PEM file with the certificate first and the intermediate ones after it.
    pub certificate: PathBuf,
    /// PEM file with the private key.
    pub key: PathBuf,
}

/// Whether clients show a certificate where they are asked for one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum ClientCertificates {
    /// They must.
    #[default]
    Required,
    /// They may: applications see who did.
    Optional,
}

/// The oldest version of TLS that is spoken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum TlsMinimum {
    /// TLS 1.2 (RFC 5246) with modern ciphers, and TLS 1.3.
    #[default]
    Tls12,
    /// TLS 1.3 (RFC 8446) alone.
    Tls13,
}

impl TlsMinimum {
    pub(super) fn versions(self) -> &'static [&'static SupportedProtocolVersion] {
        static BOTH: [&SupportedProtocolVersion; 2] = [&TLS13, &TLS12];
        match self {
            Self::Tls12 => &BOTH,
            Self::Tls13 => &BOTH[..1],
        }
    }
}

impl TlsFiles {
    /// Every file.
    pub fn files(&self) -> impl Iterator<Item = &PathBuf> {
        self.pairs()
            .flat_map(|(certificate, key)| [certificate, key])
            .chain(&self.clients)
            .chain(self.acme.iter().flat_map(|acme| &acme.roots))
    }

    /// All certificates with their keys, the first for who asks for no name that is known.
    pub fn pairs(&self) -> impl Iterator<Item = (&PathBuf, &PathBuf)> {
        std::iter::once((&self.certificate, &self.key)).chain(self.others.iter().map(|pair| (&pair.certificate, &pair.key)))
    }
}
