//! Which configuration a command is about.

use std::path::{Path, PathBuf};

use super::{Exit, complain};
use crate::config::{self, Loaded, colours_on_stderr};

/// The file that is meant: the one named, or the usual one, or none.
pub fn file(named: Option<PathBuf>) -> Option<PathBuf> {
    named.or_else(config::usual_file)
}

/// Loads it, and shows what is wrong with it.
///
/// # Errors
/// It is wrong; that was shown.
pub fn load(file: Option<&Path>) -> Result<Loaded, Exit> {
    let colours = colours_on_stderr();
    match config::load(file) {
        Ok(loaded) => {
            for warning in &loaded.warnings {
                complain(warning.render(colours).trim_end());
            }
            Ok(loaded)
        }
        Err(errors) => {
            complain(errors.render(colours).trim_end());
            Err(Exit::Usage)
        }
    }
}

/// The run directory of the instance that uses the file: from the file, or, when that is wrong at present, where it is by default.
/// A broken configuration must not keep anybody from stopping what runs.
pub fn run_directory(file: Option<&Path>) -> PathBuf {
    match config::load(file) {
        Ok(loaded) => loaded.settings.run,
        Err(_) => {
            let base = file.and_then(Path::parent).unwrap_or(Path::new(""));
            std::path::absolute(base.join("run")).unwrap_or_else(|_| base.join("run"))
        }
    }
}
