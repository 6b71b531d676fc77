use std::path::PathBuf;

use argh::FromArgs;

use super::{Exit, configuration, master, start};
use crate::process::Command;

/// stop gracefully, then start
#[derive(FromArgs)]
#[argh(subcommand, name = "restart")]
pub struct Restart {
    /// the configuration file
    #[argh(option, short = 'c')]
    pub config: Option<PathBuf>,
}

impl Restart {
    pub fn execute(self, before: Option<PathBuf>) -> Exit {
        stop_then_start(self.config.or(before), &Command::Stop)
    }
}

/// Starts anew after `stop` has ended what runs. Nothing running is no obstacle.
pub(super) fn stop_then_start(config: Option<PathBuf>, stop: &Command) -> Exit {
    let file = configuration::file(config);
    // What cannot be started again is not stopped.
    let loaded = match configuration::load(file.as_deref()) {
        Ok(loaded) => loaded,
        Err(exit) => return exit,
    };
    let stopped = master::Master::in_directory(&loaded.settings.run).and_then(|master| master.ask(stop));
    match stopped {
        Ok(outcome) if !outcome.ok => return master::show(&outcome),
        Err(Exit::Failed) => return Exit::Failed,
        _ => {}
    }
    start::detach(loaded)
}
