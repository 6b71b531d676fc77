//! The tokens of a RON text with their places, for what the parser of the `ron` crate does not tell: where a value stands.

use std::ops::Range;

/// What a token is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A name, a number, a character, `true`: anything that is neither text nor punctuation.
    Word,
    /// `"…"`, with escapes.
    Text,
    /// `r"…"` or `r#"…"#`, without escapes.
    RawText,
    /// One of `( ) [ ] { } : ,` and whatever else stands alone.
    Mark(u8),
}

/// A token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Token {
    /// What it is.
    pub kind: Kind,
    /// Where it stands, in bytes.
    pub span: Range<usize>,
    /// For texts: where that which is between the quotes stands.
    pub inner: Range<usize>,
}

/// Splits a RON text. It never fails: what is left open (a text, a comment) ends with the file, and `ron` says what is wrong.
#[must_use]
pub fn tokens(source: &str) -> Vec<Token> {
    let bytes = source.as_bytes();
    let mut tokens = Vec::new();
    let mut at = 0;
    while at < bytes.len() {
        let rest = &bytes[at..];
        if rest.starts_with(b"//") {
            at += memchr::memchr(b'\n', rest).unwrap_or(rest.len());
        } else if rest.starts_with(b"/*") {
            at = end_of_comment(bytes, at);
        } else if bytes[at].is_ascii_whitespace() {
            at += 1;
        } else {
            let token = token(bytes, at);
            at = token.span.end;
            tokens.push(token);
        }
    }
    tokens
}

/// The end of a block comment, which may hold others.
fn end_of_comment(bytes: &[u8], start: usize) -> usize {
    let mut depth = 0_usize;
    let mut at = start;
    while at < bytes.len() {
        if bytes[at..].starts_with(b"/*") {
            depth += 1;
            at += 2;
        } else if bytes[at..].starts_with(b"*/") {
            depth -= 1;
            at += 2;
            if depth == 0 {
                return at;
            }
        } else {
            at += 1;
        }
    }
    bytes.len()
}

/// Whether a byte belongs to a name or a number. Everything beyond ASCII does.
fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b'+' | b'-') || byte >= 0x80
}

/// The token that begins at `at`.
fn token(bytes: &[u8], at: usize) -> Token {
    let plain = |kind, end| Token { kind, span: at..end, inner: at..end };
    match bytes[at] {
        b'"' => {
            let close = end_of_text(bytes, at + 1, b'"');
            Token { kind: Kind::Text, span: at..(close + 1).min(bytes.len()), inner: at + 1..close }
        }
        b'\'' => plain(Kind::Word, (end_of_text(bytes, at + 1, b'\'') + 1).min(bytes.len())),
        b'r' if raw_text(bytes, at).is_some() => raw_text(bytes, at).unwrap_or_else(|| plain(Kind::Word, at + 1)),
        byte if is_word(byte) => {
            let length = bytes[at..].iter().position(|byte| !is_word(*byte)).unwrap_or(bytes.len() - at);
            plain(Kind::Word, at + length)
        }
        byte => plain(Kind::Mark(byte), at + 1),
    }
}

/// The place of the closing quote, or the end of the file.
fn end_of_text(bytes: &[u8], start: usize, quote: u8) -> usize {
    let mut at = start;
    while at < bytes.len() {
        match bytes[at] {
            b'\\' => at += 2,
            byte if byte == quote => return at,
            _ => at += 1,
        }
    }
    bytes.len()
}

/// A raw text, when one begins here.
fn raw_text(bytes: &[u8], at: usize) -> Option<Token> {
    let hashes = bytes[at + 1..].iter().take_while(|byte| **byte == b'#').count();
    let open = at + 1 + hashes;
    if bytes.get(open) != Some(&b'"') {
        return None;
    }
    let closing = [b"\"".as_slice(), &b"#".repeat(hashes)].concat();
    let close = memchr::memmem::find(&bytes[open + 1..], &closing).map_or(bytes.len(), |length| open + 1 + length);
    Some(Token { kind: Kind::RawText, span: at..(close + closing.len()).min(bytes.len()), inner: open + 1..close })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn splits_what_a_config_has() {
        let source = "Config(/* a /* b */ \" */ user: r#\"a\"b\"#, // \"c\n n: -1.5, t: \"a\\\"${B}\", c: '\"')";
        let words: Vec<&str> = tokens(source).iter().map(|token| &source[token.span.clone()]).collect();
        assert_eq!(
            words,
            ["Config", "(", "user", ":", "r#\"a\"b\"#", ",", "n", ":", "-1.5", ",", "t", ":", "\"a\\\"${B}\"", ",", "c", ":", "'\"'", ")"]
        );
        let texts: Vec<&str> = tokens(source)
            .iter()
            .filter(|token| matches!(token.kind, Kind::Text | Kind::RawText))
            .map(|token| &source[token.inner.clone()])
            .collect();
        assert_eq!(texts, ["a\"b", "a\\\"${B}"]);
    }

    proptest! {
        #[test]
        fn any_text_gives_tokens_in_order(source in "[ -~\n€]{0,60}") {
            let mut end = 0;
            for token in tokens(&source) {
                prop_assert!(token.span.start >= end && token.span.end > token.span.start && token.span.end <= source.len());
                prop_assert!(source.get(token.span.clone()).is_some());
                prop_assert!(source.get(token.inner.clone()).is_some());
                end = token.span.end;
            }
        }
    }
}
