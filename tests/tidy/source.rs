//! A Rust file as the rules see it: its code without comments and literals, and its comments without code.
//!
//! Both views keep every line where it was, so an offset or a line number in one means the same in the other.

use std::path::{Path, PathBuf};

/// One file of the tree.
pub struct Source {
    /// Relative to the root of the repository.
    pub path: PathBuf,
    /// As written.
    pub text: String,
    /// Comments, strings and character literals are blanked. Files that are not Rust are kept whole.
    pub code: String,
    /// Only the comments; everything else is blanked. Empty lines for files that are not Rust.
    pub comments: String,
}

impl Source {
    pub fn new(path: impl Into<PathBuf>, text: impl Into<String>) -> Self {
        let (path, text) = (path.into(), text.into());
        let (code, comments) = if path.extension().is_some_and(|e| e == "rs") { split(&text) } else { (text.clone(), String::new()) };
        Self { path, text, code, comments }
    }

    pub fn is_rust(&self) -> bool {
        self.path.extension().is_some_and(|e| e == "rs")
    }

    pub fn is_under(&self, folder: &str) -> bool {
        self.path.starts_with(folder)
    }

    /// The line of a byte offset, from 1.
    pub fn line_of(&self, offset: usize) -> usize {
        1 + self.text.as_bytes()[..offset].iter().filter(|&&b| b == b'\n').count()
    }

    /// Offsets at which `word` stands in the code, not as a part of a longer name.
    pub fn words(&self, word: &str) -> Vec<usize> {
        find_words(&self.code, word)
    }

    /// The module path of the file inside the crate: `src/net/socket.rs` is `["net", "socket"]`.
    pub fn module(&self) -> Vec<String> {
        let inner = self.path.strip_prefix("src").unwrap_or(Path::new(""));
        let mut names: Vec<String> = inner.iter().map(|part| part.to_string_lossy().into_owned()).collect();
        if let Some(last) = names.pop() {
            let stem = last.trim_end_matches(".rs");
            if !matches!(stem, "mod" | "lib" | "main") {
                names.push(stem.to_owned());
            }
        }
        names
    }
}

/// Offsets of `word` in `text` where neither neighbour continues an identifier.
pub fn find_words(text: &str, word: &str) -> Vec<usize> {
    let continues = |c: Option<char>| c.is_some_and(|c| c.is_alphanumeric() || c == '_');
    text.match_indices(word)
        .map(|(at, _)| at)
        .filter(|&at| !continues(text[..at].chars().next_back()) && !continues(text[at + word.len()..].chars().next()))
        .collect()
}

/// What a byte of a Rust file belongs to.
#[derive(Clone, Copy, PartialEq)]
enum Kind {
    Code,
    Comment,
    Literal,
}

fn split(text: &str) -> (String, String) {
    let kinds = classify(text.as_bytes());
    let view = |wanted: Kind| {
        let bytes = text.bytes().zip(&kinds).map(|(byte, &kind)| match byte {
            b'\n' => b'\n',
            _ if kind == wanted => byte,
            _ => b' ',
        });
        // A kind never changes inside a character, so what is kept is whole characters.
        String::from_utf8(bytes.collect()).expect("whole characters were kept or blanked")
    };
    (view(Kind::Code), view(Kind::Comment))
}

fn classify(bytes: &[u8]) -> Vec<Kind> {
    let mut kinds = vec![Kind::Code; bytes.len()];
    let mut at = 0;
    while at < bytes.len() {
        let rest = &bytes[at..];
        let (length, kind) = if rest.starts_with(b"//") {
            (rest.iter().position(|&b| b == b'\n').unwrap_or(rest.len()), Kind::Comment)
        } else if rest.starts_with(b"/*") {
            (block_comment(rest), Kind::Comment)
        } else if let Some(length) = raw_string(bytes, at) {
            (length, Kind::Literal)
        } else if rest[0] == b'"' {
            (quoted(rest, b'"'), Kind::Literal)
        } else if rest[0] == b'\'' && is_character(rest) {
            (quoted(rest, b'\''), Kind::Literal)
        } else {
            (1, Kind::Code)
        };
        kinds[at..at + length].fill(kind);
        at += length;
    }
    kinds
}

/// Length of a block comment, nested ones included.
fn block_comment(rest: &[u8]) -> usize {
    let (mut depth, mut at) = (0, 0);
    while at < rest.len() {
        if rest[at..].starts_with(b"/*") {
            depth += 1;
            at += 2;
        } else if rest[at..].starts_with(b"*/") {
            depth -= 1;
            at += 2;
            if depth == 0 {
                return at;
            }
        } else {
            at += 1;
        }
    }
    rest.len()
}

/// Length of `r"…"`, `r#"…"#` and their byte and C forms at `at`, when one begins there.
fn raw_string(bytes: &[u8], at: usize) -> Option<usize> {
    if at > 0 && (bytes[at - 1].is_ascii_alphanumeric() || bytes[at - 1] == b'_') {
        return None;
    }
    let rest = &bytes[at..];
    let prefix = usize::from(matches!(rest[0], b'b' | b'c'));
    if rest.get(prefix) != Some(&b'r') {
        return None;
    }
    let hashes = rest[prefix + 1..].iter().take_while(|&&b| b == b'#').count();
    let open = prefix + 1 + hashes;
    if rest.get(open) != Some(&b'"') {
        return None;
    }
    let close: Vec<u8> = std::iter::once(b'"').chain(std::iter::repeat_n(b'#', hashes)).collect();
    let inside = &rest[open + 1..];
    let end = inside.windows(close.len()).position(|w| w == close).map_or(inside.len(), |p| p + close.len());
    Some(open + 1 + end)
}

/// Length of a literal between two `quote`s, with backslash escapes.
fn quoted(rest: &[u8], quote: u8) -> usize {
    let mut at = 1;
    while at < rest.len() {
        match rest[at] {
            b'\\' => at += 2,
            b if b == quote => return at + 1,
            _ => at += 1,
        }
    }
    rest.len()
}

/// Tells `'x'` and `'\n'` from the lifetime `'x`.
fn is_character(rest: &[u8]) -> bool {
    match rest.get(1) {
        Some(b'\\') => true,
        Some(first) => {
            let width = match first {
                0xF0.. => 4,
                0xE0.. => 3,
                0xC0.. => 2,
                _ => 1,
            };
            rest.get(1 + width) == Some(&b'\'')
        }
        None => false,
    }
}

#[test]
fn comments_and_literals_are_told_from_code() {
    let source = Source::new(
        "src/x.rs",
        "let a = \"dbg!\"; // dbg!\nlet b = r#\"unsafe \" \"#; /* a /* b */ c */ let c: &'a str = '\"';\nunsafe {}",
    );
    assert_eq!(source.words("dbg"), []);
    assert_eq!(source.words("unsafe").len(), 1);
    assert_eq!(source.line_of(source.words("unsafe")[0]), 3);
    assert!(source.comments.contains("// dbg!") && source.comments.contains("c */"));
    assert!(source.code.contains("let c: &'a str ="));
    assert!(!source.code.contains('"'));
}

#[test]
fn a_file_knows_its_module() {
    assert_eq!(Source::new("src/net/socket.rs", "").module(), ["net", "socket"]);
    assert_eq!(Source::new("src/net/mod.rs", "").module(), ["net"]);
    assert!(Source::new("src/lib.rs", "").module().is_empty());
}
