//! Whether a Luau file compiles, before anything runs it.

use std::fs;
use std::path::Path;

use mlua::Error;
use mlua::chunk::Compiler;

use super::Checker;
use crate::config::problem::{Excerpt, Problem};

/// A larger file is not read here; running it has limits of its own.
const LARGEST_FILE: u64 = 4 << 20;

impl Checker<'_> {
    /// Warns of a file that does not compile. It is no error of the configuration: the rest can run without it, and says so.
    pub(super) fn compiles(&mut self, path: &Path) {
        if !fs::metadata(path).is_ok_and(|metadata| metadata.is_file() && metadata.len() <= LARGEST_FILE) {
            return;
        }
        let Ok(source) = fs::read_to_string(path) else { return };
        if let Err(Error::SyntaxError { message, .. }) = Compiler::new().compile(&source) {
            let (line, message) = split(&message);
            let excerpt = line.and_then(|line| excerpt(path, &source, line));
            self.problems.push(Problem::warning(format!("{} does not compile: {message}", path.display()), excerpt));
        }
    }
}

/// The line and the words of the compiler's message, `3: Expected …`.
fn split(message: &str) -> (Option<usize>, &str) {
    match message.trim_start_matches(':').split_once(':').map(|(line, words)| (line.parse(), words.trim())) {
        Some((Ok(line), words)) => (Some(line), words),
        _ => (None, message),
    }
}

fn excerpt(path: &Path, source: &str, line: usize) -> Option<Excerpt> {
    let text = source.lines().nth(line.checked_sub(1)?)?;
    let indent = text.len() - text.trim_start().len();
    let shown: String = text.trim_end().chars().take(200).map(|c| if c.is_control() { ' ' } else { c }).collect();
    let width = shown.chars().count().saturating_sub(indent).max(1);
    Some(Excerpt { file: path.to_owned(), line, column: indent + 1, width, text: shown })
}
