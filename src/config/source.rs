//! A configuration file in memory: its text, its places, and how a part of it is shown.

use std::ops::Range;
use std::path::{Path, PathBuf};

use super::lexer::{self, Token};
use super::problem::Excerpt;
use super::tree::{Node, Place};

/// Fields whose values are not shown, not even in the line of an error.
const SECRET_FIELDS: [&str; 5] = ["token", "secret", "password", "passphrase", "uri"];

/// A line longer than this is cut where it is shown, in characters.
const LONGEST_LINE: usize = 200;

/// A file and what was read of it.
#[derive(Clone, Debug)]
pub struct Source {
    /// The file.
    pub path: PathBuf,
    /// Its text, as it stands in the file.
    pub text: String,
    /// Its tokens.
    pub tokens: Vec<Token>,
    /// Where its values stand.
    pub tree: Node,
}

impl Source {
    /// Takes a file's text.
    #[must_use]
    pub fn new(path: &Path, text: String) -> Self {
        let tokens = lexer::tokens(&text);
        let tree = Node::parse(&text, &tokens);
        Self { path: path.to_owned(), text, tokens, tree }
    }

    /// The part of the file that a place names, or its nearest owner's name.
    #[must_use]
    pub fn place(&self, place: &Place) -> Excerpt {
        self.excerpt(self.tree.find(place).value)
    }

    /// The name of a field or key, or its nearest owner's.
    #[must_use]
    pub fn key(&self, place: &Place) -> Excerpt {
        let found = self.tree.find(place);
        self.excerpt(found.key.unwrap_or(found.value))
    }

    /// The last token that begins at or before an offset.
    #[must_use]
    pub fn token_at(&self, offset: usize) -> Option<&Token> {
        let after = self.tokens.partition_point(|token| token.span.start <= offset);
        self.tokens.get(after.checked_sub(1)?)
    }

    /// A part of the file as it is shown: the line it begins in, secrets hidden.
    #[must_use]
    pub fn excerpt(&self, span: Range<usize>) -> Excerpt {
        let start = span.start.min(self.text.len());
        let line_start = self.text[..start].rfind('\n').map_or(0, |newline| newline + 1);
        let line_end = self.text[start..].find('\n').map_or(self.text.len(), |newline| start + newline);
        let end = span.end.clamp(start, line_end);
        let column = self.text[line_start..start].chars().count() + 1;
        Excerpt {
            file: self.path.clone(),
            line: self.text[..line_start].bytes().filter(|byte| *byte == b'\n').count() + 1,
            column,
            width: self.text[start..end].chars().count().max(1),
            text: self.shown(line_start..line_end).chars().take(LONGEST_LINE.max(column)).collect(),
        }
    }

    /// A line with its tabs as blanks, so that the caret stands right, and its secrets as stars.
    fn shown(&self, line: Range<usize>) -> String {
        let hidden = self.tree.fields(&SECRET_FIELDS);
        self.text[line.clone()]
            .char_indices()
            .map(|(at, c)| match c {
                '\t' => ' ',
                '"' => '"',
                _ if hidden.iter().any(|span| span.contains(&(line.start + at))) => '*',
                c if c.is_control() => ' ',
                c => c,
            })
            .collect::<String>()
            .trim_end()
            .to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shows_the_line_and_hides_secrets() {
        let source = Source::new(Path::new("a"), "Config(\n\tadmin: (token: \"swordfish\", listen: 5),\n)".to_owned());
        let excerpt = source.place(&Place::top().name("admin").name("listen"));
        assert_eq!((excerpt.line, excerpt.column, excerpt.width), (2, 38, 1));
        assert_eq!(excerpt.text, " admin: (token: \"*********\", listen: 5),");
    }
}
