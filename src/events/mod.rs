//! Events in a worker: topics, publications, subscriptions, presence.
//!
//! | file | what it is |
//! |---|---|
//! | `core` | all topics, as the hub (or a process that stands alone) keeps them: a state machine |
//! | `config` | its block of the configuration |
//! | `event` | a publication as the subscribers of this worker share it; what a subscriber gets |
//! | `group` | the subscribers of one pattern |
//! | `queue` | a subscription with a bounded queue, read as a stream |
//! | `ask` | what waits for an answer of the hub |
//! | `source` | where events come from: the hub, or this process alone |
//!
//! The hub sends a publication once to each worker that has subscribers; the worker shares it among them. A subscriber is told [`Delivery::Ready`]
//! first, and whatever it may have lost later ([`Delivery::Missed`], [`Delivery::Gap`]): nothing is lost silently, nothing comes twice.

pub mod core;

mod ask;
pub mod config;
mod event;
mod group;
mod queue;
mod source;

#[cfg(test)]
mod tests;

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::future::Future;
use std::rc::{Rc, Weak};
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use bytes::Bytes;

use ask::Asked;
pub use event::{Closed, Delivery, Event, Presence};
pub use group::Subscriber;
use group::{Entry, Group, Phase};
use queue::Queue;
pub use queue::{Overflow, Subscription};
use source::Source;

pub use crate::link::events::{
    BadName, HistoryLimit, MAX_DATA, MAX_MEMBER_ID, MAX_MEMBER_INFO, Member, PastEvent, Pattern, Position, TopicInfo,
};
use crate::link::events::{EventsAnswer, EventsFromHub, EventsToHub, Question, check_topic};
use crate::link::{EventSink, HubLink, LinkError};
use crate::reactor;
use crate::scoreboard::{Slot, add, subtract};

/// How long an answer of the hub is waited for.
const ANSWER_LIMIT: Duration = Duration::from_secs(5);
/// Subscribers of one worker at most.
const MOST_SUBSCRIBERS: usize = 1_000_000;
/// Events that wait for a slow reader if nothing else is said.
pub const QUEUE: usize = 256;

/// Why something about events did not happen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EventsError {
    /// The name is none.
    Name(BadName),
    /// What is published is too long.
    TooLong,
    /// The member's id or information is empty or too long.
    Member,
    /// Only a single topic has a position and members.
    NotOne,
    /// Too many subscribers, or too much waits for the hub.
    Full,
    /// The hub ended meanwhile: whether the event was published is unknown.
    Lost,
    /// The hub did not answer in time: whether the event was published is unknown.
    TimedOut,
    /// The hub refused; says why.
    Refused(String),
}

impl fmt::Display for EventsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(bad) => bad.fmt(f),
            Self::TooLong => write!(f, "an event has at most {MAX_DATA} bytes"),
            Self::Member => {
                write!(f, "a member has an id of 1 to {MAX_MEMBER_ID} bytes and at most {MAX_MEMBER_INFO} bytes of information")
            }
            Self::NotOne => f.write_str("a prefix has no position and no members: name one topic"),
            Self::Full => f.write_str("too much waits for the hub"),
            Self::Lost => f.write_str("the hub was restarted meanwhile: whether it took effect is unknown"),
            Self::TimedOut => f.write_str("the hub did not answer in time: whether it took effect is unknown"),
            Self::Refused(why) => f.write_str(why),
        }
    }
}

impl std::error::Error for EventsError {}

impl From<LinkError> for EventsError {
    fn from(error: LinkError) -> Self {
        match error {
            LinkError::Lost => Self::Lost,
            LinkError::TimedOut => Self::TimedOut,
            LinkError::Full => Self::Full,
            LinkError::Refused(why) => Self::Refused(why),
        }
    }
}

/// How to subscribe.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Of a single topic: give what came after this first.
    pub recover: Option<Position>,
    /// Events that may wait for the reader; 0 stands for [`QUEUE`]. Not for a [`Subscriber`], which has a queue of its own.
    pub queue: usize,
    /// What happens when they are more.
    pub overflow: Overflow,
    /// Of a single topic: the subscriber is present there as this member while it subscribes.
    pub presence: Option<Member>,
    /// Of a single topic: tell who comes and leaves.
    pub watch: bool,
}

/// A part of a topic's past.
#[derive(Clone, Debug, PartialEq)]
pub struct History {
    /// The topic's end; none when there is no such topic.
    pub position: Option<Position>,
    /// Oldest first.
    pub events: Vec<PastEvent>,
    /// With a position to begin at: whether nothing is missing between it and the first event given.
    pub complete: bool,
}

/// What this worker shows of its events.
#[derive(Clone, Copy)]
struct Counters {
    published: &'static AtomicU64,
    delivered: &'static AtomicU64,
    dropped: &'static AtomicU64,
    subscribers: &'static AtomicU64,
}

/// The events of this worker.
pub struct Events {
    this: Weak<Self>,
    source: Source,
    topics: RefCell<HashMap<Rc<str>, Rc<Group>>>,
    prefixes: RefCell<HashMap<Rc<str>, Rc<Group>>>,
    /// How many prefixes there are of each length.
    lengths: RefCell<BTreeMap<usize, usize>>,
    asked: Asked,
    clients: Cell<u64>,
    subscribers: Cell<usize>,
    /// Who subscribed to a group that is live already, and is told so in the next turn.
    newcomers: RefCell<Vec<(Rc<Group>, Rc<Entry>)>>,
    counters: Option<Counters>,
}

impl Events {
    /// Events of a worker, through its link to the hub; counted in `slot`.
    #[must_use]
    pub fn of_worker(link: &Rc<HubLink>, slot: Option<Slot>) -> Rc<Self> {
        let events = Self::with_source(Source::hub(link), slot);
        let weak = events.this.clone();
        let sink: Weak<dyn EventSink> = weak;
        link.set_event_sink(sink);
        events
    }

    /// Events of a process that stands alone: everything works within it.
    #[must_use]
    pub fn alone() -> Rc<Self> {
        Self::with_source(Source::alone(), None)
    }

    fn with_source(source: Source, slot: Option<Slot>) -> Rc<Self> {
        let counters = slot.map(|slot| Counters {
            published: slot.events_published(),
            delivered: slot.events_delivered(),
            dropped: slot.events_dropped(),
            subscribers: slot.subscriptions(),
        });
        Rc::new_cyclic(|this| Self {
            this: this.clone(),
            source,
            topics: RefCell::default(),
            prefixes: RefCell::default(),
            lengths: RefCell::default(),
            asked: Asked::default(),
            clients: Cell::new(1),
            subscribers: Cell::new(0),
            newcomers: RefCell::default(),
            counters,
        })
    }

    /// Publishes a JSON text and waits until the hub has it: then it is in the topic's history. It is on its way when this returns, so
    /// publications of one worker keep their order. `history`: how much of the topic's past is kept from now on.
    ///
    /// # Errors
    /// [`EventsError`], at once or by the future. After [`EventsError::Lost`] and [`EventsError::TimedOut`] the event may have been published all the same.
    pub fn publish(
        &self,
        topic: &str,
        data: Bytes,
        history: Option<HistoryLimit>,
    ) -> Result<impl Future<Output = Result<Position, EventsError>> + use<>, EventsError> {
        check_publication(topic, &data)?;
        let (ticket, answer) = self.asked.publication();
        let sent = self.send_publication(Some(ticket), topic, data, history);
        if let Err(error) = sent {
            self.asked.forget(ticket);
            return Err(error);
        }
        Ok(self.answer_to(ticket, answer))
    }

    /// Publishes a JSON text without waiting. With the hub it may be lost; subscribers are then told of a gap.
    ///
    /// # Errors
    /// [`EventsError`] for what is known at once.
    pub fn post(&self, topic: &str, data: Bytes, history: Option<HistoryLimit>) -> Result<(), EventsError> {
        check_publication(topic, &data)?;
        self.send_publication(None, topic, data, history)
    }

    fn send_publication(&self, ticket: Option<u64>, topic: &str, data: Bytes, history: Option<HistoryLimit>) -> Result<(), EventsError> {
        let message = EventsToHub::Publish { ticket, topic: topic.to_owned(), data: data.into(), history };
        match self.source.publish(self, message) {
            Ok(()) => {
                self.count(|counters| counters.published, 1);
                Ok(())
            }
            Err(error) => {
                self.count_dropped(1);
                Err(error.into())
            }
        }
    }

    fn answer_to<T: 'static>(&self, ticket: u64, answer: ask::Answer<T>) -> impl Future<Output = Result<T, EventsError>> + use<T> {
        let events = self.this.clone();
        async move {
            let answered = reactor::timeout(ANSWER_LIMIT, answer.wait()).await;
            answered.unwrap_or_else(|_| {
                if let Some(events) = events.upgrade() {
                    events.asked.forget(ticket);
                }
                Err(EventsError::TimedOut)
            })
        }
    }

    fn ask(&self, question: Question) -> Result<impl Future<Output = Result<EventsAnswer, EventsError>> + use<>, EventsError> {
        let (ticket, answer) = self.asked.question();
        if let Err(error) = self.source.publish(self, EventsToHub::Ask { ticket, question }) {
            self.asked.forget(ticket);
            return Err(error.into());
        }
        Ok(self.answer_to(ticket, answer))
    }

    /// The newest `limit` events of a topic; with `since`, the oldest after that.
    ///
    /// # Errors
    /// [`EventsError`].
    pub async fn history(&self, topic: &str, since: Option<Position>, limit: u32) -> Result<History, EventsError> {
        check_topic(topic).map_err(EventsError::Name)?;
        match self.ask(Question::History { topic: topic.to_owned(), since, limit })?.await? {
            EventsAnswer::History { position, events, complete } => Ok(History { position, events, complete }),
            _ => Err(unexpected()),
        }
    }

    /// Who is present at a topic, by id.
    ///
    /// # Errors
    /// [`EventsError`].
    pub async fn presence(&self, topic: &str) -> Result<Vec<Member>, EventsError> {
        check_topic(topic).map_err(EventsError::Name)?;
        match self.ask(Question::Members(topic.to_owned()))?.await? {
            EventsAnswer::Members(members) => Ok(members),
            _ => Err(unexpected()),
        }
    }

    /// A topic's state; `None` when there is no such topic.
    ///
    /// # Errors
    /// [`EventsError`].
    pub async fn info(&self, topic: &str) -> Result<Option<TopicInfo>, EventsError> {
        check_topic(topic).map_err(EventsError::Name)?;
        match self.ask(Question::Info(topic.to_owned()))?.await? {
            EventsAnswer::Info(info) => Ok(info),
            _ => Err(unexpected()),
        }
    }

    /// Subscribes with a queue that is read as a stream. A pattern is the name of a topic, or its beginning and a `*`.
    ///
    /// # Errors
    /// [`EventsError`]. What the hub refuses comes as [`Delivery::Closed`].
    pub fn subscribe(&self, pattern: &str, options: Options) -> Result<Subscription, EventsError> {
        let limit = if options.queue == 0 { QUEUE } else { options.queue };
        let queue = Queue::new(limit, options.overflow, self.this.clone());
        let weak = Rc::downgrade(&queue);
        let subscriber: Weak<dyn Subscriber> = weak;
        let registration = self.attach(pattern, subscriber, options)?;
        Ok(Subscription { queue, registration: Some(registration) })
    }

    /// Subscribes somebody who takes deliveries directly: a session that puts them into its own output. Nothing is delivered before this returns.
    ///
    /// # Errors
    /// As [`Events::subscribe`].
    pub fn attach(&self, pattern: &str, subscriber: Weak<dyn Subscriber>, options: Options) -> Result<Registration, EventsError> {
        let pattern = Pattern::parse(pattern).map_err(EventsError::Name)?;
        let Options { recover, presence, watch, .. } = options;
        let is_prefix = matches!(pattern, Pattern::Prefix(_));
        if is_prefix && (recover.is_some() || presence.is_some() || watch) {
            return Err(EventsError::NotOne);
        }
        presence.as_ref().map_or(Ok(()), check_member)?;
        if self.subscribers.get() >= MOST_SUBSCRIBERS {
            return Err(EventsError::Full);
        }
        let client = self.clients.get();
        self.clients.set(client + 1);
        let entry = Entry::new(subscriber, recover, client, watch);
        let group = self.group(&pattern);
        let first = group.len() == 0;
        group.add(entry.clone());
        self.subscribers.set(self.subscribers.get() + 1);
        self.count(|counters| counters.subscribers, 1);
        let registration = Registration { events: self.this.clone(), group: group.clone(), entry: entry.clone() };
        if first || recover.is_some() {
            self.request(&group, Some(&entry));
        } else if group.live.get() {
            self.welcome_later(group.clone(), entry.clone());
        }
        if watch {
            group.watchers.set(group.watchers.get() + 1);
            if group.watchers.get() == 1 {
                self.tell(EventsToHub::Watch { topic: topic_of(&group.pattern), on: true });
            }
        }
        if let Some(member) = presence {
            registration.enter(member)?;
        }
        Ok(registration)
    }

    fn group(&self, pattern: &Pattern) -> Rc<Group> {
        let (map, name) = match pattern {
            Pattern::Exact(name) => (&self.topics, name),
            Pattern::Prefix(prefix) => (&self.prefixes, prefix),
        };
        let mut map = map.borrow_mut();
        if let Some(group) = map.get(name.as_str()) {
            return group.clone();
        }
        if let Pattern::Prefix(prefix) = pattern {
            *self.lengths.borrow_mut().entry(prefix.len()).or_default() += 1;
        }
        let group = Group::new(pattern.clone());
        map.insert(name.as_str().into(), group.clone());
        group
    }

    /// Asks the hub for a subscription, or for what an entry has missed.
    fn request(&self, group: &Rc<Group>, entry: Option<&Rc<Entry>>) {
        let since = match entry.map(|entry| entry.phase.get()) {
            Some(Phase::Recovers(since)) => Some(since),
            Some(_) => None,
            None => group.last.get(),
        };
        let ticket = self.asked.subscription(group.clone(), entry.cloned());
        self.tell(EventsToHub::Subscribe { ticket, pattern: group.pattern.clone(), since });
    }

    /// Tells the hub what it must know. Without a hub it is told with everything else that holds when there is one.
    fn tell(&self, message: EventsToHub) {
        self.source.tell(self, message);
    }

    fn welcome_later(&self, group: Rc<Group>, entry: Rc<Entry>) {
        let mut newcomers = self.newcomers.borrow_mut();
        newcomers.push((group, entry));
        if newcomers.len() > 1 {
            return;
        }
        let events = self.this.clone();
        reactor::spawn(async move {
            let Some(events) = events.upgrade() else { return };
            let newcomers = events.newcomers.take();
            for (group, entry) in newcomers {
                // A group that has lost its hub meanwhile welcomes everybody when it is live again.
                if group.live.get() && entry.phase.get() == Phase::New {
                    welcome(&group, &entry, None);
                }
            }
        })
        .detach();
    }

    fn end(&self, group: &Rc<Group>, entry: &Rc<Entry>, softly: bool) {
        if entry.phase.get() == Phase::Over {
            return;
        }
        group.remove(entry);
        self.subscribers.set(self.subscribers.get() - 1);
        if let Some(counters) = &self.counters {
            subtract(counters.subscribers, 1);
        }
        if entry.member.take().is_some() {
            self.tell(EventsToHub::Leave { topic: topic_of(&group.pattern), client: entry.client, softly });
        }
        if entry.watches {
            group.watchers.set(group.watchers.get() - 1);
            if group.watchers.get() == 0 {
                self.tell(EventsToHub::Watch { topic: topic_of(&group.pattern), on: false });
            }
        }
        if group.len() == 0 {
            self.remove(group);
        }
    }

    fn remove(&self, group: &Rc<Group>) {
        let (map, name) = match &group.pattern {
            Pattern::Exact(name) => (&self.topics, name),
            Pattern::Prefix(prefix) => {
                let mut lengths = self.lengths.borrow_mut();
                if let Some(count) = lengths.get_mut(&prefix.len()) {
                    *count -= 1;
                    if *count == 0 {
                        lengths.remove(&prefix.len());
                    }
                }
                (&self.prefixes, prefix)
            }
        };
        map.borrow_mut().remove(name.as_str());
        group.live.set(false);
        self.tell(EventsToHub::Unsubscribe(group.pattern.clone()));
    }

    fn count(&self, counter: impl FnOnce(&Counters) -> &'static AtomicU64, count: u64) {
        if let Some(counters) = &self.counters {
            add(counter(counters), count);
        }
    }

    /// Counts events that a subscriber with a queue of its own had to drop.
    pub fn count_dropped(&self, count: u64) {
        self.count(|counters| counters.dropped, count);
    }

    /// The groups with prefixes of a topic.
    fn by_prefix(&self, topic: &str) -> Vec<Rc<Group>> {
        let lengths = self.lengths.borrow();
        if lengths.is_empty() {
            return Vec::new();
        }
        let prefixes = self.prefixes.borrow();
        let found = lengths.keys().take_while(|length| **length <= topic.len()).filter_map(|length| prefixes.get(topic.get(..*length)?));
        found.cloned().collect()
    }

    fn by_name(&self, topic: &str) -> Option<(Rc<str>, Rc<Group>)> {
        self.topics.borrow().get_key_value(topic).map(|(name, group)| (name.clone(), group.clone()))
    }

    /// Gives the same to all who follow a topic.
    fn broadcast(&self, topic: &str, position: Position, delivery: impl FnOnce(Rc<str>) -> Delivery) {
        let exact = self.by_name(topic);
        let delivery = delivery(exact.as_ref().map_or_else(|| topic.into(), |(name, _)| name.clone()));
        // A group that was live only after that has not missed it.
        let concerns = |last: Position| last.epoch != position.epoch || last.offset < position.offset;
        if let Some((_, group)) = exact.filter(|(_, group)| group.live.get() && group.last.get().is_none_or(concerns)) {
            group.last.set(Some(position));
            group.deliver(&delivery);
        }
        for group in self.by_prefix(topic) {
            group.deliver(&delivery);
        }
    }

    fn dispatch(&self, topic: &str, epoch: u64, past: PastEvent) {
        let position = Position { epoch, offset: past.offset };
        let exact = self.by_name(topic);
        let name = exact.as_ref().map_or_else(|| topic.into(), |(name, _)| name.clone());
        let event = Delivery::Event(Rc::new(Event::new(name.clone(), position, past.at, past.data.0)));
        let mut delivered = 0;
        // What a group has already may be meant for those who follow a prefix.
        let is_new = |group: &Group| group.last.get().is_none_or(|last| last.epoch != epoch || last.offset < position.offset);
        if let Some((_, group)) = exact.filter(|(_, group)| group.live.get() && is_new(group)) {
            if let Some(told) = irregular(&name, group.last.replace(Some(position)), position) {
                group.deliver(&told);
            }
            delivered += group.deliver(&event);
        }
        for group in self.by_prefix(topic) {
            delivered += group.deliver(&event);
        }
        self.count(|counters| counters.delivered, delivered);
    }

    /// The hub has answered a subscription of a group, or of one entry.
    fn subscribed(&self, ticket: u64, position: Option<Position>, recovered: bool, past: Vec<PastEvent>, refused: Option<String>) {
        let Some((group, entry)) = self.asked.subscribed(ticket) else { return };
        if let Some(why) = refused {
            let closed = Delivery::Closed(Closed::Refused(why.into()));
            let mut over = Vec::new();
            group.each(|entry| over.push(entry.clone()));
            for entry in over {
                self.end(&group, &entry, false);
                entry.deliver(&closed);
            }
            return;
        }
        if group.len() == 0 {
            return;
        }
        let first = !group.live.replace(true);
        let Some(entry) = entry else { return self.resumed(&group, position, recovered, past) };
        if first {
            group.last.set(position);
            group.each(|entry| {
                if entry.phase.get() == Phase::New {
                    welcome(&group, entry, None);
                }
            });
        }
        if matches!(entry.phase.get(), Phase::Recovers(_)) {
            welcome(&group, &entry, Some(recovered));
            let Pattern::Exact(name) = &group.pattern else { return };
            let (topic, epoch) = (Rc::<str>::from(name.as_str()), position.map_or(0, |position| position.epoch));
            self.count(|counters| counters.delivered, past.len() as u64);
            for past in past {
                let position = Position { epoch, offset: past.offset };
                entry.deliver(&Delivery::Event(Rc::new(Event::past(topic.clone(), position, past.at, past.data.0))));
            }
        }
    }

    /// A group is live again, at a new hub.
    fn resumed(&self, group: &Rc<Group>, position: Option<Position>, recovered: bool, past: Vec<PastEvent>) {
        let before = group.last.get();
        let Pattern::Exact(name) = &group.pattern else {
            group.deliver(&Delivery::Gap { topic: None, position: None });
            group.each(|entry| {
                if entry.phase.get() == Phase::New {
                    welcome(group, entry, None);
                }
            });
            return;
        };
        let topic = Rc::<str>::from(name.as_str());
        group.last.set(position);
        // Who came while there was no hub has missed nothing.
        let newcomers = |group: &Rc<Group>| {
            group.each(|entry| {
                if entry.phase.get() == Phase::New {
                    welcome(group, entry, None);
                }
            });
        };
        if before.is_none() {
            return newcomers(group);
        }
        if !recovered {
            group.deliver(&Delivery::Gap { topic: Some(topic), position });
            return newcomers(group);
        }
        for past in past {
            let position = Position { epoch: position.map_or(0, |position| position.epoch), offset: past.offset };
            let delivered = group.deliver(&Delivery::Event(Rc::new(Event::past(topic.clone(), position, past.at, past.data.0))));
            self.count(|counters| counters.delivered, delivered);
        }
        newcomers(group);
    }

    fn presence_changed(&self, topic: &str, member: Member, joined: bool) {
        let Some((topic, group)) = self.by_name(topic) else { return };
        let presence = Rc::new(Presence { topic, member });
        let delivery = if joined { Delivery::Joined(presence) } else { Delivery::Left(presence) };
        group.each(|entry| {
            if entry.watches && entry.phase.get() == Phase::Live {
                entry.deliver(&delivery);
            }
        });
    }

    fn groups(&self) -> Vec<Rc<Group>> {
        self.topics.borrow().values().chain(self.prefixes.borrow().values()).cloned().collect()
    }
}

impl EventSink for Events {
    fn take(&self, message: EventsFromHub) {
        match message {
            EventsFromHub::Event { topic, epoch, event } => self.dispatch(&topic, epoch, event),
            EventsFromHub::Subscribed { ticket, position, recovered, events, refused } => {
                self.subscribed(ticket, position, recovered, events, refused);
            }
            EventsFromHub::Published { ticket, result } => self.asked.published(ticket, result.map_err(EventsError::Refused)),
            EventsFromHub::Answer { ticket, result } => self.asked.answered(ticket, result.map_err(EventsError::Refused)),
            EventsFromHub::Missed { topic, position, count } => {
                self.broadcast(&topic, position, |topic| Delivery::Missed { topic: Some(topic), count });
            }
            EventsFromHub::Gap { topic, position } => {
                self.broadcast(&topic, position, |topic| Delivery::Gap { topic: Some(topic), position: Some(position) });
            }
            EventsFromHub::PrefixGap(prefix) => {
                let group = self.prefixes.borrow().get(prefix.as_str()).cloned();
                if let Some(group) = group.filter(|group| group.live.get()) {
                    group.deliver(&Delivery::Gap { topic: None, position: None });
                }
            }
            EventsFromHub::Joined { topic, member } => self.presence_changed(&topic, member, true),
            EventsFromHub::Left { topic, member } => self.presence_changed(&topic, member, false),
        }
    }

    fn connected(&self) {
        // What was asked while there was no hub went nowhere.
        self.asked.lose(&self.source.held());
        for group in self.groups() {
            self.request(&group, None);
            let mut present = Vec::new();
            group.each(|entry| {
                if let Phase::Recovers(_) = entry.phase.get() {
                    self.request(&group, Some(entry));
                }
                if let Some(member) = &*entry.member.borrow() {
                    present.push((entry.client, (**member).clone()));
                }
            });
            for (client, member) in present {
                let ticket = self.asked.next();
                self.tell(EventsToHub::Enter { ticket, topic: topic_of(&group.pattern), client, member, again: true });
            }
            if group.watchers.get() > 0 {
                self.tell(EventsToHub::Watch { topic: topic_of(&group.pattern), on: true });
            }
        }
        let dropped = self.source.connected();
        self.count_dropped(dropped);
    }

    fn lost(&self) {
        for group in self.groups() {
            group.live.set(false);
        }
        self.asked.lose(&self.source.held());
    }
}

/// A subscriber's membership in a group. Dropping it ends the subscription; a presence that came with it ends a moment later, so that
/// one who comes back soon was never away.
pub struct Registration {
    events: Weak<Events>,
    group: Rc<Group>,
    entry: Rc<Entry>,
}

impl Registration {
    /// What is subscribed to.
    #[must_use]
    pub fn pattern(&self) -> &Pattern {
        &self.group.pattern
    }

    /// The last event of the topic that came to this worker, of a subscription to one topic.
    #[must_use]
    pub fn position(&self) -> Option<Position> {
        self.group.last.get()
    }

    /// Counts events that the subscriber, which has a queue of its own, had to drop.
    pub fn count_dropped(&self, count: u64) {
        if let Some(events) = self.events.upgrade() {
            events.count_dropped(count);
        }
    }

    /// The subscriber is present as this member from now on.
    ///
    /// # Errors
    /// [`EventsError::Member`], [`EventsError::NotOne`].
    pub fn enter(&self, member: Member) -> Result<(), EventsError> {
        check_member(&member)?;
        let Pattern::Exact(topic) = &self.group.pattern else { return Err(EventsError::NotOne) };
        if let Some(events) = self.events.upgrade() {
            self.entry.member.replace(Some(Box::new(member.clone())));
            let (ticket, client) = (events.asked.next(), self.entry.client);
            events.tell(EventsToHub::Enter { ticket, topic: topic.clone(), client, member, again: false });
        }
        Ok(())
    }

    /// The subscriber is not present any more.
    pub fn leave(&self) {
        if let Some(events) = self.events.upgrade()
            && self.entry.member.take().is_some()
        {
            events.tell(EventsToHub::Leave { topic: topic_of(&self.group.pattern), client: self.entry.client, softly: false });
        }
    }

    /// Ends the subscription and, at once, the presence that came with it.
    pub fn close(self) {
        self.end(false);
    }

    fn end(&self, softly: bool) {
        if let Some(events) = self.events.upgrade() {
            events.end(&self.group, &self.entry, softly);
        }
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        self.end(true);
    }
}

/// Tells a subscriber that it is live.
fn welcome(group: &Group, entry: &Entry, recovered: Option<bool>) {
    entry.phase.set(Phase::Live);
    entry.deliver(&Delivery::Ready { position: group.last.get(), recovered });
}

/// What is to be told when an event is not the one after the last. The hub's order makes that impossible; if it happens all the same, it is told.
fn irregular(topic: &Rc<str>, last: Option<Position>, position: Position) -> Option<Delivery> {
    let last = last?;
    if last.epoch != position.epoch {
        let before = Position { offset: position.offset - 1, ..position };
        return Some(Delivery::Gap { topic: Some(topic.clone()), position: Some(before) });
    }
    let count = position.offset.checked_sub(last.offset + 1)?;
    (count > 0).then(|| Delivery::Missed { topic: Some(topic.clone()), count })
}

fn topic_of(pattern: &Pattern) -> String {
    let (Pattern::Exact(name) | Pattern::Prefix(name)) = pattern;
    name.clone()
}

fn check_publication(topic: &str, data: &Bytes) -> Result<(), EventsError> {
    check_topic(topic).map_err(EventsError::Name)?;
    if data.len() > MAX_DATA { Err(EventsError::TooLong) } else { Ok(()) }
}

fn check_member(member: &Member) -> Result<(), EventsError> {
    let fits = (1..=MAX_MEMBER_ID).contains(&member.id.len()) && member.info.0.len() <= MAX_MEMBER_INFO;
    if fits { Ok(()) } else { Err(EventsError::Member) }
}

fn unexpected() -> EventsError {
    EventsError::Refused("the hub gave an answer to another question".to_owned())
}
