//! One certificate: ordered when there is none, renewed in time, tried again when that fails.

use std::cell::{Cell, RefCell};
use std::path::{Path, PathBuf};
use std::rc::{Rc, Weak};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use event_listener::Event;
use futures_lite::future::or;

use super::account::Account;
use super::authority::Authority;
use super::error::AcmeError;
use super::{Orders, files, order};
use crate::config::Settings;
use crate::net::Certificate;
use crate::net::acme::Acme;
use crate::net::tls_server::{Identity, check};
use crate::process::OrderStatus;
use crate::reactor::{sleep, timeout};
use crate::telemetry::clock;
use crate::{log_error, log_info};

/// How long one order may take in all.
const PATIENCE: Duration = Duration::from_mins(15);
/// How often it is looked at the clock, which may be set.
const LOOK: Duration = Duration::from_mins(10);
/// How long the master has to hand a certificate on before it is asked again.
const HAND_ON: Duration = Duration::from_secs(20);
/// And at most, when it cannot.
const LONGEST_HAND_ON: Duration = Duration::from_hours(1);
/// The wait after a first failure; each further one makes it three times as long.
const FIRST_WAIT: Duration = Duration::from_mins(1);
const LONGEST_WAIT: Duration = Duration::from_hours(12);

/// Keeps one certificate.
pub(super) struct Keeper {
    acme: Acme,
    roots: Option<Rc<str>>,
    data: PathBuf,
    /// What is shown to clients now, in PEM.
    served: RefCell<String>,
    /// What was ordered last and lies in its file.
    ordered: RefCell<Option<String>>,
    /// Somebody changed the configuration, or handed a certificate on.
    changed: Event,
    state: Cell<&'static str>,
    failures: Cell<u32>,
    error: RefCell<Option<String>>,
    /// When it is ordered next.
    next: Cell<Option<SystemTime>>,
    orders: Weak<Orders>,
}

impl Keeper {
    pub(super) fn new(acme: Acme, roots: Option<String>, data: &Path, served: String, orders: &Rc<Orders>) -> Rc<Self> {
        Rc::new(Self {
            acme,
            roots: roots.map(Rc::from),
            data: data.to_owned(),
            served: RefCell::new(served),
            ordered: RefCell::default(),
            changed: Event::new(),
            state: Cell::new("ordering"),
            failures: Cell::new(0),
            error: RefCell::default(),
            next: Cell::default(),
            orders: Rc::downgrade(orders),
        })
    }

    /// Whether it keeps what these settings say.
    pub(super) fn is_for(&self, acme: &Acme, settings: &Settings) -> bool {
        let roots = acme.roots.as_deref().and_then(|path| settings.secrets.get(path));
        self.acme == *acme && self.roots.as_deref() == roots.map(crate::secret::Secret::reveal) && self.data == settings.data
    }

    /// This is shown to clients from now on.
    pub(super) fn serves(&self, served: String) {
        self.served.replace(served);
        self.changed.notify(usize::MAX);
    }

    /// How it is.
    pub(super) fn status(&self) -> OrderStatus {
        let moment = |time: SystemTime| {
            let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
            String::from_utf8_lossy(&clock::iso(since.as_millis() as u64)).into_owned()
        };
        OrderStatus {
            names: self.acme.domains.clone(),
            state: self.state.get().to_owned(),
            failures: self.failures.get(),
            error: self.error.borrow().clone(),
            next: self.next.get().map(moment),
        }
    }

    /// Keeps it for as long as this process lives.
    pub(super) async fn keep(self: Rc<Self>) {
        self.take_stored().await;
        // Each machine renews at its own time.
        let early = random();
        loop {
            self.hand_on().await;
            let now = SystemTime::now();
            if let Some(due) = self.due(early).filter(|due| *due > now) {
                self.show("served", Some(due));
                let wait = due.duration_since(now).unwrap_or_default().min(LOOK);
                self.wait(wait + Duration::from_millis(100)).await;
                continue;
            }
            self.show("ordering", None);
            let ordered = timeout(PATIENCE, self.order()).await.unwrap_or(Err(AcmeError::TooSlow("the order")));
            match ordered {
                Ok(text) => {
                    self.failures.set(0);
                    self.error.replace(None);
                    log_info!("a certificate for {} was ordered from {}", self.names(), self.acme.directory);
                    self.ordered.replace(Some(text));
                }
                Err(error) => self.fail(&error).await,
            }
        }
    }

    /// When the certificate is ordered anew: after two thirds of its time, or a little earlier. `None`: there is none.
    fn due(&self, early: f64) -> Option<SystemTime> {
        let read = Certificate::read(&self.served.borrow()).filter(|read| !read.is_placeholder)?;
        Some(UNIX_EPOCH + renewal(read.begins, read.ends, early))
    }

    /// A certificate may lie there that nobody was told of: the hub before this one ended at that moment.
    async fn take_stored(&self) {
        let file = self.acme.certificate_file(&self.data);
        let stored = match files::read(file).await {
            Ok(Some(bytes)) => String::from_utf8(bytes).unwrap_or_default(),
            Ok(None) => return,
            Err(error) => {
                log_error!("{error}");
                return;
            }
        };
        let usable = check(Identity { certificate: &stored, key: &stored }).is_ok();
        if usable && stored != *self.served.borrow() {
            self.ordered.replace(Some(stored));
        }
    }

    async fn order(&self) -> Result<String, AcmeError> {
        let Some(orders) = self.orders.upgrade() else { return Err(AcmeError::TooSlow("the order")) };
        let authority = Authority::new(&self.acme.directory, self.roots.clone(), self.account().await?).await?;
        authority.sign_in(self.acme.contact.as_deref()).await?;
        let text = order::order(&authority, &self.acme.domains, self.acme.challenge, &orders.tokens).await?;
        files::write(self.acme.certificate_file(&self.data), text.clone().into_bytes()).await?;
        Ok(text)
    }

    /// The account: made at the first order, kept for all that follow.
    async fn account(&self) -> Result<Account, AcmeError> {
        let file = self.acme.account_file(&self.data);
        if let Some(key) = files::read(file.clone()).await? {
            return Account::new(&key);
        }
        let key = Account::new_key()?;
        files::write(file, key.clone()).await?;
        Account::new(&key)
    }

    /// Has what was ordered shown to clients, and waits until it is; an update that failed elsewhere may have put the one before back.
    async fn hand_on(&self) {
        let file = self.acme.certificate_file(&self.data);
        let mut wait = HAND_ON;
        while self.ordered.borrow().as_ref().is_some_and(|text| *text != *self.served.borrow()) {
            let stored = files::read(file.clone()).await.ok().flatten();
            if stored.as_deref() != self.ordered.borrow().as_deref().map(str::as_bytes) {
                // Somebody has taken it away: what is served counts.
                self.ordered.replace(None);
                return;
            }
            let Some(orders) = self.orders.upgrade() else { return };
            let changed = self.changed.listen();
            orders.hand_on();
            drop(orders);
            if timeout(wait, changed).await.is_err() {
                wait = wait.saturating_mul(3).min(LONGEST_HAND_ON);
                self.error
                    .replace(Some(format!("{} was ordered, but could not be taken up; the log of the master says why", file.display())));
                self.show("failed", Some(SystemTime::now() + wait));
            }
        }
        if wait != HAND_ON {
            self.error.replace(None);
        }
    }

    /// Says what went wrong, and waits before the next try.
    async fn fail(&self, error: &AcmeError) {
        let failures = self.failures.get() + 1;
        self.failures.set(failures);
        let wait = back_off(failures, random()).max(error.retry_after().unwrap_or_default());
        let next = SystemTime::now() + wait;
        self.error.replace(Some(error.to_string()));
        self.show("failed", Some(next));
        log_error!("no certificate for {}: {error} (the next order is made in {} s)", self.names(), wait.as_secs());
        if error.retry_after().is_some() {
            sleep(wait).await;
        } else {
            self.wait(wait).await;
        }
    }

    /// Waits, but not past a change of the configuration.
    async fn wait(&self, time: Duration) {
        let changed = self.changed.listen();
        or(changed, sleep(time)).await;
    }

    fn show(&self, state: &'static str, next: Option<SystemTime>) {
        self.state.set(state);
        self.next.set(next);
        if let Some(orders) = self.orders.upgrade() {
            orders.report();
        }
    }

    fn names(&self) -> String {
        self.acme.domains.join(", ")
    }
}

/// When a certificate is renewed, since the Unix epoch: after two thirds of its time, less up to a twentieth.
fn renewal(begins: u64, ends: u64, early: f64) -> Duration {
    let life = Duration::from_secs(ends.saturating_sub(begins));
    (Duration::from_secs(begins) + life * 2 / 3).saturating_sub((life / 20).mul_f64(early))
}

/// How long to wait after so many failures: longer each time, and not when others do.
fn back_off(failures: u32, jitter: f64) -> Duration {
    let longest = FIRST_WAIT.saturating_mul(3u32.saturating_pow(failures.saturating_sub(1))).min(LONGEST_WAIT);
    longest.mul_f64(0.5 + jitter / 2.0)
}

/// A number from 0 to 1.
fn random() -> f64 {
    let mut bytes = [0; 4];
    // Without randomness everybody is as late as can be, which is still right.
    let filled = getrandom::fill(&mut bytes).is_ok();
    if filled { f64::from(u32::from_le_bytes(bytes)) / f64::from(u32::MAX) } else { 1.0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_third_of_its_time_is_left() {
        let days = |days: u64| days * 24 * 60 * 60;
        assert_eq!(renewal(days(100), days(190), 0.0), Duration::from_secs(days(160)));
        assert_eq!(renewal(days(100), days(200), 1.0).as_secs() / days(1), 161);
        assert_eq!(renewal(10, 5, 1.0), Duration::from_secs(10));
    }

    #[test]
    fn waits_grow_and_have_an_end() {
        assert_eq!((back_off(1, 0.0), back_off(1, 1.0)), (FIRST_WAIT / 2, FIRST_WAIT));
        assert_eq!(back_off(3, 1.0), FIRST_WAIT * 9);
        assert_eq!(back_off(u32::MAX, 1.0), LONGEST_WAIT);
    }
}
