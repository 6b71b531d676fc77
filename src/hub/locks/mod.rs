//! The locks of this machine: the table, what is kept of it on the disk, and when it begins to grant.
//!
//! A new hub grants nothing until all of this is so:
//! 1. this instance has the right to ([`Right`]): after an upgrade every process of the old one has ended;
//! 2. every worker that was there before this hub has said what its parties believe, or has ended;
//! 3. leases that nobody is there to speak for have run out: those of workers that ended (the master remembers how long they may run), and
//!    those of an earlier instance (the disk remembers);
//! 4. the next tokens are on the disk.

mod record;

use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;
use std::io;
use std::path::PathBuf;
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use event_listener::Event;
use record::{Record, State};
use smallvec::SmallVec;

use crate::link::locks::config::Limits;
use crate::link::locks::{Ask, Claim, FastPath, Right, Table, Told, Worker};
use crate::reactor::{self, Scope};
use crate::scoreboard::{Scoreboard, epoch_ms, now_ms};
use crate::{log_error, log_info, log_warn};

/// Tokens that are kept on the disk at once.
const BLOCK: u64 = 1 << 20;
/// How much longer than wanted lasting leases are allowed at once, milliseconds.
const LEASE_BLOCK_MS: u64 = 60_000;
/// How often it is looked whether what must come first has come.
const LOOK: Duration = Duration::from_millis(20);
/// How long to wait after the disk refused.
const AGAIN: Duration = Duration::from_secs(2);

/// What the hub knows when it starts.
pub(super) struct Start {
    pub limits: Limits,
    pub data: PathBuf,
    pub board: Scoreboard,
    pub fast_path: FastPath,
    pub right: Right,
    /// Names this instance.
    pub instance: String,
    /// Until when leases may run whose workers ended, milliseconds of [`now_ms`].
    pub orphans_until: u64,
}

/// Who is told what the table says.
pub(super) trait Speaker {
    fn tell(&self, worker: Worker, all: Vec<Told>);
}

/// The locks.
pub(super) struct Locks {
    table: RefCell<Table>,
    speaker: RefCell<Option<Weak<dyn Speaker>>>,
    data: PathBuf,
    board: Scoreboard,
    right: Right,
    instance: String,
    orphans_until: u64,
    longest_lease_ms: Cell<u64>,
    /// Workers that were there before and have said nothing yet.
    unheard: RefCell<BTreeSet<Worker>>,
    needed: Cell<bool>,
    keeping: Cell<bool>,
    record: RefCell<Option<Arc<Record>>>,
    /// The state on the disk.
    kept: RefCell<State>,
    armed: Cell<u64>,
    earlier: Event,
    scope: Scope,
}

impl Locks {
    pub(super) fn new(start: Start) -> Rc<Self> {
        let Start { limits, data, board, fast_path, right, instance, orphans_until } = start;
        let pid = |pid: u64| i32::try_from(pid).unwrap_or(0);
        // A worker without a process id is being forked now: it has no past.
        let unheard = board.workers().map(|(number, slot)| (number, pid(slot.pid().load(Relaxed)))).filter(|(_, pid)| *pid != 0).collect();
        let locks = Rc::new(Self {
            longest_lease_ms: Cell::new(millis(&limits)),
            table: RefCell::new(Table::shared(limits, fast_path)),
            speaker: RefCell::default(),
            data,
            board,
            right,
            instance,
            orphans_until,
            unheard: RefCell::new(unheard),
            needed: Cell::new(false),
            keeping: Cell::new(false),
            record: RefCell::default(),
            kept: RefCell::default(),
            armed: Cell::new(u64::MAX),
            earlier: Event::new(),
            scope: Scope::new(),
        });
        locks.scope.spawn(watch(Rc::downgrade(&locks)));
        locks
    }

    pub(super) fn speak_through(&self, speaker: Weak<dyn Speaker>) {
        self.speaker.replace(Some(speaker));
    }

    pub(super) fn update(&self, limits: &Limits) {
        self.longest_lease_ms.set(millis(limits));
        self.table.borrow_mut().limit(limits.clone());
    }

    /// What a worker's parties believe.
    pub(super) fn claim(self: &Rc<Self>, worker: Worker, claims: Vec<Claim>) {
        self.need();
        let mut table = self.table.borrow_mut();
        if table.is_open() {
            // Every worker that could believe anything was waited for.
            log_error!("locks: worker {} claims locks after the hub has begun to grant them; they are ignored", worker.0);
            return;
        }
        claims.into_iter().for_each(|claim| table.claim(worker, claim));
    }

    /// A worker has said all that it had to say first.
    pub(super) fn heard(&self, worker: Worker) {
        self.unheard.borrow_mut().remove(&worker);
    }

    pub(super) fn ask(self: &Rc<Self>, worker: Worker, asks: Vec<Ask>) {
        self.need();
        let now = now_ms();
        {
            let mut table = self.table.borrow_mut();
            for ask in asks {
                table.ask(worker, ask, now);
            }
        }
        self.follow();
    }

    /// The master has seen a worker end.
    pub(super) fn gone(self: &Rc<Self>, worker: Worker) {
        self.unheard.borrow_mut().remove(&worker);
        self.table.borrow_mut().gone(worker, now_ms());
        self.follow();
    }

    /// Before a clean end: nothing is taken after it, leases are kept on the disk no longer than they run.
    pub(super) fn close(&self) {
        self.table.borrow_mut().close();
        let Some(record) = self.record.borrow().clone() else { return };
        let (now, last) = (now_ms(), self.table.borrow().last_lasting_end().unwrap_or(0).max(self.orphans_until));
        let leases_until = if last > now { epoch_ms() + (last - now) } else { 0 };
        let state = State { leases_until, ..self.kept.borrow().clone() };
        if let Err(error) = record.write(&state) {
            log_warn!("locks: what is held cannot be kept: {error}");
        }
    }

    /// What must follow from a change: tells, a new moment to look again, more tokens.
    fn follow(self: &Rc<Self>) {
        self.deliver();
        let (end, left, lasting) = {
            let table = self.table.borrow();
            (table.next_end(), table.tokens_left(), table.wants_lasting())
        };
        if end.is_some_and(|end| end < self.armed.get()) {
            self.earlier.notify(1);
        }
        if self.table.borrow().is_open() && (left < BLOCK / 2 || lasting.is_some()) && !self.keeping.replace(true) {
            let locks = self.clone();
            self.scope.spawn(async move {
                locks.keep_more().await;
                locks.keeping.set(false);
                locks.follow();
            });
        }
    }

    fn deliver(&self) {
        let tells = self.table.borrow_mut().take_tells();
        let Some(speaker) = self.speaker.borrow().as_ref().and_then(Weak::upgrade) else { return };
        let count = tells.len();
        let mut all: SmallVec<[(Worker, Vec<Told>); 1]> = SmallVec::new();
        for (worker, tell) in tells {
            match all.iter_mut().find(|(known, _)| *known == worker) {
                Some((_, told)) => told.push(tell.into()),
                None => {
                    let mut told = Vec::with_capacity(count);
                    told.push(tell.into());
                    all.push((worker, told));
                }
            }
        }
        all.into_iter().for_each(|(worker, told)| speaker.tell(worker, told));
    }

    /// Somebody uses locks: now it is worth a file.
    fn need(self: &Rc<Self>) {
        if self.needed.replace(true) {
            return;
        }
        let locks = self.clone();
        self.scope.spawn(async move {
            locks.begin().await;
            let now = now_ms();
            locks.table.borrow_mut().open(now);
            locks.armed.set(u64::MAX);
            locks.follow();
        });
    }

    /// Returns when grants are right.
    async fn begin(self: &Rc<Self>) {
        let mut told = false;
        let (record, before) = loop {
            let (right, directory) = (self.right.clone(), self.data.clone());
            let taken = blocking::unblock(move || -> io::Result<_> {
                if !right.take()? {
                    return Ok(None);
                }
                let record = Record::open(&directory)?;
                record.read().map(|state| Some((record, state)))
            });
            match taken.await {
                Ok(Some(taken)) => break taken,
                Ok(None) => {
                    if !std::mem::replace(&mut told, true) {
                        log_info!("locks: another instance has the locks of {}; they are granted when it has ended", self.data.display());
                    }
                    self.sleep(LOOK).await;
                }
                Err(error) => {
                    log_error!("locks: {}: {error}; no lock can be had", self.data.display());
                    self.table.borrow_mut().refuse_waiting();
                    self.follow();
                    reactor::sleep(AGAIN).await;
                }
            }
        };
        let of_before = if before.instance == self.instance { 0 } else { self.rest_of(before.leases_until) };
        self.record.replace(Some(Arc::new(record)));
        self.kept.replace(State { instance: self.instance.clone(), ..before });
        while !self.keep_more().await {
            self.table.borrow_mut().refuse_waiting();
            self.follow();
        }
        let quiet_until = self.orphans_until.max(of_before);
        if quiet_until > now_ms() {
            log_info!("locks: leases of before may run for {} ms more; until then none is granted", quiet_until - now_ms());
        }
        while now_ms() <= quiet_until || self.is_somebody_unheard() {
            self.sleep(LOOK).await;
        }
    }

    /// While nothing is granted. Nobody is left without an answer for longer than is right.
    async fn sleep(self: &Rc<Self>, time: Duration) {
        reactor::sleep(time).await;
        self.table.borrow_mut().refuse_late(now_ms());
        self.follow();
    }

    /// A moment of the clock on the wall on the other clock. However that clock was set, no lease is longer than the longest.
    fn rest_of(&self, epoch: u64) -> u64 {
        match epoch.saturating_sub(epoch_ms()) {
            0 => 0,
            left => now_ms() + left.min(self.longest_lease_ms.get() + LEASE_BLOCK_MS),
        }
    }

    fn is_somebody_unheard(&self) -> bool {
        let lives = |worker: &Worker| {
            let slot = self.board.slot(worker.0);
            i32::try_from(slot.pid().load(Relaxed)) == Ok(worker.1)
        };
        let mut unheard = self.unheard.borrow_mut();
        unheard.retain(lives);
        !unheard.is_empty()
    }

    /// Keeps the next tokens, and lasting leases for longer if somebody wants one. Whether that went well.
    async fn keep_more(&self) -> bool {
        let Some(record) = self.record.borrow().clone() else { return false };
        let before = self.kept.borrow().clone();
        let (left, wanted) = {
            let table = self.table.borrow();
            // An earlier hub's tokens that are left may be smaller than those that another instance has given meanwhile.
            (if table.is_open() { table.tokens_left() } else { 0 }, table.wants_lasting())
        };
        let tokens = if left < BLOCK / 2 { before.tokens + BLOCK } else { before.tokens };
        let now = now_ms();
        let lasting = wanted.map_or(0, |wanted| wanted.max(now) + LEASE_BLOCK_MS);
        let leases_until = if lasting > 0 { epoch_ms() + (lasting - now) } else { before.leases_until };
        let state = State { tokens, leases_until, instance: self.instance.clone() };
        let writing = state.clone();
        if let Err(error) = blocking::unblock(move || record.write(&writing)).await {
            log_error!("locks: {}: {error}; locks are short until it can be written", self.data.display());
            reactor::sleep(AGAIN).await;
            return false;
        }
        self.kept.replace(state);
        let first = if before.tokens == tokens { 0 } else { before.tokens };
        // Tokens of the block before go on to be used up; the first block of this hub begins where the one of an earlier hub ended.
        let first = if self.table.borrow().is_open() { 0 } else { first };
        self.table.borrow_mut().extend(first, tokens, lasting, now_ms());
        true
    }
}

fn millis(limits: &Limits) -> u64 {
    u64::try_from(limits.longest_lease.as_millis()).unwrap_or(u64::MAX)
}

/// Ends what has run out, at its moment.
async fn watch(locks: Weak<Locks>) {
    loop {
        let Some(here) = locks.upgrade() else { return };
        let earlier = here.earlier.listen();
        let end = {
            let mut table = here.table.borrow_mut();
            // What is claimed is judged when all is claimed: until then nothing is early enough to be looked at.
            if table.is_open() {
                table.tick(now_ms());
                let end = table.next_end();
                here.armed.set(end.unwrap_or(u64::MAX));
                end
            } else {
                here.armed.set(0);
                None
            }
        };
        here.follow();
        drop(here);
        match end {
            // The clock counts whole milliseconds.
            Some(end) => {
                let left = Duration::from_millis(end.saturating_sub(now_ms()).max(1));
                futures_lite::future::or(earlier, reactor::sleep(left)).await;
            }
            None => earlier.await,
        }
    }
}
