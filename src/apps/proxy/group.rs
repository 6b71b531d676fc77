//! All servers of a proxy: which of them a request goes to.

use std::cell::Cell;
use std::cmp::Ordering;
use std::rc::Rc;
use std::time::Instant;

use event_listener::Event;

use super::config::{Balance, Proxy};
use super::fault::Fault;
use super::upstream::{Place, Upstream};
use crate::clients::http::UrlError;
use crate::reactor::{self, timeout};

/// The servers, and the requests that wait for one.
pub(super) struct Group {
    servers: Vec<Rc<Upstream>>,
    backup: Vec<Rc<Upstream>>,
    balance: Balance,
    freed: Rc<Event>,
    waiting: Cell<u32>,
    queue: u32,
    queue_time: std::time::Duration,
}

/// What looking for a server came to.
enum Choice {
    Server(Place),
    /// All that could be asked have as many requests as they may.
    Full,
    /// All were tried.
    Nobody,
}

/// A request's place in the queue.
struct Waiting<'a>(&'a Cell<u32>);

impl<'a> Waiting<'a> {
    fn new(count: &'a Cell<u32>) -> Self {
        count.set(count.get() + 1);
        Self(count)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.set(self.0.get() - 1);
    }
}

impl Group {
    /// # Errors
    /// An address that is none.
    pub(super) fn new(app: &str, config: &Proxy) -> Result<Self, UrlError> {
        let servers = |texts: &[String], backup| {
            texts
                .iter()
                .map(|text| {
                    let weight = config.weights.get(text).copied().unwrap_or(1).max(1);
                    Ok(Upstream::new(app, Proxy::url(text)?, weight, backup, config.connections.clone()))
                })
                .collect::<Result<Vec<_>, UrlError>>()
        };
        Ok(Self {
            servers: servers(&config.to, false)?,
            backup: servers(&config.backup, true)?,
            balance: config.balance.clone(),
            freed: Rc::default(),
            waiting: Cell::new(0),
            queue: config.connections.queue,
            queue_time: config.connections.queue_time.get(),
        })
    }

    /// All servers.
    pub(super) fn all(&self) -> impl Iterator<Item = &Rc<Upstream>> {
        self.servers.iter().chain(&self.backup)
    }

    /// A place at a server that is not among those `tried`; `None` when there is none. Waits while all are full.
    ///
    /// # Errors
    /// [`Fault::Full`].
    pub(super) async fn place(&self, key: u64, tried: &[Rc<Upstream>]) -> Result<Option<Place>, Fault> {
        // Who comes later does not overtake those who wait.
        if self.waiting.get() == 0 {
            match self.choose(key, tried, reactor::now()) {
                Choice::Server(place) => return Ok(Some(place)),
                Choice::Nobody => return Ok(None),
                Choice::Full => {}
            }
        }
        if self.waiting.get() >= self.queue {
            return Err(Fault::Full("every server has as many requests as it may, and so has the queue"));
        }
        let _waiting = Waiting::new(&self.waiting);
        let wait = async {
            loop {
                self.freed.listen().await;
                match self.choose(key, tried, reactor::now()) {
                    Choice::Server(place) => return Some(place),
                    Choice::Nobody => return None,
                    Choice::Full => {}
                }
            }
        };
        timeout(self.queue_time, wait).await.map_err(|_| Fault::Full("every server has as many requests as it may"))
    }

    fn choose(&self, key: u64, tried: &[Rc<Upstream>], now: Instant) -> Choice {
        let is_new = |server: &&Rc<Upstream>| !tried.iter().any(|tried| Rc::ptr_eq(tried, server));
        for tier in [&self.servers, &self.backup] {
            let well = || tier.iter().filter(is_new).filter(|server| server.health.is_well(now));
            if let Some(server) = self.best(well().filter(|server| server.has_room()), key) {
                return Choice::Server(Place::take(server, &self.freed));
            }
            if well().next().is_some() {
                return Choice::Full;
            }
        }
        // Never all away: the least bad is asked, those meant for it before the others.
        let bad = |tier: &[Rc<Upstream>]| tier.iter().filter(is_new).min_by_key(|server| server.health.badness()).cloned();
        match bad(&self.servers).or_else(|| bad(&self.backup)) {
            Some(server) if server.has_room() => Choice::Server(Place::take(&server, &self.freed)),
            Some(_) => Choice::Full,
            None => Choice::Nobody,
        }
    }

    /// The one of these that the request goes to.
    fn best<'a>(&self, servers: impl Iterator<Item = &'a Rc<Upstream>> + Clone, key: u64) -> Option<&'a Rc<Upstream>> {
        match self.balance {
            Balance::RoundRobin => next_in_round(servers),
            Balance::LeastConnections => {
                let less = |one: &Rc<Upstream>, two: &Rc<Upstream>| load(one, two);
                let least = servers.clone().min_by(|one, two| less(one, two))?;
                next_in_round(servers.filter(|server| less(server, least) == Ordering::Equal))
            }
            Balance::Hash(_) => servers.max_by(|one, two| score(one, key).total_cmp(&score(two, key))),
        }
    }
}

/// Compares how much two servers have to do for their weights.
fn load(one: &Upstream, two: &Upstream) -> Ordering {
    let product = |active: &Upstream, other: &Upstream| u64::from(active.active()) * u64::from(other.weight);
    product(one, two).cmp(&product(two, one))
}

/// The next in a round in which each has its turns evenly spread (nginx's smooth weighted round-robin).
fn next_in_round<'a>(servers: impl Iterator<Item = &'a Rc<Upstream>> + Clone) -> Option<&'a Rc<Upstream>> {
    let mut total = 0;
    for server in servers.clone() {
        server.share.set(server.share.get().saturating_add(i64::from(server.weight)));
        total += i64::from(server.weight);
    }
    // The first of several with the same share.
    let next = servers.reduce(|best, server| if server.share.get() > best.share.get() { server } else { best })?;
    next.share.set(next.share.get().saturating_sub(total));
    Some(next)
}

/// How well a server suits a key: the highest has it, so that a server that comes or goes moves only the keys it wins or had (rendezvous hashing,
/// weighted as by Schindelhauer and Schomaker).
fn score(server: &Upstream, key: u64) -> f64 {
    let mixed = mix(hash(server.name.as_bytes()) ^ mix(key));
    // In (0, 1]: 53 bits are what a float holds.
    let unit = ((mixed >> 11) + 1) as f64 / (1u64 << 53) as f64;
    f64::from(server.weight) / -unit.ln().min(-f64::MIN_POSITIVE)
}

/// FNV-1a: the same in every worker and in every version.
pub(super) fn hash(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3))
}

/// Spreads a hash over all its bits (the last steps of SplitMix64).
fn mix(mut hash: u64) -> u64 {
    hash = (hash ^ (hash >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    hash = (hash ^ (hash >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    hash ^ (hash >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::apps::proxy::config::{Connections, Failures, HashKey};

    fn group(to: &[&str], weights: &[(&str, u32)], backup: &[&str], balance: Balance, max: u32) -> Group {
        let texts = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect::<Vec<String>>();
        Group::new(
            "test",
            &Proxy {
                to: texts(to),
                backup: texts(backup),
                weights: weights.iter().map(|(name, weight)| ((*name).to_owned(), *weight)).collect(),
                balance,
                connections: Connections { max, ..Connections::default() },
                ..Proxy::default()
            },
        )
        .unwrap()
    }

    fn taken(group: &Group, key: u64, tried: &[Rc<Upstream>]) -> Option<Place> {
        match group.choose(key, tried, Instant::now()) {
            Choice::Server(place) => Some(place),
            Choice::Full | Choice::Nobody => None,
        }
    }

    const THREE: [&str; 3] = ["http://a", "http://b", "http://c"];

    #[test]
    fn a_round_is_evenly_spread_by_weight() {
        let group = group(&THREE, &[("http://a", 2)], &[], Balance::RoundRobin, 10);
        let names: String = (0..8).map(|_| taken(&group, 0, &[]).unwrap().upstream.name.clone()).collect();
        assert_eq!(names, "abcaabca");
    }

    #[test]
    fn the_least_loaded_is_next() {
        let group = group(&THREE, &[("http://b", 2)], &[], Balance::LeastConnections, 3);
        let places: Vec<Place> = (0..8).map_while(|_| taken(&group, 0, &[])).collect();
        let count = |name: &str| places.iter().filter(|place| place.upstream.name == name).count();
        assert_eq!((count("a"), count("b"), count("c"), places.len()), (3, 3, 2, 8));
        let last = taken(&group, 0, &[]).unwrap();
        assert_eq!(last.upstream.name, "c");
        assert!(matches!(group.choose(0, &[], Instant::now()), Choice::Full));
        drop(last);
        assert!(taken(&group, 0, &[]).is_some());
    }

    #[test]
    fn a_server_that_goes_moves_its_own_keys_only() {
        let balance = || Balance::Hash(HashKey::Client);
        let (all, fewer) = (group(&THREE, &[], &[], balance(), 10), group(&THREE[..2], &[], &[], balance(), 10));
        let mut counts = [0; 3];
        for key in 0..3000u64 {
            let key = hash(&key.to_be_bytes());
            let name = taken(&all, key, &[]).unwrap().upstream.name.clone();
            assert_eq!(taken(&all, key, &[]).unwrap().upstream.name, name);
            counts[usize::from(name.as_bytes()[0] - b'a')] += 1;
            if name != "c" {
                assert_eq!(taken(&fewer, key, &[]).unwrap().upstream.name, name);
            }
        }
        assert!(counts.iter().all(|count| (850..1150).contains(count)), "{counts:?}");
    }

    #[test]
    fn backups_and_the_least_bad_are_asked_last() {
        let group = group(&THREE[..2], &[], &["http://c"], Balance::RoundRobin, 10);
        let now = Instant::now();
        let fail = |index: usize, terms: &Failures| {
            for _ in 0..terms.count {
                group.all().nth(index).unwrap().health.failed(terms, now);
            }
        };
        let terms = Failures::default();
        fail(0, &terms);
        assert_eq!(taken(&group, 0, &[]).unwrap().upstream.name, "b");
        fail(1, &Failures { away: crate::units::HumanDuration::seconds(1), ..terms.clone() });
        assert_eq!(taken(&group, 0, &[]).unwrap().upstream.name, "c");
        fail(2, &terms);
        let least = taken(&group, 0, &[]).unwrap().upstream.clone();
        assert_eq!(least.name, "b", "it is back first");
        let next = taken(&group, 0, std::slice::from_ref(&least)).unwrap().upstream.clone();
        assert_eq!(next.name, "a");
        let last = taken(&group, 0, &[least.clone(), next.clone()]).unwrap().upstream.clone();
        assert_eq!(last.name, "c");
        assert!(matches!(group.choose(0, &[least, next, last], now), Choice::Nobody));
    }
}
