//! What the file system says to a path of the configuration, without changing anything.

use std::fs::{self, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use nix::fcntl::{AT_FDCWD, AtFlags};
use nix::unistd::{AccessFlags, faccessat};

use super::Checker;
use crate::config::problem::Problem;
use crate::config::tree::Place;

/// Permission bits of a class of users.
const READ: u32 = 4;
const WRITE: u32 = 2;
const PASS: u32 = 1;

/// The account that will use the files when it is another than the one that checks.
#[derive(Clone, Debug)]
pub struct Reader {
    /// Its name.
    pub name: String,
    /// Its user id.
    pub uid: u32,
    /// Its groups.
    pub gids: Vec<u32>,
}

impl Reader {
    /// Whether the permission bits let the account do this. Access control lists are not looked at.
    fn may(&self, metadata: &Metadata, wanted: u32) -> bool {
        let bits = match () {
            () if self.uid == 0 => return true,
            () if metadata.uid() == self.uid => metadata.mode() >> 6,
            () if self.gids.contains(&metadata.gid()) => metadata.mode() >> 3,
            () => metadata.mode(),
        };
        bits & wanted == wanted
    }

    /// The first directory on the way that the account cannot pass, or the path itself if it cannot do this with it.
    fn stopped_at(&self, path: &Path, wanted: u32) -> Option<PathBuf> {
        let mut way: Vec<&Path> = path.ancestors().skip(1).collect();
        way.reverse();
        let stopped = |path: &Path, wanted| fs::metadata(path).is_ok_and(|metadata| !self.may(&metadata, wanted));
        way.into_iter().find(|above| stopped(above, PASS)).or_else(|| stopped(path, wanted).then_some(path)).map(Path::to_owned)
    }
}

/// Whether this process may do this with a file, by its effective user.
fn allowed(path: &Path, flags: AccessFlags) -> Result<(), String> {
    faccessat(AT_FDCWD, path, flags, AtFlags::AT_EACCESS).map_err(|errno| reason(path, &errno.into()))
}

/// An error in words with its path.
pub fn reason(path: &Path, error: &io::Error) -> String {
    let what = match error.kind() {
        io::ErrorKind::NotFound => "does not exist".to_owned(),
        io::ErrorKind::PermissionDenied => "may not be used by this user (permission denied)".to_owned(),
        io::ErrorKind::NotADirectory => "leads through something that is not a directory".to_owned(),
        io::ErrorKind::ReadOnlyFilesystem => "is on a file system that cannot be written".to_owned(),
        _ => format!("cannot be used: {error}"),
    };
    format!("{} {what}", path.display())
}

/// Whether a directory exists and can be listed.
pub fn readable_directory(path: &Path) -> Result<(), String> {
    let metadata = fs::metadata(path).map_err(|error| reason(path, &error))?;
    if !metadata.is_dir() {
        return Err(format!("{} is not a directory", path.display()));
    }
    allowed(path, AccessFlags::R_OK | AccessFlags::X_OK)
}

/// Whether a file exists and can be read.
pub fn readable_file(path: &Path) -> Result<(), String> {
    let metadata = fs::metadata(path).map_err(|error| reason(path, &error))?;
    if metadata.is_dir() {
        return Err(format!("{} is a directory, not a file", path.display()));
    }
    allowed(path, AccessFlags::R_OK)
}

/// Whether a directory exists and can be written, or can be made.
pub fn usable_directory(path: &Path) -> Result<(), String> {
    for above in path.ancestors() {
        match fs::metadata(above) {
            Ok(metadata) if !metadata.is_dir() => return Err(format!("{} is not a directory", above.display())),
            Ok(_) => {
                let cannot = |reason| if above == path { reason } else { format!("{} cannot be made: {reason}", path.display()) };
                return allowed(above, AccessFlags::W_OK | AccessFlags::X_OK).map_err(cannot);
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(reason(above, &error)),
        }
    }
    Err(format!("{} does not exist", path.display()))
}

/// Whether a file exists and can be written, or can be made.
fn usable_file(path: &Path) -> Result<(), String> {
    match fs::metadata(path) {
        Ok(metadata) if metadata.is_dir() => Err(format!("{} is a directory, not a file", path.display())),
        Ok(_) => allowed(path, AccessFlags::W_OK),
        Err(error) if error.kind() == io::ErrorKind::NotFound => usable_directory(path.parent().unwrap_or(path)),
        Err(error) => Err(reason(path, &error)),
    }
}

impl Checker<'_> {
    fn report<T>(&mut self, place: &Place, result: Result<T, String>) {
        if let Err(message) = result {
            self.error(place, message);
        }
    }

    /// Something the workers use after they changed their root: it must be inside.
    pub(super) fn inside_chroot(&mut self, place: &Place, path: &Path) {
        if let Some(root) = &self.chroot
            && !path.starts_with(root)
        {
            let message = format!("{} lies outside the chroot {}, where the workers cannot reach it", path.display(), root.display());
            self.error(place, message);
        }
    }

    /// Warns when the user of the workers cannot get at a path that this user can.
    fn reachable(&mut self, place: &Place, path: &Path, wanted: u32) {
        let Some(reader) = &self.reader else { return };
        if let Some(stopped) = reader.stopped_at(path, wanted) {
            let message = format!(
                "the user `{}` may not be able to use {}: the permissions of {} do not let it",
                reader.name,
                path.display(),
                stopped.display()
            );
            let problem = Problem::warning(message, self.sources.value(place));
            self.problems.push(problem);
        }
    }

    /// A directory of the server's own, made at the start when it does not exist.
    pub(super) fn directory(&mut self, place: &Place, path: &Path) -> PathBuf {
        let path = self.absolute(place, path);
        self.report(place, usable_directory(&path));
        path
    }

    /// The directory for what must be kept. Workers do without it where they can, so it may lie where they do not reach it.
    pub(super) fn data_directory(&mut self, place: &Place, path: &Path) -> PathBuf {
        let path = self.directory(place, path);
        if let Some(root) = &self.chroot
            && !path.starts_with(root)
        {
            let message =
                format!("{} lies outside the chroot {}: nothing can be kept there, uploads neither", path.display(), root.display());
            self.warning(place, message);
        } else if path.exists() {
            self.reachable(place, &path, READ | WRITE | PASS);
        }
        path
    }

    /// A file that the master writes.
    pub(super) fn file_to_write(&mut self, place: &Place, path: &Path) -> PathBuf {
        let path = self.absolute(place, path);
        self.report(place, usable_file(&path));
        path
    }

    /// A file that is written after the privileges are gone.
    pub(super) fn file_to_keep(&mut self, place: &Place, path: &Path) -> PathBuf {
        let path = self.file_to_write(place, path);
        self.inside_chroot(place, &path);
        path
    }

    /// A directory that the workers write to, made when it does not exist.
    pub(super) fn worker_directory(&mut self, place: &Place, path: &Path) -> PathBuf {
        let path = self.directory(place, path);
        self.inside_chroot(place, &path);
        if path.exists() {
            self.reachable(place, &path, READ | WRITE | PASS);
        }
        path
    }

    /// A file that must be there; `workers`: it is they who read it.
    pub(super) fn file_to_read(&mut self, place: &Place, path: &Path, workers: bool) -> PathBuf {
        let path = self.absolute(place, path);
        if path == self.base {
            return path;
        }
        self.report(place, readable_file(&path));
        if workers {
            self.inside_chroot(place, &path);
            self.reachable(place, &path, READ);
        }
        path
    }

    /// A directory that must be there, for the workers to read.
    pub(super) fn directory_to_read(&mut self, place: &Place, path: &Path) -> PathBuf {
        let path = self.absolute(place, path);
        self.report(place, readable_directory(&path));
        self.inside_chroot(place, &path);
        self.reachable(place, &path, READ | PASS);
        path
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn says_what_is_wrong_with_a_path() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("file");
        fs::write(&file, "x").unwrap();
        let said = |result: Result<(), String>| result.unwrap_err().replace(&dir.path().display().to_string(), "");
        assert_eq!(readable_directory(dir.path()), Ok(()));
        assert_eq!(said(readable_directory(&file)), "/file is not a directory");
        assert_eq!(said(readable_directory(&dir.path().join("none"))), "/none does not exist");
        assert_eq!(said(readable_file(dir.path())), " is a directory, not a file");
        assert_eq!(usable_directory(&dir.path().join("a/b/c")), Ok(()));
        assert_eq!(said(usable_directory(&file.join("b"))), "/file/b leads through something that is not a directory");
        assert_eq!(usable_file(&dir.path().join("new")), Ok(()));
        assert_eq!(usable_file(&file), Ok(()));
    }

    #[test]
    fn reads_permission_bits_for_another_user() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("file");
        fs::write(&file, "x").unwrap();
        let mode = |path: &Path, mode| fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
        let stranger = Reader { name: "stranger".into(), uid: u32::MAX - 7, gids: vec![u32::MAX - 7] };
        mode(dir.path(), 0o755);
        mode(&file, 0o644);
        assert_eq!(stranger.stopped_at(&file, READ), None);
        mode(&file, 0o640);
        assert_eq!(stranger.stopped_at(&file, READ), Some(file.clone()));
        mode(dir.path(), 0o700);
        assert_eq!(stranger.stopped_at(&file, READ), Some(dir.path().to_owned()));
    }
}
