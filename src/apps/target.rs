//! From the path of a request to a path below the directory.

use crate::codec::percent::decode_path;

/// Longer paths name no file on Linux.
const MAX_PATH: usize = 4095;

/// What a request asks for, checked: it names no dot file and nothing above the directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Target {
    /// Relative to the directory, without slashes at the ends; empty for the directory itself.
    pub(super) path: String,
    /// Whether the request's path ended with a slash, so that only a directory will do.
    pub(super) slash: bool,
}

/// Why a path names no file here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum BadTarget {
    /// It cannot be decoded: 400.
    Malformed,
    /// It may not be served, whether it is there or not: 404.
    Hidden,
}

impl Target {
    /// Reads a percent-encoded path that begins with a slash.
    pub(super) fn read(path: &str) -> Result<Self, BadTarget> {
        let decoded = decode_path(path).ok_or(BadTarget::Malformed)?;
        // An encoded slash separates nothing, a backslash would elsewhere, control characters are nobody's file names.
        let encoded_slash = decoded.matches('/').count() != path.matches('/').count();
        if encoded_slash || decoded.contains(|c: char| c == '\\' || c.is_control()) || decoded.len() > MAX_PATH {
            return Err(BadTarget::Hidden);
        }
        let inner = decoded.strip_prefix('/').ok_or(BadTarget::Hidden)?;
        let (inner, slash) = match inner.strip_suffix('/') {
            Some(inner) => (inner, true),
            None => (inner, inner.is_empty()),
        };
        if inner.is_empty() && decoded.len() > 1 {
            return Err(BadTarget::Hidden);
        }
        let visible = |(at, segment): (usize, &str)| is_visible(segment, at == 0);
        if !inner.is_empty() && !inner.split('/').enumerate().all(visible) {
            return Err(BadTarget::Hidden);
        }
        Ok(Self { path: inner.to_owned(), slash })
    }

    /// The path of something in this directory.
    pub(super) fn join(&self, name: &str) -> String {
        if self.path.is_empty() { name.to_owned() } else { format!("{}/{name}", self.path) }
    }
}

/// Names that begin with a dot are not served, except the registered place for what other programs look up (RFC 8615).
pub(super) fn is_visible(segment: &str, first: bool) -> bool {
    !segment.is_empty() && (!segment.starts_with('.') || (first && segment == ".well-known"))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn paths_are_checked() {
        let good = |path: &str, relative: &str, slash| {
            assert_eq!(Target::read(path), Ok(Target { path: relative.into(), slash }), "{path}");
        };
        good("/", "", true);
        good("/a.txt", "a.txt", false);
        good("/a%20b/%C3%BC", "a b/\u{fc}", false);
        good("/dir/", "dir", true);
        good("/.well-known/acme/x", ".well-known/acme/x", false);
        good("/a..b/c...", "a..b/c...", false);
        for path in [
            "",
            "*",
            "a",
            "//",
            "//a",
            "/a//b",
            "/a//",
            "/.git/config",
            "/a/.well-known/x",
            "/..",
            "/../a",
            "/a/..",
            "/.",
            "/./a",
            "/%2e%2e/a",
            "/a%2fb",
            "/a%2F..%2Fb",
            "/a\\b",
            "/a%5cb",
            "/a%0ab",
            "/...",
            "/.htaccess",
        ] {
            assert_eq!(Target::read(path), Err(BadTarget::Hidden), "{path}");
        }
        for path in ["/%", "/%zz", "/%00", "/a%00.txt", "/%ff", "/%c0%ae%c0%ae/"] {
            assert_eq!(Target::read(path), Err(BadTarget::Malformed), "{path}");
        }
        assert_eq!(Target::read(&format!("/{}", "a".repeat(5000))), Err(BadTarget::Hidden));
    }

    proptest! {
        #[test]
        fn nothing_leads_up_or_to_a_dot_file(path in "(/|\\.|%2e|%2F|%5c|a|%00|\\\\){0,12}") {
            if let Ok(target) = Target::read(&format!("/{path}")) {
                prop_assert!(target.path.is_empty() || target.path.split('/').all(|segment| !segment.is_empty() && !segment.starts_with('.')));
            }
        }
    }
}
