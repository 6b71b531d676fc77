//! Events that several machines share through Redis.
//!
//! A topic is a hash of facts (epoch, offset), a stream of its history, and a channel; one script publishes in all three at once. For topics that
//! its workers are subscribed to, the hub keeps a copy in its core: it listens on the channel first, then reads, so that nothing falls between.
//! Each event must be the next one; where it is not, and after every new connection, the stream is read again, and what it cannot close is told
//! as a gap. A server that was started again may have lost what it wrote last: its data gets another life, and every topic another epoch.

mod connection;
mod record;

use std::cell::{Cell, RefCell};
use std::collections::{HashMap, VecDeque};
use std::rc::{Rc, Weak};
use std::time::Duration;

use bytes::Bytes;

use self::record::{Heard, Read, missed, published};
use super::Events;
use super::commands::{self, Job, MOST_WAITING, Script};
use super::crowd::{BEAT, Crowd, Heard as Presence};
use crate::clients::redis::config::Target;
use crate::codec::resp::{self, Value};
use crate::events::core::{Core, Limits, Notice, Worker, Workers};
use crate::link::events::{EventsAnswer, EventsFromHub, EventsToHub, HistoryLimit, Pattern, Position, Question};
use crate::reactor::{self, Scope};
use crate::scoreboard::epoch_ms;

/// How long a topic is remembered in Redis without publications.
const REMEMBER: Duration = Duration::from_hours(7 * 24);
/// How long to wait before a topic that could not be read is read again.
const AGAIN: Duration = Duration::from_millis(200);
/// What may wait to be told to the listening connection. With more it is given up.
const MOST_ORDERS: usize = 100_000;
/// Events of a topic that may wait while it is read.
const MOST_EARLY: usize = 10_000;
/// How long is waited for others who ask the same.
const MOMENT: Duration = Duration::from_millis(50);

/// How a copy stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Nobody listens yet.
    Silent,
    /// The channel is listened to; the topic is being read.
    Reading,
    /// The copy is true.
    Live,
}

/// The copy of a topic.
struct Mirror {
    state: State,
    /// The place that the workers were told last.
    known: Option<Position>,
    waiting: Vec<(Worker, EventsToHub)>,
    early: VecDeque<Heard>,
}

/// A prefix that is listened to.
#[derive(Default)]
struct Prefix {
    confirmed: bool,
    /// It was listened to before: what came meanwhile is lost.
    had: bool,
    waiting: Vec<(Worker, EventsToHub)>,
}

/// The hub's connection with the other machines.
pub(super) struct Bridge {
    events: Weak<Events>,
    target: Target,
    prefix: String,
    limits: Limits,
    jobs: async_channel::Sender<Job>,
    /// Commands for the listening connection, while there is one.
    orders: RefCell<Option<async_channel::Sender<Vec<u8>>>>,
    /// Counts listening connections.
    round: Cell<u64>,
    mirrors: RefCell<HashMap<String, Mirror>>,
    prefixes: RefCell<HashMap<String, Prefix>>,
    crowd: RefCell<Crowd>,
    /// Everybody who is present is about to be told.
    telling: Cell<bool>,
    scope: Scope,
}

impl Bridge {
    pub(super) fn start(events: &Rc<Events>, target: Target, prefix: String, limits: Limits) -> Rc<Self> {
        let (jobs, receiver) = async_channel::bounded(MOST_WAITING);
        let bridge = Rc::new(Self {
            events: Rc::downgrade(events),
            target: target.clone(),
            prefix,
            limits,
            jobs,
            orders: RefCell::default(),
            round: Cell::new(0),
            mirrors: RefCell::default(),
            prefixes: RefCell::default(),
            crowd: RefCell::new(Crowd::new(super::seed().max(1))),
            telling: Cell::new(false),
            scope: Scope::new(),
        });
        let life_key = format!("{}life", bridge.prefix);
        let weak = Rc::downgrade(&bridge);
        let epoch = move || weak.upgrade().map_or(0, |bridge| bridge.new_epoch());
        bridge.scope.spawn(commands::serve(target, life_key, epoch, receiver));
        let weak = Rc::downgrade(&bridge);
        bridge.scope.spawn(connection::listen(weak));
        bridge.scope.spawn(beat(Rc::downgrade(&bridge)));
        bridge
    }

    fn new_epoch(&self) -> u64 {
        self.events.upgrade().map_or(0, |events| events.core.borrow_mut().new_epoch())
    }

    fn channel(&self, topic: &str) -> Vec<u8> {
        format!("{}c:{topic}", self.prefix).into_bytes()
    }

    /// The pattern of all channels with a prefix; what has a meaning in patterns is escaped.
    fn pattern(&self, prefix: &str) -> Vec<u8> {
        let mut pattern = Vec::new();
        for byte in self.channel(prefix) {
            if b"*?[]\\^-".contains(&byte) {
                pattern.push(b'\\');
            }
            pattern.push(byte);
        }
        pattern.push(b'*');
        pattern
    }

    fn keys(&self, topic: &str) -> [String; 3] {
        [format!("{}t:{topic}", self.prefix), format!("{}s:{topic}", self.prefix), format!("{}life", self.prefix)]
    }

    /// Tells the listening connection something. One that has ended, or is so far behind that it is given up, is followed by one that is told everything.
    fn order(&self, command: &[u8], argument: &[u8]) {
        let mut orders = self.orders.borrow_mut();
        let Some(open) = orders.as_ref() else { return };
        let mut bytes = Vec::new();
        resp::command(&mut bytes, &[command, argument]);
        if open.len() >= MOST_ORDERS || open.try_send(bytes).is_err() {
            orders.take();
        }
    }

    /// Does what a worker says.
    pub(super) fn take(self: &Rc<Self>, worker: Worker, message: EventsToHub) {
        let Some(events) = self.events.upgrade() else { return };
        match message {
            EventsToHub::Publish { ticket, topic, data, history } => self.publish(&events, worker, ticket, topic, data.0, history),
            EventsToHub::Subscribe { pattern: Pattern::Exact(ref topic), .. } => {
                let topic = topic.clone();
                let mut mirrors = self.mirrors.borrow_mut();
                match mirrors.get_mut(&topic) {
                    Some(Mirror { state: State::Live, .. }) => {
                        drop(mirrors);
                        events.process(worker, message);
                    }
                    Some(mirror) => mirror.waiting.push((worker, message)),
                    None => {
                        let mirror = Mirror { state: State::Silent, known: None, waiting: vec![(worker, message)], early: VecDeque::new() };
                        mirrors.insert(topic.clone(), mirror);
                        drop(mirrors);
                        self.order(b"SUBSCRIBE", &self.channel(&topic));
                    }
                }
            }
            EventsToHub::Subscribe { pattern: Pattern::Prefix(ref prefix), .. } => {
                let name = prefix.clone();
                let mut prefixes = self.prefixes.borrow_mut();
                let new = !prefixes.contains_key(&name);
                let prefix = prefixes.entry(name.clone()).or_default();
                if prefix.confirmed {
                    drop(prefixes);
                    events.process(worker, message);
                } else {
                    prefix.waiting.push((worker, message));
                    drop(prefixes);
                    if new {
                        self.order(b"PSUBSCRIBE", &self.pattern(&name));
                    }
                }
            }
            EventsToHub::Unsubscribe(ref pattern) => {
                let pattern = pattern.clone();
                events.process(worker, message);
                self.forget_waiting(worker, Some(&pattern));
                self.prune(&events);
            }
            EventsToHub::Ask { ticket, question } => self.ask(&events, worker, ticket, question),
            EventsToHub::Watch { .. } => events.process(worker, message),
            EventsToHub::Enter { .. } | EventsToHub::Leave { .. } => {
                events.process(worker, message.clone());
                let word = self.crowd.borrow_mut().note(worker, message, &events.core.borrow());
                self.tell_others(word);
            }
        }
    }

    /// A worker has ended.
    pub(super) fn gone(&self, events: &Rc<Events>, worker: Worker) {
        self.forget_waiting(worker, None);
        self.prune(events);
        let word = self.crowd.borrow_mut().gone(worker);
        self.tell_others(word);
    }

    fn forget_waiting(&self, worker: Worker, pattern: Option<&Pattern>) {
        let stays = |(other, message): &(Worker, EventsToHub)| {
            let same = |own: &Pattern| pattern.is_none_or(|pattern| pattern == own);
            *other != worker || !matches!(message, EventsToHub::Subscribe { pattern: own, .. } if same(own))
        };
        self.mirrors.borrow_mut().values_mut().for_each(|mirror| mirror.waiting.retain(stays));
        self.prefixes.borrow_mut().values_mut().for_each(|prefix| prefix.waiting.retain(stays));
    }

    /// Stops listening to what nobody is subscribed to any more.
    fn prune(&self, events: &Events) {
        let core = events.core.borrow();
        let mut over = Vec::new();
        self.mirrors.borrow_mut().retain(|topic, mirror| {
            let used = !mirror.waiting.is_empty() || !core.followers(topic).is_empty();
            if !used {
                over.push((&b"UNSUBSCRIBE"[..], self.channel(topic)));
            }
            used
        });
        self.prefixes.borrow_mut().retain(|name, prefix| {
            let used = !prefix.waiting.is_empty() || !core.prefix_workers(name).is_empty();
            if !used {
                over.push((&b"PUNSUBSCRIBE"[..], self.pattern(name)));
            }
            used
        });
        over.iter().for_each(|(command, argument)| self.order(command, argument));
    }

    /// Where hubs tell each other who is present.
    fn presence_channel(&self) -> Vec<u8> {
        format!("{}presence", self.prefix).into_bytes()
    }

    /// Tells the other hubs something of presence. What is lost is asked for.
    fn tell_others(&self, words: impl IntoIterator<Item = Vec<u8>>) {
        for word in words {
            // The answer is how many heard it, which does not matter.
            let _ = self.run(Script::Tell, "", vec![self.presence_channel(), word]);
        }
    }

    /// Tells the other hubs who is present here: in a moment, for all who ask meanwhile.
    fn tell_all(self: &Rc<Self>) {
        if self.telling.replace(true) {
            return;
        }
        let bridge = Rc::downgrade(self);
        self.scope.spawn(async move {
            reactor::sleep(MOMENT).await;
            let Some(bridge) = bridge.upgrade() else { return };
            bridge.telling.set(false);
            let words = bridge.crowd.borrow_mut().all();
            bridge.tell_others(words);
        });
    }

    /// Another hub has told something of presence.
    fn heard_of_presence(self: &Rc<Self>, events: &Rc<Events>, bytes: &Bytes) {
        let heard = self.crowd.borrow_mut().hear(bytes, &mut events.core.borrow_mut(), reactor::now());
        let Presence { notices, words, asked } = heard;
        events.tell(notices);
        events.arm();
        self.tell_others(words);
        if asked {
            self.tell_all();
        }
    }

    /// Runs a script; the answer comes through the receiver.
    fn run(&self, script: Script, topic: &str, arguments: Vec<Vec<u8>>) -> Result<async_channel::Receiver<Result<Value, String>>, String> {
        let (answer, receiver) = async_channel::bounded(1);
        let job = Job { script, keys: self.keys(topic), arguments, answer };
        self.jobs.try_send(job).map_err(|_| "redis: too much waits for it".to_owned())?;
        Ok(receiver)
    }

    fn publish(&self, events: &Rc<Events>, worker: Worker, ticket: Option<u64>, topic: String, data: Bytes, history: Option<HistoryLimit>) {
        let number = |number: u64| number.to_string().into_bytes();
        let at = format!("{:.3}", epoch_ms() as f64 / 1000.0).into_bytes();
        let (count, ttl) = history.map_or_else(Default::default, |asked| {
            let allowed = events.core.borrow().allowed(asked);
            (number(u64::from(allowed.count)), number(allowed.ttl_ms))
        });
        let (default, remember) = (self.limits.history, u64::try_from(REMEMBER.as_millis()).unwrap_or(u64::MAX));
        let arguments = vec![
            number(self.new_epoch()),
            data.to_vec(),
            at,
            count,
            ttl,
            number(u64::from(default.count)),
            number(default.ttl_ms),
            number(remember),
            self.channel(&topic),
        ];
        let sent = self.run(Script::Publish, &topic, arguments);
        let events = Rc::downgrade(events);
        let finish = move |result: Result<Position, String>| {
            let Some(events) = events.upgrade() else { return };
            match ticket {
                Some(ticket) => events.tell(vec![back(worker, EventsFromHub::Published { ticket, result })]),
                None if result.is_err() => events.count_dropped(),
                None => {}
            }
        };
        match sent {
            Err(why) => finish(Err(why)),
            Ok(answer) => self.scope.spawn(async move {
                let value = answer.recv().await.unwrap_or_else(|_| Err("redis: it ended".to_owned()));
                finish(value.and_then(|value| published(&value).ok_or_else(|| "redis: another answer than expected".to_owned())));
            }),
        }
    }

    fn ask(self: &Rc<Self>, events: &Rc<Events>, worker: Worker, ticket: u64, question: Question) {
        let (Question::History { topic, .. } | Question::Members(topic) | Question::Info(topic)) = &question;
        let live = self.mirrors.borrow().get(topic).is_some_and(|mirror| mirror.state == State::Live);
        if live || matches!(question, Question::Members(_)) {
            return events.process(worker, EventsToHub::Ask { ticket, question });
        }
        let (topic, bridge) = (topic.clone(), Rc::downgrade(self));
        let asked = self.run(Script::Read, &topic, self.read_arguments(false));
        self.scope.spawn(async move {
            let value = match asked {
                Ok(answer) => answer.recv().await.unwrap_or_else(|_| Err("redis: it ended".to_owned())),
                Err(why) => Err(why),
            };
            let Some((bridge, events)) = bridge.upgrade().and_then(|bridge| bridge.events.upgrade().map(|events| (bridge, events))) else {
                return;
            };
            let members = events.core.borrow_mut().answer(&Question::Members(topic.clone()), reactor::now());
            let result = value.map(|value| {
                // Read for this answer only: nobody here is subscribed.
                let mut core = Core::new(bridge.limits, 1);
                if let Some(read) = Read::of(&value, bridge.limits.history) {
                    core.adopt(&topic, read.position, read.limit, read.events, reactor::now());
                }
                let mut answer = core.answer(&question, reactor::now());
                if let (EventsAnswer::Info(Some(info)), EventsAnswer::Members(members)) = (&mut answer, members) {
                    info.members = members.len() as u64;
                }
                answer
            });
            events.tell(vec![back(worker, EventsFromHub::Answer { ticket, result })]);
        });
    }

    fn read_arguments(&self, make: bool) -> Vec<Vec<u8>> {
        let epoch = if make { self.new_epoch().to_string() } else { String::new() };
        let most = self.limits.most.count.max(1);
        vec![epoch.into_bytes(), most.to_string().into_bytes(), REMEMBER.as_millis().to_string().into_bytes()]
    }

    /// Reads a topic that is listened to, until that succeeds or is not wanted any more.
    fn read(self: &Rc<Self>, topic: &str) {
        let (topic, round, bridge) = (topic.to_owned(), self.round.get(), Rc::downgrade(self));
        self.scope.spawn(async move {
            loop {
                let Some(this) = bridge.upgrade() else { return };
                let wanted = this.mirrors.borrow().get(&topic).is_some_and(|mirror| mirror.state == State::Reading);
                if !wanted || this.round.get() != round {
                    return;
                }
                let asked = this.run(Script::Read, &topic, this.read_arguments(true));
                drop(this);
                let value = match asked {
                    Ok(answer) => answer.recv().await.unwrap_or_else(|_| Err(String::new())),
                    Err(why) => Err(why),
                };
                let Some(this) = bridge.upgrade() else { return };
                if let Some(read) = value.ok().and_then(|value| Read::of(&value, this.limits.history)) {
                    if this.round.get() == round {
                        this.adopt(&topic, read);
                    }
                    return;
                }
                drop(this);
                reactor::sleep(AGAIN).await;
            }
        });
    }

    /// A topic has been read: what its workers have missed is told, who waited is answered, what came meanwhile is taken.
    fn adopt(self: &Rc<Self>, topic: &str, read: Read) {
        let Some(events) = self.events.upgrade() else { return };
        let (known, waiting, early) = {
            let mut mirrors = self.mirrors.borrow_mut();
            let Some(mirror) = mirrors.get_mut(topic).filter(|mirror| mirror.state == State::Reading) else { return };
            mirror.state = State::Live;
            (mirror.known.replace(read.position), std::mem::take(&mut mirror.waiting), std::mem::take(&mut mirror.early))
        };
        let to = events.core.borrow().followers(topic);
        let told = known.filter(|known| *known != read.position && !to.is_empty()).map(|known| missed(topic, &to, known, &read));
        let (place, told) = (read.position, told.unwrap_or_default());
        let recovered = |offset: u64| {
            let same = |notice: &Notice| matches!(&notice.message, EventsFromHub::Event { event, .. } if event.offset == offset);
            told.iter().any(same)
        };
        let (old, live): (Vec<Heard>, Vec<Heard>) =
            early.into_iter().partition(|heard| heard.position.epoch == place.epoch && heard.position.offset <= place.offset);
        // These were read, but a worker that follows a prefix only has nothing but what is heard.
        let by_prefix = events.core.borrow().followers_by_prefix(topic);
        let only_heard = old.iter().filter_map(|heard| {
            let again = recovered(heard.position.offset);
            let others: Workers = by_prefix.iter().filter(|worker| !again || !to.contains(worker)).copied().collect();
            (!others.is_empty()).then(|| heard.notice(topic, others))
        });
        let heard: Vec<Notice> = only_heard.collect();
        events.core.borrow_mut().adopt(topic, place, read.limit, read.events, reactor::now());
        events.tell(told);
        events.tell(heard);
        for (worker, message) in waiting {
            events.process(worker, message);
        }
        for heard in live {
            self.hear(&events, topic, heard);
        }
    }

    /// An event of a topic that is copied.
    fn hear(self: &Rc<Self>, events: &Rc<Events>, topic: &str, heard: Heard) {
        let Some(place) = events.core.borrow().place(topic) else { return };
        let mut mirrors = self.mirrors.borrow_mut();
        let Some(mirror) = mirrors.get_mut(topic) else { return };
        let same = heard.position.epoch == place.epoch;
        if mirror.state == State::Live && same && heard.position.offset == place.offset + 1 {
            mirror.known = Some(heard.position);
            drop(mirrors);
            let to = events.core.borrow_mut().apply(topic, heard.past(), reactor::now());
            events.tell(vec![heard.notice(topic, to)]);
        } else if mirror.state != State::Live || !same || heard.position.offset > place.offset {
            let read = mirror.state == State::Live;
            mirror.state = State::Reading;
            mirror.early.push_back(heard);
            if mirror.early.len() > MOST_EARLY {
                mirror.early.pop_front();
            }
            drop(mirrors);
            if read {
                self.read(topic);
            }
        }
    }

    /// What the listening connection says.
    fn heard(self: &Rc<Self>, value: &Value) {
        let Some(events) = self.events.upgrade() else { return };
        let Some(parts) = value.elements() else { return };
        let text = |index: usize| parts.get(index).and_then(Value::text).unwrap_or_default();
        let topic_of = |index: usize| text(index).strip_prefix(&*format!("{}c:", self.prefix)).map(str::to_owned);
        match (text(0), parts.len()) {
            ("subscribe", _) if text(1).as_bytes() == self.presence_channel() => {
                // The others may have taken this machine for gone, and this one may have missed anything.
                let word = self.crowd.borrow_mut().ask_all();
                self.tell_others(word);
                self.tell_all();
            }
            ("subscribe", _) => {
                let Some(topic) = topic_of(1) else { return };
                if let Some(mirror) = self.mirrors.borrow_mut().get_mut(&topic) {
                    mirror.state = State::Reading;
                }
                self.read(&topic);
            }
            ("psubscribe", _) => self.confirmed(&events, text(1).as_bytes()),
            ("message", 3) if text(1).as_bytes() == self.presence_channel() => {
                if let Some(bytes) = parts[2].bytes() {
                    self.heard_of_presence(&events, bytes);
                }
            }
            ("message", 3) => {
                let (Some(topic), Some(heard)) = (topic_of(1), Heard::of(parts[2].bytes())) else { return };
                let silent = self.mirrors.borrow().get(&topic).is_none_or(|mirror| mirror.state == State::Silent);
                if !silent {
                    self.hear_or_keep(&events, &topic, heard);
                }
            }
            ("pmessage", 4) => {
                let (Some(topic), Some(heard)) = (topic_of(2), Heard::of(parts[3].bytes())) else { return };
                let copied = self.mirrors.borrow().get(&topic).is_some_and(|mirror| mirror.state != State::Silent);
                if !copied && self.is_first(&topic, text(1).as_bytes()) {
                    let to = events.core.borrow().followers_by_prefix(&topic);
                    events.tell(vec![heard.notice(&topic, to)]);
                }
            }
            _ => {}
        }
    }

    fn hear_or_keep(self: &Rc<Self>, events: &Rc<Events>, topic: &str, heard: Heard) {
        if let Some(mirror) = self.mirrors.borrow_mut().get_mut(topic)
            && mirror.state == State::Reading
        {
            mirror.early.push_back(heard);
            if mirror.early.len() > MOST_EARLY {
                mirror.early.pop_front();
            }
            return;
        }
        self.hear(events, topic, heard);
    }

    /// Whether a pattern is that of the shortest prefix of a topic: a message comes once for each.
    fn is_first(&self, topic: &str, pattern: &[u8]) -> bool {
        let prefixes = self.prefixes.borrow();
        let first = prefixes
            .iter()
            .filter(|(name, prefix)| prefix.confirmed && topic.starts_with(name.as_str()))
            .min_by_key(|(name, _)| name.len());
        first.is_some_and(|(name, _)| self.pattern(name) == pattern)
    }

    fn confirmed(&self, events: &Rc<Events>, pattern: &[u8]) {
        let (name, had, waiting) = {
            let mut prefixes = self.prefixes.borrow_mut();
            let Some((name, prefix)) = prefixes.iter_mut().find(|(name, _)| self.pattern(name) == pattern) else { return };
            prefix.confirmed = true;
            (name.clone(), std::mem::replace(&mut prefix.had, true), std::mem::take(&mut prefix.waiting))
        };
        let to = events.core.borrow().prefix_workers(&name);
        if had && !to.is_empty() {
            events.tell(vec![Notice { to, message: EventsFromHub::PrefixGap(name) }]);
        }
        for (worker, message) in waiting {
            events.process(worker, message);
        }
    }

    /// There is a listening connection. Gives what it is to be told first: everything.
    fn connected(&self, orders: async_channel::Sender<Vec<u8>>) -> Vec<u8> {
        self.round.set(self.round.get() + 1);
        self.orders.replace(Some(orders));
        let mut all = Vec::new();
        resp::command(&mut all, &[b"SUBSCRIBE", &self.presence_channel()]);
        self.mirrors.borrow().keys().for_each(|topic| resp::command(&mut all, &[b"SUBSCRIBE", &self.channel(topic)]));
        self.prefixes.borrow().keys().for_each(|prefix| resp::command(&mut all, &[b"PSUBSCRIBE", &self.pattern(prefix)]));
        all
    }

    fn disconnected(&self) {
        self.orders.take();
        for mirror in self.mirrors.borrow_mut().values_mut() {
            mirror.state = State::Silent;
            mirror.early.clear();
        }
        self.prefixes.borrow_mut().values_mut().for_each(|prefix| prefix.confirmed = false);
    }
}

/// Says again and again that this machine is there, and looks which others are.
async fn beat(bridge: Weak<Bridge>) {
    loop {
        reactor::sleep(BEAT).await;
        let Some((bridge, events)) = bridge.upgrade().and_then(|bridge| bridge.events.upgrade().map(|events| (bridge, events))) else {
            return;
        };
        let word = bridge.crowd.borrow_mut().here();
        bridge.tell_others(word);
        let notices = bridge.crowd.borrow_mut().pass(&mut events.core.borrow_mut(), reactor::now());
        events.tell(notices);
        events.arm();
    }
}

fn back(worker: Worker, message: EventsFromHub) -> Notice {
    Notice { to: Workers::from_slice(&[worker]), message }
}
