use std::path::PathBuf;

use argh::FromArgs;

use super::{Exit, master};
use crate::process::Command;

/// replace the workers gracefully by new ones; applications are loaded anew
#[derive(FromArgs)]
#[argh(subcommand, name = "reload")]
pub struct Reload {
    /// the configuration file
    #[argh(option, short = 'c')]
    pub config: Option<PathBuf>,
}

impl Reload {
    pub fn execute(self, before: Option<PathBuf>) -> Exit {
        let config = self.config.or(before);
        master::command(config, &Command::Reload)
    }
}
