//! What each address asks for, counted by all processes together: two tables in shared memory that the master makes before it forks.
//!
//! `rates` says how often something may happen, `counts` how much of it goes on at the same time. Both have a fixed number of places. Who has which is found by a
//! keyed hash, so that nobody can choose addresses that meet in one place.

pub mod config;
mod counts;
mod rates;

use std::hash::{BuildHasher, RandomState};
use std::io;
use std::net::IpAddr;
use std::rc::Rc;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use self::counts::Counts;
use self::rates::Rates;
use crate::sys::shared;
use crate::units::HumanRate;

/// Words for what is counted of the tables themselves.
const HEADER: usize = 16;

/// How much was refused since the tables were made, and how they do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refusals {
    /// Requests that were refused because their address asked too often, or for too much at once.
    pub requests: u64,
    /// Connections that were refused because their address had too many.
    pub connections: u64,
    /// Addresses that were forgotten before their time, because others needed the place: `limiter.addresses` is too small.
    pub forgotten: u64,
    /// Requests and connections that could not be counted for want of a place, and were let in.
    pub uncounted: u64,
}

/// The tables, in one process.
#[derive(Clone, Debug)]
pub struct Limiter {
    header: &'static [AtomicU64],
    rates: Rates,
    counts: Counts,
    hasher: RandomState,
    /// Moments in the tables are counted from here.
    begun: Instant,
}

/// What a limit is for, as a number that is the same in every process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Zone(u64);

/// An address in a zone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Key(u64);

/// How often something may happen: what one time costs, and what may be owed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pace {
    /// Microseconds in which one is forgiven.
    price: u64,
    /// Microseconds that may be owed.
    most: u64,
}

impl Pace {
    /// So many in a span, `burst` of them at once.
    #[must_use]
    pub fn new(rate: HumanRate, burst: u32) -> Self {
        let price = rate.price();
        Self { price, most: price.saturating_mul(burst.max(1).into()) }
    }
}

impl Limiter {
    /// Tables for about so many addresses in each (at least 64, rounded up to a power of two) and so many processes.
    ///
    /// # Errors
    /// The kernel has no memory for them.
    pub fn new(addresses: usize, processes: usize) -> io::Result<Self> {
        let places = addresses.max(64).next_power_of_two();
        let sizes = [HEADER, Rates::words(places), Counts::words(places, processes)];
        let words = shared::words(sizes.iter().sum())?;
        let (header, rest) = words.split_at(sizes[0]);
        let (rates, counts) = rest.split_at(sizes[1]);
        Ok(Self {
            header,
            rates: Rates::new(rates),
            counts: Counts::new(counts, places, 0),
            hasher: RandomState::new(),
            begun: Instant::now(),
        })
    }

    /// The same tables for the process of this number.
    #[must_use]
    pub fn of_process(&self, process: usize) -> Self {
        Self { counts: self.counts.of_process(process), ..self.clone() }
    }

    /// A zone by its name.
    #[must_use]
    pub fn zone(&self, name: &str) -> Zone {
        Zone(self.hasher.hash_one(name))
    }

    /// An address in a zone; of an IPv6 address the first `prefix` bits, which is what one customer has.
    #[must_use]
    pub fn key(&self, zone: Zone, address: IpAddr, prefix: u8) -> Key {
        let bits = match address.to_canonical() {
            // IPv4 addresses stand among those that IPv6 maps them to.
            IpAddr::V4(address) => address.to_ipv6_mapped().to_bits(),
            IpAddr::V6(address) => address.to_bits() & u128::MAX.checked_shl(128 - u32::from(prefix)).unwrap_or(0),
        };
        // 0 is nobody's.
        Key(self.hasher.hash_one((zone.0, bits)).max(1))
    }

    /// Counts one time at a moment.
    ///
    /// # Errors
    /// It is once too often, and was not counted: how long to wait.
    pub fn charge(&self, key: Key, pace: Pace, now: Instant) -> Result<(), Duration> {
        let now = u64::try_from(now.saturating_duration_since(self.begun).as_micros()).unwrap_or(u64::MAX);
        self.rates.charge(key.0, pace, now, self.forgotten()).map_err(Duration::from_micros)
    }

    /// One more goes on: how many there are with it. It does until what this gives is dropped. `None`: there is no place to count it.
    #[must_use]
    pub fn enter(self: &Rc<Self>, key: Key) -> Option<(u32, Held)> {
        let entered = self.counts.enter(key.0);
        if entered.is_none() {
            self.header[3].fetch_add(1, Relaxed);
        }
        entered.map(|(place, count)| (count, Held { limiter: self.clone(), place }))
    }

    /// Takes back what a process had that has ended. Master only.
    pub fn forget_process(&self, process: usize) {
        self.counts.of_process(process).forget();
    }

    /// A request was refused.
    pub fn refused_request(&self) {
        self.header[0].fetch_add(1, Relaxed);
    }

    /// A connection was refused.
    pub fn refused_connection(&self) {
        self.header[1].fetch_add(1, Relaxed);
    }

    fn forgotten(&self) -> &AtomicU64 {
        &self.header[2]
    }

    /// How much was refused.
    #[must_use]
    pub fn refusals(&self) -> Refusals {
        let [requests, connections, forgotten, uncounted] = std::array::from_fn(|at| self.header[at].load(Relaxed));
        Refusals { requests, connections, forgotten, uncounted }
    }
}

/// Something that goes on and is counted as long as this lives.
#[derive(Debug)]
pub struct Held {
    limiter: Rc<Limiter>,
    place: usize,
}

impl Drop for Held {
    fn drop(&mut self) {
        self.limiter.counts.leave(self.place);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pace(rate: &str, burst: u32) -> Pace {
        Pace::new(rate.parse().unwrap(), burst)
    }

    #[test]
    fn rates_are_kept_over_time_and_bursts_at_once() {
        let limiter = Limiter::new(64, 1).unwrap();
        let zone = limiter.zone("web");
        let key = |address: &str| limiter.key(zone, address.parse().unwrap(), 64);
        let (now, pace) = (Instant::now(), pace("2/s", 3));
        let one = key("192.0.2.1");
        for _ in 0..3 {
            assert_eq!(limiter.charge(one, pace, now), Ok(()));
        }
        assert_eq!(limiter.charge(one, pace, now), Err(Duration::from_millis(500)));
        assert_eq!(limiter.charge(key("192.0.2.2"), pace, now), Ok(()));
        assert_eq!(limiter.charge(limiter.key(limiter.zone("other"), "192.0.2.1".parse().unwrap(), 64), pace, now), Ok(()));
        let later = now + Duration::from_millis(500);
        assert_eq!(limiter.charge(one, pace, later), Ok(()));
        assert_eq!(limiter.charge(one, pace, later), Err(Duration::from_millis(500)));
        let much_later = now + Duration::from_hours(1);
        for _ in 0..3 {
            assert_eq!(limiter.charge(one, pace, much_later), Ok(()));
        }
        assert!(limiter.charge(one, pace, much_later).is_err());
        assert_eq!(key("::ffff:192.0.2.1"), one);
        assert_eq!(key("2001:db8::1"), key("2001:db8::2"));
        assert_ne!(key("2001:db8::1"), key("2001:db8:0:1::1"));
        assert_ne!(limiter.key(zone, "2001:db8::1".parse().unwrap(), 128), limiter.key(zone, "2001:db8::2".parse().unwrap(), 128));
    }

    #[test]
    fn what_goes_on_is_counted_and_given_back_when_it_ends_or_its_process_does() {
        let limiter = Rc::new(Limiter::new(64, 3).unwrap());
        let (one, two) = (Rc::new(limiter.of_process(1)), Rc::new(limiter.of_process(2)));
        let key = limiter.key(limiter.zone("web"), "192.0.2.1".parse().unwrap(), 64);
        let (count, first) = one.enter(key).unwrap();
        assert_eq!(count, 1);
        let (count, second) = two.enter(key).unwrap();
        assert_eq!(count, 2);
        let (count, third) = one.enter(key).unwrap();
        assert_eq!(count, 3);
        drop(first);
        assert_eq!(two.enter(key).map(|(count, _)| count), Some(3));
        // A process that was killed drops nothing.
        std::mem::forget(third);
        limiter.forget_process(1);
        assert_eq!(two.enter(key).map(|(count, _)| count), Some(2));
        drop(second);
        assert_eq!(one.enter(key).map(|(count, _)| count), Some(1));
        limiter.forget_process(2);
        assert_eq!(one.enter(key).map(|(count, _)| count), Some(1));
    }

    #[test]
    fn the_tables_are_as_large_as_they_are_and_who_owes_most_stays() {
        let limiter = Rc::new(Limiter::new(64, 1).unwrap());
        let (zone, now, pace) = (limiter.zone("web"), Instant::now(), pace("1/m", 2));
        let worst = limiter.key(zone, "198.51.100.1".parse().unwrap(), 64);
        assert!(limiter.charge(worst, pace, now).is_ok() && limiter.charge(worst, pace, now).is_ok());
        let others = (0..1000u32).map(|number| limiter.key(zone, IpAddr::V4((0x0a00_0000 + number).into()), 64));
        let mut held = Vec::new();
        for key in others {
            assert_eq!(limiter.charge(key, pace, now), Ok(()));
            held.extend(limiter.enter(key));
        }
        assert!(limiter.charge(worst, pace, now).is_err());
        let refusals = limiter.refusals();
        assert!(refusals.forgotten >= 900 && held.len() <= 64, "{refusals:?}, {}", held.len());
        assert_eq!(refusals.uncounted, 1000 - held.len() as u64);
    }

    #[test]
    fn processes_count_together() {
        let limiter = Limiter::new(1024, 5).unwrap();
        let pace = pace("1/h", 1000);
        let now = Instant::now();
        let key = limiter.key(limiter.zone("web"), "192.0.2.1".parse().unwrap(), 64);
        let admitted: usize = std::thread::scope(|scope| {
            let runs: Vec<_> = (0..4)
                .map(|process| {
                    let limiter = limiter.of_process(process);
                    scope.spawn(move || {
                        let limiter = Rc::new(limiter);
                        for _ in 0..1000 {
                            drop(limiter.enter(key).expect("a place"));
                        }
                        (0..1000).filter(|_| limiter.charge(key, pace, now).is_ok()).count()
                    })
                })
                .collect();
            runs.into_iter().map(|run| run.join().expect("it ran")).sum()
        });
        assert_eq!(admitted, 1000);
        assert_eq!(Rc::new(limiter).enter(key).map(|(count, _)| count), Some(1));
    }
}
