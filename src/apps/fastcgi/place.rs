//! Which program a request is for: by its path alone, since the files may be on another machine.

use super::config::FastCgiUpstream;
use crate::apps::target::{BadTarget, Target};
use crate::codec::percent::decode_path;

/// A program below the root, and what follows it in the path: decoded, empty or with a slash in front.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) path: String,
    pub(super) info: String,
}

/// Reads a percent-encoded path.
///
/// # Errors
/// It is malformed, or leads to no program.
pub(super) fn find(config: &FastCgiUpstream, path: &str) -> Result<Place, BadTarget> {
    let is_program = |end: usize| config.split.iter().any(|split| path[..end].ends_with(split.as_str()));
    let ends = path.match_indices('/').map(|(at, _)| at).skip(1).chain([path.len()]);
    if let Some(end) = ends.into_iter().find(|&end| is_program(end)) {
        return Ok(Place { path: Target::read(&path[..end])?.path, info: decoded(&path[end..])? });
    }
    if let Some(fallback) = &config.fallback {
        return Ok(Place { path: fallback.clone(), info: decoded(path)? });
    }
    let target = Target::read(path)?;
    if target.slash { Ok(Place { path: target.join(&config.index), info: String::new() }) } else { Err(BadTarget::Hidden) }
}

/// What follows a program. An encoded slash could not be told from one that separates.
fn decoded(info: &str) -> Result<String, BadTarget> {
    let text = decode_path(info).ok_or(BadTarget::Malformed)?;
    if text.matches('/').count() == info.matches('/').count() { Ok(text.into_owned()) } else { Err(BadTarget::Hidden) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_name_that_ends_so_is_the_program() {
        let config = FastCgiUpstream::default();
        let found = |path: &str| find(&config, path).map(|place| (place.path, place.info));
        let is = |path: &str, info: &str| Ok((path.to_owned(), info.to_owned()));
        assert_eq!(found("/a.php"), is("a.php", ""));
        assert_eq!(found("/b%20c/a.php/x%20y//z.php"), is("b c/a.php", "/x y//z.php"));
        assert_eq!(found("/"), is("index.php", ""));
        assert_eq!(found("/b/"), is("b/index.php", ""));
        for hidden in ["/b", "/.a.php", "/.git/a.php", "/../a.php", "/a.php/x%2fy", "//a.php", "/b%2fa.php"] {
            assert_eq!(found(hidden), Err(BadTarget::Hidden), "{hidden}");
        }
        assert_eq!(found("/a.php/%zz"), Err(BadTarget::Malformed));
        let config = FastCgiUpstream { fallback: Some("index.php".to_owned()), ..config };
        assert_eq!(find(&config, "/some/page"), Ok(Place { path: "index.php".into(), info: "/some/page".into() }));
    }
}
