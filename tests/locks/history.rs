//! What clients saw, and whether that may be.

use std::collections::{BTreeMap, HashSet};
use std::fmt;

/// Microseconds since the Unix epoch: one clock for all clients of this machine.
pub type Moment = u64;

pub fn now() -> Moment {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("after 1970");
    u64::try_from(since.as_micros()).expect("before the year 586524")
}

/// One attempt to get a lock that went well.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grant {
    pub client: usize,
    pub name: String,
    /// When the client began to ask: before it sent anything.
    pub asked: Moment,
    /// When it knew that it had a place in the queue, if it was told.
    pub queued: Option<Moment>,
    /// When it began to believe that it holds the lock: after it had read the answer.
    pub from: Moment,
    /// When it stopped to: before it gave it back, when its lease was over by its own clock, or when its connection was broken.
    pub to: Moment,
    /// The fencing token, where the protocol gives one.
    pub token: Option<u64>,
}

/// What must not be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Violation {
    /// Two believed to hold one lock at the same time.
    TwoHolders(Grant, Grant),
    /// A token was given twice.
    TokenAgain(Grant, Grant),
    /// A later grant has a smaller token.
    TokenBack(Grant, Grant),
    /// Who had a place in the queue before the other asked got the lock after it.
    Overtaken(Grant, Grant),
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self:#?}")
    }
}

/// Everything that is wrong with a history.
pub fn check(history: &[Grant]) -> Vec<Violation> {
    let mut found = Vec::new();
    let mut names: BTreeMap<&str, Vec<&Grant>> = BTreeMap::new();
    for grant in history {
        names.entry(&grant.name).or_default().push(grant);
    }
    let mut tokens: BTreeMap<u64, &Grant> = BTreeMap::new();
    for grant in history {
        if let Some(token) = grant.token
            && let Some(before) = tokens.insert(token, grant)
        {
            found.push(Violation::TokenAgain(before.clone(), grant.clone()));
        }
    }
    for grants in names.values_mut() {
        grants.sort_by_key(|grant| (grant.from, grant.to));
        // The one that ends last of those that began before: whoever overlaps with any overlaps with it.
        let mut last: Option<&Grant> = None;
        for grant in grants.iter() {
            if let Some(last) = last.filter(|last| grant.from < last.to) {
                found.push(Violation::TwoHolders(last.clone(), (*grant).clone()));
            }
            if last.is_none_or(|last| grant.to > last.to) {
                last = Some(grant);
            }
        }
        for pair in grants.windows(2) {
            if let (Some(first), Some(second)) = (pair[0].token, pair[1].token)
                && second < first
            {
                found.push(Violation::TokenBack(pair[0].clone(), pair[1].clone()));
            }
        }
        for (at, &later) in grants.iter().enumerate() {
            for &earlier in &grants[..at] {
                // `later` got it after `earlier`, but had waited before that one even asked.
                if later.queued.is_some_and(|queued| queued < earlier.asked) {
                    found.push(Violation::Overtaken(later.clone(), earlier.clone()));
                }
            }
        }
    }
    found
}

/// Histories with one planted error each, made from one that is right, with what must be found.
pub fn planted(history: &[Grant]) -> Vec<(&'static str, Vec<Grant>)> {
    let mut planted = Vec::new();
    let with_token = |grant: &&Grant| grant.token.is_some() && grant.to > grant.from + 1;
    if let Some(grant) = history.iter().find(with_token) {
        let double = Grant { client: grant.client + 1000, token: None, from: grant.from + 1, queued: None, ..grant.clone() };
        planted.push(("TwoHolders", [history, &[double]].concat()));
        let again = Grant { name: "elsewhere".into(), ..grant.clone() };
        planted.push(("TokenAgain", [history, &[again]].concat()));
    }
    let mut seen = HashSet::new();
    for (at, grant) in history.iter().enumerate() {
        let next =
            history.iter().enumerate().filter(|(_, other)| other.name == grant.name && other.from >= grant.to && other.token.is_some());
        let Some((next, _)) = next.min_by_key(|(_, other)| other.from) else { continue };
        if grant.token.is_some() && seen.insert("back") {
            let mut back = history.to_vec();
            (back[at].token, back[next].token) = (back[next].token, back[at].token);
            planted.push(("TokenBack", back));
        }
        if history[next].queued.is_none() && history[next].token.is_some() && seen.insert("order") {
            let mut order = history.to_vec();
            order[next].queued = Some(grant.asked - 1);
            planted.push(("Overtaken", order));
        }
    }
    planted
}

/// The names of the kinds of violations.
pub fn kinds(violations: &[Violation]) -> HashSet<&'static str> {
    let kind = |violation: &Violation| match violation {
        Violation::TwoHolders(..) => "TwoHolders",
        Violation::TokenAgain(..) => "TokenAgain",
        Violation::TokenBack(..) => "TokenBack",
        Violation::Overtaken(..) => "Overtaken",
    };
    violations.iter().map(kind).collect()
}

/// Checks that planted errors are found.
pub fn assert_planted_errors_are_found(history: &[Grant]) {
    let planted = planted(history);
    assert_eq!(planted.len(), 4, "the history is too small to plant every error");
    for (kind, history) in planted {
        assert!(kinds(&check(&history)).contains(kind), "{kind} is not found");
    }
}

#[test]
fn planted_errors_are_found() {
    let grant = |client, asked, from, to, token| Grant { client, name: "a".into(), asked, queued: None, from, to, token: Some(token) };
    let history = [grant(1, 10, 20, 30, 1), grant(2, 12, 30, 40, 2), grant(3, 35, 50, 60, 7)];
    assert_eq!(check(&history), []);
    let mut waited = history.to_vec();
    waited[1].queued = Some(13);
    assert_eq!(check(&waited), [], "it waited behind who asked earlier");
    assert_planted_errors_are_found(&history);
}
