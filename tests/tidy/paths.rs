//! The paths by which a file names other modules of its crate: `crate::…`, `super::super::…` and the groups of `use`.

use crate::source::{Source, find_words};

/// A module or item of this crate that a file names.
pub struct Import {
    /// From the root of the crate: `["net", "Stream"]`.
    pub path: Vec<String>,
    /// Where in the file the path begins.
    pub offset: usize,
}

/// Every path of the file that begins at the root of the crate or climbs to it.
pub fn imports(source: &Source) -> Vec<Import> {
    let code = source.code.as_str();
    let mut found = Vec::new();
    for at in find_words(code, "crate") {
        if let Some(rest) = after_colons(&code[at + "crate".len()..]) {
            collect(code, code.len() - rest.len(), &mut Vec::new(), at, &mut found);
        }
    }
    for at in find_words(code, "super") {
        // Only the first `super` of a chain begins a path.
        if !code[..at].trim_end().ends_with("::") {
            found.extend(climb(source, at));
        }
    }
    found
}

/// Follows a chain of `super::` from `at`, and what it names.
fn climb(source: &Source, at: usize) -> Vec<Import> {
    let code = source.code.as_str();
    let mut base = source.module();
    base.extend(enclosing_modules(code, at));
    let mut rest = &code[at..];
    while let Some(next) = rest.strip_prefix("super").and_then(after_colons) {
        base.pop();
        rest = next;
    }
    let mut found = Vec::new();
    collect(code, code.len() - rest.len(), &mut base, at, &mut found);
    found
}

fn after_colons(text: &str) -> Option<&str> {
    text.trim_start().strip_prefix("::").map(str::trim_start)
}

/// Reads `a::b`, `a::{b, c::{d}}` or `{a, b}` at `at` and adds each complete path, with `base` in front.
/// Returns where the reading ended.
fn collect(code: &str, mut at: usize, base: &mut Vec<String>, offset: usize, found: &mut Vec<Import>) -> usize {
    let depth = base.len();
    loop {
        let rest = &code[at..];
        at += rest.len() - rest.trim_start().len();
        let rest = &code[at..];
        if rest.starts_with('{') {
            at = group(code, at + 1, base, found);
            base.truncate(depth);
            return at;
        }
        let name: &str = &rest[..rest.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(rest.len())];
        at += name.len();
        if !name.is_empty() && name != "self" {
            base.push(name.to_owned());
        }
        match after_colons(&code[at..]) {
            Some(next) if !name.is_empty() => at = code.len() - next.len(),
            _ => {
                if base.len() > depth || depth > 0 {
                    found.push(Import { path: base.clone(), offset });
                }
                base.truncate(depth);
                return at;
            }
        }
    }
}

/// The members of a `{…}` whose first is at `at`.
fn group(code: &str, mut at: usize, base: &mut Vec<String>, found: &mut Vec<Import>) -> usize {
    while at < code.len() {
        match code.as_bytes()[at] {
            b'}' => return at + 1,
            b',' | b' ' | b'\n' | b'\t' => at += 1,
            _ => {
                let end = collect(code, at, base, at, found);
                // A glob, or a rename: skip to what ends the member.
                at = end + code[end..].find([',', '}']).unwrap_or(code.len() - end);
            }
        }
    }
    at
}

/// Names of the inline `mod name { … }` blocks around `at`, outermost first.
fn enclosing_modules(code: &str, at: usize) -> Vec<String> {
    let mut open: Vec<Option<String>> = Vec::new();
    for (index, byte) in code.as_bytes()[..at].iter().enumerate() {
        match byte {
            b'{' => open.push(module_opened_at(code, index)),
            b'}' => {
                open.pop();
            }
            _ => {}
        }
    }
    open.into_iter().flatten().collect()
}

fn module_opened_at(code: &str, brace: usize) -> Option<String> {
    let mut words = code[..brace].trim_end().rsplit(|c: char| c.is_whitespace());
    let name = words.next()?;
    let is_name = !name.is_empty() && name.chars().all(|c| c.is_alphanumeric() || c == '_');
    (is_name && words.next() == Some("mod")).then(|| name.to_owned())
}

#[cfg(test)]
mod tests {
    use super::imports;
    use crate::source::Source;

    fn paths(path: &str, text: &str) -> Vec<String> {
        imports(&Source::new(path, text)).iter().map(|i| i.path.join("::")).collect()
    }

    #[test]
    fn groups_are_unfolded() {
        assert_eq!(
            paths("src/a/b.rs", "use crate::{net::{self, Stream, peer::*}, reactor as r, sys};"),
            ["net", "net::Stream", "net::peer", "reactor", "sys"]
        );
    }

    #[test]
    fn super_is_resolved_from_where_it_stands() {
        assert_eq!(paths("src/a/b.rs", "use super::c::D; mod tests { use super::*; use super::super::x; }"), ["a::c::D", "a::b", "a::x"]);
        assert_eq!(paths("src/a/mod.rs", "super::b::f();"), ["b::f"]);
    }

    #[test]
    fn expressions_and_types_count() {
        assert_eq!(paths("src/a.rs", "let x: crate::net::Peer = crate::sys::pid();"), ["net::Peer", "sys::pid"]);
        assert_eq!(paths("src/a.rs", "pub(crate) fn f() {} $crate::x"), ["x"]);
    }
}
