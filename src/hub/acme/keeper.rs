//! One certificate: ordered when there is none, renewed in time, tried again when that fails.

use std::cell::{Cell, RefCell};
use std::path::{Path, PathBuf};
use std::rc::{Rc, Weak};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use event_listener::Event;
use futures_lite::future::or;

use super::account::Account;
use super::authority::Authority;
use super::back_off::{BackOff, wait_after};
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
/// How often it is looked whether another process still orders this certificate.
const OTHERS: Duration = Duration::from_secs(1);

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
            let next = due(&self.served.borrow(), early);
            if let Some(due) = next.filter(|due| *due > now) {
                self.show("served", Some(due));
                let wait = due.duration_since(now).unwrap_or_default().min(LOOK);
                self.wait(wait + Duration::from_millis(100)).await;
                continue;
            }
            self.show("ordering", None);
            // Of two hubs on one directory, as during an upgrade, one has its turn.
            let turn = match files::turn(self.file().with_extension("lock")).await {
                Ok(Some(turn)) => turn,
                Ok(None) => {
                    sleep(OTHERS).await;
                    continue;
                }
                Err(error) => {
                    let (wait, firm) = self.fail(&error).await;
                    self.leave_alone(wait, firm).await;
                    continue;
                }
            };
            let wait = match self.failed_before().await {
                Some(wait) => Some(wait),
                None => match self.order().await {
                    Ok(text) => {
                        self.succeed(text).await;
                        None
                    }
                    Err(error) => Some(self.fail(&error).await),
                },
            };
            drop(turn);
            if let Some((wait, firm)) = wait {
                self.leave_alone(wait, firm).await;
            }
        }
    }

    /// Orders may have failed in another process, the one before this or the one beside it: how long that has them left alone.
    async fn failed_before(&self) -> Option<(Duration, bool)> {
        let kept = match BackOff::read(&self.file(), &self.acme, self.roots.as_deref()).await {
            Ok(kept) => kept.filter(|kept| kept.failures > self.failures.get())?,
            Err(error) => {
                log_error!("{error}");
                return None;
            }
        };
        self.failures.set(kept.failures);
        let left = kept.left(SystemTime::now())?;
        log_info!("no certificate for {} is ordered for {} s: orders have failed before", self.names(), left.as_secs());
        let firm = kept.firm;
        self.error.replace(Some(kept.error));
        self.show("failed", Some(SystemTime::now() + left));
        Some((left, firm))
    }

    /// Where the certificate lies.
    fn file(&self) -> PathBuf {
        self.acme.certificate_file(&self.data)
    }

    /// A certificate may lie there that nobody was told of: the hub before this one ended at that moment.
    async fn take_stored(&self) {
        match self.stored().await {
            Ok(Some(stored)) if stored != *self.served.borrow() => drop(self.ordered.replace(Some(stored))),
            Ok(_) => {}
            Err(error) => log_error!("{error}"),
        }
    }

    /// The certificate in its file, if it can be used.
    async fn stored(&self) -> Result<Option<String>, AcmeError> {
        let stored = files::read(self.file()).await?.and_then(|bytes| String::from_utf8(bytes).ok());
        Ok(stored.filter(|stored| check(Identity { certificate: stored, key: stored }).is_ok()))
    }

    /// Gives a new certificate: one that another process has ordered meanwhile, or one that is ordered now.
    async fn order(&self) -> Result<String, AcmeError> {
        let fresh = |stored: &String| *stored != *self.served.borrow() && due(stored, 0.0).is_some_and(|due| due > SystemTime::now());
        if let Some(stored) = self.stored().await?.filter(fresh) {
            return Ok(stored);
        }
        let text = timeout(PATIENCE, self.ask()).await.unwrap_or(Err(AcmeError::TooSlow("the order")))?;
        log_info!("a certificate for {} was ordered from {}", self.names(), self.acme.directory);
        Ok(text)
    }

    async fn ask(&self) -> Result<String, AcmeError> {
        let Some(orders) = self.orders.upgrade() else { return Err(AcmeError::TooSlow("the order")) };
        let authority = Authority::new(&self.acme.directory, self.roots.clone(), self.account().await?).await?;
        authority.sign_in(self.acme.contact.as_deref()).await?;
        let text = order::order(&authority, &self.acme.domains, self.acme.challenge, &orders.answers).await?;
        files::write(self.file(), text.clone().into_bytes()).await?;
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
        let file = self.file();
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

    async fn succeed(&self, text: String) {
        self.failures.set(0);
        self.error.replace(None);
        self.ordered.replace(Some(text));
        if let Err(error) = BackOff::forget(&self.file()).await {
            log_error!("{error}");
        }
    }

    /// Says what went wrong, and keeps it. How long to wait before the next try, and whether the authority has said so.
    async fn fail(&self, error: &AcmeError) -> (Duration, bool) {
        let failures = self.failures.get() + 1;
        self.failures.set(failures);
        let wait = wait_after(failures, random()).max(error.retry_after().unwrap_or_default());
        let (next, firm) = (SystemTime::now() + wait, error.retry_after().is_some());
        self.error.replace(Some(error.to_string()));
        self.show("failed", Some(next));
        log_error!("no certificate for {}: {error} (the next order is made in {} s)", self.names(), wait.as_secs());
        let kept = BackOff::new(&self.acme, self.roots.as_deref(), failures, error.to_string(), (next, firm));
        if let Err(error) = kept.write(&self.file()).await {
            log_error!("{error}");
        }
        (wait, firm)
    }

    /// Waits before the next order; when the authority itself has said so, whatever is changed here.
    async fn leave_alone(&self, time: Duration, firm: bool) {
        if firm {
            sleep(time).await;
        } else {
            self.wait(time).await;
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

/// When a certificate is ordered anew: after two thirds of its time, or a little earlier. `None`: it is none.
fn due(pem: &str, early: f64) -> Option<SystemTime> {
    let read = Certificate::read(pem).filter(|read| !read.is_placeholder)?;
    Some(UNIX_EPOCH + renewal(read.begins, read.ends, early))
}

/// When a certificate is renewed, since the Unix epoch: after two thirds of its time, less up to a twentieth.
fn renewal(begins: u64, ends: u64, early: f64) -> Duration {
    let life = Duration::from_secs(ends.saturating_sub(begins));
    (Duration::from_secs(begins) + life * 2 / 3).saturating_sub((life / 20).mul_f64(early))
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
}
