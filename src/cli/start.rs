use std::io::{self, Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;

use argh::FromArgs;
use nix::unistd::setsid;
use serde::{Deserialize, Serialize};

use super::{Exit, complain, configuration, say};
use crate::config::Loaded;
use crate::master::{self, Options, Report};
use crate::sys::descriptors;
use crate::sys::fork::{Forked, exit_now, fork};
use crate::telemetry::config::LogFile;

/// serve in the background; returns when everything is ready
#[derive(FromArgs)]
#[argh(subcommand, name = "start")]
pub struct Start {
    /// the configuration file
    #[argh(option, short = 'c')]
    pub config: Option<PathBuf>,
}

impl Start {
    pub fn execute(self, before: Option<PathBuf>) -> Exit {
        let config = self.config.or(before);
        match configuration::load(configuration::file(config).as_deref()) {
            Ok(loaded) => detach(loaded),
            Err(exit) => exit,
        }
    }
}

/// What the detached process tells the one on the terminal.
#[derive(Debug, Serialize, Deserialize)]
struct Told {
    ok: bool,
    lines: Vec<String>,
}

/// Starts an instance in the background and waits until it serves or has failed.
pub fn detach(loaded: Loaded) -> Exit {
    match start(loaded) {
        Ok(exit) => exit,
        Err(error) => {
            complain(&format!("skep cannot start: {error}"));
            Exit::Failed
        }
    }
}

fn start(loaded: Loaded) -> io::Result<Exit> {
    let (here, there) = UnixStream::pair()?;
    let log = match &loaded.settings.log.file {
        LogFile::Path(path) => path.clone(),
        LogFile::Stderr => loaded.settings.run.join("skep.log"),
    };
    match fork()? {
        Forked::Child => {
            drop(here);
            exit_now(background(loaded, there))
        }
        Forked::Parent(_) => {
            drop(there);
            let mut text = String::new();
            (&here).read_to_string(&mut text)?;
            let told = serde_json::from_str(&text)
                .unwrap_or_else(|_| Told { ok: false, lines: vec![format!("it ended before it was ready; its log is {}", log.display())] });
            if told.ok {
                say(&format!("{}\n", told.lines.join("\n")));
                return Ok(Exit::Fine);
            }
            complain(&format!("skep cannot start: {}", told.lines.join("\n")));
            Ok(Exit::Failed)
        }
    }
}

/// In the background process: a session of its own, no terminal, and then the master.
fn background(loaded: Loaded, terminal: UnixStream) -> i32 {
    let told = |mut terminal: UnixStream, told: &Told| {
        // When the terminal is gone nobody is left to tell; the log has it.
        let _ = serde_json::to_writer(&terminal, told).map_err(io::Error::from).and_then(|()| terminal.flush());
    };
    // What the caller's shell had open stays its own: a socket or a lock that lives on in here would hold somebody up for days.
    let detached = setsid()
        .map_err(io::Error::from)
        .and_then(|_| descriptors::detach_standard())
        .and_then(|()| descriptors::close_others(&[terminal.as_raw_fd()]));
    if let Err(error) = detached {
        told(terminal, &Told { ok: false, lines: vec![error.to_string()] });
        return 1;
    }
    let started = move |result: Result<Report, String>| {
        let message = match result {
            Ok(report) => {
                let mut lines = vec![format!("skep runs as process {}", report.pid)];
                lines.extend(report.listeners.iter().map(|l| format!("  {:<13} {}", l.server, l.address)));
                lines.extend(report.notes.iter().map(|note| format!("  note: {note}")));
                Told { ok: true, lines }
            }
            Err(why) => Told { ok: false, lines: vec![why] },
        };
        told(terminal, &message);
    };
    master::run(Options { settings: loaded.settings, files_read: loaded.files_read, detached: true, started: Box::new(started) })
}
