//! From the text of a file to what it says, and what is wrong with it in words.

use std::fmt::Write as _;

use ron::error::{Position, SpannedError};
use ron::extensions::Extensions;
use ron::{Error, Options};
use serde::de::DeserializeOwned;

use super::choice::Trial;
use super::lexer::{Kind, Token};
use super::problem::{Problem, did_you_mean};
use super::source::Source;
use super::substitute::Substituted;

/// The dialect of `config.ron`: `Some` is not written, nor are the inner brackets of `Http((…))`.
#[must_use]
pub fn dialect() -> Options {
    Options::default().with_default_extension(Extensions::IMPLICIT_SOME | Extensions::UNWRAP_VARIANT_NEWTYPES)
}

/// Reads a file's text, values from outside filled in.
///
/// # Errors
/// What is wrong with it; `ron` stops at the first.
pub fn parse<T: DeserializeOwned>(source: &Source, filled: &Substituted) -> Result<T, Box<Problem>> {
    let read = |text: &str| dialect().from_str::<T>(text).err();
    dialect().from_str(&filled.text).map_err(|error| Box::new(explain(&Trial { source, filled, read: &read }, &error)))
}

/// The offset in bytes of a line and column, both from 1 and the column in characters.
pub(super) fn offset(text: &str, position: Position) -> usize {
    let line_start = match position.line {
        0 | 1 => 0,
        line => text.match_indices('\n').nth(line - 2).map_or(text.len(), |(at, _)| at + 1),
    };
    text[line_start..].char_indices().nth(position.col.saturating_sub(1)).map_or(text.len(), |(at, _)| line_start + at)
}

/// The error of `ron` with the place that is meant and words that help.
fn explain(trial: &Trial<'_>, error: &SpannedError) -> Problem {
    let (source, filled) = (trial.source, trial.filled);
    let start = filled.origin(offset(&filled.text, error.span.start));
    let end = filled.origin(offset(&filled.text, error.span.end));
    let named = |name: &str| named_before(source, end, name);
    let (message, token, help) = match &error.code {
        Error::NoSuchStructField { expected, found, outer } => {
            (format!("there is no `{found}`{}", of(outer.as_deref())), named(found), Some(suggestion(found, expected)))
        }
        Error::NoSuchEnumVariant { expected, found, .. } => unknown_variant(found, expected, named(found)),
        Error::DuplicateStructField { field, outer } => (format!("`{field}`{} stands twice", of(outer.as_deref())), named(field), None),
        Error::ExpectedDifferentStructName { expected, found } => {
            (format!("this should be `{expected}`, not `{found}`"), named(found), Some(brackets(expected, found)))
        }
        Error::InvalidValueForType { expected, found } => (format!("expected {expected}, found {found}"), None, None),
        Error::Message(message) => (message.clone(), value_before(source, end), None),
        Error::IntegerOutOfBounds => ("this number is out of bounds".to_owned(), value_before(source, end), None),
        Error::ExpectedNamedStructLike("Config") => (
            "a configuration begins with `Config(`".to_owned(),
            None,
            Some("the smallest one is `Config()`; `skep init` writes one with every option".to_owned()),
        ),
        code => (plain(code), None, advice(code)),
    };
    let token = token.or_else(|| value_token(source, start, end));
    let (message, help) = match (&error.code, token) {
        (Error::ExpectedIdentifier, Some(token)) if let Some(meant) = trial.for_text(token) => {
            ("expected a name, found a text".to_owned(), Some(meant))
        }
        (Error::ExpectedStructLike | Error::ExpectedNamedStructLike(_), Some(token)) if let Some(meant) = trial.for_value(token) => {
            (message, Some(meant))
        }
        _ => (message, help),
    };
    let excerpt = match token {
        Some(token) => source.excerpt(token.span.clone()),
        None => source.excerpt(end..end),
    };
    Problem::error(message, Some(excerpt)).maybe_help(help)
}

/// The token that an error between two offsets is about.
fn value_token(source: &Source, start: usize, end: usize) -> Option<&Token> {
    let inside = source.tokens.iter().find(|token| token.span.start >= start && token.span.start < end && !is_separator(token));
    inside.or_else(|| source.token_at(end))
}

/// The value that ends last before an offset; for brackets, their opening.
fn value_before(source: &Source, end: usize) -> Option<&Token> {
    let mut depth = 0_usize;
    for token in source.tokens.iter().rev().skip_while(|token| token.span.end > end || is_separator(token)) {
        match token.kind {
            Kind::Mark(b')' | b']' | b'}') => depth += 1,
            Kind::Mark(b'(' | b'[' | b'{') => depth = depth.saturating_sub(1),
            _ => {}
        }
        if depth == 0 {
            return Some(token);
        }
    }
    None
}

/// A kind or choice that there is not: a slip of the pen, or one of another version.
fn unknown_variant<'a>(found: &str, expected: &[&str], token: Option<&'a Token>) -> (String, Option<&'a Token>, Option<String>) {
    match did_you_mean(found, expected.iter().copied()) {
        Some(meant) => (format!("there is no `{found}`"), token, Some(meant)),
        None if expected.is_empty() => (format!("`{found}` is not in this version"), token, Some("this version knows none yet".to_owned())),
        None => (format!("`{found}` is not in this version"), token, Some(format!("it knows: {}", listed(expected)))),
    }
}

fn is_separator(token: &Token) -> bool {
    matches!(token.kind, Kind::Mark(b':' | b','))
}

/// The last word or text of this content that begins at or before an offset.
fn named_before<'a>(source: &'a Source, offset: usize, name: &str) -> Option<&'a Token> {
    source.tokens.iter().rev().find(|token| token.span.start <= offset && source.text[token.inner.clone()] == *name)
}

/// " in `Http`", when the owner's name says something to the reader.
fn of(outer: Option<&str>) -> String {
    match outer {
        None | Some("Config" | "Included") => String::new(),
        Some(outer) => format!(" in `{}`", spoken(outer)),
    }
}

/// The name of a struct as the reader of a configuration knows it.
fn spoken(outer: &str) -> &str {
    match outer {
        "ScriptApp" | "ScriptServer" => "Script",
        "EmbeddedStore" => "Embedded",
        "LocalEvents" => "Local",
        "RedisEvents" => "Redis",
        "ScriptLimits" => "limits",
        "HttpTimeouts" => "timeouts",
        "FileCache" => "cache",
        "FixedReply" => "reply",
        "TlsFiles" => "tls",
        "WrittenRoute" | "Route" => "route",
        "Workers" => "workers",
        "Admin" => "admin",
        "Backoff" => "backoff",
        "Log" => "log",
        "AccessLog" => "access_log",
        "Uploads" => "uploads",
        "Redirect" => "redirect",
        other => other,
    }
}

/// What was probably meant, or everything there is.
fn suggestion(found: &str, expected: &[&str]) -> String {
    did_you_mean(found, expected.iter().copied()).unwrap_or_else(|| format!("there are: {}", listed(expected)))
}

pub(super) fn listed(names: &[&str]) -> String {
    let mut list = String::new();
    for name in names {
        // Writing to a String cannot fail.
        let _ = write!(list, "{}`{name}`", if list.is_empty() { "" } else { ", " });
    }
    list
}

/// How a group of fields is written, for who has written something else.
fn brackets(expected: &str, found: &str) -> String {
    match found {
        "true" => "write `()` to switch it on as it usually is, or what is to be different: `(…)`".to_owned(),
        "false" => "leave it out to have it off".to_owned(),
        _ => format!("write `{expected}(…)`, or just `(…)`"),
    }
}

/// The error's own words, in the way our own errors are written.
fn plain(code: &Error) -> String {
    if let Error::ExpectedNamedStructLike(name) = code {
        return format!("expected the fields of `{}`", spoken(name));
    }
    let words = code.to_string();
    let words = words.strip_suffix('.').unwrap_or(&words);
    let mut letters = words.chars();
    letters.next().map_or_else(String::new, |first| first.to_lowercase().chain(letters).collect())
}

/// What helps against the common mistakes.
fn advice(code: &Error) -> Option<String> {
    let advice = match code {
        Error::ExpectedString => "write it in double quotes",
        Error::ExpectedBoolean => "write true or false",
        Error::ExpectedComma | Error::ExpectedStructLikeEnd => "is a comma or a closing bracket missing before this?",
        Error::ExpectedStringEnd => "is a closing quote missing?",
        Error::ExpectedArray => "a list is written in square brackets: [\"a\", \"b\"]",
        Error::ExpectedMap => "names and values are written in braces: {\"name\": …}",
        Error::ExpectedMapColon => "a name and its value are written `name: value`",
        Error::ExpectedStructLike | Error::ExpectedNamedStructLike(_) => "fields are written in round brackets: (name: value)",
        Error::ExpectedIdentifier => "a field is written `name: value`, in one pair of brackets: Http(listen: […])",
        Error::TrailingCharacters => "the configuration ends before this; is there a bracket too many?",
        Error::Eof => "is a closing bracket missing?",
        _ => return None,
    };
    Some(advice.to_owned())
}
