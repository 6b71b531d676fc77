use std::path::PathBuf;

use argh::FromArgs;

use super::{Exit, master};
use crate::process::Command;

/// open the log files anew, after they were moved away
#[derive(FromArgs)]
#[argh(subcommand, name = "reopenlog")]
pub struct ReopenLog {
    /// the configuration file
    #[argh(option, short = 'c')]
    pub config: Option<PathBuf>,
}

impl ReopenLog {
    pub fn execute(self, before: Option<PathBuf>) -> Exit {
        let config = self.config.or(before);
        master::command(config, &Command::ReopenLogs)
    }
}
