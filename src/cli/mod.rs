//! The commands of the binary, one file each.
//!
//! Exit codes: 0 fine, 1 failed, 2 bad usage or bad configuration, 3 not running.

mod config;
mod configtest;
mod configuration;
mod editor;
mod fullstatus;
mod hardrestart;
mod hardstop;
mod init;
mod master;
mod new;
mod password;
mod reload;
mod reopenlog;
mod restart;
mod run;
mod start;
mod status;
mod stop;
mod update;
mod upgrade;

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use argh::FromArgs;

/// How a command ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    /// What was asked for has happened.
    Fine = 0,
    /// It has not.
    Failed = 1,
    /// The command line or the configuration is wrong.
    Usage = 2,
    /// There is no running instance.
    NotRunning = 3,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> ExitCode {
        ExitCode::from(exit as u8)
    }
}

/// skep: servers, clients, Luau applications and an admin panel in one binary.
#[derive(FromArgs)]
struct Skep {
    /// the configuration file; without one: config.ron here, then /etc/skep/config.ron, then built-in defaults
    #[argh(option, short = 'c')]
    config: Option<PathBuf>,
    /// show the version
    #[argh(switch, short = 'V')]
    version: bool,
    #[argh(subcommand)]
    command: Option<Command>,
}

#[derive(FromArgs)]
#[argh(subcommand)]
enum Command {
    Run(run::Run),
    Start(start::Start),
    Stop(stop::Stop),
    HardStop(hardstop::HardStop),
    Update(update::Update),
    Reload(reload::Reload),
    ReopenLog(reopenlog::ReopenLog),
    Restart(restart::Restart),
    HardRestart(hardrestart::HardRestart),
    Upgrade(upgrade::Upgrade),
    Status(status::Status),
    FullStatus(fullstatus::FullStatus),
    ConfigTest(configtest::ConfigTest),
    Init(init::Init),
    New(new::New),
    Password(password::Password),
    Config(config::Config),
}

/// Parses the arguments, does what they say; the binary's only call.
#[must_use]
pub fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args_os().skip(1).map(|argument| argument.to_string_lossy().into_owned()).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match parse(&arguments) {
        Ok(skep) => skep.execute().into(),
        Err(exit) => exit.into(),
    }
}

fn parse(arguments: &[&str]) -> Result<Skep, Exit> {
    // `skep help run` is `skep run --help`.
    let turned: Vec<&str> = match arguments {
        ["help", command, ..] => vec![command, "--help"],
        other => other.to_vec(),
    };
    Skep::from_args(&["skep"], &turned).map_err(|early| {
        if early.status.is_ok() {
            say(&early.output);
            Exit::Fine
        } else {
            complain(early.output.trim_end());
            Exit::Usage
        }
    })
}

impl Skep {
    fn execute(self) -> Exit {
        if self.version {
            say(concat!("skep ", env!("CARGO_PKG_VERSION"), "\n"));
            return Exit::Fine;
        }
        // The file may be named before the command or after it; the one after is the nearer.
        let before = self.config;
        match self.command {
            Some(Command::Run(run)) => run.execute(before),
            Some(Command::Start(start)) => start.execute(before),
            Some(Command::Stop(stop)) => stop.execute(before),
            Some(Command::HardStop(stop)) => stop.execute(before),
            Some(Command::Update(update)) => update.execute(before),
            Some(Command::Reload(reload)) => reload.execute(before),
            Some(Command::ReopenLog(reopen)) => reopen.execute(before),
            Some(Command::Restart(restart)) => restart.execute(before),
            Some(Command::HardRestart(restart)) => restart.execute(before),
            Some(Command::Upgrade(upgrade)) => upgrade.execute(before),
            Some(Command::Status(status)) => status.execute(before),
            Some(Command::FullStatus(status)) => status.execute(before),
            Some(Command::ConfigTest(test)) => test.execute(before),
            Some(Command::Init(init)) => init.execute(),
            Some(Command::New(new)) => new.execute(),
            Some(Command::Password(password)) => password.execute(),
            Some(Command::Config(which)) => which.execute(),
            None => {
                complain("which command? `skep run` starts at once; `skep help` lists all");
                Exit::Usage
            }
        }
    }
}

/// Writes to stdout. Whoever reads it may have gone (`skep status | head -1`): that is no error.
fn say(text: &str) {
    let mut stdout = std::io::stdout().lock();
    let _ = stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush());
}

/// Writes a line to stderr; when that is closed, nobody is left to tell.
fn complain(text: &str) {
    let _ = writeln!(std::io::stderr(), "{text}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_command_explains_itself() {
        let commands = [
            "run",
            "start",
            "stop",
            "hardstop",
            "update",
            "reload",
            "reopenlog",
            "restart",
            "hardrestart",
            "upgrade",
            "status",
            "fullstatus",
            "configtest",
            "init",
            "new",
            "password",
            "config",
        ];
        for command in commands {
            let help = Skep::from_args(&["skep"], &[command, "--help"]).err().expect("help ends early");
            assert!(help.status.is_ok() && help.output.contains(command), "{command}: {}", help.output);
        }
    }

    #[test]
    fn the_configuration_may_be_named_before_and_after_the_command() {
        for arguments in [["-c", "a.ron", "status"], ["status", "--config", "a.ron"]] {
            let Ok(skep) = parse(&arguments) else { panic!("{arguments:?}") };
            let Some(Command::Status(status)) = skep.command else { panic!("status") };
            assert_eq!(status.config.or(skep.config), Some(PathBuf::from("a.ron")));
        }
    }

    #[test]
    fn what_is_not_understood_is_bad_usage() {
        for arguments in [&["frobnicate"][..], &["status", "--nonsense"], &["new"]] {
            assert_eq!(parse(arguments).err(), Some(Exit::Usage), "{arguments:?}");
        }
        assert_eq!(parse(&["help"]).err(), Some(Exit::Fine));
        assert_eq!(parse(&["help", "run"]).err(), Some(Exit::Fine));
    }
}
