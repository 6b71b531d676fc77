//! Connections to other servers, and what uses them: addresses that are some, limits that make sense.

use std::collections::BTreeMap;

use super::Checker;
use crate::clients::lock::config::LockClient;
use crate::clients::rtep::config::RtepClient;
use crate::config::tree::Place;
use crate::config::written::{Client, Events};
use crate::units::{HumanDuration, HumanSize};

impl Checker<'_> {
    /// Every client, and that the events find theirs.
    pub(super) fn clients(&mut self, clients: BTreeMap<String, Client>, events: &Events) -> BTreeMap<String, Client> {
        for (name, client) in &clients {
            let place = Place::top().name("clients").name(name.as_str());
            match client {
                Client::Lock(lock) => self.lock_client(&place, lock),
                Client::Rtep(rtep) => self.rtep_client(&place, rtep),
                Client::Redis(redis) => {
                    if let Err(why) = redis.target() {
                        self.error(&place.name("uri"), why);
                    }
                }
            }
        }
        if let Events::Redis(redis) = events
            && !matches!(clients.get(&redis.client), Some(Client::Redis(_)))
        {
            let place = Place::top().name("events").name("client");
            self.error(&place, format!("there is no client {:?} of the kind `Redis`", redis.client));
        }
        clients
    }

    fn reachable_address(&mut self, place: &Place, address: &str) {
        let is_unix = address.strip_prefix("unix:").is_some_and(|path| path.starts_with('/'));
        let is_host =
            address.rsplit_once(':').is_some_and(|(host, port)| !host.is_empty() && port.parse::<u16>().is_ok_and(|port| port > 0));
        if !is_unix && !is_host {
            self.error(place, format!("`{address}` is no address: write \"host:port\" or \"unix:/path\""));
        }
    }

    fn rtep_client(&mut self, place: &Place, client: &RtepClient) {
        self.reachable_address(&place.name("address"), &client.address);
        self.within(&place.name("max_pending"), client.max_pending, 1, 1_000_000);
        self.within(&place.name("max_line"), client.max_line, HumanSize::bytes(256), HumanSize::mib(16));
        for (name, span) in [
            ("connect_timeout", client.connect_timeout),
            ("ping", client.ping),
            ("shortest_pause", client.shortest_pause),
            ("longest_pause", client.longest_pause),
        ] {
            self.at_least(&place.name(name), span, HumanDuration::milliseconds(10));
        }
    }

    fn lock_client(&mut self, place: &Place, client: &LockClient) {
        let none = client.servers.is_empty();
        self.not_empty(place, none, "a client of lock servers needs servers", "write for example `servers: [\"127.0.0.1:833\"]`");
        for (index, address) in client.servers.iter().enumerate() {
            self.reachable_address(&place.name("servers").index(index), address);
        }
        if client.prefix.len() > 64 || client.prefix.bytes().any(|byte| byte.is_ascii_control()) {
            self.error(&place.name("prefix"), "a prefix has at most 64 bytes, and no control characters");
        }
        self.within(&place.name("max_connections"), client.max_connections, 1, 10_000);
        for (name, span) in [
            ("connect_timeout", client.connect_timeout),
            ("ping", client.ping),
            ("shortest_pause", client.shortest_pause),
            ("longest_pause", client.longest_pause),
        ] {
            self.at_least(&place.name(name), span, HumanDuration::milliseconds(10));
        }
    }
}
