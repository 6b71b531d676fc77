//! What workers told their parties before this hub was there.

use super::super::holding::{Holder, Kind, Role, Waiter};
use super::super::message::{Claim, Claimed, Mode, Name, Said, Tell};
use super::{Table, Worker};

impl Table {
    /// What a worker has told a party before this hub was there. Only before [`Table::open`].
    pub fn claim(&mut self, worker: Worker, claim: Claim) {
        let Claim { party, name, state } = claim;
        if let Some(bucket) = self.fast_path.bucket(&name) {
            self.rule(bucket);
        }
        match state {
            Claimed::Job { token, ending } => {
                self.claim_hold(worker, &name, Mode::Exclusive, Holder { party, token, kind: Kind::Job }, ending);
            }
            Claimed::Lease { token, mode, until_ms, lease_ms, lasting } => {
                self.claim_hold(worker, &name, mode, Holder { party, token, kind: Kind::Lease { until_ms, lease_ms, lasting } }, false);
            }
            Claimed::JobWait => {
                self.lock(&name).outcome.push(party);
                self.set_role(Some(worker), party, &name, Role::Outcome);
            }
            Claimed::Queued { ticket, deadline_ms, want } => {
                self.fast_path.extend(ticket + 1, 0);
                let lock = self.lock(&name);
                lock.queue.insert(ticket, Waiter { party, want, deadline_ms });
                self.ends.insert((deadline_ms, ticket), name.clone());
                self.set_role(Some(worker), party, &name, Role::Queued(ticket));
            }
        }
    }

    /// Of two claims that exclude each other the later grant is right: the earlier holder had ended it, or its time was over, and the
    /// hub could not tell its worker any more.
    pub(super) fn claim_hold(&mut self, worker: Worker, name: &Name, mode: Mode, holder: Holder, ending: bool) {
        self.fast_path.extend(holder.token + 1, 0);
        self.lock(name);
        let Some(lock) = self.locks.get_mut(name) else { return };
        if let Some(at) = lock.holder(holder.party) {
            // A session that moved is claimed by both its workers: the later word about it is right.
            let known = lock.holders[at].clone();
            if (end_of(&known), known.token) < (end_of(&holder), holder.token) {
                self.ends.remove(&(end_of(&known), known.token));
                lock.holders[at] = holder.clone();
                self.note_end(&holder, name);
                self.set_role(Some(worker), holder.party, name, Role::Holds);
            }
            return;
        }
        let mut losers = Vec::new();
        while !lock.admits(mode) {
            let Some((at, lowest)) = lock.holders.iter().enumerate().min_by_key(|(_, holder)| holder.token) else { break };
            if ending || lowest.token > holder.token {
                losers.push(holder.clone());
                break;
            }
            losers.push(lock.holders.remove(at));
        }
        let is_in = !losers.contains(&holder);
        if is_in {
            lock.mode = mode;
            lock.holders.push(holder.clone());
            self.set_role(Some(worker), holder.party, name, Role::Holds);
            self.note_end(&holder, name);
        }
        for loser in losers {
            self.ends.remove(&(end_of(&loser), loser.token));
            let said = if loser.kind == Kind::Job { Said::Ended { done: false } } else { Said::Lost };
            if loser.party == holder.party {
                self.tells.push((worker, Tell { party: loser.party, answers: None, name: name.clone(), said }));
            } else {
                self.tell(loser.party, name, said);
                self.clear_role(loser.party, name);
            }
        }
    }

    fn note_end(&mut self, holder: &Holder, name: &Name) {
        if let Kind::Lease { until_ms, .. } = holder.kind {
            self.ends.insert((until_ms, holder.token), name.clone());
        }
    }
}

/// When a holder's lease ends; a job's never does.
fn end_of(holder: &Holder) -> u64 {
    match holder.kind {
        Kind::Job => u64::MAX,
        Kind::Lease { until_ms, .. } => until_ms,
    }
}
