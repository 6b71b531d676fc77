//! Leases: who gets one, who waits for it, when it ends, who takes it up again.

use super::super::holding::{Holder, Kind, Role, Waiter};
use super::super::message::{Hold, Mode, Name, PartyId, Said, Tell, Want};
use super::{Table, Worker};

impl Table {
    pub(super) fn bounded(&self, want: Want) -> Want {
        let most = |limit: std::time::Duration| u64::try_from(limit.as_millis()).unwrap_or(u64::MAX);
        Want {
            lease_ms: want.lease_ms.clamp(1, most(*self.limits.longest_lease)),
            wait_ms: want.wait_ms.min(most(*self.limits.longest_wait)),
            mode: if want.mode == Mode::Permits(0) { Mode::Permits(1) } else { want.mode },
            ..want
        }
    }

    pub(super) fn may_last(&mut self, until: u64) -> bool {
        self.lasting_wanted = self.lasting_wanted.max(until);
        until <= self.lasting_ceiling
    }

    pub(super) fn take(&mut self, worker: Worker, party: PartyId, name: &Name, want: Want, asked: u64, now: u64) -> Said {
        if self.role(party, name).is_some() {
            return Said::Busy;
        }
        if !self.has_room(self.parties.get(&party), name) {
            return Said::Limit;
        }
        let (waiters, fast_path) = (self.limits.waiters as usize, self.fast_path);
        let lock = self.lock(name);
        if lock.admits(want.mode) && lock.queue.is_empty() {
            return self.grant(Some(worker), party, name, want, fast_path.draw(), now);
        }
        let deadline_ms = asked.saturating_add(want.wait_ms);
        if deadline_ms <= now {
            return Said::Busy;
        }
        if lock.queue.len() >= waiters {
            return Said::Limit;
        }
        let number = fast_path.draw();
        lock.queue.insert(number, Waiter { party, want, deadline_ms });
        self.ends.insert((deadline_ms, number), name.clone());
        self.set_role(Some(worker), party, name, Role::Queued(number));
        Said::Queued { ticket: number, deadline_ms, want }
    }

    fn grant(&mut self, worker: Option<Worker>, party: PartyId, name: &Name, want: Want, token: u64, now: u64) -> Said {
        let Want { mode, lease_ms, lasting, .. } = want;
        let until_ms = now.saturating_add(lease_ms);
        if let Some(lock) = self.locks.get_mut(name) {
            lock.mode = mode;
            lock.holders.push(Holder { party, token, kind: Kind::Lease { until_ms, lease_ms, lasting } });
        }
        self.ends.insert((until_ms, token), name.clone());
        self.set_role(worker, party, name, Role::Holds);
        Said::Granted { token, until_ms, lease_ms, mode, lasting }
    }

    /// `None`: a lasting lease would last longer than is allowed yet.
    pub(super) fn renew(&mut self, party: PartyId, name: &Name, lease_ms: Option<u64>, now: u64) -> Option<Said> {
        let longest = u64::try_from(self.limits.longest_lease.as_millis()).unwrap_or(u64::MAX);
        let Some((at, holder)) = self.locks.get(name).and_then(|lock| lock.holder(party).map(|at| (at, lock.holders[at].clone()))) else {
            return Some(Said::NotHeld);
        };
        let Kind::Lease { until_ms: before, lease_ms: length, lasting } = holder.kind else { return Some(Said::NotHeld) };
        let lease_ms = lease_ms.unwrap_or(length).clamp(1, longest);
        let until_ms = now.saturating_add(lease_ms);
        if lasting && !self.may_last(until_ms) {
            return None;
        }
        self.ends.remove(&(before, holder.token));
        self.ends.insert((until_ms, holder.token), name.clone());
        if let Some(lock) = self.locks.get_mut(name) {
            lock.holders[at].kind = Kind::Lease { until_ms, lease_ms, lasting };
        }
        Some(Said::Renewed { until_ms })
    }

    /// Gives up a lease or a place in the queue; whether there was one.
    pub(super) fn release(&mut self, party: PartyId, name: &Name) -> bool {
        let Some(lock) = self.locks.get_mut(name) else { return false };
        match self.parties.get(&party).and_then(|party| party.roles.get(name)) {
            Some(Role::Holds) => {
                let Some(at) = lock.holder(party) else { return false };
                let Kind::Lease { until_ms, .. } = lock.holders[at].kind else { return false };
                let holder = lock.holders.remove(at);
                self.ends.remove(&(until_ms, holder.token));
            }
            Some(&Role::Queued(ticket)) => {
                if let Some(waiter) = lock.queue.remove(&ticket) {
                    self.ends.remove(&(waiter.deadline_ms, ticket));
                }
            }
            Some(Role::Outcome) | None => return false,
        }
        self.clear_role(party, name);
        true
    }

    /// Gives a lock to who is first in the queue, as long as it admits them.
    pub(super) fn pump(&mut self, name: &Name, now: u64) {
        while self.is_open && self.tokens_left() > 0 {
            let Some(lock) = self.locks.get_mut(name) else { return };
            let Some((&ticket, waiter)) = lock.queue.first_key_value() else { return };
            let (party, want, deadline_ms) = (waiter.party, waiter.want, waiter.deadline_ms);
            if !lock.admits(want.mode) || want.lasting && !self.may_last(now.saturating_add(want.lease_ms)) {
                return;
            }
            if let Some(lock) = self.locks.get_mut(name) {
                lock.queue.remove(&ticket);
            }
            self.ends.remove(&(deadline_ms, ticket));
            let token = self.fast_path.draw();
            let said = self.grant(None, party, name, want, token, now);
            self.tell(party, name, said);
        }
    }

    /// Ends leases and waits whose time has passed: after their last millisecond, because a clock that counts whole ones said when they began.
    pub fn tick(&mut self, now: u64) {
        while let Some(entry) = self.ends.first_entry().filter(|entry| entry.key().0 < now) {
            let ((_, number), name) = entry.remove_entry();
            let Some(lock) = self.locks.get_mut(&name) else { continue };
            let (party, said) = if let Some(waiter) = lock.queue.remove(&number) {
                (waiter.party, Said::TimedOut)
            } else if let Some(at) = lock.holders.iter().position(|holder| holder.token == number) {
                (lock.holders.remove(at).party, Said::Lost)
            } else {
                continue;
            };
            self.tell(party, &name, said);
            self.clear_role(party, &name);
            self.settle(&name, false, now);
        }
    }

    /// A session has another connection. What ends with a connection ends with the earlier one.
    pub(super) fn resume(&mut self, worker: Worker, party: PartyId, now: u64) -> Said {
        self.leave(party, now);
        let Some(entry) = self.parties.get_mut(&party) else { return Said::Holds(Vec::new()) };
        let before = entry.worker.replace(worker).filter(|before| *before != worker);
        let names: Vec<Name> = entry.roles.keys().cloned().collect();
        if let Some(before) = before {
            self.tells.push((before, Tell { party, answers: None, name: Name::default(), said: Said::Moved }));
        }
        let hold = |name: &Name| {
            let lock = self.locks.get(name)?;
            let holder = &lock.holders[lock.holder(party)?];
            let Kind::Lease { until_ms, lease_ms, .. } = holder.kind else { return None };
            Some(Hold { name: name.clone(), token: holder.token, mode: lock.mode, until_ms, lease_ms })
        };
        Said::Holds(names.iter().filter_map(hold).collect())
    }
}
