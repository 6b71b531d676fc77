use std::path::PathBuf;

use argh::FromArgs;

use super::{Exit, master};
use crate::process::Command;

/// end at once, whatever goes on
#[derive(FromArgs)]
#[argh(subcommand, name = "hardstop")]
pub struct HardStop {
    /// the configuration file
    #[argh(option, short = 'c')]
    pub config: Option<PathBuf>,
}

impl HardStop {
    pub fn execute(self, before: Option<PathBuf>) -> Exit {
        let config = self.config.or(before);
        master::command(config, &Command::HardStop)
    }
}
