//! Strings found and replaced in bytes that come piece by piece: bytes in, bytes out.

use std::collections::BTreeMap;

use memchr::{memchr, memchr2, memchr3};

/// What is replaced by what, ready to be looked for.
pub(super) struct Strings {
    /// From the longest to the shortest, so that the first that fits is the longest.
    pairs: Vec<(Vec<u8>, Vec<u8>)>,
    /// Bytes that a string begins with.
    first: Vec<u8>,
    is_first: [bool; 256],
    ignore_case: bool,
}

/// What a position holds.
enum Found<'a> {
    /// A string of this length, and what takes its place.
    Whole(usize, &'a [u8]),
    /// A string may begin here: more is needed to know.
    Open,
    None,
}

impl Strings {
    pub(super) fn new(strings: &BTreeMap<String, String>, ignore_case: bool) -> Self {
        let mut pairs: Vec<_> = strings.iter().map(|(from, to)| (from.clone().into_bytes(), to.clone().into_bytes())).collect();
        if ignore_case {
            pairs.iter_mut().for_each(|(from, _)| from.make_ascii_lowercase());
        }
        pairs.sort_by_key(|(from, _)| std::cmp::Reverse(from.len()));
        let mut is_first = [false; 256];
        for &byte in pairs.iter().filter_map(|(from, _)| from.first()) {
            is_first[usize::from(byte)] = true;
            is_first[usize::from(if ignore_case { byte.to_ascii_uppercase() } else { byte })] = true;
        }
        let first = (0..=u8::MAX).filter(|byte| is_first[usize::from(*byte)]).collect();
        Self { pairs, first, is_first, ignore_case }
    }

    /// Where a string may begin at the soonest.
    fn candidate(&self, bytes: &[u8]) -> Option<usize> {
        match self.first[..] {
            [a] => memchr(a, bytes),
            [a, b] => memchr2(a, b, bytes),
            [a, b, c] => memchr3(a, b, c, bytes),
            _ => bytes.iter().position(|byte| self.is_first[usize::from(*byte)]),
        }
    }

    /// What `bytes` begin with; `last`: nothing follows them.
    fn look(&self, bytes: &[u8], last: bool) -> Found<'_> {
        let same = |one: &[u8], other: &[u8]| if self.ignore_case { one.eq_ignore_ascii_case(other) } else { one == other };
        for (from, to) in &self.pairs {
            if bytes.len() < from.len() {
                // All that come later are no longer than this one: a longer one must be ruled out before they count.
                if !last && same(&from[..bytes.len()], bytes) {
                    return Found::Open;
                }
            } else if same(from, &bytes[..from.len()]) {
                return Found::Whole(from.len(), to);
            }
        }
        Found::None
    }
}

/// The replacing of one body.
#[derive(Default)]
pub(super) struct Replacer {
    /// What came, and may be the beginning of a string.
    held: Vec<u8>,
    /// One was replaced, where that is to be all.
    done: bool,
}

impl Replacer {
    /// Takes the next piece and appends what is certain. `once`: only the first string found is replaced. `last`: nothing follows, and nothing is held back.
    pub(super) fn push(&mut self, strings: &Strings, once: bool, piece: &[u8], last: bool, out: &mut Vec<u8>) {
        let joined;
        let mut rest = if self.held.is_empty() {
            piece
        } else {
            self.held.extend_from_slice(piece);
            joined = std::mem::take(&mut self.held);
            &joined[..]
        };
        while !self.done {
            let Some(at) = strings.candidate(rest) else { break };
            out.extend_from_slice(&rest[..at]);
            rest = &rest[at..];
            match strings.look(rest, last) {
                Found::Whole(length, to) => {
                    out.extend_from_slice(to);
                    rest = &rest[length..];
                    self.done = once;
                }
                Found::Open => {
                    self.held.extend_from_slice(rest);
                    return;
                }
                Found::None => {
                    out.push(rest[0]);
                    rest = &rest[1..];
                }
            }
        }
        out.extend_from_slice(rest);
    }

    /// A text as it is when all of it is there.
    pub(super) fn whole(strings: &Strings, once: bool, bytes: &[u8]) -> Vec<u8> {
        let mut out = Vec::with_capacity(bytes.len() + bytes.len() / 8);
        Self::default().push(strings, once, bytes, true, &mut out);
        out
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The definition: from the left, the longest string that stands there.
    fn naive(strings: &BTreeMap<String, String>, ignore_case: bool, once: bool, text: &[u8]) -> Vec<u8> {
        let (mut out, mut at, mut done) = (Vec::new(), 0, false);
        'text: while at < text.len() {
            let mut lengths: Vec<usize> = strings.keys().map(String::len).collect();
            lengths.sort_unstable();
            for &length in lengths.iter().rev().filter(|_| !done) {
                let Some(here) = text.get(at..at + length) else { continue };
                let fits = |from: &str| if ignore_case { from.as_bytes().eq_ignore_ascii_case(here) } else { from.as_bytes() == here };
                if let Some((from, to)) = strings.iter().find(|(from, _)| fits(from)) {
                    out.extend_from_slice(to.as_bytes());
                    at += from.len();
                    done = once;
                    continue 'text;
                }
            }
            out.push(text[at]);
            at += 1;
        }
        out
    }

    fn strings(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs.iter().map(|(from, to)| ((*from).to_owned(), (*to).to_owned())).collect()
    }

    #[test]
    fn what_is_certain_comes_at_once() {
        let strings = Strings::new(&strings(&[("http://old", "https://new"), ("http", "ftp")]), false);
        let mut replacer = Replacer::default();
        let mut step = |piece: &str, last| {
            let mut out = Vec::new();
            replacer.push(&strings, false, piece.as_bytes(), last, &mut out);
            String::from_utf8(out).unwrap()
        };
        assert_eq!(step("a http://o", false), "a ");
        assert_eq!(step("ld h", false), "https://new ");
        assert_eq!(step("ttp:", false), "");
        assert_eq!(step("x ht", false), "ftp:x ");
        assert_eq!(step("", true), "ht");
    }

    proptest! {
        #[test]
        fn the_pieces_make_no_difference(
            pairs in prop::collection::btree_map("[abA]{1,4}", "[abx]{0,3}", 1..6),
            text in "[abAB]{0,60}",
            cuts in prop::collection::vec(0usize..60, 0..8),
            ignore_case: bool,
            once: bool,
        ) {
            // Two that are the same without case would both be right.
            let mut folded = std::collections::BTreeSet::new();
            let pairs: BTreeMap<_, _> = pairs.into_iter().filter(|(from, _)| !ignore_case || folded.insert(from.to_ascii_lowercase())).collect();
            let strings = Strings::new(&pairs, ignore_case);
            let text = text.as_bytes();
            let expected = naive(&pairs, ignore_case, once, text);
            prop_assert_eq!(&Replacer::whole(&strings, once, text), &expected);
            let mut cuts: Vec<usize> = cuts.into_iter().map(|cut| cut.min(text.len())).chain([0, text.len()]).collect();
            cuts.sort_unstable();
            let longest = pairs.keys().map(String::len).max().unwrap_or(0);
            let (mut out, mut replacer) = (Vec::new(), Replacer::default());
            for pair in cuts.windows(2) {
                replacer.push(&strings, once, &text[pair[0]..pair[1]], false, &mut out);
                prop_assert!(replacer.held.len() < longest);
            }
            replacer.push(&strings, once, &[], true, &mut out);
            prop_assert_eq!(&out, &expected);
        }
    }
}
