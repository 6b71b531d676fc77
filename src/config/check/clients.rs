//! Clients, and what uses them.

use std::collections::BTreeMap;

use super::Checker;
use crate::config::tree::Place;
use crate::config::written::{Client, Events};

impl Checker<'_> {
    /// Checks the clients, and that the events find theirs.
    pub(super) fn clients(&mut self, clients: &BTreeMap<String, Client>, events: &Events) {
        for (name, client) in clients {
            let Client::Redis(redis) = client;
            if let Err(why) = redis.target() {
                self.error(&Place::top().name("clients").name(name).name("uri"), why);
            }
        }
        if let Events::Redis(redis) = events {
            let place = Place::top().name("events").name("client");
            if !clients.contains_key(&redis.client) {
                self.error(&place, format!("there is no client {:?}", redis.client));
            }
        }
    }
}
