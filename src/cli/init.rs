use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use argh::FromArgs;

use super::{Exit, complain, say};
use crate::config::initial_text;
use crate::script::config::EMBEDDED;
use crate::script::embedded;

/// write config.ron with every option and its default, and the example applications to apps/
#[derive(FromArgs)]
#[argh(subcommand, name = "init")]
pub struct Init {
    /// the directory; without one, the working directory
    #[argh(positional)]
    pub directory: Option<PathBuf>,
}

impl Init {
    pub fn execute(self) -> Exit {
        let directory = self.directory.unwrap_or_else(|| PathBuf::from("."));
        match write(&directory) {
            Ok(count) => {
                let shown = directory.join("config.ron");
                say(&format!("wrote {} and {count} files in {}\n", shown.display(), directory.join("apps").display()));
                Exit::Fine
            }
            Err(why) => {
                complain(&why);
                Exit::Failed
            }
        }
    }
}

/// Writes both, or nothing where one of the files is there already; how many files went to `apps/`.
fn write(directory: &Path) -> Result<usize, String> {
    let files: Vec<(PathBuf, &[u8])> =
        EMBEDDED.iter().flat_map(|app| embedded::files(app)).map(|(name, bytes)| (directory.join("apps").join(name), bytes)).collect();
    let config = directory.join("config.ron");
    let there = files.iter().map(|(path, _)| path).chain([&config]).find(|path| fs::symlink_metadata(path).is_ok());
    if let Some(path) = there {
        return Err(format!("{} is there already; nothing was written", path.display()));
    }
    for (path, bytes) in &files {
        write_new(path, bytes)?;
    }
    write_new(&config, initial_text(true).as_bytes())?;
    Ok(files.len())
}

/// Writes a file that is not there yet, and the directories it needs.
///
/// # Errors
/// The reason, for people.
pub fn write_new(path: &Path, bytes: &[u8]) -> Result<(), String> {
    let write = || -> io::Result<()> {
        fs::create_dir_all(path.parent().unwrap_or(Path::new(".")))?;
        OpenOptions::new().write(true).create_new(true).open(path)?.write_all(bytes)
    };
    write().map_err(|error| match error.kind() {
        io::ErrorKind::AlreadyExists => format!("{} is there already and was left as it is", path.display()),
        _ => format!("cannot write {}: {}", path.display(), crate::config::plain_reason(&error)),
    })
}
