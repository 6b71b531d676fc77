//! Who is present on other machines.
//!
//! Each hub says on one channel of Redis who comes to it and who leaves, its words numbered. The others do the same in their cores, where a worker
//! of another machine is a worker like their own. Who is new there, or has missed a number, asks and is told everything again; who cannot be heard
//! has left with all its members. So a message that Redis loses, and a network that is cut, mend by themselves.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use crate::events::core::{Core, Notice, Worker};
use crate::link::events::{EventsToHub, Member};

/// How often a hub says that it is there.
pub(super) const BEAT: Duration = Duration::from_secs(4);
/// A machine that was not heard of for so long has left.
const SILENCE: Duration = Duration::from_secs(13);
/// How soon the same machine is asked again.
const ASK_AGAIN: Duration = Duration::from_secs(1);
/// Bytes of members in one message, roughly.
const PIECE: usize = 128 << 10;
/// Machines at most; others are not heard.
const MOST_MACHINES: usize = 1000;
/// Workers of other machines are numbered from here.
const ELSEWHERE: usize = 1 << 32;

/// A subscriber of a worker, and where it is present.
type Place = (Worker, u64, String);

/// What one hub tells the others.
#[derive(Debug, Serialize, Deserialize)]
struct Message {
    machine: u64,
    number: u64,
    word: Word,
}

#[derive(Debug, Serialize, Deserialize)]
enum Word {
    Here,
    Enter {
        place: Place,
        member: Member,
    },
    Leave {
        place: Place,
        softly: bool,
    },
    /// A worker has ended.
    Gone(Worker),
    /// Everybody who is present, in pieces: whoever is in none of them is not.
    All {
        first: bool,
        last: bool,
        members: Vec<(Place, Member)>,
    },
    /// A machine shall tell everything; 0: every machine.
    Ask(u64),
}

/// Another machine.
struct Machine {
    number: u64,
    heard: Instant,
    asked: Option<Instant>,
    /// Its workers, as they are called here.
    workers: HashMap<Worker, Worker>,
    present: BTreeSet<Place>,
    /// Those of the pieces so far.
    collected: Option<BTreeSet<Place>>,
}

/// The books of presence, own and others'.
pub(super) struct Crowd {
    machine: u64,
    number: u64,
    own: BTreeMap<Place, Member>,
    others: HashMap<u64, Machine>,
    next: usize,
}

/// What is to be done after something was heard.
#[derive(Default)]
pub(super) struct Heard {
    pub(super) notices: Vec<Notice>,
    /// To be said.
    pub(super) words: Vec<Vec<u8>>,
    /// Somebody wants to be told everything.
    pub(super) asked: bool,
}

impl Crowd {
    /// `machine` tells this hub from all others.
    pub(super) fn new(machine: u64) -> Self {
        Self { machine, number: 0, own: BTreeMap::new(), others: HashMap::new(), next: ELSEWHERE }
    }

    fn say(&mut self, word: Word) -> Option<Vec<u8>> {
        self.number += 1;
        // Nothing in it can fail to be encoded; were it so, the number is missed and everything is asked for.
        postcard::to_stdvec(&Message { machine: self.machine, number: self.number, word }).ok()
    }

    pub(super) fn here(&mut self) -> Option<Vec<u8>> {
        self.say(Word::Here)
    }

    pub(super) fn ask_all(&mut self) -> Option<Vec<u8>> {
        self.say(Word::Ask(0))
    }

    /// A worker of this machine has said something that the core has taken; what the others are to be told of it.
    pub(super) fn note(&mut self, worker: Worker, message: EventsToHub, core: &Core) -> Option<Vec<u8>> {
        match message {
            EventsToHub::Enter { topic, client, member, .. } => {
                if !core.is_present((worker, client), &topic) {
                    return None;
                }
                let place = (worker, client, topic);
                self.own.insert(place.clone(), member.clone());
                self.say(Word::Enter { place, member })
            }
            EventsToHub::Leave { topic, client, softly } => {
                let place = (worker, client, topic);
                self.own.remove(&place)?;
                self.say(Word::Leave { place, softly })
            }
            _ => None,
        }
    }

    /// A worker of this machine has ended.
    pub(super) fn gone(&mut self, worker: Worker) -> Option<Vec<u8>> {
        let before = self.own.len();
        self.own.retain(|(other, ..), _| *other != worker);
        if self.own.len() < before { self.say(Word::Gone(worker)) } else { None }
    }

    /// Everybody who is present here.
    pub(super) fn all(&mut self) -> Vec<Vec<u8>> {
        let mut pieces: Vec<Vec<(Place, Member)>> = vec![Vec::new()];
        let mut bytes = 0;
        for (place, member) in &self.own {
            let size = place.2.len() + member.id.len() + member.info.0.len() + 32;
            if bytes + size > PIECE && bytes > 0 {
                pieces.push(Vec::new());
                bytes = 0;
            }
            bytes += size;
            if let Some(piece) = pieces.last_mut() {
                piece.push((place.clone(), member.clone()));
            }
        }
        let count = pieces.len();
        let words = pieces.into_iter().enumerate();
        words.filter_map(|(index, members)| self.say(Word::All { first: index == 0, last: index + 1 == count, members })).collect()
    }

    /// Somebody has said something on the channel.
    pub(super) fn hear(&mut self, bytes: &[u8], core: &mut Core, now: Instant) -> Heard {
        let mut heard = Heard::default();
        let Ok(Message { machine, number, word }) = postcard::from_bytes(bytes) else { return heard };
        if machine == self.machine {
            return heard;
        }
        if !self.others.contains_key(&machine) && self.others.len() >= MOST_MACHINES {
            return heard;
        }
        let whole = matches!(word, Word::All { first: true, .. });
        let other = self.others.entry(machine).or_insert_with(|| Machine {
            number: 0,
            heard: now,
            asked: None,
            workers: HashMap::new(),
            present: BTreeSet::new(),
            collected: None,
        });
        let follows = number == other.number + 1;
        other.number = number;
        other.heard = now;
        match word {
            Word::Here => {}
            Word::Ask(of) => heard.asked = of == 0 || of == self.machine,
            Word::Enter { place, member } => enter(other, &mut self.next, place, member, core, now, &mut heard.notices),
            Word::Leave { place, softly } => leave(other, &place, softly, core, now, &mut heard.notices),
            Word::Gone(worker) => {
                other.present.retain(|(of, ..)| *of != worker);
                if let Some(here) = other.workers.remove(&worker) {
                    heard.notices.extend(core.gone(here, now));
                }
            }
            Word::All { first, last, members } => {
                if first {
                    other.collected = Some(BTreeSet::new());
                } else if !follows {
                    other.collected = None;
                }
                for (place, member) in members {
                    if let Some(collected) = &mut other.collected {
                        collected.insert(place.clone());
                    }
                    enter(other, &mut self.next, place, member, core, now, &mut heard.notices);
                }
                if last && let Some(collected) = other.collected.take() {
                    let left: Vec<Place> = other.present.difference(&collected).cloned().collect();
                    for place in left {
                        leave(other, &place, false, core, now, &mut heard.notices);
                    }
                }
            }
        }
        let may_ask = other.asked.is_none_or(|at| now.duration_since(at) >= ASK_AGAIN);
        if !follows && !whole && may_ask {
            other.asked = Some(now);
            heard.words.extend(self.say(Word::Ask(machine)));
        }
        heard
    }

    /// Machines that are not heard of any more have left.
    pub(super) fn pass(&mut self, core: &mut Core, now: Instant) -> Vec<Notice> {
        let mut notices = Vec::new();
        self.others.retain(|_, other| {
            let there = now.duration_since(other.heard) < SILENCE;
            if !there {
                other.workers.values().for_each(|worker| notices.extend(core.gone(*worker, now)));
            }
            there
        });
        notices
    }
}

fn enter(other: &mut Machine, next: &mut usize, place: Place, member: Member, core: &mut Core, now: Instant, notices: &mut Vec<Notice>) {
    let (worker, client, topic) = &place;
    let here = *other.workers.entry(*worker).or_insert_with(|| {
        *next += 1;
        (*next, 0)
    });
    // A topic that is full here is full there as well; who is too much is just not shown.
    if let Ok(told) = core.enter((here, *client), topic, member, false, now) {
        notices.extend(told);
        other.present.insert(place);
    }
}

fn leave(other: &mut Machine, place: &Place, softly: bool, core: &mut Core, now: Instant, notices: &mut Vec<Notice>) {
    let (worker, client, topic) = place;
    if other.present.remove(place)
        && let Some(here) = other.workers.get(worker)
    {
        notices.extend(core.leave((*here, *client), topic, softly, now));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::events::core::Limits;
    use crate::link::events::{Blob, EventsAnswer, Question};

    struct Hub {
        crowd: Crowd,
        core: Core,
    }

    impl Hub {
        fn new(machine: u64) -> Self {
            let limits = Limits { grace: Duration::ZERO, ..Limits::default() };
            Self { crowd: Crowd::new(machine), core: Core::new(limits, machine) }
        }

        fn local(&mut self, message: EventsToHub, now: Instant) -> Vec<Vec<u8>> {
            self.core.take((0, 1), message.clone(), now, 1.0, &mut Vec::new());
            self.crowd.note((0, 1), message, &self.core).into_iter().collect()
        }

        fn enter(&mut self, client: u64, id: &str, now: Instant) -> Vec<Vec<u8>> {
            let member = Member { id: id.to_owned(), info: Blob::default() };
            self.local(EventsToHub::Enter { ticket: 0, topic: "t".to_owned(), client, member, again: false }, now)
        }

        fn leave(&mut self, client: u64, now: Instant) -> Vec<Vec<u8>> {
            self.local(EventsToHub::Leave { topic: "t".to_owned(), client, softly: false }, now)
        }

        /// Hears words; what it says to them itself.
        fn hear(&mut self, words: &[Vec<u8>], now: Instant) -> Vec<Vec<u8>> {
            let mut said = Vec::new();
            for word in words {
                let heard = self.crowd.hear(word, &mut self.core, now);
                said.extend(heard.words);
                if heard.asked {
                    said.extend(self.crowd.all());
                }
            }
            said
        }

        fn members(&mut self, now: Instant) -> Vec<String> {
            match self.core.answer(&Question::Members("t".to_owned()), now) {
                EventsAnswer::Members(members) => members.into_iter().map(|member| member.id).collect(),
                other => panic!("{other:?}"),
            }
        }
    }

    #[test]
    fn members_are_the_same_everywhere_and_a_missed_word_is_asked_for() {
        let now = Instant::now();
        let (mut one, mut two) = (Hub::new(1), Hub::new(2));
        let _ = one.enter(9, "abe", now);
        let words = one.enter(1, "ann", now);
        let asked = two.hear(&words, now);
        assert_eq!(two.members(now), ["ann"]);
        let all = one.hear(&asked, now);
        assert!(two.hear(&all, now).is_empty());
        assert_eq!(two.members(now), ["abe", "ann"], "a machine that was there before is asked for everything");
        let words = one.leave(9, now);
        two.hear(&words, now);
        // These are lost on the way.
        let _ = one.leave(1, now);
        let _ = one.enter(2, "bob", now);
        let words = one.enter(3, "cem", now);
        let later = now + ASK_AGAIN;
        let asked = two.hear(&words, later);
        assert_eq!(two.members(later), ["ann", "cem"]);
        let all = one.hear(&asked, later);
        two.hear(&all, later);
        assert_eq!(two.members(later), ["bob", "cem"]);
        // One that is here too stays when the other machine's leaves.
        two.enter(7, "bob", later);
        let words = one.leave(2, later);
        two.hear(&words, later);
        assert_eq!(two.members(later), ["bob", "cem"]);
        two.leave(7, later);
        assert_eq!(two.members(later), ["cem"]);
    }

    #[test]
    fn who_is_silent_or_whose_worker_ended_has_left() {
        let now = Instant::now();
        let (mut one, mut two) = (Hub::new(1), Hub::new(2));
        let words = one.enter(1, "ann", now);
        two.hear(&words, now);
        let notices = two.crowd.pass(&mut two.core, now + SILENCE / 2);
        assert!(notices.is_empty() && two.members(now) == ["ann"]);
        two.crowd.pass(&mut two.core, now + SILENCE);
        assert!(two.members(now).is_empty());
        let words: Vec<Vec<u8>> = one.crowd.here().into_iter().collect();
        let asked = two.hear(&words, now + SILENCE);
        let all = one.hear(&asked, now + SILENCE);
        two.hear(&all, now + SILENCE);
        assert_eq!(two.members(now), ["ann"], "it is back");
        let words: Vec<Vec<u8>> = one.crowd.gone((0, 1)).into_iter().collect();
        two.hear(&words, now + SILENCE);
        assert!(two.members(now).is_empty());
        assert!(one.crowd.gone((0, 1)).is_none(), "nothing to tell");
    }

    #[test]
    fn many_members_come_in_pieces() {
        let now = Instant::now();
        let (mut one, mut two) = (Hub::new(1), Hub::new(2));
        for client in 0..1500 {
            one.enter(client, &format!("{client:0200}"), now);
        }
        let all = one.crowd.all();
        assert!(all.len() > 2 && all.iter().all(|piece| piece.len() < 2 * PIECE));
        two.hear(&all, now);
        assert_eq!(two.members(now).len(), 1500);
        // A round that lost a piece takes nobody away.
        one.leave(0, now);
        let again = one.crowd.all();
        two.hear(&[again[0].clone(), again[2].clone()], now);
        assert_eq!(two.members(now).len(), 1500);
        assert!(two.hear(&[b"nonsense".to_vec()], now).is_empty());
    }
}
