use std::path::PathBuf;

use argh::FromArgs;

use super::{Exit, configuration, master};
use crate::process::Command;

/// read the configuration again and apply it in place; what did not change keeps its connections
#[derive(FromArgs)]
#[argh(subcommand, name = "update")]
pub struct Update {
    /// the configuration file
    #[argh(option, short = 'c')]
    pub config: Option<PathBuf>,
}

impl Update {
    pub fn execute(self, before: Option<PathBuf>) -> Exit {
        let config = self.config.or(before);
        let file = configuration::file(config);
        let running = match master::Master::connect(file.clone()) {
            Ok(running) => running,
            Err(exit) => return exit,
        };
        // Read here first, to show what is wrong with its line and a caret. The master is asked all the same: what is wrong belongs in
        // its log and its status.
        let here = file.as_deref().map_or(Ok(()), |file| configuration::load(Some(file)).map(|_| ()));
        match (here, running.ask(&Command::Update)) {
            (Ok(()), Ok(outcome)) => master::show(&outcome),
            (Err(exit), _) | (Ok(()), Err(exit)) => exit,
        }
    }
}
