//! Who is present at one topic.

use std::collections::{BTreeMap, HashMap};
use std::time::Instant;

use super::Worker;
use crate::link::events::Member;

/// What a member costs besides its id and information, bytes, roughly.
const MEMBER_BYTES: usize = 300;

/// A subscriber of some worker.
pub(super) type Client = (Worker, u64);

/// The members of a topic. A member is present while one of its subscribers is, and a moment longer.
#[derive(Default)]
pub(super) struct Presence {
    members: BTreeMap<String, Present>,
    /// Which member a subscriber is.
    clients: HashMap<Client, String>,
    bytes: usize,
}

struct Present {
    member: Member,
    clients: usize,
    /// Without subscribers: when that is told.
    leaves: Option<Instant>,
}

fn cost(member: &Member) -> usize {
    MEMBER_BYTES + 2 * member.id.len() + member.info.0.len()
}

impl Presence {
    pub(super) fn is_empty(&self) -> bool {
        self.members.is_empty()
    }

    pub(super) fn len(&self) -> usize {
        self.members.len()
    }

    pub(super) fn cost(&self) -> usize {
        self.bytes
    }

    /// Members in the order of their ids.
    pub(super) fn members(&self) -> Vec<Member> {
        self.members.values().map(|present| present.member.clone()).collect()
    }

    pub(super) fn contains(&self, id: &str) -> bool {
        self.members.contains_key(id)
    }

    /// A subscriber is present as this member; whether the member was not before. One that was another member is that no more: the second value
    /// is the member who left by it.
    pub(super) fn enter(&mut self, client: Client, member: Member) -> (bool, Option<Member>) {
        if let Some(id) = self.clients.get(&client)
            && *id == member.id
        {
            self.renew(member);
            return (false, None);
        }
        let left = self.leave(client, None);
        self.clients.insert(client, member.id.clone());
        let new = !self.members.contains_key(&member.id);
        if new {
            self.bytes += cost(&member);
            self.members.insert(member.id.clone(), Present { member, clients: 1, leaves: None });
        } else if let Some(present) = self.renew(member) {
            present.clients += 1;
            present.leaves = None;
        }
        (new, left)
    }

    fn renew(&mut self, member: Member) -> Option<&mut Present> {
        let present = self.members.get_mut(&member.id)?;
        self.bytes = self.bytes + cost(&member) - cost(&present.member);
        present.member = member;
        Some(present)
    }

    /// A subscriber is not present any more. Its member, when that was the last and it leaves now; with `until` it stays until then.
    pub(super) fn leave(&mut self, client: Client, until: Option<Instant>) -> Option<Member> {
        let id = self.clients.remove(&client)?;
        let present = self.members.get_mut(&id)?;
        present.clients -= 1;
        if present.clients > 0 {
            return None;
        }
        if until.is_some() {
            present.leaves = until;
            return None;
        }
        self.remove(&id)
    }

    /// The member of this id, if it is still without a subscriber and its time has come.
    pub(super) fn depart(&mut self, id: &str, now: Instant) -> Option<Member> {
        let due = self.members.get(id).is_some_and(|present| present.leaves.is_some_and(|at| at <= now));
        if due { self.remove(id) } else { None }
    }

    fn remove(&mut self, id: &str) -> Option<Member> {
        let present = self.members.remove(id)?;
        self.bytes -= cost(&present.member);
        Some(present.member)
    }

    /// Which member a subscriber is.
    pub(super) fn id_of(&self, client: Client) -> Option<&str> {
        self.clients.get(&client).map(String::as_str)
    }
}
