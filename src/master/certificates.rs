//! The certificates that are served: how long they hold, and who is told in time.

use std::path::Path;
use std::time::{Duration, Instant, SystemTime};

use nix::unistd::Pid;

use super::commands::Asker;
use super::instance::{Life, Master};
use crate::log_warn;
use crate::process::{CertificateStatus, OrderStatus};
use crate::scoreboard::Role;

/// How often those are reported that expire.
const EVERY: Duration = Duration::from_hours(24);

impl Master {
    /// The hub has ordered a certificate: all take it up.
    pub fn renewed(&mut self, pid: Pid) {
        if self.is_hub(pid) && self.life == Life::Running {
            self.ask_update(Asker::Renewed);
        }
    }

    /// The hub says how it is about the certificates that it orders.
    pub fn ordered(&mut self, pid: Pid, orders: Vec<OrderStatus>) {
        if self.is_hub(pid) {
            self.orders = orders;
        }
    }

    fn is_hub(&mut self, pid: Pid) -> bool {
        self.child(pid).is_some_and(|child| child.role == Role::Hub)
    }

    /// Every certificate that is served.
    pub fn certificates(&self) -> Vec<CertificateStatus> {
        let now = SystemTime::now();
        self.settings.certificates().into_iter().map(|(file, certificate)| CertificateStatus::new(file, certificate, now)).collect()
    }

    /// Warns of certificates that have expired or soon will; gives when to do so again.
    pub fn watch_certificates(&self, now: Instant) -> Instant {
        let ordered: Vec<&Path> = self.settings.ordered().map(|(file, _)| file).collect();
        for (file, certificate) in self.settings.certificates() {
            // The hub renews it in time, however short it is, and says when that fails.
            if ordered.contains(&file) && certificate.days_left(SystemTime::now()) >= 0 {
                continue;
            }
            if let Some(trouble) = certificate.trouble(SystemTime::now()) {
                log_warn!("the certificate {} ({}) {trouble}", file.display(), certificate.names.join(", "));
            }
        }
        now + EVERY
    }
}
