//! What a process runs at this moment, so that the watchdog can say it of one that does not answer any more.
//!
//! Two parts: a label (an application and handler), defined once and named by number, and a detail (a request line) of up to
//! [`STEP_BYTES`], written word by word. The step word holds the label, the detail's length and a count, and is written last:
//! a reader that sees the same word before and after has read what belongs to it. Beginning a step costs as many plain stores
//! as the detail has words; without a detail it is one.

use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use std::sync::atomic::{AtomicU64, fence};

use super::{LABELS_AT, STEP_AT, Slot};

/// The longest detail kept, bytes.
pub const STEP_BYTES: usize = 120;
/// How many labels a process can define; further ones share the last.
pub const LABELS: usize = 32;
/// The longest label kept, bytes.
pub const LABEL_BYTES: usize = 48;

pub(super) const STEP_WORDS: usize = STEP_BYTES / 8;
const LABEL_WORDS: usize = LABEL_BYTES / 8;
pub(super) const LABELS_WORDS: usize = LABELS * LABEL_WORDS;

impl Slot {
    /// Gives label `id` its text, for [`Slot::begin_step`]. Cut at [`LABEL_BYTES`].
    pub fn define_label(self, id: usize, text: &str) {
        let at = LABELS_AT + id.min(LABELS - 1) * LABEL_WORDS;
        let words = &self.words[at..at + LABEL_WORDS];
        for word in words {
            word.store(0, Relaxed);
        }
        store_text(words, &text.as_bytes()[..text.len().min(LABEL_BYTES)]);
    }

    /// Says that label `id` runs now, on `detail` (a method and path; cut at [`STEP_BYTES`]).
    #[inline]
    pub fn begin_step(self, id: usize, detail: &[u8]) {
        let length = detail.len().min(STEP_BYTES);
        let count = self.step_word().load(Relaxed) >> 32;
        // While the words change, the word says "nothing runs", so that no reader pairs a new detail with an old label.
        self.step_word().store(count << 32, Relaxed);
        fence(Release);
        store_text(&self.words[STEP_AT..STEP_AT + STEP_WORDS], &detail[..length]);
        let id = id.min(LABELS - 1) as u64 + 1;
        self.step_word().store(count.wrapping_add(1) << 32 | (length as u64) << 16 | id, Release);
    }

    /// Says that the step is over.
    #[inline]
    pub fn end_step(self) {
        let count = self.step_word().load(Relaxed) >> 32;
        self.step_word().store(count << 32, Release);
    }

    /// What runs now, `"label detail"`; `None` when nothing does or it changed while it was read.
    #[must_use]
    pub fn step(self) -> Option<String> {
        let before = self.step_word().load(Acquire);
        let id = (before & 0xFFFF) as usize;
        let length = (before >> 16 & 0xFFFF) as usize;
        if id == 0 || id > LABELS || length > STEP_BYTES {
            return None;
        }
        let at = LABELS_AT + (id - 1) * LABEL_WORDS;
        let mut text = load_text(&self.words[at..at + LABEL_WORDS]);
        text.truncate(text.iter().position(|&b| b == 0).unwrap_or(text.len()));
        let mut detail = load_text(&self.words[STEP_AT..STEP_AT + STEP_WORDS]);
        detail.truncate(length);
        fence(Acquire);
        if self.step_word().load(Relaxed) != before {
            return None;
        }
        if !detail.is_empty() {
            text.push(b' ');
            text.append(&mut detail);
        }
        Some(String::from_utf8_lossy(&text).into_owned())
    }
}

fn store_text(words: &[AtomicU64], text: &[u8]) {
    let (whole, rest) = text.as_chunks::<8>();
    for (word, bytes) in words.iter().zip(whole) {
        word.store(u64::from_le_bytes(*bytes), Relaxed);
    }
    if let Some(word) = words.get(whole.len())
        && !rest.is_empty()
    {
        let mut last = [0; 8];
        last[..rest.len()].copy_from_slice(rest);
        word.store(u64::from_le_bytes(last), Relaxed);
    }
}

fn load_text(words: &[AtomicU64]) -> Vec<u8> {
    words.iter().flat_map(|word| word.load(Relaxed).to_le_bytes()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scoreboard::Scoreboard;
    use proptest::prelude::*;

    fn slot() -> Slot {
        Scoreboard::new(1).expect("memory").slot(0)
    }

    #[test]
    fn a_step_shows_its_label_and_detail_until_it_ends() {
        let slot = slot();
        assert_eq!(slot.step(), None);
        slot.define_label(2, "chat: request");
        slot.begin_step(2, b"GET /rooms/1");
        assert_eq!(slot.step().as_deref(), Some("chat: request GET /rooms/1"));
        slot.begin_step(2, b"");
        assert_eq!(slot.step().as_deref(), Some("chat: request"));
        slot.end_step();
        assert_eq!(slot.step(), None);
    }

    #[test]
    fn a_reader_never_pairs_one_step_with_the_text_of_another() {
        let slot = slot();
        slot.define_label(0, "a");
        slot.define_label(1, "b");
        let stop = AtomicU64::new(0);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                while stop.load(Relaxed) == 0 {
                    slot.begin_step(0, &[b'a'; 100]);
                    slot.begin_step(1, &[b'b'; 60]);
                }
            });
            let mut seen = 0;
            while seen < 1000 {
                if let Some(step) = slot.step() {
                    assert!(step == format!("a {}", "a".repeat(100)) || step == format!("b {}", "b".repeat(60)), "torn: {step}");
                    seen += 1;
                }
            }
            stop.store(1, Relaxed);
        });
    }

    proptest! {
        #[test]
        fn any_text_is_cut_but_never_wrong(label in "[a-z :]{1,80}", detail in "[ -~]{0,200}", id in 0usize..40) {
            let slot = slot();
            slot.define_label(id, &label);
            slot.begin_step(id, detail.as_bytes());
            let mut wanted = label[..label.len().min(LABEL_BYTES)].to_owned();
            if !detail.is_empty() {
                wanted.push(' ');
                wanted.push_str(&detail[..detail.len().min(STEP_BYTES)]);
            }
            prop_assert_eq!(slot.step(), Some(wanted));
        }
    }
}
