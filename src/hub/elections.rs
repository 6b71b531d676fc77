//! Which worker runs a task that must run once a machine.
//!
//! The first candidate is elected and stays until it resigns or ends; then the next in order of candidacy follows. A hub that was started
//! again does not know who was elected, so it first hears every worker ([`Elections::open`]): one that runs a task keeps it.

use std::collections::BTreeMap;

pub(super) use crate::events::core::Worker;
use crate::link::Candidate;

/// What a worker is to be told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Notice {
    Elected(Worker, String),
    Dismissed(Worker, String),
}

#[derive(Default)]
struct Office {
    /// In order of candidacy.
    candidates: Vec<Worker>,
    holder: Option<Worker>,
}

/// All elections. Nothing happens but by a call, and every call says what follows.
#[derive(Default)]
pub(super) struct Elections {
    offices: BTreeMap<String, Office>,
    open: bool,
}

impl Elections {
    /// Every worker that was there has been heard: from now on free offices are given.
    pub(super) fn open(&mut self) -> Vec<Notice> {
        self.open = true;
        let names: Vec<String> = self.offices.keys().cloned().collect();
        names.into_iter().filter_map(|name| self.elect(&name)).collect()
    }

    /// A worker's greeting.
    pub(super) fn hello(&mut self, worker: Worker, candidates: Vec<Candidate>) -> Vec<Notice> {
        let mut notices = Vec::new();
        for Candidate { name, elected } in candidates {
            let office = self.offices.entry(name.clone()).or_default();
            if !office.candidates.contains(&worker) {
                office.candidates.push(worker);
            }
            match office.holder {
                None if elected => office.holder = Some(worker),
                Some(holder) if elected && holder != worker => notices.push(Notice::Dismissed(worker, name.clone())),
                _ => {}
            }
            notices.extend(self.elect(&name));
        }
        notices
    }

    pub(super) fn campaign(&mut self, worker: Worker, name: String) -> Vec<Notice> {
        self.hello(worker, vec![Candidate { name, elected: false }])
    }

    pub(super) fn resign(&mut self, worker: Worker, name: &str) -> Vec<Notice> {
        let Some(office) = self.offices.get_mut(name) else { return Vec::new() };
        office.candidates.retain(|candidate| *candidate != worker);
        if office.holder == Some(worker) {
            office.holder = None;
        }
        if office.candidates.is_empty() {
            self.offices.remove(name);
            return Vec::new();
        }
        self.elect(name).into_iter().collect()
    }

    /// A worker has ended.
    pub(super) fn gone(&mut self, worker: Worker) -> Vec<Notice> {
        let names: Vec<String> =
            self.offices.iter().filter(|(_, office)| office.candidates.contains(&worker)).map(|(name, _)| name.clone()).collect();
        names.into_iter().flat_map(|name| self.resign(worker, &name)).collect()
    }

    fn elect(&mut self, name: &str) -> Option<Notice> {
        let office = self.offices.get_mut(name)?;
        if !self.open || office.holder.is_some() {
            return None;
        }
        let first = *office.candidates.first()?;
        office.holder = Some(first);
        Some(Notice::Elected(first, name.to_owned()))
    }

    /// Tasks and who runs them.
    #[cfg(test)]
    pub(super) fn holders(&self) -> impl Iterator<Item = (&str, Option<Worker>)> {
        self.offices.iter().map(|(name, office)| (name.as_str(), office.holder))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: Worker = (0, 10);
    const B: Worker = (1, 11);

    fn elected(worker: Worker) -> Vec<Notice> {
        vec![Notice::Elected(worker, "t".into())]
    }

    #[test]
    fn one_holds_it_and_the_next_follows() {
        let mut elections = Elections::default();
        elections.open();
        assert_eq!(elections.campaign(A, "t".into()), elected(A));
        assert_eq!(elections.campaign(B, "t".into()), []);
        assert_eq!(elections.gone(A), elected(B));
        assert_eq!(elections.campaign(A, "t".into()), []);
        assert_eq!(elections.resign(B, "t"), elected(A));
        assert_eq!(elections.resign(A, "t"), []);
        assert_eq!(elections.holders().count(), 0);
    }

    #[test]
    fn a_new_hub_hears_everybody_first() {
        let mut elections = Elections::default();
        assert_eq!(elections.campaign(A, "t".into()), []);
        assert_eq!(elections.hello(B, vec![Candidate { name: "t".into(), elected: true }]), []);
        assert_eq!(elections.open(), [], "B runs it already");
        assert_eq!(elections.gone(B), elected(A));
    }

    #[test]
    fn of_two_that_claim_it_one_is_dismissed() {
        let mut elections = Elections::default();
        let claim = || vec![Candidate { name: "t".into(), elected: true }];
        assert_eq!(elections.hello(A, claim()), []);
        assert_eq!(elections.hello(B, claim()), [Notice::Dismissed(B, "t".into())]);
    }
}
