//! Which file of the directory a request is for.

use std::fs::File;

use nix::fcntl::OFlag;

use crate::apps::target::{BadTarget, Target};
use crate::codec::percent::decode_path;
use crate::request::file::{Refusal, Root};

/// A file to be run.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Place {
    /// Below the directory, decoded, without slashes at its ends.
    pub(super) path: String,
    /// What follows it in the request's path, decoded: empty, or it begins with a slash.
    pub(super) info: String,
    /// Whether anybody may execute it.
    pub(super) executable: bool,
}

/// What a request's path leads to.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Found {
    File(Place),
    /// A directory, and the path has no slash at its end.
    NeedsSlash,
}

/// Why it leads nowhere.
#[derive(Debug)]
pub(super) enum Nowhere {
    /// The path is not encoded properly.
    Malformed,
    Refused(Refusal),
}

impl From<Refusal> for Nowhere {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

/// Finds the first file on the way that a percent-encoded path names. May wait for a disk.
pub(super) fn find(root: &Root, index: &[String], path: &str) -> Result<Found, Nowhere> {
    let slashes = path.match_indices('/').map(|(at, _)| at).skip(1);
    for end in slashes.chain([path.len()]) {
        let target = Target::read(&path[..end]).map_err(|bad| match bad {
            BadTarget::Malformed => Nowhere::Malformed,
            BadTarget::Hidden => Refusal::NotFound.into(),
        })?;
        match look(root, &target.path)? {
            Kind::File { executable } if !target.slash => {
                let info = decode_path(&path[end..]).ok_or(Nowhere::Malformed)?;
                // An encoded slash could not be told from one that separates.
                if info.matches('/').count() != path[end..].matches('/').count() {
                    return Err(Refusal::NotFound.into());
                }
                return Ok(Found::File(Place { path: target.path, info: info.into_owned(), executable }));
            }
            Kind::Directory if end < path.len() => {}
            Kind::Directory => return in_directory(root, index, &target),
            Kind::File { .. } | Kind::Other => return Err(Refusal::NotFound.into()),
        }
    }
    Err(Refusal::NotFound.into())
}

/// The file that answers for a directory.
fn in_directory(root: &Root, index: &[String], target: &Target) -> Result<Found, Nowhere> {
    for name in index {
        let path = target.join(name);
        match look(root, &path) {
            Ok(Kind::File { .. }) if !target.slash => return Ok(Found::NeedsSlash),
            Ok(Kind::File { executable }) => return Ok(Found::File(Place { path, info: String::new(), executable })),
            Ok(_) | Err(Refusal::NotFound) => {}
            Err(refusal) => return Err(refusal.into()),
        }
    }
    Err(Refusal::NotFound.into())
}

enum Kind {
    File { executable: bool },
    Directory,
    Other,
}

fn look(root: &Root, path: &str) -> Result<Kind, Refusal> {
    use std::os::unix::fs::PermissionsExt;
    let metadata = File::from(root.open_below(path, OFlag::O_PATH, true)?).metadata()?;
    Ok(match () {
        () if metadata.is_file() => Kind::File { executable: metadata.permissions().mode() & 0o111 != 0 },
        () if metadata.is_dir() => Kind::Directory,
        () => Kind::Other,
    })
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;

    #[test]
    fn the_first_file_on_the_way_is_the_program() {
        let folder = tempfile::tempdir().unwrap();
        let inside = folder.path().join("root");
        fs::create_dir_all(inside.join("a b/empty")).unwrap();
        fs::write(folder.path().join("outside"), "").unwrap();
        for name in ["run.sh", "a b/x.py", "a b/index.php", ".hidden"] {
            fs::write(inside.join(name), "").unwrap();
        }
        fs::set_permissions(inside.join("run.sh"), fs::Permissions::from_mode(0o755)).unwrap();
        symlink("../outside", inside.join("out")).unwrap();
        symlink("run.sh", inside.join("in")).unwrap();
        let root = Root::open(&inside, true).unwrap();
        let found = |path: &str| match find(&root, &["index.php".to_owned()], path) {
            Ok(Found::File(place)) => format!("{} + {} {}", place.path, place.info, place.executable),
            Ok(Found::NeedsSlash) => "slash".to_owned(),
            Err(Nowhere::Malformed) => "malformed".to_owned(),
            Err(Nowhere::Refused(Refusal::NotFound)) => "nothing".to_owned(),
            Err(Nowhere::Refused(other)) => format!("{other:?}"),
        };
        for (path, expected) in [
            ("/run.sh", "run.sh +  true"),
            ("/run.sh/", "run.sh + / true"),
            ("/run.sh/a%20b//c/.d", "run.sh + /a b//c/.d true"),
            ("/in", "in +  true"),
            ("/a%20b/x.py/run.sh", "a b/x.py + /run.sh false"),
            ("/a%20b/", "a b/index.php +  false"),
            ("/a%20b", "slash"),
            ("/a%20b/empty/", "nothing"),
            ("/", "nothing"),
            ("/missing/run.sh", "nothing"),
            ("/out", "nothing"),
            ("/.hidden", "nothing"),
            ("//run.sh", "nothing"),
            ("/run.sh%2fa", "nothing"),
            ("/run.sh/a%2fb", "nothing"),
            ("/run.sh/%zz", "malformed"),
            ("/run.sh/%00", "malformed"),
            ("/run.sh%00.php", "malformed"),
            ("/a b\\x", "nothing"),
        ] {
            assert_eq!(found(path), expected, "{path}");
        }
    }
}
