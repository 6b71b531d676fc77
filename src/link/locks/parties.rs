//! The worker's side: what each of its parties asks and believes.
//!
//! What was asked and not answered is asked again of a hub that was started anew, after it was told what every party believes, so that
//! a restart of the hub costs nobody a lock. Asks of one turn of the loop go to the hub in one message.
//!
//! Who asks for a job that nobody else has to do with is not asked for at the hub: it is taken by the fast path, and answered at once. A party that
//! waits for an answer asks the hub for everything meanwhile, so that answers come in order. Sessions, which other workers may take up, always do.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, VecDeque};
use std::rc::Rc;
use std::sync::atomic::Ordering::Relaxed;

use super::config::Limits;
use super::door::{Door, Party};
use super::fast_path::{FastPath, Place, Seat};
use super::message::{Act, Ask, Claim, Claimed, Name, PartyId, Said, Tell, Told};
use super::table::Table;
use crate::link::{Port, ToHub};
use crate::reactor;
use crate::scoreboard::{Slot, now_ms};

/// The most claims in one message.
const CLAIMS_A_MESSAGE: usize = 10_000;
/// The worker of a table that is in the same process.
const ALONE: (usize, i32) = (0, 0);

/// Who is told what a party is told.
pub trait Hearer {
    /// The party is told something. It must not ask from within.
    fn hear(&self, tell: &Tell);
}

/// A party as this worker knows it.
struct Known {
    /// None when its connection has ended and only lasting leases are left.
    hearer: Option<Rc<dyn Hearer>>,
    /// Which handle is the present one.
    entry: u64,
    /// A session: another worker may take it up.
    is_session: bool,
    /// Asks that wait for an answer.
    asked: usize,
    /// The hub was asked for it, and so may know it.
    reached_hub: bool,
    beliefs: BTreeMap<Name, Belief>,
}

/// What a party believes of one lock.
struct Belief {
    state: Claimed,
    /// Where it was taken by the fast path; the hub may decide about it by now.
    place: Option<Place>,
}

impl From<Claimed> for Belief {
    fn from(state: Claimed) -> Self {
        Self { state, place: None }
    }
}

impl Belief {
    /// Whether it is a lasting lease, as a count.
    fn lasting(&self) -> usize {
        usize::from(matches!(self.state, Claimed::Lease { lasting: true, .. }))
    }
}

/// Where asks go.
#[derive(Default)]
enum Authority {
    /// No hub just now: they wait for one.
    #[default]
    Nobody,
    /// The hub.
    Hub(Rc<Port>),
    /// A table of this process, which has no others.
    Own(Box<Table>),
}

/// All parties of this worker.
pub struct Parties {
    /// For handles.
    this: std::rc::Weak<Parties>,
    known: RefCell<BTreeMap<PartyId, Known>>,
    /// Asked and not answered, in order, each with the handle that asked.
    pending: RefCell<VecDeque<(u64, Ask)>>,
    /// How many of them the present hub has been asked.
    sent: Cell<usize>,
    seq: Cell<u64>,
    entries: Cell<u64>,
    /// The beginning of the identities of parties that are not sessions.
    nonce: u64,
    authority: RefCell<Authority>,
    flushing: Cell<bool>,
    slot: Cell<Option<Slot>>,
    seat: RefCell<Option<Seat>>,
    lasting: Cell<usize>,
}

impl Parties {
    /// No parties, and no hub yet.
    #[must_use]
    pub fn new() -> Rc<Self> {
        Self::with(Authority::Nobody)
    }

    /// Parties of a process that stands alone: it has its own table, which forgets everything with it.
    #[must_use]
    pub fn alone() -> Rc<Self> {
        let mut table = Table::new(Limits::default());
        table.extend(1, u64::MAX / 2, u64::MAX, 0);
        table.open(0);
        Self::with(Authority::Own(Box::new(table)))
    }

    fn with(authority: Authority) -> Rc<Self> {
        let mut nonce = [0; 8];
        // Without random numbers the process id tells workers of one machine apart, which is what it is for.
        if getrandom::fill(&mut nonce).is_err() {
            nonce = u64::from(std::process::id()).to_le_bytes();
        }
        Rc::new_cyclic(|this| Self {
            this: this.clone(),
            known: RefCell::default(),
            pending: RefCell::default(),
            sent: Cell::new(0),
            seq: Cell::new(1),
            entries: Cell::new(1),
            nonce: u64::from_le_bytes(nonce),
            authority: RefCell::new(authority),
            flushing: Cell::new(false),
            slot: Cell::new(None),
            seat: RefCell::default(),
            lasting: Cell::new(0),
        })
    }

    /// Shows in `slot` until when lasting leases may run that parties of this worker were told of.
    pub fn show(&self, slot: Slot) {
        self.slot.set(Some(slot));
    }

    /// Takes by `fast_path`, as the worker of slot `number`, what nobody else asks for.
    pub fn share(&self, fast_path: FastPath, number: usize) {
        let pid = i32::try_from(std::process::id()).unwrap_or(0);
        self.seat.replace(Some(Seat::new(fast_path, (number, pid))));
    }

    /// A party that ends with its handle.
    #[must_use]
    pub fn enter_new(&self, hearer: Rc<dyn Hearer>) -> PartyHandle {
        let entry = self.entries.get();
        self.enter(u128::from(self.nonce) << 64 | u128::from(entry), false, hearer)
    }

    /// The party of a session. An earlier handle of it is told [`Said::Moved`] and means nothing from now on.
    #[must_use]
    pub fn enter_as(&self, party: PartyId, hearer: Rc<dyn Hearer>) -> PartyHandle {
        self.enter(party, true, hearer)
    }

    fn enter(&self, party: PartyId, is_session: bool, hearer: Rc<dyn Hearer>) -> PartyHandle {
        let entry = self.entries.get();
        self.entries.set(entry + 1);
        let before = {
            let mut all = self.known.borrow_mut();
            let known = all.entry(party).or_insert_with(|| Known {
                hearer: None,
                entry,
                is_session,
                asked: 0,
                reached_hub: false,
                beliefs: BTreeMap::new(),
            });
            known.entry = entry;
            known.beliefs.retain(|_, belief| belief.lasting() == 1);
            known.hearer.replace(hearer)
        };
        if let Some(before) = before {
            before.hear(&Tell { party, answers: None, name: Name::default(), said: Said::Moved });
        }
        PartyHandle { parties: self.this.upgrade(), party, entry }
    }

    fn ask(&self, party: PartyId, entry: u64, act: Act) {
        let seq = self.seq.get();
        self.seq.set(seq + 1);
        let mut all = self.known.borrow_mut();
        if let Some(known) = all.get_mut(&party).filter(|known| known.entry == entry) {
            if let Some(said) = self.at_once(party, known, &act) {
                let hearer = known.hearer.clone();
                drop(all);
                let name = act.name().cloned().unwrap_or_default();
                if let Some(hearer) = hearer {
                    hearer.hear(&Tell { party, answers: Some(seq), name, said });
                }
                return;
            }
            known.asked += 1;
            known.reached_hub = true;
            if let Act::End { name, .. } = &act
                && let Some(Claimed::Job { ending, .. }) = known.beliefs.get_mut(name).map(|belief| &mut belief.state)
            {
                *ending = true;
            }
        }
        drop(all);
        self.pending.borrow_mut().push_back((entry, Ask { seq, party, act }));
        if reactor::is_running()
            && !self.flushing.replace(true)
            && let Some(parties) = self.this.upgrade()
        {
            // It runs after the tasks that are ready now: what they ask goes along.
            reactor::spawn(async move {
                parties.flushing.set(false);
                parties.flush();
            })
            .detach();
        }
    }

    /// Does what can be done without asking; gives the answer.
    fn at_once(&self, party: PartyId, known: &mut Known, act: &Act) -> Option<Said> {
        let mut seat = self.seat.borrow_mut();
        let seat = seat.as_mut().filter(|_| known.asked == 0 && !known.is_session)?;
        match act {
            Act::Job { name, .. } | Act::Take { name, .. } if !known.beliefs.contains_key(name) => {
                let each = seat.each();
                if known.beliefs.len() >= each {
                    // The hub does not know of all that the party has.
                    let said = if matches!(act, Act::Job { .. }) { Said::NotRun } else { Said::Limit };
                    return (each > 0).then_some(said);
                }
                if matches!(act, Act::Take { .. }) {
                    return None;
                }
                let (place, token) = seat.take(party, name)?;
                known.beliefs.insert(name.clone(), Belief { state: Claimed::Job { token, ending: false }, place: Some(place) });
                Some(Said::Run { token })
            }
            Act::End { name, done } => {
                let Some(Belief { state: Claimed::Job { token, .. }, place: Some(place) }) = known.beliefs.get(name) else { return None };
                if !seat.give_back(name, *place, *token) {
                    return None;
                }
                known.beliefs.remove(name);
                Some(Said::Ended { done: *done })
            }
            _ => None,
        }
    }

    /// A belief ends that may have been taken by the fast path: the hub decided about it.
    fn forget_place(&self, belief: Option<&Belief>) {
        if let (Some(Belief { place: Some(place), .. }), Some(seat)) = (belief, &mut *self.seat.borrow_mut()) {
            seat.forget(*place);
        }
    }

    /// Asks what the authority has not been asked yet.
    fn flush(&self) {
        let asks: Vec<Ask> = self.pending.borrow().iter().skip(self.sent.get()).map(|(_, ask)| ask.clone()).collect();
        if asks.is_empty() {
            return;
        }
        let count = asks.len();
        let answered = match &mut *self.authority.borrow_mut() {
            Authority::Nobody => return,
            Authority::Hub(port) => {
                // A hub that is gone is noticed by who receives from it; the next one is asked again.
                if port.send_message(&ToHub::Locks(asks)).is_ok() {
                    self.sent.set(self.sent.get() + count);
                }
                return;
            }
            Authority::Own(table) => {
                let now = now_ms();
                asks.into_iter().for_each(|ask| table.ask(ALONE, ask, now));
                table.take_tells()
            }
        };
        self.sent.set(self.sent.get() + count);
        self.take(answered.into_iter().map(|(_, tell)| tell.into()).collect());
        self.tick_later();
    }

    /// With an own table: does what is due when it is.
    fn tick_later(&self) {
        let Authority::Own(table) = &*self.authority.borrow() else { return };
        let (Some(end), Some(parties)) = (table.next_end(), self.this.upgrade()) else { return };
        reactor::spawn(async move {
            reactor::sleep(std::time::Duration::from_millis(end.saturating_sub(now_ms()))).await;
            let tells = match &mut *parties.authority.borrow_mut() {
                Authority::Own(table) => {
                    table.tick(now_ms());
                    table.take_tells()
                }
                _ => return,
            };
            let more = !tells.is_empty();
            parties.take(tells.into_iter().map(|(_, tell)| tell.into()).collect());
            if more {
                parties.tick_later();
            }
        })
        .detach();
    }

    /// What every party believes, in messages; but for what a new hub finds where it was taken.
    pub(in crate::link) fn claims(&self) -> Vec<Vec<Claim>> {
        let (known, seat) = (self.known.borrow(), self.seat.borrow());
        let is_there = |name: &Name, place| seat.as_ref().is_some_and(|seat| seat.has(name, place));
        let mut claims = Vec::new();
        for (&party, known) in &*known {
            let claimed = known.beliefs.iter().filter(|(name, belief)| belief.place.is_none_or(|place| !is_there(name, place)));
            claims.extend(claimed.map(|(name, belief)| Claim { party, name: name.clone(), state: belief.state }));
        }
        claims.chunks(CLAIMS_A_MESSAGE).map(<[Claim]>::to_vec).collect()
    }

    /// There is a new hub, which has been told [`Parties::claims`].
    pub(in crate::link) fn connect(&self, port: Rc<Port>) {
        self.authority.replace(Authority::Hub(port));
        self.sent.set(0);
        self.flush();
    }

    /// The hub is gone.
    pub(in crate::link) fn disconnect(&self) {
        self.authority.replace(Authority::Nobody);
        self.sent.set(0);
    }

    /// What the authority tells.
    pub(in crate::link) fn take(&self, all: Vec<Told>) {
        for told in all {
            let (tell, asker) = match told {
                Told::Answer { seq, said } => {
                    // Every ask is answered once.
                    let Some((entry, Ask { party, act, .. })) = self.answered(seq) else { continue };
                    let name = act.name().cloned().unwrap_or_default();
                    (Tell { party, answers: Some(seq), name, said }, Some(entry))
                }
                Told::News { party, name, said } => (Tell { party, answers: None, name, said }, None),
            };
            let Some((hearer, entry)) = self.believe(&tell) else { continue };
            // An earlier connection of a session asked: the present one would not understand the answer.
            if asker.is_none_or(|asker| asker == entry) {
                hearer.hear(&tell);
            }
        }
    }

    /// Takes out what is answered, with the handle that asked it.
    fn answered(&self, seq: u64) -> Option<(u64, Ask)> {
        let mut pending = self.pending.borrow_mut();
        let asked = match pending.front() {
            Some((_, ask)) if ask.seq == seq => pending.pop_front()?,
            _ => {
                let at = pending.iter().position(|(_, ask)| ask.seq == seq)?;
                pending.remove(at)?
            }
        };
        self.sent.set(self.sent.get().saturating_sub(1));
        if let Some(known) = self.known.borrow_mut().get_mut(&asked.1.party) {
            known.asked = known.asked.saturating_sub(1);
        }
        Some(asked)
    }

    /// Notes what a party believes from now on; gives who is to hear it, and by which handle.
    fn believe(&self, tell: &Tell) -> Option<(Rc<dyn Hearer>, u64)> {
        let mut all = self.known.borrow_mut();
        let known = all.get_mut(&tell.party)?;
        let name = &tell.name;
        let mut lasting = 0;
        match &tell.said {
            Said::Run { token } => {
                known.beliefs.insert(name.clone(), Claimed::Job { token: *token, ending: false }.into());
            }
            Said::Wait => {
                known.beliefs.entry(name.clone()).or_insert(Claimed::JobWait.into());
            }
            Said::Granted { token, until_ms, lease_ms, mode, lasting } => {
                let lease = Claimed::Lease { token: *token, mode: *mode, until_ms: *until_ms, lease_ms: *lease_ms, lasting: *lasting };
                known.beliefs.insert(name.clone(), lease.into());
                self.note_lasting(*lasting, *until_ms, 1);
            }
            Said::Queued { ticket, deadline_ms, want } => {
                let queued = Claimed::Queued { ticket: *ticket, deadline_ms: *deadline_ms, want: *want };
                known.beliefs.insert(name.clone(), queued.into());
            }
            Said::Renewed { until_ms: until } => {
                if let Some(Claimed::Lease { until_ms, lasting, .. }) = known.beliefs.get_mut(name).map(|belief| &mut belief.state) {
                    *until_ms = *until;
                    self.note_lasting(*lasting, *until, 0);
                }
            }
            Said::Ended { .. } | Said::TimedOut | Said::Lost | Said::Released => {
                let belief = known.beliefs.remove(name);
                self.forget_place(belief.as_ref());
                lasting = belief.as_ref().map_or(0, Belief::lasting);
            }
            Said::Holds(holds) => {
                for hold in holds {
                    let (token, mode, until_ms, lease_ms) = (hold.token, hold.mode, hold.until_ms, hold.lease_ms);
                    let lease = Claimed::Lease { token, mode, until_ms, lease_ms, lasting: true };
                    let before = known.beliefs.insert(hold.name.clone(), lease.into());
                    self.note_lasting(true, until_ms, 1 - before.as_ref().map_or(0, Belief::lasting));
                }
            }
            Said::Moved => {
                lasting = std::mem::take(&mut known.beliefs).values().map(Belief::lasting).sum();
                let (hearer, entry) = (known.hearer.take(), known.entry);
                all.remove(&tell.party);
                self.forget_lasting(lasting);
                return hearer.map(|hearer| (hearer, entry));
            }
            Said::NotRun | Said::NotEnded | Said::Busy | Said::NotHeld | Said::Left | Said::Limit | Said::Unavailable | Said::Locks(_) => {}
        }
        let (hearer, entry) = (known.hearer.clone(), known.entry);
        if hearer.is_none() && known.beliefs.is_empty() {
            all.remove(&tell.party);
        }
        self.forget_lasting(lasting);
        hearer.map(|hearer| (hearer, entry))
    }

    fn note_lasting(&self, lasting: bool, until_ms: u64, more: usize) {
        if lasting {
            self.lasting.set(self.lasting.get() + more);
            if let Some(slot) = self.slot.get() {
                slot.leases_until().fetch_max(until_ms, Relaxed);
            }
        }
    }

    fn forget_lasting(&self, count: usize) {
        let left = self.lasting.get().saturating_sub(count);
        self.lasting.set(left);
        if count > 0
            && left == 0
            && let Some(slot) = self.slot.get()
        {
            slot.leases_until().store(0, Relaxed);
        }
    }

    fn leave(&self, party: PartyId, entry: u64) {
        let mut reached_hub = false;
        {
            let mut all = self.known.borrow_mut();
            let Some(known) = all.get_mut(&party).filter(|known| known.entry == entry) else { return };
            known.hearer = None;
            if let Some(seat) = &mut *self.seat.borrow_mut() {
                for (name, belief) in &known.beliefs {
                    if let Belief { state: Claimed::Job { token, .. }, place: Some(place) } = belief
                        && !seat.give_back(name, *place, *token)
                    {
                        // The hub decides about it, and is told below.
                        seat.forget(*place);
                        reached_hub = true;
                    }
                }
            }
            reached_hub |= known.reached_hub;
            known.beliefs.retain(|_, belief| belief.lasting() == 1);
            if known.beliefs.is_empty() {
                all.remove(&party);
            }
        }
        if reached_hub {
            self.ask(party, entry, Act::Leave);
        }
    }
}

/// A party of this worker. Dropping it ends its jobs, waits and leases, but for lasting ones.
pub struct PartyHandle {
    parties: Option<Rc<Parties>>,
    party: PartyId,
    entry: u64,
}

impl PartyHandle {
    /// Its identity.
    #[must_use]
    pub fn id(&self) -> PartyId {
        self.party
    }
}

impl Party for PartyHandle {
    fn ask(&self, act: Act) {
        if let Some(parties) = &self.parties {
            parties.ask(self.party, self.entry, act);
        }
    }
}

impl Drop for PartyHandle {
    fn drop(&mut self) {
        if let Some(parties) = self.parties.take() {
            parties.leave(self.party, self.entry);
        }
    }
}

impl Door for Rc<Parties> {
    fn enter(&self, _: &Name, hearer: Rc<dyn Hearer>) -> Box<dyn Party> {
        Box::new(self.enter_new(hearer))
    }

    fn enter_everywhere(&self, hearer: Rc<dyn Hearer>) -> Vec<Box<dyn Party>> {
        vec![Box::new(self.enter_new(hearer))]
    }
}

#[cfg(test)]
mod tests;
