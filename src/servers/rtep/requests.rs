//! What a client can ask for.

use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

use serde_json::{Map, Value};

use super::session::{Membership, Session, Topic};
use crate::codec::rtep::{EventName, Packet, publication};
use crate::events::Options;
use crate::link::events::check_topic;
use crate::reactor::timeout;
use crate::rtep::Subscribed;

/// How long a subscription may take to hold: a hub that was killed is back long before.
const SETTLING: Duration = Duration::from_secs(10);

impl Session {
    /// Does what a packet asks.
    pub(super) async fn obey(&self, packet: Packet) {
        let (id, op, fields) = match packet {
            Packet::Request { id, op, fields } => (id, op, fields),
            Packet::Event(_) => return self.fail(&Value::Null, "", "an event is published by the operation event"),
            // Nothing was asked of the client, so an answer means nothing; types of later versions neither.
            Packet::Response { .. } | Packet::Missed { .. } | Packet::Other(_) => return,
        };
        match op.as_str() {
            "ping" => {
                let mut fields = Map::new();
                fields.insert("msg".to_owned(), "pong".into());
                self.respond(&id, &op, &fields);
            }
            "subscribeEvents" => {
                let result = match names(&fields) {
                    Ok(names) => self.subscribe(&names).await,
                    Err(why) => Err(why),
                };
                self.status(&id, &op, result);
            }
            "unsubscribeEvents" => {
                let result = match names(&fields) {
                    Ok(names) => {
                        self.unsubscribe(&names).await;
                        Ok(())
                    }
                    Err(why) => Err(why),
                };
                self.status(&id, &op, result);
            }
            "event" => self.publish(id, &op, &fields),
            _ => self.call(id, op, fields),
        }
    }

    /// Publishes. The order of publications is that of the requests; the answer says that the event is in the hub.
    fn publish(&self, id: Value, op: &str, fields: &Map<String, Value>) {
        let Some((name, data)) = fields.get("event").and_then(Value::as_object).and_then(publication) else {
            return self.status(&id, op, Err("`event` is an object with a name".to_owned()));
        };
        let answer = match self.surroundings.events.publish(name, data.into(), None) {
            Ok(answer) => answer,
            Err(error) => return self.status(&id, op, Err(error.to_string())),
        };
        let (session, op) = (self.this.clone(), op.to_owned());
        self.spawn(async move {
            let result = answer.await;
            if let Some(session) = session.upgrade() {
                session.status(&id, &op, result.map(|_| ()).map_err(|error| error.to_string()));
            }
        });
    }

    /// Calls an operation of an application.
    fn call(&self, id: Value, op: String, fields: Map<String, Value>) {
        let (Some(operation), Some(this)) = (self.surroundings.registry.operation(&op), self.this.upgrade()) else {
            return self.fail(&id, &op, "there is no such operation");
        };
        let called = operation.call(this, fields);
        let session = self.this.clone();
        self.spawn(async move {
            let result = called.await;
            let Some(session) = session.upgrade() else { return };
            match result {
                Ok(fields) => session.respond(&id, &op, &fields),
                Err(why) => session.fail(&id, &op, &why),
            }
        });
    }

    /// Subscribes to all of the names, or to none of those that are new.
    async fn subscribe(&self, names: &[&str]) -> Result<(), String> {
        let mut added: Vec<&str> = Vec::new();
        let result = self.subscribe_each(names, &mut added).await;
        if result.is_err() {
            self.unsubscribe(&added).await;
        }
        result
    }

    async fn subscribe_each<'a>(&self, names: &[&'a str], added: &mut Vec<&'a str>) -> Result<(), String> {
        let mut topics = Vec::new();
        for &text in names {
            let event = EventName::new(text);
            check_topic(event.name).map_err(|error| error.to_string())?;
            if self.knows(text) {
                continue;
            }
            let count: usize = self.memberships.borrow().values().map(|membership| membership.names.len()).sum();
            if count >= self.limits.max_subscriptions {
                return Err(format!("a connection has at most {} subscriptions", self.limits.max_subscriptions));
            }
            let group = self.surroundings.registry.group(event.name);
            let is_told = group.is_some();
            if let (Some(group), Some(subscribed)) = (group, self.subscribed(text)) {
                group.add(subscribed).await?;
            }
            if let Err(why) = self.join(event.name, text, is_told, &mut topics) {
                self.tell_removed(text, is_told).await;
                return Err(why);
            }
            added.push(text);
        }
        let all = async {
            for topic in &topics {
                topic.settled().await?;
            }
            Ok(())
        };
        timeout(SETTLING, all).await.unwrap_or_else(|_| Err("events cannot be had for now".to_owned()))
    }

    fn knows(&self, text: &str) -> bool {
        let name = EventName::new(text).name;
        self.memberships.borrow().get(name).is_some_and(|membership| membership.names.contains_key(text))
    }

    /// What a group is told of a subscription.
    fn subscribed(&self, text: &str) -> Option<Subscribed> {
        let event = EventName::new(text);
        let session = self.this.upgrade()?;
        Some(Subscribed { session, name: event.name.to_owned(), arguments: event.arguments().map(str::to_owned).collect() })
    }

    fn join(&self, name: &str, text: &str, is_told: bool, topics: &mut Vec<Rc<Topic>>) -> Result<(), String> {
        let mut memberships = self.memberships.borrow_mut();
        if let Some(membership) = memberships.get_mut(name) {
            membership.names.insert(text.to_owned(), is_told);
            return Ok(());
        }
        let topic = Topic::new(self.this.clone(), name);
        let weak = Rc::downgrade(&topic);
        let registration = self.surroundings.events.attach(name, weak, Options::default()).map_err(|error| error.to_string())?;
        topics.push(topic.clone());
        let names = BTreeMap::from([(text.to_owned(), is_told)]);
        memberships.insert(name.into(), Membership { topic, registration, names });
        Ok(())
    }

    /// Ends subscriptions; of those that are none nothing is said.
    async fn unsubscribe(&self, names: &[&str]) {
        for &text in names {
            let name = EventName::new(text).name;
            let is_told = {
                let mut memberships = self.memberships.borrow_mut();
                let Some(membership) = memberships.get_mut(name) else { continue };
                let Some(is_told) = membership.names.remove(text) else { continue };
                let over = if membership.names.is_empty() { memberships.remove(name) } else { None };
                drop(memberships);
                if let Some(Membership { topic, registration, .. }) = over {
                    registration.close();
                    drop(topic);
                }
                is_told
            };
            self.tell_removed(text, is_told).await;
        }
    }

    /// Tells the group that a subscription that it let in is over.
    async fn tell_removed(&self, text: &str, is_told: bool) {
        if !is_told {
            return;
        }
        let group = self.surroundings.registry.group(EventName::new(text).name);
        if let (Some(group), Some(subscribed)) = (group, self.subscribed(text)) {
            group.remove(subscribed).await;
        }
    }

    /// Ends every subscription.
    pub(super) async fn unsubscribe_all(&self) {
        let all: Vec<String> = self.memberships.borrow().values().flat_map(|membership| membership.names.keys().cloned()).collect();
        let all: Vec<&str> = all.iter().map(String::as_str).collect();
        self.unsubscribe(&all).await;
    }
}

/// The names of a request.
fn names(fields: &Map<String, Value>) -> Result<Vec<&str>, String> {
    let wrong = || "`events` is a list of names".to_owned();
    fields.get("events").and_then(Value::as_array).and_then(|list| list.iter().map(Value::as_str).collect()).ok_or_else(wrong)
}
