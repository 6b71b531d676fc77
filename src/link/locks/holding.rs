//! One lock: who holds it, who waits.

use std::collections::BTreeMap;

use smallvec::SmallVec;

use super::message::{Mode, PartyId, Want};

/// Who holds it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Holder {
    pub party: PartyId,
    pub token: u64,
    pub kind: Kind,
}

/// On what terms.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Until the job ends.
    Job,
    /// Until then.
    Lease { until_ms: u64, lease_ms: u64, lasting: bool },
}

/// Who waits for a lease.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Waiter {
    pub party: PartyId,
    pub want: Want,
    pub deadline_ms: u64,
}

/// What a party has to do with a lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    /// It holds it.
    Holds,
    /// It waits for the outcome of the job.
    Outcome,
    /// It waits for a lease, at this place.
    Queued(u64),
}

/// One lock. It is free when nobody holds it; then nobody waits either, but while tokens are short.
#[derive(Clone, Debug)]
pub(super) struct Lock {
    /// How its holders share it; of no meaning while there are none.
    pub mode: Mode,
    pub holders: SmallVec<[Holder; 1]>,
    /// Who is told the outcome, in order of asking.
    pub outcome: Vec<PartyId>,
    /// Who wants a lease, by place.
    pub queue: BTreeMap<u64, Waiter>,
}

impl Lock {
    pub fn new() -> Self {
        Self { mode: Mode::Exclusive, holders: SmallVec::new(), outcome: Vec::new(), queue: BTreeMap::new() }
    }

    /// Whether one more may hold it this way.
    pub fn admits(&self, mode: Mode) -> bool {
        self.holders.is_empty() || mode == self.mode && self.holders.len() < mode.room()
    }

    pub fn holder(&self, party: PartyId) -> Option<usize> {
        self.holders.iter().position(|holder| holder.party == party)
    }

    /// Whether nobody has anything to do with it.
    pub fn is_forgotten(&self) -> bool {
        self.holders.is_empty() && self.outcome.is_empty() && self.queue.is_empty()
    }
}
