//! What applications add to RTEP in this worker: event groups and operations; and the servers of others that they reach by it.
//!
//! Every worker loads every application, so each one registers the same, and a connection finds it whichever worker has it. Among several
//! registrations of a name the newest counts; when it goes, the one before it counts again.

use std::any::Any;
use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, HashMap};
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use serde_json::{Map, Value};

use crate::net::Peer;

/// A future of this thread.
pub type Local<T> = Pin<Box<dyn Future<Output = T>>>;

/// A connection, as applications see it.
pub trait Session {
    /// A number that no other connection of this worker has or had.
    fn id(&self) -> u64;
    /// Where it came from.
    fn peer(&self) -> &Peer;
    /// Sends an event to this connection only; `data` is a JSON text. Whether it still takes any.
    fn send(&self, name: &str, data: Bytes) -> bool;
    /// Ends it, once what it was sent before is written.
    fn close(&self);
}

/// A subscription to an event of a group.
pub struct Subscribed {
    /// Who subscribes.
    pub session: Rc<dyn Session>,
    /// The event.
    pub name: String,
    /// What stands behind its name.
    pub arguments: Vec<String>,
}

/// What is done when somebody subscribes to an event of this name, and when that ends.
pub trait Group {
    /// Somebody wants to subscribe; whether they may. An error is in words, for them.
    fn add(&self, subscribed: Subscribed) -> Local<Result<(), String>>;
    /// Somebody whom `add` let in is subscribed no more.
    fn remove(&self, subscribed: Subscribed) -> Local<()>;
}

/// An operation beside those of the protocol.
pub trait Operation {
    /// Gives the members of the response. An error is in words, for who asked.
    fn call(&self, session: Rc<dyn Session>, fields: Map<String, Value>) -> Local<Result<Map<String, Value>, String>>;
}

/// What a subscription at another server brings.
#[derive(Clone, Debug, PartialEq)]
pub enum News {
    /// An event, with its `name`, `_ts` and `currentTime`.
    Event(Rc<Map<String, Value>>),
    /// Events were lost: so many, or (none) nobody knows how many, as when the connection was broken in between.
    Missed(Option<u64>),
}

/// Takes what a subscription brings.
pub type Hear = Rc<dyn Fn(News)>;

/// Another RTEP server.
pub trait Remote {
    /// Does an operation there; gives the members of the response. An error is in words; after one it may have been done all the same.
    fn request(&self, op: &str, fields: Map<String, Value>, limit: Duration) -> Local<Result<Map<String, Value>, String>>;
    /// Publishes an event there; `data` is a JSON text.
    fn publish(&self, name: &str, data: Bytes, limit: Duration) -> Local<Result<(), String>>;
    /// Subscribes to an event, again after each broken connection, until what it gives is dropped.
    fn subscribe(&self, name: &str, hear: Hear) -> Box<dyn Any>;
}

/// The registrations of one kind by name, each with its number.
type Named<T> = HashMap<String, Vec<(u64, Rc<T>)>>;

#[derive(Default)]
struct Inner {
    next: Cell<u64>,
    groups: RefCell<Named<dyn Group>>,
    operations: RefCell<Named<dyn Operation>>,
    remotes: RefCell<BTreeMap<String, Rc<dyn Remote>>>,
}

/// All groups and operations of this worker. Clones share everything.
#[derive(Clone, Default)]
pub struct Registry(Rc<Inner>);

#[derive(Clone, Copy)]
enum Kind {
    Group,
    Operation,
}

/// A group or an operation, for as long as this lives.
#[must_use]
pub struct Registration {
    registry: Registry,
    kind: Kind,
    name: String,
    number: u64,
}

impl Registry {
    fn registration(&self, kind: Kind, name: &str) -> Registration {
        let number = self.0.next.get();
        self.0.next.set(number + 1);
        Registration { registry: self.clone(), kind, name: name.to_owned(), number }
    }

    /// Adds a group for the event `name`.
    pub fn add_group(&self, name: &str, group: Rc<dyn Group>) -> Registration {
        let registration = self.registration(Kind::Group, name);
        self.0.groups.borrow_mut().entry(name.to_owned()).or_default().push((registration.number, group));
        registration
    }

    /// Adds the operation `name`. One that is called as one of the protocol is never reached.
    pub fn add_operation(&self, name: &str, operation: Rc<dyn Operation>) -> Registration {
        let registration = self.registration(Kind::Operation, name);
        self.0.operations.borrow_mut().entry(name.to_owned()).or_default().push((registration.number, operation));
        registration
    }

    /// The clients of the configuration, from now on.
    pub fn replace_remotes(&self, remotes: BTreeMap<String, Rc<dyn Remote>>) {
        self.0.remotes.replace(remotes);
    }

    /// The client of the configuration of this name.
    #[must_use]
    pub fn remote(&self, name: &str) -> Option<Rc<dyn Remote>> {
        self.0.remotes.borrow().get(name).cloned()
    }

    /// The group of an event.
    #[must_use]
    pub fn group(&self, name: &str) -> Option<Rc<dyn Group>> {
        self.0.groups.borrow().get(name)?.last().map(|(_, group)| group.clone())
    }

    /// An operation.
    #[must_use]
    pub fn operation(&self, name: &str) -> Option<Rc<dyn Operation>> {
        self.0.operations.borrow().get(name)?.last().map(|(_, operation)| operation.clone())
    }
}

fn remove<T: ?Sized>(named: &RefCell<Named<T>>, name: &str, number: u64) {
    let mut named = named.borrow_mut();
    if let Some(all) = named.get_mut(name) {
        all.retain(|(other, _)| *other != number);
        if all.is_empty() {
            named.remove(name);
        }
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        match self.kind {
            Kind::Group => remove(&self.registry.0.groups, &self.name, self.number),
            Kind::Operation => remove(&self.registry.0.operations, &self.name, self.number),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Named(&'static str);

    impl Operation for Named {
        fn call(&self, _: Rc<dyn Session>, _: Map<String, Value>) -> Local<Result<Map<String, Value>, String>> {
            Box::pin(std::future::ready(Err(self.0.to_owned())))
        }
    }

    #[test]
    fn the_newest_registration_counts() {
        let registry = Registry::default();
        let is_there = || registry.operation("time").is_some();
        assert!(!is_there());
        let old = registry.add_operation("time", Rc::new(Named("old")));
        let new: Rc<dyn Operation> = Rc::new(Named("new"));
        let newer = registry.add_operation("time", new.clone());
        assert!(registry.operation("time").is_some_and(|found| Rc::ptr_eq(&found, &new)));
        drop(old);
        assert!(is_there());
        drop(newer);
        assert!(!is_there());
        assert!(registry.0.operations.borrow().is_empty());
    }
}
