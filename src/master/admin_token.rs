//! The admin token that the configuration does not give: kept in the data directory, made at the first start.
//!
//! The master sees to it, and not the hub that asks for it, because it can: the hub may run as another user or in another root.

use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use crate::config::Settings;
use crate::log_error;
use crate::secret::Secret;

/// The file in the data directory. Only the master's user may read it.
const FILE: &str = "admin.token";
/// What is shorter is no token.
const SHORTEST: usize = 16;

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

fn kept(file: &Path) -> io::Result<String> {
    match fs::read_to_string(file) {
        Ok(token) if token.trim().len() >= SHORTEST => return Ok(token.trim().to_owned()),
        Ok(_) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    let mut bytes = [0; 24];
    getrandom::fill(&mut bytes).map_err(io::Error::other)?;
    let token: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    // In one step: a half-written token would be one that nobody was told of.
    let new = file.with_extension("new");
    let mut opened = fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&new)?;
    writeln!(opened, "{token}")?;
    opened.sync_all()?;
    fs::rename(&new, file)?;
    Ok(token)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

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
}
