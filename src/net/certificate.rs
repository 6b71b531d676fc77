//! What stands in a certificate (RFC 5280): the names it is for, and from when until when it holds.

use std::net::IpAddr;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use futures_rustls::pki_types::CertificateDer;
use futures_rustls::pki_types::pem::PemObject;
use x509_cert::certificate::{CertificateInner, Raw};
use x509_cert::der::Decode;
use x509_cert::ext::pkix::SubjectAltName;
use x509_cert::ext::pkix::name::GeneralName;

use crate::telemetry::clock;

/// From how long before its end on a certificate is reported.
const SOON: Duration = Duration::from_hours(14 * 24);
const DAY: u64 = 24 * 60 * 60;

/// A certificate as far as it is shown to people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Certificate {
    /// The names it is for, lower-case, then the addresses (§4.2.1.6).
    pub names: Vec<String>,
    /// The first second in which it holds, since the Unix epoch (§4.1.2.5).
    pub begins: u64,
    /// The last one.
    pub ends: u64,
    /// It only stands in for one that is not there yet.
    pub is_placeholder: bool,
}

impl Certificate {
    /// Reads the first certificate of a PEM text (RFC 7468). `None` where there is none, or one whose dates or names are not written as they must be.
    #[must_use]
    pub fn read(pem: &str) -> Option<Self> {
        let first = CertificateDer::from_pem_slice(pem.as_bytes()).ok()?;
        let certificate = CertificateInner::<Raw>::from_der(&first).ok()?;
        let content = certificate.tbs_certificate();
        let validity = content.validity();
        let names = match content.get_extension::<SubjectAltName>().ok()? {
            Some((_, SubjectAltName(names))) => names.iter().filter_map(name).collect(),
            None => Vec::new(),
        };
        Some(Self {
            names,
            begins: validity.not_before.to_unix_duration().as_secs(),
            ends: validity.not_after.to_unix_duration().as_secs(),
            is_placeholder: content.issuer().to_string() == format!("CN={}", super::placeholder::ISSUER),
        })
    }

    /// Whole days until its end; below zero when that has passed.
    #[must_use]
    pub fn days_left(&self, now: SystemTime) -> i64 {
        (self.ends as i64 - seconds(now) as i64).div_euclid(DAY as i64)
    }

    /// What is wrong with its time, in words that go on after its name; `None` when it holds for more than 14 days.
    #[must_use]
    pub fn trouble(&self, now: SystemTime) -> Option<String> {
        let (now, ends) = (seconds(now), date(self.ends));
        if now > self.ends {
            return Some(format!("has expired on {ends}: clients refuse it until it is renewed"));
        }
        if now < self.begins {
            return Some(format!(
                "holds only from {} on: clients refuse it until then, or the clock of this machine is wrong",
                date(self.begins)
            ));
        }
        match (self.ends - now) / DAY {
            _ if self.ends - now > SOON.as_secs() => None,
            0 => Some(format!("expires within a day, on {ends}: it must be renewed")),
            1 => Some(format!("expires in 1 day, on {ends}: it must be renewed")),
            days => Some(format!("expires in {days} days, on {ends}: it must be renewed")),
        }
    }
}

/// A moment as people read it, in UTC: seconds since the Unix epoch.
#[must_use]
pub fn date(seconds: u64) -> String {
    let text = clock::iso(seconds.saturating_mul(1000));
    format!("{} {} UTC", String::from_utf8_lossy(&text[..10]), String::from_utf8_lossy(&text[11..16]))
}

fn seconds(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}

/// A name of a host, lower-case, or an address; `None` for anything else.
pub(super) fn name(name: &GeneralName) -> Option<String> {
    match name {
        GeneralName::DnsName(name) => Some(name.as_str().to_ascii_lowercase()),
        GeneralName::IpAddress(address) => {
            let bytes = address.as_bytes();
            let four = <[u8; 4]>::try_from(bytes).map(IpAddr::from);
            four.or_else(|_| <[u8; 16]>::try_from(bytes).map(IpAddr::from)).ok().map(|address| address.to_string())
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn trouble_is_told_two_weeks_before() {
        let certificate = Certificate { names: Vec::new(), begins: 100 * DAY, ends: 190 * DAY, is_placeholder: false };
        let at = |seconds: u64| UNIX_EPOCH + Duration::from_secs(seconds);
        for (now, said) in [
            (100 * DAY - 1, Some("holds only from 1970-04-11 00:00 UTC on")),
            (100 * DAY, None),
            (176 * DAY - 1, None),
            (176 * DAY, Some("expires in 14 days, on 1970-07-10 00:00 UTC")),
            (188 * DAY, Some("expires in 2 days")),
            (188 * DAY + 1, Some("expires in 1 day,")),
            (190 * DAY, Some("expires within a day")),
            (190 * DAY + 1, Some("has expired on 1970-07-10")),
        ] {
            let trouble = certificate.trouble(at(now));
            assert_eq!(trouble.is_some(), said.is_some(), "{now}: {trouble:?}");
            assert!(said.is_none_or(|said| trouble.as_ref().is_some_and(|trouble| trouble.starts_with(said))), "{now}: {trouble:?}");
        }
        assert_eq!(certificate.days_left(at(189 * DAY + 1)), 0);
        assert_eq!(certificate.days_left(at(191 * DAY)), -1);
    }

    #[test]
    fn what_is_no_certificate_is_none() {
        for text in ["", "nothing", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"] {
            assert_eq!(Certificate::read(text), None);
        }
    }
}
