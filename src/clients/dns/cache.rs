//! Answers remembered for as long as they hold.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use super::{DnsError, Record, RecordType};

/// The most answers kept.
const MAX_ENTRIES: usize = 2048;
/// No answer is kept for longer, whatever its time to live.
const LONGEST: Duration = Duration::from_hours(1);
/// An absence is not kept for longer.
const LONGEST_ABSENCE: Duration = Duration::from_mins(1);
/// No answer is asked for again sooner: a time to live of 0 would ask at every connection.
const SHORTEST: Duration = Duration::from_secs(1);

type Answer = Result<Vec<Record>, DnsError>;

/// Answers by name and type.
#[derive(Default)]
pub(super) struct Cache {
    entries: HashMap<(String, RecordType), (Answer, Instant)>,
}

impl Cache {
    pub(super) fn get(&mut self, name: &str, kind: RecordType, now: Instant) -> Option<Answer> {
        let key = (name.to_owned(), kind);
        match self.entries.get(&key) {
            Some((answer, until)) if *until > now => Some(answer.clone()),
            Some(_) => {
                self.entries.remove(&key);
                None
            }
            None => None,
        }
    }

    pub(super) fn insert(&mut self, name: String, kind: RecordType, answer: Answer, ttl: Duration, now: Instant) {
        let longest = if answer.is_ok() { LONGEST } else { LONGEST_ABSENCE };
        if self.entries.len() >= MAX_ENTRIES {
            self.entries.retain(|_, (_, until)| *until > now);
        }
        if self.entries.len() >= MAX_ENTRIES {
            self.entries.clear();
        }
        self.entries.insert((name, kind), (answer, now + ttl.clamp(SHORTEST, longest)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_forgotten_in_time() {
        let mut cache = Cache::default();
        let start = Instant::now();
        let answer = Ok(vec![Record::Name("b".to_owned())]);
        let second = Duration::from_secs(1);
        cache.insert("a".to_owned(), RecordType::Ns, answer.clone(), second * 10, start);
        cache.insert("gone".to_owned(), RecordType::A, Err(DnsError::NoSuchName("gone".to_owned())), second * 3600, start);
        assert_eq!(cache.get("a", RecordType::Ns, start + second * 9), Some(answer));
        assert_eq!(cache.get("a", RecordType::Mx, start), None);
        assert_eq!(cache.get("a", RecordType::Ns, start + second * 10), None);
        assert!(cache.get("gone", RecordType::A, start + second * 59).is_some());
        assert_eq!(cache.get("gone", RecordType::A, start + second * 60), None);
    }

    #[test]
    fn the_number_of_answers_is_bounded() {
        let mut cache = Cache::default();
        let now = Instant::now();
        for number in 0..MAX_ENTRIES * 2 {
            cache.insert(number.to_string(), RecordType::A, Ok(Vec::new()), LONGEST, now);
            assert!(cache.entries.len() <= MAX_ENTRIES);
        }
    }
}
