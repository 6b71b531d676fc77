//! How long a failing order is left alone, and what is kept of that in a file, so that no restart makes an authority hear of it more often.

use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::error::AcmeError;
use super::files;
use crate::net::acme::Acme;

/// The wait after a first failure; each further one makes it three times as long.
const FIRST_WAIT: Duration = Duration::from_mins(1);
const LONGEST_WAIT: Duration = Duration::from_hours(12);
/// What is further away than any authority asks for was written when the clock was wrong.
const LONGEST_KEPT: Duration = Duration::from_hours(8 * 24);

/// How long to wait after so many failures: longer each time, and not when others do.
pub(super) fn wait_after(failures: u32, jitter: f64) -> Duration {
    let longest = FIRST_WAIT.saturating_mul(3u32.saturating_pow(failures.saturating_sub(1))).min(LONGEST_WAIT);
    longest.mul_f64(0.5 + jitter / 2.0)
}

/// What is kept of an order that has failed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct BackOff {
    /// What was ordered, and how: with other terms it may be tried at once.
    terms: String,
    /// Orders that have failed since the last that did not.
    pub(super) failures: u32,
    /// Why the last of them did.
    pub(super) error: String,
    /// When the next may be made, in seconds since the Unix epoch.
    next: u64,
    /// The authority itself has said when.
    pub(super) firm: bool,
}

impl BackOff {
    pub(super) fn new(acme: &Acme, roots: Option<&str>, failures: u32, error: String, (next, firm): (SystemTime, bool)) -> Self {
        let next = next.duration_since(UNIX_EPOCH).unwrap_or_default();
        Self { terms: terms(acme, roots), failures, error, next: next.as_secs() + u64::from(next.subsec_nanos() > 0), firm }
    }

    /// What was kept beside a certificate; `None` where that is nothing, over, or of other terms.
    pub(super) async fn read(certificate: &Path, acme: &Acme, roots: Option<&str>) -> Result<Option<Self>, AcmeError> {
        let Some(bytes) = files::read(file(certificate)).await? else { return Ok(None) };
        // Half a file, or one of another version, is none.
        let read: Option<Self> = serde_json::from_slice(&bytes).ok();
        Ok(read.filter(|kept| kept.terms == terms(acme, roots)))
    }

    /// Keeps it.
    pub(super) async fn write(&self, certificate: &Path) -> Result<(), AcmeError> {
        let bytes = serde_json::to_vec(self).unwrap_or_default();
        files::write(file(certificate), bytes).await
    }

    /// Forgets what was kept: an order has not failed.
    pub(super) async fn forget(certificate: &Path) -> Result<(), AcmeError> {
        files::remove(file(certificate)).await
    }

    /// How long it is still to be left alone.
    pub(super) fn left(&self, now: SystemTime) -> Option<Duration> {
        let next = UNIX_EPOCH.checked_add(Duration::from_secs(self.next))?;
        next.duration_since(now).ok().filter(|left| !left.is_zero() && *left <= LONGEST_KEPT)
    }
}

fn file(certificate: &Path) -> PathBuf {
    certificate.with_extension("failed")
}

fn terms(acme: &Acme, roots: Option<&str>) -> String {
    let mut digest = Sha256::new();
    digest.update(serde_json::to_vec(acme).unwrap_or_default());
    digest.update(roots.unwrap_or_default());
    digest.finalize().iter().take(16).map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_and_have_an_end() {
        assert_eq!((wait_after(1, 0.0), wait_after(1, 1.0)), (FIRST_WAIT / 2, FIRST_WAIT));
        assert_eq!(wait_after(3, 1.0), FIRST_WAIT * 9);
        assert_eq!(wait_after(u32::MAX, 1.0), LONGEST_WAIT);
    }

    #[test]
    fn what_is_kept_holds_for_the_same_order_and_for_its_time() {
        let folder = tempfile::tempdir().unwrap();
        let certificate = folder.path().join("acme/one.pem");
        let acme = Acme { domains: vec!["a.test".into()], ..Acme::default() };
        let now = SystemTime::now();
        let kept = BackOff::new(&acme, None, 3, "so".into(), (now + Duration::from_mins(5), true));
        let read = |acme: &Acme, roots: Option<&'static str>| {
            let (acme, certificate) = (acme.clone(), certificate.clone());
            futures_lite::future::block_on(async move { BackOff::read(&certificate, &acme, roots).await.unwrap() })
        };
        assert_eq!(read(&acme, None), None);
        futures_lite::future::block_on(kept.write(&certificate)).unwrap();
        assert_eq!(read(&acme, None), Some(kept.clone()));
        assert_eq!((read(&acme, Some("roots")), read(&Acme { agree: true, ..acme.clone() }, None)), (None, None));
        let left = |now: SystemTime| kept.left(now).map(|left| left.as_secs() / 60);
        assert_eq!((left(now), left(now + Duration::from_mins(6)), left(now - Duration::from_hours(1000))), (Some(5), None, None));
        futures_lite::future::block_on(BackOff::forget(&certificate)).unwrap();
        futures_lite::future::block_on(BackOff::forget(&certificate)).unwrap();
        assert_eq!(read(&acme, None), None);
        std::fs::write(certificate.with_extension("failed"), "{").unwrap();
        assert_eq!(read(&acme, None), None);
    }
}
