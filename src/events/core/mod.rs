//! All topics: a state machine without sockets and without a clock. Nothing happens but by a call, and every call says what follows.
//!
//! What is promised: the offsets of a topic grow by exactly one for every publication of one epoch; an epoch is never used for two lives; what
//! [`Core::subscribe`] recovers is complete, or it says that it is not; memory is bounded, and what is forgotten for that is told by recovery.

mod presence;
mod topic;

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::rc::Rc;
use std::time::{Duration, Instant};

use presence::Client;
pub use topic::Workers;
use topic::{Recovery, Topic, add, remove};

use crate::link::events::{
    Blob, EventsAnswer, EventsFromHub, EventsToHub, HistoryLimit, Member, PastEvent, Pattern, Position, Question, TopicInfo,
};

/// A worker, by its scoreboard slot and process.
pub type Worker = (usize, i32);

/// Topics looked at for eviction in one call: what is over the limit then leaves with the next one.
const EVICTIONS_A_CALL: usize = 64;

/// What the core may use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// How much of a topic's past is kept when nothing else is said.
    pub history: HistoryLimit,
    /// How much may be asked for.
    pub most: HistoryLimit,
    /// Bytes of all topics together.
    pub memory: usize,
    /// How long a topic without history, subscribers and members is remembered.
    pub idle: Duration,
    /// How long a member may be gone before that is told.
    pub grace: Duration,
    /// Members of one topic.
    pub members: usize,
    /// Patterns of one worker.
    pub subscriptions: usize,
    /// Bytes that are recovered at once.
    pub recovery: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            history: HistoryLimit { count: 100, ttl_ms: 5 * 60 * 1000 },
            most: HistoryLimit { count: 10_000, ttl_ms: 7 * 24 * 3600 * 1000 },
            memory: 64 << 20,
            idle: Duration::from_hours(1),
            grace: Duration::from_secs(5),
            members: 10_000,
            subscriptions: 1_000_000,
            recovery: 8 << 20,
        }
    }
}

/// What is to be told to workers.
#[derive(Debug, Clone, PartialEq)]
pub struct Notice {
    /// To whom; the same bytes to all.
    pub to: Workers,
    /// What.
    pub message: EventsFromHub,
}

/// A publication that took place.
#[derive(Debug)]
pub struct Published {
    /// Its place.
    pub position: Position,
    /// Workers that have subscribers.
    pub to: Workers,
}

/// The state that follows a subscription.
#[derive(Debug)]
pub struct Subscribed {
    /// Of a single topic: what is live comes after this.
    pub position: Option<Position>,
    /// `events` is all that came between the position asked for and that.
    pub recovered: bool,
    /// What was missed.
    pub events: Vec<PastEvent>,
}

/// All topics.
pub struct Core {
    limits: Limits,
    topics: HashMap<Rc<str>, Topic>,
    /// Workers by prefix.
    prefixes: HashMap<String, Workers>,
    /// How many prefixes there are of each length.
    lengths: BTreeMap<usize, usize>,
    /// What each worker is subscribed to and present at.
    workers: BTreeMap<Worker, Holdings>,
    /// Topics, the least recently used first.
    order: BTreeMap<u64, Rc<str>>,
    tick: u64,
    /// When topics are to be looked at.
    due: BTreeSet<(Instant, Rc<str>)>,
    /// Members without subscribers.
    leaving: BTreeSet<(Instant, Rc<str>, String)>,
    bytes: usize,
    seed: u64,
}

#[derive(Default)]
struct Holdings {
    patterns: BTreeSet<Pattern>,
    watched: BTreeSet<String>,
    present: BTreeSet<(String, u64)>,
}

impl Core {
    /// No topics. `seed` is random: epochs follow from it.
    pub fn new(limits: Limits, seed: u64) -> Self {
        Self {
            limits,
            topics: HashMap::new(),
            prefixes: HashMap::new(),
            lengths: BTreeMap::new(),
            workers: BTreeMap::new(),
            order: BTreeMap::new(),
            tick: 0,
            due: BTreeSet::new(),
            leaving: BTreeSet::new(),
            bytes: 0,
            seed,
        }
    }

    /// Topics there are.
    pub fn topics(&self) -> usize {
        self.topics.len()
    }

    /// Patterns that workers are subscribed to.
    pub fn subscriptions(&self) -> usize {
        self.workers.values().map(|holdings| holdings.patterns.len()).sum()
    }

    /// Bytes that all topics take, roughly.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// SplitMix64 (Steele, Lea, Flood 2014): epochs need to differ, not to be secret.
    fn epoch(&mut self) -> u64 {
        loop {
            self.seed = self.seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mut z = self.seed;
            z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            let epoch = (z ^ (z >> 31)) >> 11;
            if epoch != 0 {
                return epoch;
            }
        }
    }

    /// Changes a topic, which is made when there is none, and keeps the books.
    fn with<R>(&mut self, name: &str, now: Instant, change: impl FnOnce(&mut Topic) -> R) -> R {
        if !self.topics.contains_key(name) {
            let name: Rc<str> = name.into();
            let topic = Topic::new(name.clone(), self.epoch(), self.limits.history, self.tick + 1, now);
            self.bytes += topic.cost();
            self.order.insert(topic.tick, name.clone());
            self.topics.insert(name, topic);
        }
        let Some(topic) = self.topics.get_mut(name) else { unreachable!("it was made above") };
        let before = topic.cost();
        topic.expire(now);
        let result = change(topic);
        topic.used = now;
        self.bytes = self.bytes + topic.cost() - before;
        let shared = self.order.remove(&topic.tick).unwrap_or_else(|| topic.name.clone());
        self.tick += 1;
        topic.tick = self.tick;
        self.order.insert(self.tick, shared);
        Self::schedule(&mut self.due, topic, self.limits.idle);
        self.evict();
        result
    }

    /// Looks at a topic again when something of it ends by time, if that is earlier than planned.
    fn schedule(due: &mut BTreeSet<(Instant, Rc<str>)>, topic: &mut Topic, idle: Duration) {
        let Some(next) = topic.next(idle) else { return };
        if topic.due.is_none_or(|at| next < at) {
            if let Some(at) = topic.due.replace(next) {
                due.remove(&(at, topic.name.clone()));
            }
            due.insert((next, topic.name.clone()));
        }
    }

    /// Forgets the past of the least recently used topics, and those that nobody uses altogether, until the rest fits.
    fn evict(&mut self) {
        for _ in 0..EVICTIONS_A_CALL {
            if self.bytes <= self.limits.memory || self.order.len() <= 1 {
                return;
            }
            let Some((tick, name)) = self.order.pop_first() else { return };
            let Some(topic) = self.topics.get_mut(&name) else { continue };
            if topic.is_used() {
                let before = topic.cost();
                topic.forget();
                self.bytes = self.bytes + topic.cost() - before;
                self.tick += 1;
                topic.tick = self.tick;
                self.order.insert(self.tick, name);
            } else {
                self.order.insert(tick, name.clone());
                self.remove(&name);
            }
        }
    }

    fn remove(&mut self, name: &str) {
        if let Some(topic) = self.topics.remove(name) {
            self.bytes -= topic.cost();
            self.order.remove(&topic.tick);
            if let Some(at) = topic.due {
                self.due.remove(&(at, topic.name.clone()));
            }
            for worker in topic.watchers {
                if let Some(holdings) = self.workers.get_mut(&worker) {
                    holdings.watched.remove(name);
                }
            }
        }
    }

    /// How much is kept of what a publisher asks for.
    #[must_use]
    pub fn allowed(&self, asked: HistoryLimit) -> HistoryLimit {
        HistoryLimit { count: asked.count.min(self.limits.most.count), ttl_ms: asked.ttl_ms.min(self.limits.most.ttl_ms) }
    }

    /// Does what a worker says; what is to be told for it is appended to `notices`, in the order in which it is to be told. The
    /// `at` of publications is seconds since the Unix epoch.
    pub fn take(&mut self, worker: Worker, message: EventsToHub, now: Instant, at: f64, notices: &mut Vec<Notice>) {
        let back = |message| Notice { to: Workers::from_slice(&[worker]), message };
        match message {
            EventsToHub::Publish { ticket, topic, data, history } => {
                let Published { position, to } = self.publish(&topic, data.clone(), history, now, at);
                if !to.is_empty() {
                    let event = PastEvent { offset: position.offset, at, data };
                    notices.push(Notice { to, message: EventsFromHub::Event { topic, epoch: position.epoch, event } });
                }
                if let Some(ticket) = ticket {
                    notices.push(back(EventsFromHub::Published { ticket, result: Ok(position) }));
                }
            }
            EventsToHub::Subscribe { ticket, pattern, since } => {
                let message = match self.subscribe(worker, pattern, since, now) {
                    Ok(Subscribed { position, recovered, events }) => {
                        EventsFromHub::Subscribed { ticket, position, recovered, events, refused: None }
                    }
                    Err(why) => {
                        EventsFromHub::Subscribed { ticket, position: None, recovered: false, events: Vec::new(), refused: Some(why) }
                    }
                };
                notices.push(back(message));
            }
            EventsToHub::Unsubscribe(pattern) => self.unsubscribe(worker, &pattern, now),
            EventsToHub::Watch { topic, on } => self.watch(worker, &topic, on, now),
            EventsToHub::Enter { ticket, topic, client, member, again } => match self.enter((worker, client), &topic, member, again, now) {
                Ok(told) => notices.extend(told),
                Err(why) => notices.push(back(EventsFromHub::Answer { ticket, result: Err(why) })),
            },
            EventsToHub::Leave { topic, client, softly } => notices.extend(self.leave((worker, client), &topic, softly, now)),
            EventsToHub::Ask { ticket, question } => {
                notices.push(back(EventsFromHub::Answer { ticket, result: Ok(self.answer(&question, now)) }));
            }
        }
    }

    /// Publishes: `at` is the time of day in seconds since the Unix epoch.
    pub fn publish(&mut self, name: &str, data: Blob, history: Option<HistoryLimit>, now: Instant, at: f64) -> Published {
        let history = history.map(|asked| self.allowed(asked));
        let (position, mut to) = self.with(name, now, |topic| {
            if let Some(limit) = history {
                topic.limit = limit;
            }
            topic.push(PastEvent { offset: topic.position.offset + 1, at, data }, now);
            (topic.position, topic.workers.clone())
        });
        self.add_by_prefix(name, &mut to);
        Published { position, to }
    }

    /// Takes over what another keeper of the topic knows: its end, and events without holes up to it, each with its age.
    pub fn adopt(&mut self, name: &str, position: Position, limit: HistoryLimit, events: Vec<(PastEvent, Duration)>, now: Instant) {
        let limit = self.allowed(limit);
        self.with(name, now, |topic| {
            topic.limit = limit;
            topic.adopt(position, events, now);
        });
    }

    /// Takes the next event of a topic from another keeper; gives the workers that have subscribers.
    pub fn apply(&mut self, name: &str, event: PastEvent, now: Instant) -> Workers {
        let mut to = self.with(name, now, |topic| {
            topic.push(event, now);
            topic.workers.clone()
        });
        self.add_by_prefix(name, &mut to);
        to
    }

    /// The end of a topic, when there is one.
    #[must_use]
    pub fn place(&self, name: &str) -> Option<Position> {
        self.topics.get(name).map(|topic| topic.position)
    }

    /// Workers with subscribers of exactly this topic.
    #[must_use]
    pub fn followers(&self, name: &str) -> Workers {
        self.topics.get(name).map(|topic| topic.workers.clone()).unwrap_or_default()
    }

    /// Workers with prefixes of this topic.
    #[must_use]
    pub fn followers_by_prefix(&self, name: &str) -> Workers {
        let mut workers = Workers::new();
        self.add_by_prefix(name, &mut workers);
        workers
    }

    /// Workers with this prefix.
    #[must_use]
    pub fn prefix_workers(&self, prefix: &str) -> Workers {
        self.prefixes.get(prefix).cloned().unwrap_or_default()
    }

    /// An epoch that was not used before.
    pub fn new_epoch(&mut self) -> u64 {
        self.epoch()
    }

    fn add_by_prefix(&self, name: &str, to: &mut Workers) {
        for length in self.lengths.keys().take_while(|length| **length <= name.len()) {
            let workers = name.get(..*length).and_then(|prefix| self.prefixes.get(prefix));
            for worker in workers.into_iter().flatten() {
                add(to, *worker);
            }
        }
    }

    /// A worker wants what a pattern matches.
    ///
    /// # Errors
    /// In words: it has too many patterns.
    pub fn subscribe(&mut self, worker: Worker, pattern: Pattern, since: Option<Position>, now: Instant) -> Result<Subscribed, String> {
        let most = self.limits.subscriptions;
        let holdings = self.workers.entry(worker).or_default();
        if holdings.patterns.len() >= most && !holdings.patterns.contains(&pattern) {
            return Err(format!("this worker has its {most} subscriptions already"));
        }
        let new = holdings.patterns.insert(pattern.clone());
        match pattern {
            Pattern::Prefix(prefix) => {
                if new {
                    let workers = self.prefixes.entry(prefix).or_insert_with_key(|prefix| {
                        *self.lengths.entry(prefix.len()).or_default() += 1;
                        Workers::new()
                    });
                    add(workers, worker);
                }
                Ok(Subscribed { position: None, recovered: false, events: Vec::new() })
            }
            Pattern::Exact(name) => {
                let most_bytes = self.limits.recovery;
                Ok(self.with(&name, now, |topic| {
                    add(&mut topic.workers, worker);
                    let Recovery { complete, events } =
                        since.map_or(Recovery { complete: false, events: Vec::new() }, |since| topic.recover(since, most_bytes));
                    Subscribed { position: Some(topic.position), recovered: complete, events }
                }))
            }
        }
    }

    /// A worker has no subscribers of a pattern any more.
    pub fn unsubscribe(&mut self, worker: Worker, pattern: &Pattern, now: Instant) {
        let Some(holdings) = self.workers.get_mut(&worker) else { return };
        if !holdings.patterns.remove(pattern) {
            return;
        }
        match pattern {
            Pattern::Exact(name) => {
                self.with(name, now, |topic| remove(&mut topic.workers, worker));
            }
            Pattern::Prefix(prefix) => {
                let Some(workers) = self.prefixes.get_mut(prefix) else { return };
                remove(workers, worker);
                if workers.is_empty() {
                    self.prefixes.remove(prefix);
                    if let Some(count) = self.lengths.get_mut(&prefix.len()) {
                        *count -= 1;
                        if *count == 0 {
                            self.lengths.remove(&prefix.len());
                        }
                    }
                }
            }
        }
    }

    /// Whether a worker wants to know who comes to and leaves a topic.
    pub fn watch(&mut self, worker: Worker, name: &str, on: bool, now: Instant) {
        let watched = &mut self.workers.entry(worker).or_default().watched;
        if on {
            watched.insert(name.to_owned());
            self.with(name, now, |topic| add(&mut topic.watchers, worker));
        } else if watched.remove(name)
            && let Some(topic) = self.topics.get_mut(name)
        {
            remove(&mut topic.watchers, worker);
        }
    }

    /// A subscriber is present as a member.
    ///
    /// # Errors
    /// In words: the topic has too many members.
    pub fn enter(&mut self, client: Client, name: &str, member: Member, again: bool, now: Instant) -> Result<Vec<Notice>, String> {
        let most = self.limits.members;
        let id = member.id.clone();
        let (joined, left, to) = self.with(name, now, |topic| {
            if topic.presence.len() >= most && !topic.presence.contains(&id) {
                return Err(format!("{name:?} has its {most} members already"));
            }
            let (new, left) = topic.presence.enter(client, member.clone());
            Ok((new && !again, left, topic.watchers.clone()))
        })?;
        self.workers.entry(client.0).or_default().present.insert((name.to_owned(), client.1));
        let topic = || name.to_owned();
        let mut notices = Vec::new();
        if let Some(member) = left {
            notices.push(Notice { to: to.clone(), message: EventsFromHub::Left { topic: topic(), member } });
        }
        if joined {
            notices.push(Notice { to, message: EventsFromHub::Joined { topic: topic(), member } });
        }
        Ok(notices)
    }

    /// Whether a subscriber is present as some member.
    #[must_use]
    pub fn is_present(&self, client: Client, name: &str) -> bool {
        self.topics.get(name).is_some_and(|topic| topic.presence.id_of(client).is_some())
    }

    /// A subscriber is not present any more; `softly`: perhaps it comes back.
    pub fn leave(&mut self, client: Client, name: &str, softly: bool, now: Instant) -> Option<Notice> {
        if let Some(holdings) = self.workers.get_mut(&client.0) {
            holdings.present.remove(&(name.to_owned(), client.1));
        }
        let until = if softly && !self.limits.grace.is_zero() { now.checked_add(self.limits.grace) } else { None };
        let id = self.topics.get(name)?.presence.id_of(client)?.to_owned();
        if let Some(until) = until {
            self.leaving.insert((until, name.into(), id));
        }
        self.with(name, now, |topic| {
            let member = topic.presence.leave(client, until)?;
            Some(Notice { to: topic.watchers.clone(), message: EventsFromHub::Left { topic: topic.name.to_string(), member } })
        })
    }

    /// A worker has ended: its subscriptions with it, its members a moment later.
    pub fn gone(&mut self, worker: Worker, now: Instant) -> Vec<Notice> {
        let Some(holdings) = self.workers.get_mut(&worker) else { return Vec::new() };
        let Holdings { patterns, watched, present } = std::mem::take(holdings);
        holdings.patterns.clone_from(&patterns);
        holdings.watched.clone_from(&watched);
        for pattern in &patterns {
            self.unsubscribe(worker, pattern, now);
        }
        for name in &watched {
            self.watch(worker, name, false, now);
        }
        let left = present.iter().filter_map(|(name, client)| self.leave((worker, *client), name, true, now)).collect();
        self.workers.remove(&worker);
        left
    }

    /// When [`Core::pass`] has something to do next.
    pub fn next(&self) -> Option<Instant> {
        let due = self.due.first().map(|(at, _)| *at);
        let leaving = self.leaving.first().map(|(at, ..)| *at);
        due.into_iter().chain(leaving).min()
    }

    /// Does what time does: forgets what is too old, and tells who has left.
    pub fn pass(&mut self, now: Instant) -> Vec<Notice> {
        let mut notices = Vec::new();
        while self.leaving.first().is_some_and(|(at, ..)| *at <= now) {
            let Some((_, name, id)) = self.leaving.pop_first() else { break };
            let Some(topic) = self.topics.get_mut(&name) else { continue };
            let before = topic.cost();
            let left = topic.presence.depart(&id, now);
            self.bytes = self.bytes + topic.cost() - before;
            Self::schedule(&mut self.due, topic, self.limits.idle);
            if let Some(member) = left {
                notices.push(Notice { to: topic.watchers.clone(), message: EventsFromHub::Left { topic: name.to_string(), member } });
            }
        }
        while self.due.first().is_some_and(|(at, _)| *at <= now) {
            let Some((_, name)) = self.due.pop_first() else { break };
            let Some(topic) = self.topics.get_mut(&name) else { continue };
            topic.due = None;
            let before = topic.cost();
            topic.expire(now);
            self.bytes = self.bytes + topic.cost() - before;
            let over = topic.kept() == 0 && !topic.is_used() && topic.next(self.limits.idle).is_some_and(|at| at <= now);
            if over {
                self.remove(&name);
            } else {
                Self::schedule(&mut self.due, topic, self.limits.idle);
            }
        }
        notices
    }

    /// Answers what a worker asks. A question does not make a topic.
    pub fn answer(&mut self, question: &Question, now: Instant) -> EventsAnswer {
        let (Question::History { topic: name, .. } | Question::Members(name) | Question::Info(name)) = question;
        let mut by_prefix = Workers::new();
        if matches!(question, Question::Info(_)) {
            self.add_by_prefix(name, &mut by_prefix);
        }
        let most_bytes = self.limits.recovery;
        let topic = self.topics.contains_key(name.as_str()).then(|| {
            self.with(name, now, |topic| match question {
                Question::History { since, limit, .. } => {
                    let (mut events, complete) = match since {
                        Some(since) => topic.after(*since, *limit as usize),
                        None => (topic.newest(*limit as usize), false),
                    };
                    shorten(&mut events, since.is_some(), most_bytes);
                    EventsAnswer::History { position: Some(topic.position), events, complete }
                }
                Question::Members(_) => EventsAnswer::Members(topic.presence.members()),
                Question::Info(_) => {
                    topic.workers.iter().for_each(|worker| {
                        add(&mut by_prefix, *worker);
                    });
                    EventsAnswer::Info(Some(TopicInfo {
                        position: topic.position,
                        history: topic.kept() as u64,
                        members: topic.presence.len() as u64,
                        workers: by_prefix.len() as u64,
                    }))
                }
            })
        });
        topic.unwrap_or(match question {
            Question::History { .. } => EventsAnswer::History { position: None, events: Vec::new(), complete: false },
            Question::Members(_) => EventsAnswer::Members(Vec::new()),
            Question::Info(_) => EventsAnswer::Info(None),
        })
    }
}

/// Takes events away from the end that was not asked for until the rest fits.
fn shorten(events: &mut Vec<PastEvent>, from_oldest: bool, most_bytes: usize) {
    let size = |event: &PastEvent| topic::EVENT_BYTES + event.data.0.len();
    let mut bytes: usize = events.iter().map(size).sum();
    let mut over = 0;
    while bytes > most_bytes && over < events.len() {
        let at = if from_oldest { events.len() - 1 - over } else { over };
        bytes -= size(&events[at]);
        over += 1;
    }
    if from_oldest {
        events.truncate(events.len() - over);
    } else {
        events.drain(..over);
    }
}
