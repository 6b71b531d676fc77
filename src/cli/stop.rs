use std::path::PathBuf;

use argh::FromArgs;

use super::{Exit, master};
use crate::process::Command;

/// let requests finish (up to workers.drain), then end; waits until it is gone
#[derive(FromArgs)]
#[argh(subcommand, name = "stop")]
pub struct Stop {
    /// the configuration file
    #[argh(option, short = 'c')]
    pub config: Option<PathBuf>,
}

impl Stop {
    pub fn execute(self, before: Option<PathBuf>) -> Exit {
        let config = self.config.or(before);
        master::command(config, &Command::Stop)
    }
}
