use std::path::PathBuf;

use argh::FromArgs;

use super::Exit;
use super::restart::stop_then_start;
use crate::process::Command;

/// end at once, then start
#[derive(FromArgs)]
#[argh(subcommand, name = "hardrestart")]
pub struct HardRestart {
    /// the configuration file
    #[argh(option, short = 'c')]
    pub config: Option<PathBuf>,
}

impl HardRestart {
    pub fn execute(self, before: Option<PathBuf>) -> Exit {
        stop_then_start(self.config.or(before), &Command::HardStop)
    }
}
