//! What a process runs at this moment, so that the watchdog can say it of one that does not answer any more.
//!
//! Three parts: the names of an application and of a server, each defined once and referred to by number ([`Label`]); a verb (a method,
//! or what else is done); and a detail (a path, a place) of up to [`STEP_BYTES`], written word by word. The step word holds the numbers,
//! the lengths and a count, and is written last: a reader that sees the same word before and after has read what belongs to it.
//! Beginning a step costs as many plain stores as its texts have words, ending it one.

use std::cell::Cell;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use std::sync::atomic::{AtomicU64, fence};

use super::{LABELS_AT, STEP_AT, Slot};

/// The longest detail kept, bytes.
pub const STEP_BYTES: usize = 120;
/// The longest verb kept, bytes.
pub const VERB_BYTES: usize = 16;
/// How many names a process can define, the last of which stands for all further ones.
pub const LABELS: usize = 64;
/// The longest name kept, bytes.
pub const LABEL_BYTES: usize = 40;

const VERB_WORDS: usize = VERB_BYTES / 8;
pub(super) const STEP_WORDS: usize = VERB_WORDS + STEP_BYTES / 8;
const LABEL_WORDS: usize = LABEL_BYTES / 8;
pub(super) const LABELS_WORDS: usize = LABELS * LABEL_WORDS;
/// What the last label says once there are more names than labels.
const FURTHER: &str = "(one of many)";

thread_local! {
    static OWN: Cell<Option<Slot>> = const { Cell::new(None) };
}

/// The name of an application or server in a slot, by number. The default is no name.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Label(u8);

impl Label {
    pub(super) fn number(self) -> u64 {
        self.0.into()
    }

    pub(super) fn from_number(number: u64) -> Self {
        Self(u8::try_from(number).unwrap_or(0))
    }
}

/// Ends the step when dropped; one that was begun inside another is part of that one.
#[must_use]
#[derive(Debug)]
pub struct StepShown(Option<Slot>);

impl Drop for StepShown {
    fn drop(&mut self) {
        if let Some(slot) = self.0 {
            let count = slot.step_word().load(Relaxed) >> 32;
            slot.step_word().store(count << 32, Release);
        }
    }
}

impl Slot {
    /// Makes this the slot in which the present thread shows its steps: see [`Slot::own`].
    pub fn adopt(self) {
        OWN.set(Some(self));
    }

    /// The slot that this thread shows its steps in; `None` in programs without a scoreboard, such as tests.
    #[inline]
    #[must_use]
    pub fn own() -> Option<Slot> {
        OWN.get()
    }

    /// The label of `name`, cut at [`LABEL_BYTES`], which is defined if it is new. Only the slot's process may ask.
    #[must_use]
    pub fn label(self, name: &str) -> Label {
        let cut = |name: &str| name.as_bytes()[..name.floor_char_boundary(LABEL_BYTES)].to_vec();
        let name = cut(name);
        for number in 1..=LABELS {
            let words = self.label_words(number);
            let text = trimmed(load_text(words));
            if text == name {
                return Label(number as u8);
            }
            if text.is_empty() {
                store_text(words, if number == LABELS { FURTHER.as_bytes() } else { &name });
                return Label(number as u8);
            }
        }
        Label(LABELS as u8)
    }

    /// The text of a label, empty for no name.
    #[must_use]
    pub fn label_text(self, label: Label) -> String {
        match usize::from(label.0) {
            number @ 1..=LABELS => String::from_utf8_lossy(&trimmed(load_text(self.label_words(number)))).into_owned(),
            _ => String::new(),
        }
    }

    fn label_words(self, number: usize) -> &'static [AtomicU64] {
        let at = LABELS_AT + (number - 1) * LABEL_WORDS;
        &self.words[at..at + LABEL_WORDS]
    }

    /// Says that `app` runs now, for `server` where there is one: a method and path, or a kind of step and what it is for.
    #[inline]
    pub fn begin_step(self, app: Label, server: Label, verb: &str, detail: &[u8]) -> StepShown {
        let word = self.step_word().load(Relaxed);
        if word & 0xFFFF != 0 {
            return StepShown(None);
        }
        let count = word >> 32;
        let verb = &verb.as_bytes()[..verb.len().min(VERB_BYTES)];
        let detail = &detail[..detail.len().min(STEP_BYTES)];
        // The word says "nothing runs" while the texts change, so that no reader pairs a new detail with an old name.
        fence(Release);
        store_text(&self.words[STEP_AT..STEP_AT + VERB_WORDS], verb);
        store_text(&self.words[STEP_AT + VERB_WORDS..STEP_AT + STEP_WORDS], detail);
        let lengths = (verb.len() as u64) << 24 | (detail.len() as u64) << 16;
        let names = u64::from(app.0) << 8 | u64::from(server.0);
        self.step_word().store(count.wrapping_add(1) << 32 | lengths | names, Release);
        StepShown(Some(self))
    }

    /// What runs now, `"app shop, server web, GET /spin"`; `None` when nothing does or it changed while it was read.
    #[must_use]
    pub fn step(self) -> Option<String> {
        let before = self.step_word().load(Acquire);
        let [server, app, detail_length, verb_length, ..] = before.to_le_bytes();
        if (app, server) == (0, 0) {
            return None;
        }
        let text = |from: usize, words: usize, length: u8| {
            let mut text = load_text(&self.words[from..from + words]);
            text.truncate(length.into());
            String::from_utf8_lossy(&text).into_owned()
        };
        let verb = text(STEP_AT, VERB_WORDS, verb_length);
        let detail = text(STEP_AT + VERB_WORDS, STEP_WORDS - VERB_WORDS, detail_length);
        fence(Acquire);
        if self.step_word().load(Relaxed) != before {
            return None;
        }
        let mut step = self.place_text(Label(app), Label(server));
        for (text, before) in [(verb, ", "), (detail, " ")] {
            if !text.is_empty() {
                step.push_str(before);
                step.push_str(&text);
            }
        }
        Some(step)
    }

    /// An application and server as reports name them, `"app shop, server web"`.
    #[must_use]
    pub fn place_text(self, app: Label, server: Label) -> String {
        let named = |kind: &str, label| Some(self.label_text(label)).filter(|text| !text.is_empty()).map(|text| format!("{kind} {text}"));
        [named("app", app), named("server", server)].into_iter().flatten().collect::<Vec<_>>().join(", ")
    }
}

pub(super) fn trimmed(mut text: Vec<u8>) -> Vec<u8> {
    text.truncate(text.iter().position(|&byte| byte == 0).unwrap_or(text.len()));
    text
}

pub(super) fn store_text(words: &[AtomicU64], text: &[u8]) {
    let (whole, rest) = text.as_chunks::<8>();
    for (word, bytes) in words.iter().zip(whole) {
        word.store(u64::from_le_bytes(*bytes), Relaxed);
    }
    if let Some(word) = words.get(whole.len())
        && !rest.is_empty()
    {
        // Not copied to a buffer of eight bytes: a copy of a length that is not known is a call, and this is done for every request.
        let last = match text.last_chunk::<8>() {
            Some(end) => u64::from_le_bytes(*end) >> (8 * (8 - rest.len())),
            None => rest.iter().rev().fold(0, |word, byte| word << 8 | u64::from(*byte)),
        };
        word.store(last, Relaxed);
    }
}

pub(super) fn load_text(words: &[AtomicU64]) -> Vec<u8> {
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
    fn a_step_shows_its_names_and_detail_until_it_ends() {
        let slot = slot();
        assert_eq!(slot.step(), None);
        let (chat, web) = (slot.label("chat"), slot.label("web"));
        let step = slot.begin_step(chat, web, "GET", b"/rooms/1");
        assert_eq!(slot.step().as_deref(), Some("app chat, server web, GET /rooms/1"));
        drop(slot.begin_step(chat, Label::default(), "task", b"inside"));
        assert_eq!(slot.step().as_deref(), Some("app chat, server web, GET /rooms/1"), "a step inside a step is part of it");
        drop(step);
        assert_eq!(slot.step(), None);
        let _step = slot.begin_step(chat, Label::default(), "timer", b"");
        assert_eq!(slot.step().as_deref(), Some("app chat, timer"));
    }

    #[test]
    fn a_name_has_one_label_and_those_for_which_there_is_no_room_share_the_last() {
        let slot = slot();
        let labels: Vec<Label> = (0..LABELS + 9).map(|number| slot.label(&format!("app-{number}"))).collect();
        assert_eq!(slot.label("app-7"), labels[7]);
        assert_eq!(slot.label_text(labels[LABELS - 2]), format!("app-{}", LABELS - 2));
        assert!(labels[LABELS - 1..].iter().all(|label| slot.label_text(*label) == FURTHER), "{labels:?}");
    }

    #[test]
    fn a_reader_never_pairs_one_step_with_the_text_of_another() {
        let slot = slot();
        let (a, b) = (slot.label("a"), slot.label("b"));
        let stop = AtomicU64::new(0);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                while stop.load(Relaxed) == 0 {
                    drop(slot.begin_step(a, b, "AAAA", &[b'a'; 100]));
                    drop(slot.begin_step(b, a, "BBBBBBBBBB", &[b'b'; 60]));
                }
            });
            let mut seen = 0;
            while seen < 1000 {
                if let Some(step) = slot.step() {
                    let one = format!("app a, server b, AAAA {}", "a".repeat(100));
                    let other = format!("app b, server a, BBBBBBBBBB {}", "b".repeat(60));
                    assert!(step == one || step == other, "torn: {step}");
                    seen += 1;
                }
            }
            stop.store(1, Relaxed);
        });
    }

    proptest! {
        #[test]
        fn any_text_is_cut_but_never_wrong(name in "[a-zäß€:]{1,80}", verb in "[A-Z]{0,30}", detail in "[ -~]{0,200}") {
            let slot = slot();
            let label = slot.label(&name);
            let _step = slot.begin_step(label, Label::default(), &verb, detail.as_bytes());
            let mut wanted = format!("app {}", &name[..name.floor_char_boundary(LABEL_BYTES)]);
            if !verb.is_empty() {
                wanted.push_str(", ");
                wanted.push_str(&verb[..verb.len().min(VERB_BYTES)]);
            }
            if !detail.is_empty() {
                wanted.push(' ');
                wanted.push_str(&detail[..detail.len().min(STEP_BYTES)]);
            }
            prop_assert_eq!(slot.step(), Some(wanted));
        }
    }
}
