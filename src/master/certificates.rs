//! The certificates that are served: how long they hold, and who is told in time.

use std::time::{Duration, Instant, SystemTime};

use super::instance::Master;
use crate::log_warn;
use crate::process::CertificateStatus;

/// How often those are reported that expire.
const EVERY: Duration = Duration::from_hours(24);

impl Master {
    /// Every certificate that is served.
    pub fn certificates(&self) -> Vec<CertificateStatus> {
        let now = SystemTime::now();
        self.settings.certificates().into_iter().map(|(file, certificate)| CertificateStatus::new(file, certificate, now)).collect()
    }

    /// Warns of certificates that have expired or soon will; gives when to do so again.
    pub fn watch_certificates(&self, now: Instant) -> Instant {
        for (file, certificate) in self.settings.certificates() {
            if let Some(trouble) = certificate.trouble(SystemTime::now()) {
                log_warn!("the certificate {} ({}) {trouble}", file.display(), certificate.names.join(", "));
            }
        }
        now + EVERY
    }
}
