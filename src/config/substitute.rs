//! Values from outside in the texts of a configuration: `"${NAME}"`, `"${NAME:-default}"`, `"${file:/path}"`; `$${` is a plain `${`.

use std::fs;
use std::io::{self, Read};
use std::ops::Range;
use std::path::{Path, PathBuf};

use super::lexer::{Kind, Token};
use super::problem::{Problem, plain_reason};
use super::source::Source;

/// The most bytes of a file that is the value of `${file:…}`.
const LARGEST_FILE: u64 = 64 << 10;

/// A text in which the values from outside are filled in, and the way back to where things stood.
#[derive(Debug)]
pub struct Substituted {
    /// The text with the values.
    pub text: String,
    /// What was replaced, in order: where it stands now, where it stood.
    replaced: Vec<(Range<usize>, Range<usize>)>,
    /// The files whose content was filled in.
    pub files: Vec<PathBuf>,
    /// What could not be filled in.
    pub problems: Vec<Problem>,
}

impl Substituted {
    /// Where in the file something stands that is at an offset of [`Self::text`]. Inside a replaced text it is that text's start.
    #[must_use]
    pub fn origin(&self, offset: usize) -> usize {
        match self.replaced.iter().rev().find(|(now, _)| now.start <= offset) {
            None => offset,
            Some((now, then)) if offset < now.end => then.start,
            Some((now, then)) => then.end + (offset - now.end),
        }
    }

    /// Where something stands in [`Self::text`] that is at an offset of the file and was not replaced.
    #[must_use]
    pub fn offset(&self, origin: usize) -> usize {
        self.replaced.iter().rev().find(|(_, then)| then.end <= origin).map_or(origin, |(now, then)| now.end + (origin - then.end))
    }
}

/// Fills in the values. Paths of files are relative to `base`; `environment` gives variables.
pub fn substitute(source: &Source, base: &Path, environment: &dyn Fn(&str) -> Option<String>) -> Substituted {
    let mut done = Substituted { text: String::new(), replaced: Vec::new(), files: Vec::new(), problems: Vec::new() };
    let mut copied = 0;
    for token in &source.tokens {
        if !matches!(token.kind, Kind::Text | Kind::RawText) || !source.text[token.inner.clone()].contains("${") {
            continue;
        }
        let Some(value) = fill(source, token, base, environment, &mut done) else { continue };
        done.text.push_str(&source.text[copied..token.span.start]);
        let start = done.text.len();
        done.text.push_str(&value);
        done.replaced.push((start..done.text.len(), token.span.clone()));
        copied = token.span.end;
    }
    done.text.push_str(&source.text[copied..]);
    done
}

/// The token with its values, quoted; nothing when one is missing, which is then among the problems.
fn fill(
    source: &Source,
    token: &Token,
    base: &Path,
    environment: &dyn Fn(&str) -> Option<String>,
    done: &mut Substituted,
) -> Option<String> {
    let inner = &source.text[token.inner.clone()];
    // In a raw text a backslash is itself, in the text that takes its place it must be escaped.
    let literal = |text: &str| if token.kind == Kind::RawText { escaped(text) } else { text.to_owned() };
    let mut value = String::from("\"");
    let mut rest = inner;
    let mut complete = true;
    while let Some((before, after)) = rest.split_once("${") {
        if let Some(before) = before.strip_suffix('$') {
            value.push_str(&literal(before));
            value.push_str("${");
            rest = after;
            continue;
        }
        value.push_str(&literal(before));
        let start = token.inner.end - after.len() - 2;
        let Some((expression, after)) = after.split_once('}') else {
            let excerpt = source.excerpt(start..token.inner.end);
            done.problems.push(Problem::error("`${` has no closing `}`", Some(excerpt)).help("write `$${` for a plain `${`"));
            return None;
        };
        match resolve(expression, base, environment) {
            Ok((text, file)) => {
                value.push_str(&escaped(&text));
                done.files.extend(file);
            }
            Err((message, file)) => {
                done.files.extend(file);
                done.problems.push(Problem::error(message, Some(source.excerpt(start..start + expression.len() + 3))));
                complete = false;
            }
        }
        rest = after;
    }
    value.push_str(&literal(rest));
    value.push('"');
    complete.then_some(value)
}

/// A text as it is written between quotes.
fn escaped(text: &str) -> String {
    text.escape_debug().to_string().replace("\\'", "'")
}

/// The value of what is between `${` and `}`, with the file it is from; or what is wrong, with the file that is missing.
fn resolve(
    expression: &str,
    base: &Path,
    environment: &dyn Fn(&str) -> Option<String>,
) -> Result<(String, Option<PathBuf>), (String, Option<PathBuf>)> {
    if let Some(path) = expression.strip_prefix("file:") {
        let path = base.join(path);
        return match read_value(&path) {
            Ok(value) => Ok((value, Some(path))),
            Err(error) => Err((format!("cannot read {}: {}", path.display(), plain_reason(&error)), Some(path))),
        };
    }
    let (name, default) = match expression.split_once(":-") {
        Some((name, default)) => (name, Some(default)),
        None => (expression, None),
    };
    let first = name.bytes().next().is_some_and(|byte| byte.is_ascii_alphabetic() || byte == b'_');
    if !first || !name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_') {
        return Err((format!("`${{{expression}}}` is no variable: write ${{NAME}}, ${{NAME:-default}} or ${{file:/path}}"), None));
    }
    match (environment(name), default) {
        // As in a shell, `:-` also stands in for an empty value.
        (Some(value), default) if !value.is_empty() || default.is_none() => Ok((value, None)),
        (_, Some(default)) => Ok((default.to_owned(), None)),
        _ => Err((format!("the environment has no variable `{name}`; `${{{name}:-…}}` gives a default"), None)),
    }
}

/// The content of a small file without the line end that editors add.
fn read_value(path: &Path) -> io::Result<String> {
    let mut value = String::new();
    fs::File::open(path)?.take(LARGEST_FILE + 1).read_to_string(&mut value)?;
    if value.len() as u64 > LARGEST_FILE {
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, format!("more than {} KiB", LARGEST_FILE >> 10)));
    }
    value.truncate(value.trim_end_matches(['\n', '\r']).len());
    Ok(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(text: &str) -> (Source, Substituted) {
        let source = Source::new(Path::new("a"), text.to_owned());
        let environment = |name: &str| match name {
            "A" => Some("x\"\\y".to_owned()),
            "EMPTY" => Some(String::new()),
            _ => None,
        };
        let done = substitute(&source, Path::new("/nowhere"), &environment);
        (source, done)
    }

    #[test]
    fn fills_in_and_escapes() {
        let (_, done) = run("(a: \"1${A}2\", b: r#\"\\${A}\"#, c: \"${B:-d}${EMPTY:-e}\", d: \"$${A}\", /* ${C} */ e: 1)");
        assert_eq!(done.text, "(a: \"1x\\\"\\\\y2\", b: \"\\\\x\\\"\\\\y\", c: \"de\", d: \"${A}\", /* ${C} */ e: 1)");
        assert!(done.problems.is_empty());
    }

    #[test]
    fn knows_where_things_stood() {
        let text = "(a: \"${B:-long}\", b: \"${B:-}\", c: 1)";
        let (_, done) = run(text);
        assert_eq!(done.text, "(a: \"long\", b: \"\", c: 1)");
        for (now, letter) in [(1, "a"), (12, "b"), (19, "c")] {
            assert_eq!(&done.text[now..=now], letter);
            assert_eq!(&text[done.origin(now)..=done.origin(now)], letter);
        }
        assert_eq!(done.origin(6), 4);
    }

    #[test]
    fn says_what_is_missing() {
        let (_, done) = run("(a: \"${B} ${file:secret}\", b: \"${9}\", c: \"${A\")");
        let said: Vec<String> = done.problems.iter().map(Problem::line).collect();
        assert_eq!(said.len(), 4, "{said:?}");
        assert!(said[0].starts_with("a:1:6: the environment has no variable `B`"), "{said:?}");
        assert!(said[1].starts_with("a:1:11: cannot read /nowhere/secret"), "{said:?}");
        assert!(said[2].starts_with("a:1:32: `${9}` is no variable"), "{said:?}");
        assert!(said[3].starts_with("a:1:43: `${` has no closing `}`"), "{said:?}");
        assert_eq!(done.files, [PathBuf::from("/nowhere/secret")]);
    }
}
