//! The admin token that the configuration does not give: kept in the data directory, made at the first start.
//!
//! The master sees to it, and not the hub that asks for it, because it can: the hub may run as another user or in another root.

use std::fs::{self, Permissions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::Path;

use nix::unistd::Uid;

use crate::config::Settings;
use crate::secret::Secret;
use crate::{log_error, log_warn};

/// The file in the data directory. Only the master's user may read it.
const FILE: &str = "admin.token";
/// What is shorter is no token.
const SHORTEST: usize = 16;
/// More is not read.
const LONGEST: u64 = 4096;

/// Gives settings without an admin token the kept one. When it cannot be kept there is none, and nobody gets in.
pub fn complete(settings: &mut Settings) {
    if settings.admin.token.is_some() {
        return;
    }
    let file = settings.data.join(FILE);
    match kept(&file) {
        Ok(token) => settings.admin.token = Some(Secret::new(token)),
        Err(error) => {
            log_error!("admin: the token cannot be kept in {}: {error}; nobody gets in until `admin.token` is set", file.display());
        }
    }
}

/// The directory may belong to the user whom the children become, so nothing there is followed or believed that another could have put there.
fn kept(file: &Path) -> io::Result<String> {
    match open(file) {
        Ok(opened) => {
            let found = opened.metadata()?;
            let ours = found.is_file() && found.uid() == Uid::effective().as_raw() && found.nlink() == 1 && found.mode().trailing_zeros() >= 6;
            let mut token = String::new();
            if ours {
                Read::take(opened, LONGEST).read_to_string(&mut token)?;
            }
            if token.trim().len() >= SHORTEST {
                return Ok(token.trim().to_owned());
            }
            log_warn!("admin: {} is not a token that only this user can read: another one is made", file.display());
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        // A link, which is not followed.
        Err(error) if error.raw_os_error() == Some(libc::ELOOP) => {}
        Err(error) => return Err(error),
    }
    let mut bytes = [0; 24];
    getrandom::fill(&mut bytes).map_err(io::Error::other)?;
    let token: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    // In one step: a half-written token would be one that nobody was told of. The name cannot be foreseen.
    let mut new = tempfile::Builder::new()
        .prefix(".admin.token")
        .permissions(Permissions::from_mode(0o600))
        .tempfile_in(file.parent().unwrap_or(Path::new(".")))?;
    writeln!(new, "{token}")?;
    new.as_file().sync_all()?;
    new.persist(file).map_err(|error| error.error)?;
    Ok(token)
}

fn open(file: &Path) -> io::Result<fs::File> {
    fs::OpenOptions::new().read(true).custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK).open(file)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_made_once_and_for_one_reader() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join(FILE);
        let token = kept(&file).unwrap();
        assert_eq!(token.len(), 48);
        assert_eq!(kept(&file).unwrap(), token);
        assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
        fs::write(&file, "short\n").unwrap();
        assert_ne!(kept(&file).unwrap(), token, "what is too short to be safe is replaced");
        assert!(kept(Path::new("/proc/no/such/place")).is_err());
    }

    #[test]
    fn what_another_could_have_put_there_is_neither_read_nor_written() {
        let directory = tempfile::tempdir().unwrap();
        let (file, other) = (directory.path().join(FILE), directory.path().join("other"));
        fs::write(&other, "something that stands elsewhere\n").unwrap();
        std::os::unix::fs::symlink(&other, &file).unwrap();
        let token = kept(&file).unwrap();
        assert_eq!(fs::read_to_string(&other).unwrap(), "something that stands elsewhere\n");
        assert!(fs::symlink_metadata(&file).unwrap().is_file() && token.len() == 48);
        fs::remove_file(&file).unwrap();
        fs::hard_link(&other, &file).unwrap();
        assert_eq!(kept(&file).unwrap().len(), 48, "a second name of another file is none of ours");
        fs::set_permissions(&file, Permissions::from_mode(0o644)).unwrap();
        let readable = fs::read_to_string(&file).unwrap();
        assert_ne!(kept(&file).unwrap(), readable.trim(), "what others could read is no secret any more");
    }
}
