//! What the hub says, given to the subscribers whom it concerns.

use std::rc::Rc;

use super::event::{Closed, Delivery, Event, Presence};
use super::group::{Entry, Group, Phase};
use super::{Events, EventsError, topic_of};
use crate::link::EventSink;
use crate::link::events::{EventsFromHub, EventsToHub, Member, PastEvent, Pattern, Position};

impl Events {
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
        // Also to who waits for its first event: it may have asked for the members already, and must hear of everyone after those.
        group.each(|entry| {
            if entry.watches {
                entry.deliver(&delivery);
            }
        });
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
/// Tells a subscriber that it is live.
pub(super) fn welcome(group: &Group, entry: &Entry, recovered: Option<bool>) {
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
