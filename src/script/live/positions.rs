//! The places that a page has seen, as text: what an `id:` line, `Last-Event-ID`, `since` and `next` carry.
//!
//! `room@12:34,news@5:6`: topic, epoch, offset. Names are percent-encoded as `encodeURIComponent` does, so that `@`, `:` and `,` are never part of one;
//! a `*` stays, and a pattern that stands for many topics has the place 0:0, which says no more than that the page was there.

use std::fmt::Write as _;

use crate::codec::percent;
use crate::events::{Event, Position};

/// The largest number that every language holds exactly.
const EXACT: u64 = 1 << 53;

/// Adds the place of a topic to a text of places.
pub(super) fn push(out: &mut String, topic: &str, position: Position) {
    percent::encode(topic.as_bytes(), out, |byte| byte == b'*');
    // A text takes everything.
    let _ = write!(out, "@{}:{}", position.epoch, position.offset);
}

/// The place of one event alone.
pub(super) fn of_event(event: &Event) -> String {
    let mut out = String::with_capacity(event.topic.len() + 32);
    push(&mut out, &event.topic, event.position);
    out
}

/// Reads a text of places; what is none is passed over, for it comes from the page.
pub(super) fn parse(text: &str) -> impl Iterator<Item = (String, Position)> {
    text.split(',').filter_map(|entry| {
        let (name, place) = entry.rsplit_once('@')?;
        let (epoch, offset) = place.split_once(':')?;
        let position = Position { epoch: number(epoch)?, offset: number(offset)? };
        Some((percent::decode_path(name)?.into_owned(), position))
    })
}

/// Reads a list of names without places.
pub(super) fn names(text: &str) -> impl Iterator<Item = String> {
    text.split(',').filter(|name| !name.is_empty()).filter_map(|name| Some(percent::decode_path(name)?.into_owned()))
}

fn number(text: &str) -> Option<u64> {
    let digits = text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|number| digits && *number < EXACT)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_is_no_place_is_passed_over() {
        let found: Vec<_> = parse("a%2Cb@1:2,,x,y@,z@1,z@-1:2,z@1:+2,z@9007199254740992:1,%@1:1,c@3:4").collect();
        let place = |epoch, offset| Position { epoch, offset };
        assert_eq!(found, [("a,b".to_owned(), place(1, 2)), ("c".to_owned(), place(3, 4))]);
        assert_eq!(names("a%2Cb,,c").collect::<Vec<_>>(), ["a,b", "c"]);
    }

    proptest! {
        #[test]
        fn places_come_back(entries in prop::collection::vec(("[^\0]{1,20}", 0..EXACT, 0..EXACT), 0..5)) {
            let entries: Vec<_> = entries.into_iter().map(|(name, epoch, offset)| (name, Position { epoch, offset })).collect();
            let mut text = String::new();
            for (name, position) in &entries {
                if !text.is_empty() {
                    text.push(',');
                }
                push(&mut text, name, *position);
            }
            prop_assert!(!text.contains(['\r', '\n', ' ']));
            prop_assert_eq!(parse(&text).collect::<Vec<_>>(), entries);
        }
    }
}
