//! What is wrong with a configuration, shown so that the place is seen at once.

use std::fmt::{self, Write as _};
use std::io::{self, IsTerminal};
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// A place in a file and the line it is in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Excerpt {
    /// The file.
    pub file: PathBuf,
    /// The line, from 1.
    pub line: usize,
    /// The column in characters, from 1.
    pub column: usize,
    /// How many characters are meant, at least 1.
    pub width: usize,
    /// The line, secrets hidden.
    pub text: String,
}

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Severity {
    /// The configuration cannot be used.
    Error,
    /// It can, but perhaps not as it was meant.
    Warning,
}

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Problem {
    /// How bad it is.
    pub severity: Severity,
    /// What is wrong, without a full stop.
    pub message: String,
    /// Where. None: in no place of a file.
    pub excerpt: Option<Excerpt>,
    /// What to do about it, or what was probably meant.
    pub help: Option<String>,
}

impl Problem {
    /// Something that makes the configuration unusable.
    #[must_use]
    pub fn error(message: impl Into<String>, excerpt: Option<Excerpt>) -> Self {
        Self { severity: Severity::Error, message: message.into(), excerpt, help: None }
    }

    /// Something that is perhaps not as it was meant.
    #[must_use]
    pub fn warning(message: impl Into<String>, excerpt: Option<Excerpt>) -> Self {
        Self { severity: Severity::Warning, ..Self::error(message, excerpt) }
    }

    /// With advice.
    #[must_use]
    pub fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    /// With advice, if there is any.
    #[must_use]
    pub fn maybe_help(mut self, help: Option<String>) -> Self {
        self.help = help.or(self.help);
        self
    }

    /// The problem on one line, for a log.
    #[must_use]
    pub fn line(&self) -> String {
        let mut line = String::new();
        if let Some(excerpt) = &self.excerpt {
            // Writing to a String cannot fail.
            let _ = write!(line, "{}:{}:{}: ", excerpt.file.display(), excerpt.line, excerpt.column);
        }
        line.push_str(&self.message);
        if let Some(help) = &self.help {
            line.push_str("; ");
            line.push_str(help);
        }
        line
    }

    /// The problem with its line and a caret under the place; with colours for a terminal.
    #[must_use]
    pub fn render(&self, colours: bool) -> String {
        let paint = |code: &str, text: &str| if colours { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() };
        let (word, code) = match self.severity {
            Severity::Error => ("error", "1;31"),
            Severity::Warning => ("warning", "1;33"),
        };
        let mut lines = vec![format!("{}: {}", paint(code, word), paint("1", &self.message))];
        let margin = self.excerpt.as_ref().map_or(1, |excerpt| excerpt.line.to_string().len());
        let margin = " ".repeat(margin);
        if let Some(excerpt) = &self.excerpt {
            let (arrow, bar, number) = (paint("34", "-->"), paint("34", "|"), paint("34", &excerpt.line.to_string()));
            let caret = paint(code, &"^".repeat(excerpt.width));
            lines.push(format!("{margin}{arrow} {}:{}:{}", excerpt.file.display(), excerpt.line, excerpt.column));
            lines.push(format!("{margin} {bar}"));
            lines.push(format!("{number} {bar} {}", excerpt.text));
            lines.push(format!("{margin} {bar} {}{caret}", " ".repeat(excerpt.column - 1)));
        }
        lines.extend(self.help.as_deref().map(|help| format!("{margin} {} {help}", paint("34", "="))));
        lines.join("\n") + "\n"
    }
}

/// Whether messages on stderr may have colours: it is a terminal and NO_COLOR is not set (no-color.org).
#[must_use]
pub fn colours_on_stderr() -> bool {
    io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}

/// Why a configuration cannot be used. `Display` shows every problem with its line, without colours.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConfigErrors {
    /// What is wrong, in the order of the files; warnings may be among it, at least one is an error.
    pub problems: Vec<Problem>,
    /// The files that were read, or should have been: one of them must change before it can become better.
    pub files_read: Vec<PathBuf>,
}

impl ConfigErrors {
    /// Everything that is wrong, with lines and carets.
    #[must_use]
    pub fn render(&self, colours: bool) -> String {
        let shown: Vec<String> = self.problems.iter().map(|problem| problem.render(colours)).collect();
        shown.join("\n")
    }

    /// One line for each problem, for a log or an answer to a command.
    #[must_use]
    pub fn lines(&self) -> Vec<String> {
        self.problems.iter().map(Problem::line).collect()
    }
}

impl fmt::Display for ConfigErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.render(false))
    }
}

impl std::error::Error for ConfigErrors {}

/// An error of the file system without its number.
#[must_use]
pub fn plain_reason(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::NotFound => "it does not exist".to_owned(),
        io::ErrorKind::PermissionDenied => "permission denied".to_owned(),
        _ => error.to_string(),
    }
}

/// The name that was probably meant, if one is near enough.
#[must_use]
pub fn nearest<'a>(given: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let lower = given.to_lowercase();
    known
        .into_iter()
        .map(|name| (strsim::damerau_levenshtein(&lower, &name.to_lowercase()), name))
        .filter(|(distance, name)| *distance <= 1.max(name.len().max(given.len()) / 3))
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, name)| name)
}

/// "did you mean `NAME`?", if one is near enough.
#[must_use]
pub fn did_you_mean<'a>(given: &str, known: impl IntoIterator<Item = &'a str>) -> Option<String> {
    nearest(given, known).map(|name| format!("did you mean `{name}`?"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn suggests_what_is_near_only() {
        assert_eq!(nearest("lisen", ["listen", "limits"]), Some("listen"));
        assert_eq!(nearest("http", ["Http", "Script"]), Some("Http"));
        assert_eq!(nearest("colour", ["listen", "limits"]), None);
    }

    #[test]
    fn colours_only_when_asked() {
        let excerpt = Excerpt { file: "a.ron".into(), line: 12, column: 3, width: 2, text: "  ab".into() };
        let problem = Problem::error("no", Some(excerpt)).help("yes");
        assert_eq!(problem.render(false), "error: no\n  --> a.ron:12:3\n   |\n12 |   ab\n   |   ^^\n   = yes\n");
        assert!(problem.render(true).contains("\x1b[1;31merror"));
        assert_eq!(problem.line(), "a.ron:12:3: no; yes");
    }
}
