//! Talking to the running master.

use std::io::{self, BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use super::{Exit, complain, configuration, say};
use crate::process::{Command, Outcome, Reply, control_socket};

/// A connection to the master.
pub struct Master {
    stream: UnixStream,
}

impl Master {
    /// Connects to the instance that uses this configuration.
    ///
    /// # Errors
    /// None runs, or it is another user's; that was said.
    pub fn connect(config: Option<PathBuf>) -> Result<Master, Exit> {
        let file = configuration::file(config);
        Master::in_directory(&configuration::run_directory(file.as_deref()))
    }

    /// Connects to the instance with this run directory.
    ///
    /// # Errors
    /// As [`Master::connect`].
    pub fn in_directory(run: &Path) -> Result<Master, Exit> {
        match control_socket::connect(run) {
            Ok(stream) => Ok(Master { stream }),
            Err(error)
                if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused | io::ErrorKind::NotADirectory) =>
            {
                complain("skep is not running");
                Err(Exit::NotRunning)
            }
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                complain(&format!("skep cannot be reached: its control socket in {} belongs to another user", run.display()));
                Err(Exit::Failed)
            }
            Err(error) => {
                complain(&format!("skep cannot be reached through {}: {error}", run.join(control_socket::NAME).display()));
                Err(Exit::Failed)
            }
        }
    }

    /// Asks, shows progress while it waits, returns the answer.
    ///
    /// # Errors
    /// The connection broke; that was said.
    pub fn ask(self, command: &Command) -> Result<Outcome, Exit> {
        self.exchange(command).map_err(|error| {
            complain(&format!("skep did not answer: {error}"));
            Exit::Failed
        })
    }

    fn exchange(mut self, command: &Command) -> io::Result<Outcome> {
        let mut line = serde_json::to_vec(command)?;
        line.push(b'\n');
        self.stream.write_all(&line)?;
        let mut reader = BufReader::new(self.stream);
        let mut line = String::new();
        let outcome = loop {
            line.clear();
            if reader.read_line(&mut line)? == 0 {
                return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "it ended"));
            }
            match serde_json::from_str(&line)? {
                Reply::Progress(text) => complain(&text),
                Reply::Done(outcome) => break outcome,
            }
        };
        if matches!(command, Command::Stop | Command::HardStop) {
            // The connection closes when the process is gone.
            while reader.read_line(&mut line)? > 0 {}
        }
        Ok(outcome)
    }
}

/// Asks the instance of a configuration and shows the answer's lines.
pub fn command(config: Option<PathBuf>, command: &Command) -> Exit {
    match Master::connect(config).and_then(|master| master.ask(command)) {
        Ok(outcome) => show(&outcome),
        Err(exit) => exit,
    }
}

/// Shows an answer.
pub fn show(outcome: &Outcome) -> Exit {
    for line in &outcome.lines {
        if outcome.ok {
            say(&format!("{line}\n"));
        } else {
            complain(line);
        }
    }
    if outcome.ok { Exit::Fine } else { Exit::Failed }
}
