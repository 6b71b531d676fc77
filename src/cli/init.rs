use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use argh::FromArgs;

use super::{Exit, complain, say};
use crate::config::initial_text;

/// write config.ron with every option and its default
#[derive(FromArgs)]
#[argh(subcommand, name = "init")]
pub struct Init {
    /// the directory; without one, the working directory
    #[argh(positional)]
    pub directory: Option<PathBuf>,
}

impl Init {
    pub fn execute(&self) -> Exit {
        let directory = self.directory.as_deref().unwrap_or(Path::new("."));
        let path = directory.join("config.ron");
        match fs::create_dir_all(directory).and_then(|()| write_new(&path, &initial_text(false))) {
            Ok(()) => {
                say(&format!("wrote {}\n", path.display()));
                Exit::Fine
            }
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                complain(&format!("{} is there already and was left as it is", path.display()));
                Exit::Failed
            }
            Err(error) => {
                complain(&format!("cannot write {}: {error}", path.display()));
                Exit::Failed
            }
        }
    }
}

/// Writes a file that is not there yet.
pub fn write_new(path: &Path, text: &str) -> io::Result<()> {
    OpenOptions::new().write(true).create_new(true).open(path)?.write_all(text.as_bytes())
}
