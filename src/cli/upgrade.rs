use std::path::PathBuf;

use argh::FromArgs;

use super::{Exit, complain, master};
use crate::process::Command;

/// hand over to a new binary without losing a connection
#[derive(FromArgs)]
#[argh(subcommand, name = "upgrade")]
pub struct Upgrade {
    /// the configuration file
    #[argh(option, short = 'c')]
    pub config: Option<PathBuf>,
    /// the new binary; without one, what is now at the path of the running one
    #[argh(positional)]
    pub binary: Option<PathBuf>,
}

impl Upgrade {
    pub fn execute(self, before: Option<PathBuf>) -> Exit {
        let config = self.config.or(before);
        let binary = match self.binary.as_deref().map(std::path::absolute).transpose() {
            Ok(binary) => binary,
            Err(error) => {
                complain(&format!("the new binary's path cannot be made absolute: {error}"));
                return Exit::Usage;
            }
        };
        master::command(config, &Command::Upgrade { binary })
    }
}
