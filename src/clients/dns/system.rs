//! What the system's files say of names: `/etc/hosts` (hosts(5)) and `/etc/resolv.conf` (resolv.conf(5)).

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::OnceLock;
use std::time::Duration;

/// Name servers that are asked at most, as everywhere.
const MAX_SERVERS: usize = 3;
/// Names that `search` may list.
const MAX_SEARCH: usize = 6;
/// Lines of the hosts file that are read at most.
const MAX_HOSTS: usize = 100_000;

static ADOPTED: OnceLock<System> = OnceLock::new();

/// Hosts, servers and how to ask them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct System {
    pub(super) hosts: HashMap<String, Vec<IpAddr>>,
    /// The name servers in order.
    pub servers: Vec<SocketAddr>,
    /// Domains tried behind a short name.
    pub search: Vec<String>,
    /// A name with so many dots is tried as it is first.
    pub ndots: usize,
    /// How long one server has for one question.
    pub timeout: Duration,
    /// How often the servers are gone through.
    pub attempts: u32,
    /// Each question begins at another server.
    pub rotate: bool,
}

impl Default for System {
    fn default() -> System {
        System {
            hosts: HashMap::new(),
            servers: vec![SocketAddr::from(([127, 0, 0, 1], 53))],
            search: Vec::new(),
            ndots: 1,
            timeout: Duration::from_secs(5),
            attempts: 2,
            rotate: false,
        }
    }
}

impl System {
    /// The settings given to [`System::adopt`].
    #[must_use]
    pub fn adopted() -> Option<System> {
        ADOPTED.get().cloned()
    }

    /// Makes the texts of the two files the settings of this process for good: for a process whose root directory hides them. Call it before
    /// anybody looks up a name; whether that was so.
    pub fn adopt(hosts: &str, resolv: &str) -> bool {
        ADOPTED.set(System::parse(hosts, resolv)).is_ok()
    }

    /// Settings from the texts of the two files. Lines that mean nothing are skipped.
    #[must_use]
    pub fn parse(hosts: &str, resolv: &str) -> System {
        let mut system = System::default();
        for line in hosts.lines().take(MAX_HOSTS) {
            let mut words = line.split('#').next().unwrap_or_default().split_whitespace();
            let Some(address) = words.next().and_then(|word| word.parse::<IpAddr>().ok()) else { continue };
            for name in words {
                let addresses = system.hosts.entry(name.to_ascii_lowercase()).or_default();
                if !addresses.contains(&address) {
                    addresses.push(address);
                }
            }
        }
        system.hosts.values_mut().for_each(|addresses| addresses.sort_by_key(IpAddr::is_ipv6));
        let mut servers = Vec::new();
        for line in resolv.lines() {
            let mut words = line.split(['#', ';']).next().unwrap_or_default().split_whitespace();
            match words.next() {
                Some("nameserver") => {
                    servers.extend(words.next().and_then(|word| word.parse::<IpAddr>().ok()).map(|ip| SocketAddr::new(ip, 53)));
                }
                Some("domain" | "search") => {
                    system.search = words.take(MAX_SEARCH).map(|word| word.trim_end_matches('.').to_ascii_lowercase()).collect();
                }
                Some("options") => words.for_each(|option| system.option(option)),
                _ => {}
            }
        }
        if !servers.is_empty() {
            servers.truncate(MAX_SERVERS);
            system.servers = servers;
        }
        system
    }

    fn option(&mut self, option: &str) {
        self.rotate |= option == "rotate";
        let Some((name, value)) = option.split_once(':') else { return };
        let Ok(value) = value.parse::<u32>() else { return };
        match name {
            "ndots" => self.ndots = value.min(15) as usize,
            "timeout" => self.timeout = Duration::from_secs(u64::from(value.clamp(1, 30))),
            "attempts" => self.attempts = value.clamp(1, 5),
            _ => {}
        }
    }

    /// The full names that a name as written may mean, in the order to try them.
    pub(super) fn candidates(&self, name: &str) -> Vec<String> {
        let mut names: Vec<String> = self.search.iter().map(|domain| format!("{name}.{domain}")).collect();
        if name.matches('.').count() >= self.ndots {
            names.insert(0, name.to_owned());
        } else {
            names.push(name.to_owned());
        }
        names
    }

    pub(super) fn names_of(&self, address: IpAddr) -> Vec<String> {
        let mut names: Vec<String> =
            self.hosts.iter().filter(|(_, addresses)| addresses.contains(&address)).map(|(name, _)| name.clone()).collect();
        names.sort();
        names
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_files_are_read() {
        let hosts = "127.0.0.1 localhost\n::1 localhost ip6-localhost\n# 1.2.3.4 no\n10.0.0.1\tDB.example db # the database\nbroken line\n";
        let resolv = "; comment\nnameserver 10.0.0.2\nnameserver fd00::1\nnameserver bad\nsearch example.com lan.\noptions ndots:2 timeout:1 attempts:3 rotate\n";
        let system = System::parse(hosts, resolv);
        assert_eq!(system.hosts["localhost"], ["127.0.0.1", "::1"].map(|ip| ip.parse::<IpAddr>().expect("an address")));
        assert_eq!(system.hosts["db.example"], system.hosts["db"]);
        assert_eq!(system.servers, ["10.0.0.2:53", "[fd00::1]:53"].map(|ip| ip.parse().expect("an address")));
        assert_eq!(system.candidates("a.b"), ["a.b.example.com", "a.b.lan", "a.b"]);
        assert_eq!(system.candidates("a.b.c")[0], "a.b.c");
        assert_eq!((system.timeout, system.attempts, system.rotate), (Duration::from_secs(1), 3, true));
        assert_eq!(system.names_of("10.0.0.1".parse().expect("an address")), ["db", "db.example"]);
        assert_eq!(System::parse("", ""), System::default());
    }
}
