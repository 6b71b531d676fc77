//! Events in a worker: topics, publications, subscriptions, presence.
//!
//! | file | what it is |
//! |---|---|
//! | `core` | all topics, as the hub (or a process that stands alone) keeps them: a state machine |
//! | `config` | its block of the configuration |
//! | `event` | a publication as the subscribers of this worker share it; what a subscriber gets |
//! | `group` | the subscribers of one pattern |
//! | `queue` | a subscription with a bounded queue, read as a stream |
//! | `deliveries` | what the hub says, given to the subscribers whom it concerns |
//! | `registration` | a subscriber's membership in a group |
//! | `error` | why something did not happen |
//! | `ask` | what waits for an answer of the hub |
//! | `source` | where events come from: the hub, or this process alone |
//!
//! The hub sends a publication once to each worker that has subscribers; the worker shares it among them. A subscriber is told [`Delivery::Ready`]
//! first, and whatever it may have lost later ([`Delivery::Missed`], [`Delivery::Gap`]): nothing is lost silently, nothing comes twice.

pub mod core;

mod ask;
pub mod config;
mod deliveries;
mod error;
mod event;
mod group;
mod queue;
mod registration;
mod source;

#[cfg(test)]
mod tests;

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, HashMap};
use std::future::Future;
use std::rc::{Rc, Weak};
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use bytes::Bytes;

use ask::Asked;
use deliveries::welcome;
pub use error::EventsError;
pub use event::{Closed, Delivery, Event, Presence};
pub use group::Subscriber;
use group::{Entry, Group, Phase};
use queue::Queue;
pub use queue::{Overflow, Subscription};
pub use registration::Registration;
use source::Source;

pub use crate::link::events::{
    BadName, HistoryLimit, MAX_DATA, MAX_MEMBER_ID, MAX_MEMBER_INFO, Member, PastEvent, Pattern, Position, TopicInfo,
};
use crate::link::events::{EventsAnswer, EventsToHub, Question, check_topic};
use crate::link::{EventSink, HubLink};
use crate::reactor;
use crate::scoreboard::{Slot, add, subtract};

/// How long an answer of the hub is waited for.
const ANSWER_LIMIT: Duration = Duration::from_secs(5);
/// Subscribers of one worker at most.
const MOST_SUBSCRIBERS: usize = 1_000_000;
/// Events that wait for a slow reader if nothing else is said.
pub const QUEUE: usize = 256;

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
    shared: Cell<bool>,
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

    /// Whether other machines have the same events.
    #[must_use]
    pub fn is_shared(&self) -> bool {
        self.shared.get()
    }

    /// Says whether they have.
    pub fn set_shared(&self, shared: bool) {
        self.shared.set(shared);
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
            shared: Cell::new(false),
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

    fn groups(&self) -> Vec<Rc<Group>> {
        self.topics.borrow().values().chain(self.prefixes.borrow().values()).cloned().collect()
    }
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
