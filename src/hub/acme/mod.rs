//! Certificates by ACME (RFC 8555): ordered, kept and renewed here, once for all workers and servers.
//!
//! | file | what it is |
//! |---|---|
//! | `keeper` | one certificate: when it is ordered, and what follows when that fails |
//! | `back_off` | how long an order that failed is left alone, over restarts too |
//! | `answers` | what is shown to an authority that looks whether a name leads here |
//! | `order` | one order, from the names to the certificate |
//! | `authority` | what is said to an authority: requests that are signed, and its answers |
//! | `account` | the key of an account, and what it signs (RFC 7515) |
//! | `connector` | connections to authorities |
//! | `error` | what goes wrong, in words that say what to do |
//! | `files` | what is kept in the data directory |
//!
//! The hub has no more rights than workers. It writes a new certificate into the data directory and tells the master, which reads it and hands it to
//! all in the way of an update.

mod account;
mod answers;
mod authority;
mod back_off;
mod connector;
mod error;
mod files;
mod keeper;
mod order;

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use answers::Answers;
use keeper::Keeper;

use crate::config::Settings;
use crate::link::Port;
use crate::process::ToMaster;
use crate::process::child::tell;
use crate::reactor::{Task, spawn};

/// All certificates that are ordered.
pub(super) struct Orders {
    control: Rc<Port>,
    answers: Rc<Answers>,
    /// By file.
    keepers: RefCell<BTreeMap<PathBuf, Kept>>,
}

/// A certificate with the task that orders it, which ends with this.
struct Kept {
    keeper: Rc<Keeper>,
    _task: Task<()>,
}

impl Orders {
    /// Certificates are kept below the data directory.
    pub(super) fn new(control: Rc<Port>, data: &Path) -> Rc<Self> {
        Rc::new(Self { control, answers: Answers::new(data), keepers: RefCell::default() })
    }

    /// Keeps the certificates of these settings, and no others. What has failed is tried again: whoever changes a configuration may have put it right.
    pub(super) fn update(self: &Rc<Self>, settings: &Settings) {
        let mut keepers = self.keepers.borrow_mut();
        let wanted: BTreeMap<&Path, _> = settings.ordered().collect();
        keepers.retain(|file, kept| wanted.get(file.as_path()).is_some_and(|acme| kept.keeper.is_for(acme, settings)));
        for (file, acme) in wanted {
            let pem = |path: &Path| settings.secrets.get(path).map(|pem| pem.reveal().to_owned());
            let served = pem(file).unwrap_or_default();
            if let Some(kept) = keepers.get(file) {
                kept.keeper.serves(served);
                continue;
            }
            let roots = acme.roots.as_deref().and_then(pem);
            let keeper = Keeper::new(acme.clone(), roots, &settings.data, served, self);
            let task = spawn(keeper.clone().keep());
            keepers.insert(file.to_owned(), Kept { keeper, _task: task });
        }
        drop(keepers);
        self.report();
    }

    /// What to show the authority that asks for a token or a name.
    pub(super) fn answer(&self, asked: &str) -> Option<String> {
        self.answers.own(asked)
    }

    /// What another hub shows, which orders on the same directory: during an upgrade any worker may be asked.
    pub(super) fn answer_of_another(&self, asked: String) -> impl Future<Output = Option<String>> + use<> {
        self.answers.clone().other(asked)
    }

    /// Tells the master how it is about all of them.
    fn report(&self) {
        let orders = self.keepers.borrow().values().map(|kept| kept.keeper.status()).collect();
        tell(&self.control, &ToMaster::Ordered(orders));
    }

    /// Has the master take up what was ordered.
    fn hand_on(&self) {
        tell(&self.control, &ToMaster::Renewed);
    }
}
