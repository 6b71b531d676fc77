//! Who holds and who waits. Nothing happens but by a call; time is an argument, in milliseconds of one clock.

mod claims;
mod leases;

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, HashMap, VecDeque, hash_map};

use super::config::Limits;
use super::fast_path::{BUCKETS, FastPath, Found};
use super::holding::{Holder, Kind, Lock, Role};
use super::message::{Act, Ask, Listed, MAX_NAME, Mode, Name, PartyId, Said, Tell};

/// A worker, by its scoreboard slot and process.
pub type Worker = (usize, i32);

/// The most locks that are listed at once.
const MOST_LISTED: u32 = 10_000;
/// Tells that room is made for before they are there.
const MOST_ROOM: usize = 64;
/// The most asks that wait until grants are possible.
const MOST_WAITING_ASKS: usize = 1_000_000;
/// How long who does not want to wait is left without an answer while nothing can be granted, milliseconds.
const PATIENCE_MS: u64 = 10_000;

/// Who has something to do with locks, or had a moment ago.
struct Party {
    /// Who speaks for it; none when its worker has ended.
    worker: Option<Worker>,
    roles: BTreeMap<Name, Role>,
}

/// All locks. It grants nothing before [`Table::open`], and no token, no lasting lease, beyond what [`Table::extend`] said was kept.
pub struct Table {
    limits: Limits,
    locks: BTreeMap<Name, Lock>,
    parties: BTreeMap<PartyId, Party>,
    /// What ends when: leases by their token, waits by their ticket.
    ends: BTreeMap<(u64, u64), Name>,
    /// Tokens and tickets, and what workers take without asking.
    fast_path: FastPath,
    /// How many locks there are in each bucket of the fast path that has any.
    buckets: HashMap<usize, usize>,
    /// The end of lasting leases that may be granted.
    lasting_ceiling: u64,
    /// The end of a lasting lease that could not be granted for want of that.
    lasting_wanted: u64,
    is_open: bool,
    waiting: VecDeque<(Worker, Ask, u64)>,
    /// When the first of those has waited for long enough.
    next_late: u64,
    tells: Vec<(Worker, Tell)>,
}

impl Table {
    /// An empty table that grants nothing yet, of a process that has no others.
    #[must_use]
    pub fn new(limits: Limits) -> Self {
        Self::shared(limits, FastPath::none())
    }

    /// An empty table that grants nothing yet. What workers have taken by the fast path it knows when it is asked about it.
    #[must_use]
    pub fn shared(limits: Limits, fast_path: FastPath) -> Self {
        Self {
            limits,
            locks: BTreeMap::new(),
            parties: BTreeMap::new(),
            ends: BTreeMap::new(),
            fast_path,
            buckets: HashMap::new(),
            lasting_ceiling: 0,
            lasting_wanted: 0,
            is_open: false,
            waiting: VecDeque::new(),
            next_late: u64::MAX,
            tells: Vec::new(),
        }
    }

    /// Other limits from now on.
    pub fn limit(&mut self, limits: Limits) {
        self.limits = limits;
        if self.is_open {
            self.limit_fast_path();
        }
    }

    /// Where few names are allowed they are counted, which takes one who counts.
    fn limit_fast_path(&self) {
        self.fast_path.limit(if self.leaves_names() { u64::from(self.limits.each) } else { 0 });
    }

    /// Whether the fast path may have names of those that are allowed.
    fn leaves_names(&self) -> bool {
        self.limits.names as usize >= 4 * BUCKETS
    }

    /// What is to be told since the last call, in order.
    pub fn take_tells(&mut self) -> Vec<(Worker, Tell)> {
        // The next ones are likely to be as many.
        let room = Vec::with_capacity(self.tells.len().min(MOST_ROOM));
        std::mem::replace(&mut self.tells, room)
    }

    /// When [`Table::tick`] has something to do.
    #[must_use]
    pub fn next_end(&self) -> Option<u64> {
        self.ends.first_key_value().map(|((at, _), _)| *at + 1)
    }

    /// How many tokens may still be given.
    #[must_use]
    pub fn tokens_left(&self) -> u64 {
        self.fast_path.ceiling().saturating_sub(self.fast_path.next())
    }

    /// Until when lasting leases must be allowed for what waits; nothing when all that is wanted is allowed.
    #[must_use]
    pub fn wants_lasting(&self) -> Option<u64> {
        (self.lasting_wanted > self.lasting_ceiling).then_some(self.lasting_wanted)
    }

    /// When the last lasting lease ends that is held now.
    #[must_use]
    pub fn last_lasting_end(&self) -> Option<u64> {
        let ends = self.locks.values().flat_map(|lock| lock.holders.iter()).filter_map(|holder| match holder.kind {
            Kind::Lease { until_ms, lasting: true, .. } => Some(until_ms),
            _ => None,
        });
        ends.max()
    }

    /// Whether it grants.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.is_open
    }

    /// Tokens from `first` (or from where it stands, if that is further) to below `ceiling`, and lasting leases up to `lasting_ms`, may be given:
    /// after a restart of any kind none will be given again. Gives what waited for that.
    pub fn extend(&mut self, first: u64, ceiling: u64, lasting_ms: u64, now: u64) {
        self.fast_path.extend(first, ceiling);
        self.lasting_ceiling = self.lasting_ceiling.max(lasting_ms);
        if self.is_open {
            self.go_on(now);
        }
    }

    /// Everybody who may hold something has been heard: from now on it grants. Whose job nobody does is told that it failed.
    pub fn open(&mut self, now: u64) {
        self.is_open = true;
        self.fast_path.open(|bucket| self.buckets.contains_key(&bucket));
        self.limit_fast_path();
        let orphaned: Vec<Name> = self
            .locks
            .iter()
            .filter(|(_, lock)| lock.holders.is_empty() && !lock.outcome.is_empty())
            .map(|(name, _)| name.clone())
            .collect();
        for name in orphaned {
            self.tell_outcome(&name, false);
            self.forget(&name);
        }
        self.go_on(now);
    }

    fn go_on(&mut self, now: u64) {
        let queued: Vec<Name> = self.locks.iter().filter(|(_, lock)| !lock.queue.is_empty()).map(|(name, _)| name.clone()).collect();
        for name in queued {
            self.pump(&name, now);
        }
        while let Some((worker, ask, asked)) = self.waiting.pop_front() {
            if !self.act(worker, &ask, asked, now) {
                self.waiting.push_front((worker, ask, asked));
                return;
            }
        }
    }

    /// A party asks. While nothing can be granted, asks wait in order.
    pub fn ask(&mut self, worker: Worker, ask: Ask, now: u64) {
        if self.waiting.len() >= MOST_WAITING_ASKS {
            self.answer(worker, &ask, Said::Unavailable);
            return;
        }
        let is_next = self.is_open && self.waiting.is_empty();
        if !(is_next && self.act(worker, &ask, now, now)) {
            self.next_late = self.next_late.min(self.late(&ask, now).0);
            self.waiting.push_back((worker, ask, now));
        }
    }

    /// Answers what waits with [`Said::Unavailable`]: it cannot be served for now. Ends are kept: they are done when they can be.
    pub fn refuse_waiting(&mut self) {
        for (worker, ask, asked) in std::mem::take(&mut self.waiting) {
            if matches!(ask.act, Act::Leave | Act::End { .. } | Act::Release { .. }) {
                self.waiting.push_back((worker, ask, asked));
            } else {
                self.answer(worker, &ask, Said::Unavailable);
            }
        }
    }

    /// While nothing can be granted for long: answers who has waited for as long as it wanted to, and who did not want to wait and has long enough.
    pub fn refuse_late(&mut self, now: u64) {
        if self.is_open || now < self.next_late {
            return;
        }
        let mut next = u64::MAX;
        for (worker, ask, asked) in std::mem::take(&mut self.waiting) {
            let (late, said) = self.late(&ask, asked);
            if late <= now {
                self.answer(worker, &ask, said);
            } else {
                next = next.min(late);
                self.waiting.push_back((worker, ask, asked));
            }
        }
        self.next_late = next;
    }

    /// When an ask has waited for long enough, and what it is told then. Ends are never late: they are done when they can be.
    fn late(&self, ask: &Ask, asked: u64) -> (u64, Said) {
        let (wait_ms, said) = match &ask.act {
            Act::Take { want, .. } if want.wait_ms > 0 => (self.bounded(*want).wait_ms, Said::Busy),
            Act::Leave | Act::End { .. } | Act::Release { .. } => (u64::MAX, Said::Unavailable),
            _ => (PATIENCE_MS, Said::Unavailable),
        };
        (asked.saturating_add(wait_ms), said)
    }

    /// Does what is asked; whether it could: tokens and time for lasting leases may be short.
    fn act(&mut self, worker: Worker, ask: &Ask, asked: u64, now: u64) -> bool {
        if self.tokens_left() == 0 && matches!(ask.act, Act::Job { .. } | Act::Take { .. }) {
            return false;
        }
        self.tick(now);
        match &ask.act {
            Act::List { .. } => self.fast_path.taken().for_each(|bucket| self.rule(bucket)),
            act => {
                if let Some(bucket) = act.name().and_then(|name| self.fast_path.bucket(name)) {
                    self.rule(bucket);
                    let could = self.decide(worker, ask, asked, now);
                    self.let_go(bucket);
                    return could;
                }
            }
        }
        self.decide(worker, ask, asked, now)
    }

    fn decide(&mut self, worker: Worker, ask: &Ask, asked: u64, now: u64) -> bool {
        if self.has_moved(worker, ask) {
            let said = if ask.act == Act::Leave { Said::Left } else { Said::Moved };
            self.answer(worker, ask, said);
            return true;
        }
        let said = match &ask.act {
            Act::Job { name, wait } => self.job(worker, ask.party, name, *wait),
            Act::End { name, done } => {
                // The outcome is the answer, and the holder is the first to be told.
                self.end(worker, ask, name, *done, now);
                return true;
            }
            Act::Take { name, want } => {
                let want = self.bounded(*want);
                if want.lasting && !self.may_last(now + want.lease_ms) {
                    return false;
                }
                self.take(worker, ask.party, name, want, asked, now)
            }
            Act::Renew { name, lease_ms } => match self.renew(ask.party, name, *lease_ms, now) {
                Some(said) => said,
                None => return false,
            },
            Act::Release { name } => {
                let released = self.release(ask.party, name);
                self.answer(worker, ask, if released { Said::Released } else { Said::NotHeld });
                self.settle(name, true, now);
                return true;
            }
            Act::Leave => {
                self.answer(worker, ask, Said::Left);
                self.leave(ask.party, now);
                return true;
            }
            Act::Resume => self.resume(worker, ask.party, now),
            Act::List { prefix, limit } => Said::Locks(self.list(prefix, *limit)),
        };
        self.answer(worker, ask, said);
        true
    }

    /// Whether a session is taken up at another worker: what an earlier one says of it, its end above all, counts no more.
    fn has_moved(&self, worker: Worker, ask: &Ask) -> bool {
        let speaker = self.parties.get(&ask.party).and_then(|party| party.worker);
        ask.act != Act::Resume && speaker.is_some_and(|speaker| speaker != worker)
    }

    fn answer(&mut self, worker: Worker, ask: &Ask, said: Said) {
        let name = ask.act.name().cloned().unwrap_or_default();
        // One connection asks for both kinds, and must know which is refused.
        let said = match (&ask.act, said) {
            (Act::Job { .. }, Said::Busy | Said::Limit | Said::Unavailable) => Said::NotRun,
            (Act::End { .. }, Said::NotHeld) => Said::NotEnded,
            (_, said) => said,
        };
        self.tells.push((worker, Tell { party: ask.party, answers: Some(ask.seq), name, said }));
    }

    fn tell(&mut self, party: PartyId, name: &Name, said: Said) {
        if let Some(worker) = self.parties.get(&party).and_then(|party| party.worker) {
            self.tells.push((worker, Tell { party, answers: None, name: name.clone(), said }));
        }
    }

    fn role(&self, party: PartyId, name: &Name) -> Option<Role> {
        self.parties.get(&party)?.roles.get(name).copied()
    }

    fn set_role(&mut self, worker: Option<Worker>, party: PartyId, name: &Name, role: Role) {
        let party = self.parties.entry(party).or_insert_with(|| Party { worker, roles: BTreeMap::new() });
        if worker.is_some() {
            party.worker = worker;
        }
        party.roles.insert(name.clone(), role);
    }

    fn clear_role(&mut self, party: PartyId, name: &Name) {
        if let Entry::Occupied(mut entry) = self.parties.entry(party) {
            entry.get_mut().roles.remove(name);
            if entry.get().roles.is_empty() {
                entry.remove();
            }
        }
    }

    /// Whether a party may have something to do with one more name.
    fn has_room(&self, party: Option<&Party>, name: &Name) -> bool {
        let names = self.limits.names as usize - if self.leaves_names() { BUCKETS } else { 0 };
        (1..=MAX_NAME).contains(&name.len())
            && party.is_none_or(|party| party.roles.len() < self.limits.each as usize)
            && (self.locks.len() < names || self.locks.contains_key(name))
    }

    /// Decides about the names of a bucket from now on. A job that a worker had taken there is one of this table's then.
    fn rule(&mut self, bucket: usize) {
        let Some(Found { worker, party, token, name }) = self.fast_path.rule(bucket) else { return };
        // Of a worker that has ended nothing stands, and the master may have said so already.
        if self.fast_path.lives(worker) {
            self.claim_hold(worker, &name, Mode::Exclusive, Holder { party, token, kind: Kind::Job }, false);
        }
    }

    /// Leaves a bucket to the fast path if there is nothing in it.
    fn let_go(&self, bucket: usize) {
        // Before it is open somebody may believe something that is not known yet.
        if self.is_open && !self.buckets.contains_key(&bucket) {
            self.fast_path.let_go(bucket);
        }
    }

    /// A lock, which is made when it is not there. Its bucket must be ruled.
    fn lock(&mut self, name: &Name) -> &mut Lock {
        match self.locks.entry(name.clone()) {
            Entry::Occupied(entry) => entry.into_mut(),
            Entry::Vacant(entry) => {
                if let Some(bucket) = self.fast_path.bucket(name) {
                    *self.buckets.entry(bucket).or_default() += 1;
                }
                entry.insert(Lock::new())
            }
        }
    }

    fn drop_lock(&mut self, name: &Name) {
        if self.locks.remove(name).is_none() {
            return;
        }
        if let Some(bucket) = self.fast_path.bucket(name)
            && let hash_map::Entry::Occupied(mut entry) = self.buckets.entry(bucket)
        {
            *entry.get_mut() -= 1;
            if *entry.get() == 0 {
                entry.remove();
                self.let_go(bucket);
            }
        }
    }

    fn job(&mut self, worker: Worker, party: PartyId, name: &Name, wait: bool) -> Said {
        let own = self.parties.get(&party);
        match own.and_then(|own| own.roles.get(name)) {
            // Who waits for itself would wait for ever; it stays what it is.
            Some(_) if wait => return Said::Wait,
            Some(_) => return Said::Busy,
            None if !self.has_room(own, name) => return Said::Limit,
            None => {}
        }
        let (waiters, fast_path) = (self.limits.waiters as usize, self.fast_path);
        let lock = self.lock(name);
        if lock.holders.is_empty() && lock.queue.is_empty() {
            let token = fast_path.draw();
            lock.mode = Mode::Exclusive;
            lock.holders.push(Holder { party, token, kind: Kind::Job });
            self.set_role(Some(worker), party, name, Role::Holds);
            Said::Run { token }
        } else if !wait {
            Said::Busy
        } else if lock.outcome.len() >= waiters {
            Said::Limit
        } else {
            lock.outcome.push(party);
            self.set_role(Some(worker), party, name, Role::Outcome);
            Said::Wait
        }
    }

    fn end(&mut self, worker: Worker, ask: &Ask, name: &Name, done: bool, now: u64) {
        let free = self.locks.get_mut(name).and_then(|lock| {
            let at = lock.holder(ask.party).filter(|&at| lock.holders[at].kind == Kind::Job)?;
            lock.holders.remove(at);
            Some(lock.is_forgotten())
        });
        let Some(is_free) = free else {
            self.answer(worker, ask, Said::NotHeld);
            return;
        };
        self.clear_role(ask.party, name);
        self.answer(worker, ask, Said::Ended { done });
        if is_free {
            self.drop_lock(name);
        } else {
            self.settle(name, done, now);
        }
    }

    /// After something left a lock: who waits for the outcome is told when it is free, who is next gets it.
    fn settle(&mut self, name: &Name, done: bool, now: u64) {
        // Before it is open the holder may still be to be heard of.
        if self.is_open && self.locks.get(name).is_some_and(|lock| lock.holders.is_empty()) {
            self.tell_outcome(name, done);
        }
        self.pump(name, now);
        self.forget(name);
    }

    fn tell_outcome(&mut self, name: &Name, done: bool) {
        let Some(lock) = self.locks.get_mut(name) else { return };
        for party in std::mem::take(&mut lock.outcome) {
            self.tell(party, name, Said::Ended { done });
            self.clear_role(party, name);
        }
    }

    fn forget(&mut self, name: &Name) {
        if self.locks.get(name).is_some_and(Lock::is_forgotten) {
            self.drop_lock(name);
        }
    }

    /// A party has ended: its jobs have failed, its waits are over, its leases too unless they are lasting.
    fn leave(&mut self, party: PartyId, now: u64) {
        for name in self.drop_roles(party) {
            self.settle(&name, false, now);
        }
    }

    /// Takes a party out of everything but its lasting leases. Gives the locks that must be settled.
    fn drop_roles(&mut self, party: PartyId) -> Vec<Name> {
        let Some(entry) = self.parties.get(&party) else { return Vec::new() };
        let roles: Vec<(Name, Role)> = entry.roles.iter().map(|(name, role)| (name.clone(), *role)).collect();
        let mut changed = Vec::with_capacity(roles.len());
        for (name, role) in roles {
            let Some(lock) = self.locks.get_mut(&name) else { continue };
            match role {
                Role::Outcome => lock.outcome.retain(|waiting| *waiting != party),
                Role::Queued(_) => {
                    self.release(party, &name);
                }
                Role::Holds => {
                    let Some(at) = lock.holder(party) else { continue };
                    match lock.holders[at].kind {
                        Kind::Lease { lasting: true, .. } => continue,
                        Kind::Lease { .. } => {
                            self.release(party, &name);
                        }
                        Kind::Job => {
                            lock.holders.remove(at);
                        }
                    }
                }
            }
            self.clear_role(party, &name);
            changed.push(name);
        }
        changed
    }

    fn list(&self, prefix: &Name, limit: u32) -> Vec<Listed> {
        let listed = |(name, lock): (&Name, &Lock)| Listed {
            name: name.clone(),
            job: lock.holders.iter().any(|holder| holder.kind == Kind::Job),
            mode: lock.mode,
            holders: u32::try_from(lock.holders.len()).unwrap_or(u32::MAX),
            waiting: u32::try_from(lock.queue.len() + lock.outcome.len()).unwrap_or(u32::MAX),
            token: lock.holders.iter().map(|holder| holder.token).max().unwrap_or(0),
        };
        let from = self.locks.range(prefix.clone()..).take_while(|(name, _)| name.starts_with(prefix));
        from.take(limit.min(MOST_LISTED) as usize).map(listed).collect()
    }

    /// A worker has ended, as the master says. What it asked and what is to be told to it is nobody's any more.
    pub fn gone(&mut self, worker: Worker, now: u64) {
        self.fast_path.gone(worker);
        self.waiting.retain(|(asker, _, _)| *asker != worker);
        let parties: Vec<PartyId> =
            self.parties.iter().filter(|(_, party)| party.worker == Some(worker)).map(|(party, _)| *party).collect();
        // All of them before anything is given on: nothing may be given to another one of them.
        let mut changed = Vec::new();
        for party in parties {
            if let Some(entry) = self.parties.get_mut(&party) {
                entry.worker = None;
            }
            changed.extend(self.drop_roles(party));
        }
        for name in changed {
            self.settle(&name, false, now);
        }
    }

    /// Nothing is granted any more: what workers took by themselves stands, and they take nothing else.
    pub fn close(&mut self) {
        self.is_open = false;
        self.fast_path.close();
    }

    /// Who holds a lock, and by which tokens, the first first.
    #[cfg(test)]
    pub(super) fn holders(&self, name: &Name) -> Vec<(PartyId, u64)> {
        self.locks.get(name).map(|lock| lock.holders.iter().map(|holder| (holder.party, holder.token)).collect()).unwrap_or_default()
    }

    /// Whether nothing is held or waited for, and nothing remembered of it.
    #[cfg(test)]
    pub(super) fn is_empty(&self) -> bool {
        self.locks.is_empty() && self.parties.is_empty() && self.ends.is_empty() && self.buckets.is_empty()
    }
}
