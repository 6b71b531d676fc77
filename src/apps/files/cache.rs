//! Small files in memory, bounded; what was not asked for lately goes first.

use std::collections::{HashMap, VecDeque};
use std::rc::Rc;
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::source::Identity;
use crate::request::file::Facts;

/// What an entry takes beside what it holds, in bytes.
const OVERHEAD: usize = 256;
/// A path longer than this is not kept: the many spellings of one path must not fill the memory.
const MAX_KEY: usize = 512;

/// A file in memory.
#[derive(Debug)]
pub(super) struct Kept {
    pub(super) facts: Facts,
    pub(super) content: Bytes,
    pub(super) identity: Identity,
}

#[derive(Debug)]
struct Entry {
    file: Rc<Kept>,
    /// When it was last compared with the disk.
    checked: Instant,
    /// Asked for since it was last passed over.
    used: bool,
    weight: usize,
}

/// The files of one directory, by the path that asked for them.
#[derive(Debug)]
pub(super) struct Cache {
    entries: HashMap<Rc<str>, Entry>,
    /// Every entry once, the next to be considered for leaving at the front.
    order: VecDeque<Rc<str>>,
    weight: usize,
    most: usize,
    check: Duration,
}

impl Cache {
    /// A cache of at most `most` bytes, whose entries are compared with the disk every `check`.
    pub(super) fn new(most: usize, check: Duration) -> Self {
        Self { entries: HashMap::new(), order: VecDeque::new(), weight: 0, most, check }
    }

    /// The file, if it need not be compared with the disk at `now`.
    pub(super) fn fresh(&mut self, path: &str, now: Instant) -> Option<Rc<Kept>> {
        let entry = self.entries.get_mut(path)?;
        if now.saturating_duration_since(entry.checked) >= self.check {
            return None;
        }
        entry.used = true;
        Some(entry.file.clone())
    }

    /// The file, if it is still in the state that the disk has: then it is fresh again. A file that was still
    /// changing when it was read is not trusted twice.
    pub(super) fn confirm(&mut self, path: &str, identity: Identity, now: Instant) -> Option<Rc<Kept>> {
        let entry = self.entries.get_mut(path)?;
        if entry.file.identity != identity || !entry.file.facts.settled {
            return None;
        }
        entry.checked = now;
        entry.used = true;
        Some(entry.file.clone())
    }

    /// Keeps a file, if it fits, in the place of an older state of it.
    pub(super) fn keep(&mut self, path: &str, file: Rc<Kept>, now: Instant) {
        self.forget(path);
        let weight = file.content.len() + file.facts.weight() + 2 * path.len() + OVERHEAD;
        if path.len() > MAX_KEY || weight > self.most {
            return;
        }
        while self.weight + weight > self.most {
            self.evict();
        }
        let key: Rc<str> = path.into();
        self.weight += weight;
        self.order.push_back(key.clone());
        self.entries.insert(key, Entry { file, checked: now, used: false, weight });
    }

    /// Drops a file that is not there any more.
    pub(super) fn forget(&mut self, path: &str) {
        if let Some(entry) = self.entries.remove(path) {
            self.weight -= entry.weight;
            self.order.retain(|key| &**key != path);
        }
    }

    /// Drops the first entry that was not asked for since it was last passed over.
    fn evict(&mut self) {
        while let Some(key) = self.order.pop_front() {
            let Some(entry) = self.entries.get_mut(&key) else { continue };
            if entry.used {
                entry.used = false;
                self.order.push_back(key);
            } else {
                self.weight -= entry.weight;
                self.entries.remove(&key);
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::time::SystemTime;

    use super::*;
    use crate::request::file::Describer;

    fn file(size: usize, now: SystemTime) -> Rc<Kept> {
        let on_disk = tempfile::tempfile().unwrap();
        on_disk.set_len(size as u64).unwrap();
        let metadata = on_disk.metadata().unwrap();
        let facts = Describer::new(&BTreeMap::new(), None).unwrap().describe("a.txt", &metadata, now).unwrap();
        Rc::new(Kept { facts, content: vec![0; size].into(), identity: Identity::of(&metadata) })
    }

    fn old_file(size: usize) -> Rc<Kept> {
        file(size, SystemTime::now() + Duration::from_secs(10))
    }

    #[test]
    fn files_are_fresh_for_a_while_and_then_compared() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut cache = Cache::new(1 << 20, Duration::from_secs(1));
        let kept = old_file(10);
        let other = old_file(11).identity;
        cache.keep("/a", kept.clone(), start);
        assert!(cache.fresh("/a", at(0)).is_some());
        assert!(cache.fresh("/b", at(0)).is_none());
        assert!(cache.fresh("/a", at(1)).is_none());
        assert!(cache.confirm("/a", other, at(1)).is_none());
        assert!(cache.confirm("/a", kept.identity, at(1)).is_some());
        assert!(cache.fresh("/a", at(1)).is_some());
        let changing = file(10, SystemTime::now());
        cache.keep("/a", changing.clone(), at(1));
        assert!(cache.confirm("/a", changing.identity, at(2)).is_none());
        cache.forget("/a");
        assert!(cache.fresh("/a", at(2)).is_none());
        assert_eq!(cache.weight, 0);
    }

    #[test]
    fn memory_is_bounded_and_the_unused_leave_first() {
        let now = Instant::now();
        let mut cache = Cache::new(10_000, Duration::from_secs(1));
        for name in ["/a", "/b", "/c"] {
            cache.keep(name, old_file(2000), now);
        }
        assert!(cache.fresh("/a", now).is_some());
        cache.keep("/d", old_file(2000), now);
        cache.keep("/e", old_file(2000), now);
        assert!(cache.weight <= 10_000);
        assert!(cache.fresh("/a", now).is_some(), "what is asked for stays");
        assert!(cache.fresh("/b", now).is_none());
        assert!(cache.fresh("/e", now).is_some());
        cache.keep("/large", old_file(20_000), now);
        assert!(cache.fresh("/large", now).is_none());
        cache.keep(&"x".repeat(600), old_file(1), now);
        assert!(cache.fresh(&"x".repeat(600), now).is_none());
        for round in 0..100 {
            cache.keep(&format!("/{round}"), old_file(1000), now);
            assert_eq!(cache.order.len(), cache.entries.len());
            assert_eq!(cache.weight, cache.entries.values().map(|entry| entry.weight).sum::<usize>());
        }
    }
}
