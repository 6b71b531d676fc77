//! What could stand where one of some names is wanted. Only the types know, so the file is read again with a guess in that place.

use std::ops::Range;

use ron::Error;
use ron::error::SpannedError;

use super::lexer::{Kind, Token};
use super::parse::{listed, offset};
use super::problem::nearest;
use super::source::Source;
use super::substitute::Substituted;

/// No choice is called so.
const NOBODY: &str = "no_choice_is_called_so";

/// Reads another text as the same types, and says what is wrong with it.
pub(super) type Reading<'a> = &'a dyn Fn(&str) -> Option<SpannedError>;

/// A place in a file where something else is tried.
pub(super) struct Trial<'a> {
    pub(super) source: &'a Source,
    pub(super) filled: &'a Substituted,
    pub(super) read: Reading<'a>,
}

impl Trial<'_> {
    /// What was probably meant by a text where a name without quotes is wanted.
    pub(super) fn for_text(&self, token: &Token) -> Option<String> {
        let (quoted, inner) = (&self.source.text[token.span.clone()], &self.source.text[token.inner.clone()]);
        // What was filled in from outside is not shown.
        if token.kind != Kind::Text || inner.contains("${") {
            return None;
        }
        let names = self.names_at(&token.span, NOBODY)?;
        if let Some(name) = nearest(inner, names.iter().copied()) {
            return Some(format!("did you mean `{name}`, without quotes?"));
        }
        let with_value = names.iter().map(|name| format!("{name}({quoted})")).find(|guess| self.fits(&token.span, guess));
        Some(match with_value {
            Some(guess) => format!("did you mean `{guess}`?"),
            None => format!("there are, without quotes: {}", listed(names)),
        })
    }

    /// What the name that ends before this token needs behind it.
    pub(super) fn for_value(&self, token: &Token) -> Option<String> {
        let before = self.source.tokens.iter().take_while(|other| other.span.start < token.span.start).last()?;
        if before.kind != Kind::Word {
            return None;
        }
        let (name, behind) = (&self.source.text[before.span.clone()], before.span.end..before.span.end);
        if let Some(names) = self.names_at(&behind, &format!("({NOBODY})")) {
            return Some(format!("write one of these in brackets behind `{name}`: {}", listed(names)));
        }
        self.fits(&behind, "(\"a\")").then(|| format!("it has a text in brackets: `{name}(\"…\")`"))
    }

    /// The names that are known in a place: a guess there is none of them.
    fn names_at(&self, place: &Range<usize>, guess: &str) -> Option<&'static [&'static str]> {
        match (self.read)(&self.with(place, guess)?.0)?.code {
            Error::NoSuchEnumVariant { expected, found, .. } if found == NOBODY => Some(expected),
            _ => None,
        }
    }

    /// Whether nothing is wrong up to the end of a guess in a place.
    fn fits(&self, place: &Range<usize>, guess: &str) -> bool {
        self.with(place, guess).is_some_and(|(text, end)| match (self.read)(&text) {
            None => true,
            Some(error) => offset(&text, error.span.start) >= end,
        })
    }

    /// The text with a guess in a place of the file, and where that ends.
    fn with(&self, place: &Range<usize>, guess: &str) -> Option<(String, usize)> {
        let (start, end) = (self.filled.offset(place.start), self.filled.offset(place.end));
        let text = &self.filled.text;
        Some(([text.get(..start)?, guess, text.get(end..)?].concat(), start + guess.len()))
    }
}
