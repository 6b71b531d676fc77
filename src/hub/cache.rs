//! The cache that all workers share: values with a time to live, bounded in memory, the least recently used leaving first.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::rc::Rc;
use std::time::{Duration, Instant};

use crate::config::CacheLimits;
use crate::link::{CacheCall, CacheValue, Reply};

/// What an entry costs besides its key and value, roughly.
const ENTRY_BYTES: usize = 200;

type Key = Rc<(String, String)>;

/// The cache. Time is an argument.
pub(super) struct Cache {
    entries: HashMap<Key, Entry>,
    /// Least recently used first.
    order: BTreeMap<u64, Key>,
    expiries: BTreeSet<(Instant, u64)>,
    tick: u64,
    bytes: usize,
    limits: CacheLimits,
}

struct Entry {
    value: CacheValue,
    expires: Option<Instant>,
    tick: u64,
    cost: usize,
}

impl Cache {
    pub(super) fn new(limits: CacheLimits) -> Self {
        Self { entries: HashMap::new(), order: BTreeMap::new(), expiries: BTreeSet::new(), tick: 0, bytes: 0, limits }
    }

    /// Changes the limits; what is too much now leaves.
    pub(super) fn set_limits(&mut self, limits: CacheLimits) {
        self.limits = limits;
        self.shrink();
    }

    /// Does what is asked.
    ///
    /// # Errors
    /// In words: a value too large, a counter that is none or runs over.
    pub(super) fn call(&mut self, call: CacheCall, now: Instant) -> Result<Reply, String> {
        self.expire(now);
        match call {
            CacheCall::Get { key } => Ok(Reply::Value(self.touch_order(&key).map(|entry| entry.value.clone()))),
            CacheCall::Set { key, value, ttl_ms, only_new } => {
                if only_new && self.entries.contains_key(&key) {
                    return Ok(Reply::Done(false));
                }
                self.insert(key, value, deadline(now, ttl_ms))?;
                Ok(Reply::Done(true))
            }
            CacheCall::Delete { key } => Ok(Reply::Done(self.remove(&key).is_some())),
            CacheCall::Add { key, by, ttl_ms } => self.add(key, by, deadline(now, ttl_ms)),
            CacheCall::Touch { key, ttl_ms } => {
                let Some(entry) = self.remove(&key) else { return Ok(Reply::Done(false)) };
                self.insert(key, entry.value, deadline(now, ttl_ms))?;
                Ok(Reply::Done(true))
            }
            CacheCall::Ttl { key } => {
                let millis = |at: Instant| u64::try_from(at.saturating_duration_since(now).as_millis()).unwrap_or(u64::MAX);
                Ok(Reply::Ttl(self.entries.get(&key).map(|entry| entry.expires.map(millis))))
            }
        }
    }

    fn add(&mut self, key: (String, String), by: i64, expires: Option<Instant>) -> Result<Reply, String> {
        let (before, expires) = match self.entries.get(&key) {
            Some(Entry { value: CacheValue::Count(count), expires, .. }) => (*count, *expires),
            Some(_) => return Err(format!("the value of {:?} is no counter", key.1)),
            None => (0, expires),
        };
        let count = before.checked_add(by).ok_or_else(|| format!("the counter {:?} would leave the range of 64 bits", key.1))?;
        self.insert(key, CacheValue::Count(count), expires)?;
        Ok(Reply::Count(count))
    }

    /// The entry of a key, which counts as used now.
    fn touch_order(&mut self, key: &(String, String)) -> Option<&Entry> {
        let (name, _) = self.entries.get_key_value(key)?;
        let name = name.clone();
        self.tick += 1;
        let tick = self.tick;
        let entry = self.entries.get_mut(key)?;
        if let Some(at) = entry.expires {
            self.expiries.remove(&(at, entry.tick));
            self.expiries.insert((at, tick));
        }
        self.order.remove(&entry.tick);
        self.order.insert(tick, name);
        entry.tick = tick;
        Some(entry)
    }

    fn insert(&mut self, key: (String, String), value: CacheValue, expires: Option<Instant>) -> Result<(), String> {
        let size = match &value {
            CacheValue::Bytes(bytes) => bytes.len(),
            CacheValue::Count(_) => 8,
        };
        if size > self.limits.value {
            return Err(format!("a cached value may have at most {} bytes, this one has {size}", self.limits.value));
        }
        self.remove(&key);
        let cost = ENTRY_BYTES + key.0.len() + key.1.len() + size;
        self.tick += 1;
        let tick = self.tick;
        let key = Rc::new(key);
        self.order.insert(tick, key.clone());
        if let Some(at) = expires {
            self.expiries.insert((at, tick));
        }
        self.entries.insert(key, Entry { value, expires, tick, cost });
        self.bytes += cost;
        self.shrink();
        Ok(())
    }

    fn shrink(&mut self) {
        while self.bytes > self.limits.memory {
            let Some((_, oldest)) = self.order.first_key_value() else { break };
            let oldest = oldest.clone();
            self.remove(&oldest);
        }
    }

    fn remove(&mut self, key: &(String, String)) -> Option<Entry> {
        let entry = self.entries.remove(key)?;
        self.order.remove(&entry.tick);
        if let Some(at) = entry.expires {
            self.expiries.remove(&(at, entry.tick));
        }
        self.bytes -= entry.cost;
        Some(entry)
    }

    fn expire(&mut self, now: Instant) {
        while let Some(&(at, tick)) = self.expiries.first() {
            if at > now {
                break;
            }
            let Some(key) = self.order.get(&tick).cloned() else {
                self.expiries.remove(&(at, tick));
                continue;
            };
            self.remove(&key);
        }
    }
}

fn deadline(now: Instant, ttl_ms: Option<u64>) -> Option<Instant> {
    // A time to live beyond what the clock can say is for ever.
    ttl_ms.and_then(|millis| now.checked_add(Duration::from_millis(millis)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn cache(memory: usize, value: usize) -> Cache {
        Cache::new(CacheLimits { memory, value })
    }

    fn key(name: &str) -> (String, String) {
        ("app".into(), name.into())
    }

    fn set(cache: &mut Cache, name: &str, bytes: usize, ttl_ms: Option<u64>, now: Instant) -> Result<Reply, String> {
        cache.call(CacheCall::Set { key: key(name), value: CacheValue::Bytes(vec![0; bytes]), ttl_ms, only_new: false }, now)
    }

    fn has(cache: &mut Cache, name: &str, now: Instant) -> bool {
        matches!(cache.call(CacheCall::Get { key: key(name) }, now), Ok(Reply::Value(Some(_))))
    }

    #[test]
    fn values_expire_and_can_be_touched() {
        let (mut cache, now) = (cache(1 << 20, 1 << 10), Instant::now());
        set(&mut cache, "a", 1, Some(100), now).unwrap();
        set(&mut cache, "b", 1, None, now).unwrap();
        let later = now + Duration::from_millis(99);
        assert!(has(&mut cache, "a", later));
        assert_eq!(cache.call(CacheCall::Ttl { key: key("a") }, later), Ok(Reply::Ttl(Some(Some(1)))));
        assert_eq!(cache.call(CacheCall::Touch { key: key("a"), ttl_ms: Some(100) }, later), Ok(Reply::Done(true)));
        let later = now + Duration::from_millis(150);
        assert!(has(&mut cache, "a", later));
        let later = now + Duration::from_millis(199);
        assert!(!has(&mut cache, "a", later) && has(&mut cache, "b", later));
        assert_eq!(cache.call(CacheCall::Ttl { key: key("b") }, later), Ok(Reply::Ttl(Some(None))));
        assert_eq!(cache.call(CacheCall::Ttl { key: key("a") }, later), Ok(Reply::Ttl(None)));
    }

    #[test]
    fn counters_count_and_refuse_what_is_none() {
        let (mut cache, now) = (cache(1 << 20, 1 << 10), Instant::now());
        let add = |cache: &mut Cache, by| cache.call(CacheCall::Add { key: key("n"), by, ttl_ms: None }, now);
        assert_eq!(add(&mut cache, 2), Ok(Reply::Count(2)));
        assert_eq!(add(&mut cache, -3), Ok(Reply::Count(-1)));
        assert!(add(&mut cache, i64::MIN).is_err());
        set(&mut cache, "n", 1, None, now).unwrap();
        assert!(add(&mut cache, 1).unwrap_err().contains("no counter"));
    }

    #[test]
    fn the_least_recently_used_leave_first() {
        let (mut cache, now) = (cache(3 * (ENTRY_BYTES + 104), 1 << 10), Instant::now());
        for name in ["a", "b", "c"] {
            set(&mut cache, name, 100, None, now).unwrap();
        }
        assert!(has(&mut cache, "a", now));
        set(&mut cache, "d", 100, None, now).unwrap();
        assert!(!has(&mut cache, "b", now), "b was not used for longest");
        assert!(has(&mut cache, "a", now) && has(&mut cache, "c", now) && has(&mut cache, "d", now));
        assert!(set(&mut cache, "e", 2000, None, now).unwrap_err().contains("at most"));
    }

    #[test]
    fn smaller_limits_take_effect_at_once() {
        let (mut cache, now) = (cache(1 << 20, 1 << 10), Instant::now());
        for name in ["a", "b", "c"] {
            set(&mut cache, name, 100, None, now).unwrap();
        }
        cache.set_limits(CacheLimits { memory: ENTRY_BYTES + 104, value: 50 });
        assert!(!has(&mut cache, "a", now) && !has(&mut cache, "b", now) && has(&mut cache, "c", now));
        assert!(set(&mut cache, "d", 100, None, now).is_err());
    }

    proptest! {
        #[test]
        fn the_books_stay_true(steps in prop::collection::vec((0u8..5, 0u8..6, 0u64..50), 0..200)) {
            let (mut cache, begun) = (cache(1200, 300), Instant::now());
            for (i, (what, name, amount)) in steps.into_iter().enumerate() {
                let now = begun + Duration::from_millis(i as u64 * 5);
                let key = key(&name.to_string());
                let ttl_ms = (amount % 3 > 0).then_some(amount);
                let value = CacheValue::Bytes(vec![0; amount as usize * 4]);
                let _ = cache.call(match what {
                    0 => CacheCall::Get { key },
                    1 => CacheCall::Set { key, value, ttl_ms, only_new: amount % 2 == 0 },
                    2 => CacheCall::Delete { key },
                    3 => CacheCall::Add { key, by: 1, ttl_ms },
                    _ => CacheCall::Touch { key, ttl_ms },
                }, now);
                prop_assert_eq!(cache.order.len(), cache.entries.len());
                prop_assert_eq!(cache.bytes, cache.entries.values().map(|entry| entry.cost).sum::<usize>());
                prop_assert_eq!(cache.expiries.len(), cache.entries.values().filter(|entry| entry.expires.is_some()).count());
                prop_assert!(cache.bytes <= 1200);
            }
        }
    }
}
