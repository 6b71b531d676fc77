use std::path::PathBuf;

use argh::FromArgs;

use super::{Exit, configuration, master, start};
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
        let config = self.config.or(before);
        let file = configuration::file(config);
        // What cannot be started again is not stopped.
        let loaded = match configuration::load(file.as_deref()) {
            Ok(loaded) => loaded,
            Err(exit) => return exit,
        };
        let stopped = master::Master::in_directory(&loaded.settings.run).and_then(|master| master.ask(&Command::HardStop));
        match stopped {
            Ok(outcome) if !outcome.ok => return master::show(&outcome),
            Err(Exit::Failed) => return Exit::Failed,
            _ => {}
        }
        start::detach(loaded)
    }
}
