use std::path::PathBuf;

use argh::FromArgs;

use super::{Exit, complain, configuration, say};
use crate::config::{colours_on_stderr, probe_listeners};
use crate::process::{Command, Outcome, Reply, control_socket};
use crate::sys::privileges::Target;

/// check the configuration: everything that a start would trip over
#[derive(FromArgs)]
#[argh(subcommand, name = "configtest")]
pub struct ConfigTest {
    /// the configuration file
    #[argh(option, short = 'c')]
    pub config: Option<PathBuf>,
}

impl ConfigTest {
    pub fn execute(self, before: Option<PathBuf>) -> Exit {
        let config = self.config.or(before);
        let file = configuration::file(config);
        let loaded = match configuration::load(file.as_deref()) {
            Ok(loaded) => loaded,
            Err(exit) => return exit,
        };
        let settings = &loaded.settings;
        let running = running_listeners(&settings.run);
        // A default that is busy moves to the next free port.
        let problems = if settings.file.is_some() { probe_listeners(settings, &running) } else { Vec::new() };
        for problem in &problems {
            complain(problem.render(colours_on_stderr()).trim_end());
        }
        let target = Target::find(settings.user.as_deref(), settings.group.as_deref(), settings.chroot.as_deref(), settings.cwd.as_deref());
        match target {
            Ok(target) => target.impossible().iter().for_each(|missing| complain(&format!("note: {missing}"))),
            Err(error) => {
                complain(&format!("error: {error}"));
                return Exit::Usage;
            }
        }
        if !problems.is_empty() {
            return Exit::Usage;
        }
        let name = file.map_or_else(|| "the built-in configuration".to_owned(), |file| file.display().to_string());
        say(&format!("{name} is fine\n"));
        Exit::Fine
    }
}

/// What the running instance of this configuration listens on: those ports are busy, and rightly so.
fn running_listeners(run: &std::path::Path) -> Vec<crate::net::Address> {
    let listeners = || -> std::io::Result<Vec<crate::net::Address>> {
        use std::io::{BufRead, Write};
        let mut stream = control_socket::connect(run)?;
        let mut line = serde_json::to_string(&Command::Status)?;
        line.push('\n');
        stream.write_all(line.as_bytes())?;
        let mut line = String::new();
        std::io::BufReader::new(stream).read_line(&mut line)?;
        let Reply::Done(Outcome { status: Some(status), .. }) = serde_json::from_str(&line)? else { return Ok(Vec::new()) };
        Ok(status.master.listeners.into_iter().map(|l| l.address).collect())
    };
    // Nobody runs, or it cannot be asked: then nothing is known to be rightly busy.
    listeners().unwrap_or_default()
}
