//! Handing over to a new binary without losing a connection.
//!
//! The old instance forks, and the child becomes the new binary, with the listening sockets and one end of a channel, which the secret of
//! session tickets is in. The new one loads the configuration, starts its own hub and workers, and says [`Handover::Ready`]. The old one lets go of pid file and control socket
//! and says [`Handover::Go`]; the new one takes them and says [`Handover::Taken`]; the old one drains and ends. Whatever fails before
//! that, the old one takes back what it let go of and serves on.

use std::ffi::{CString, OsStr, OsString};
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nix::sys::wait::WaitStatus;
use nix::unistd::{Pid, execve};
use serde::{Deserialize, Serialize};

use super::commands::Asker;
use super::exits::words;
use super::instance::{End, Master};
use super::listeners::Inherited;
use super::pid_file::PidFile;
use super::spawning::Wanted;
use crate::net::{Address, tickets};
use crate::process::{self, Outcome};
use crate::sys::channel::Channel;
use crate::sys::fork::{Forked, fork};
use crate::sys::{descriptors, environment, signals};
use crate::{log_error, log_info};

/// The environment variable that tells a binary what it takes over.
const VARIABLE: &str = "SKEP_TAKEOVER";
/// How long the new instance may take until it serves.
const LIMIT: Duration = Duration::from_secs(90);

/// What the two instances say to each other.
#[derive(Debug, Serialize, Deserialize)]
enum Handover {
    /// Old to new, before it begins: session tickets that were given out stay good.
    Tickets(tickets::Keys),
    /// New to old: everything serves.
    Ready,
    /// New to old: it will not, and why.
    Failed { why: String },
    /// Old to new: pid file and control socket are free.
    Go,
    /// New to old: they are taken.
    Taken,
}

/// What the new binary finds in its environment.
#[derive(Debug, Serialize, Deserialize)]
struct Legacy {
    channel: RawFd,
    listeners: Vec<(String, Address, RawFd)>,
    detached: bool,
}

/// An upgrade from the side of the instance that hands over.
#[derive(Debug)]
pub struct Upgrade {
    pub pid: Pid,
    pub channel: Channel,
    pub deadline: Instant,
    askers: Vec<Asker>,
    binary: PathBuf,
    /// Whether pid file and control socket were let go of.
    released: bool,
    /// Whether it has closed its channel.
    pub silent: bool,
}

/// An upgrade from the side of the instance that takes over.
#[derive(Debug)]
pub struct Takeover {
    pub channel: Channel,
}

/// The new binary, ready to be executed in a forked child.
#[derive(Debug)]
pub struct Exec {
    binary: PathBuf,
    config: Option<PathBuf>,
    notify: Vec<(&'static str, String)>,
    channel: Option<Channel>,
    listeners: Vec<(String, Address, OwnedFd)>,
    detached: bool,
}

/// Whether this process was started to take over from another instance.
#[must_use]
pub fn is_takeover() -> bool {
    std::env::var_os(VARIABLE).is_some()
}

/// What this process was given to take over; `None` for an ordinary start.
///
/// # Errors
/// What it was given cannot be used.
pub fn legacy() -> io::Result<Option<(Takeover, Vec<Inherited>, bool)>> {
    let Some(text) = environment::take(VARIABLE) else { return Ok(None) };
    let legacy: Legacy = serde_json::from_str(&text).map_err(io::Error::other)?;
    let channel = Channel::from_fd(descriptors::inherited(legacy.channel)?)?;
    let Some((Handover::Tickets(keys), _)) = process::receive(&channel)? else {
        return Err(io::Error::other("the other instance does not follow the protocol"));
    };
    tickets::adopt(&keys)?;
    let inherited = legacy.listeners.into_iter();
    let inherited = inherited.map(|(server, address, number)| {
        let fd = descriptors::inherited(number)?;
        Ok(Inherited { origin: Some((server, address)), fd })
    });
    Ok(Some((Takeover { channel }, inherited.collect::<io::Result<_>>()?, legacy.detached)))
}

impl Takeover {
    /// Tells the old instance that it has to go on.
    pub fn failed(self, why: &str) {
        self.say(&Handover::Failed { why: why.to_owned() });
    }

    fn say(&self, message: &Handover) {
        if let Err(error) = process::send(&self.channel, message, &[]) {
            log_error!("the other instance cannot be told: {error}");
        }
    }
}

impl Exec {
    /// In the forked child, after the master was dropped: becomes the new binary. Returns only when that fails.
    pub fn run(mut self) -> i32 {
        let why = match self.execute() {
            Ok(never) => match never {},
            Err(error) => format!("{} cannot be executed: {error}", self.binary.display()),
        };
        if let Some(channel) = self.channel.take() {
            Takeover { channel }.failed(&why);
        }
        1
    }

    fn execute(&self) -> io::Result<std::convert::Infallible> {
        let Some(channel) = &self.channel else { return Err(io::ErrorKind::InvalidInput.into()) };
        descriptors::keep_over_exec(channel.as_fd(), true)?;
        for (_, _, fd) in &self.listeners {
            descriptors::keep_over_exec(fd.as_fd(), true)?;
        }
        let listeners = self.listeners.iter().map(|(server, address, fd)| (server.clone(), address.clone(), fd.as_raw_fd())).collect();
        let legacy = Legacy { channel: channel.as_raw_fd(), listeners, detached: self.detached };
        signals::reset_for_exec()?;
        let mut arguments = vec![self.binary.clone().into_os_string(), "run".into()];
        if let Some(config) = &self.config {
            arguments.extend(["--config".into(), config.clone().into_os_string()]);
        }
        let legacy = serde_json::to_string(&legacy).map_err(io::Error::other)?;
        let mut environment: Vec<OsString> = std::env::vars_os().map(|(name, value)| assignment(&name, &value)).collect();
        environment.push(assignment(OsStr::new(VARIABLE), OsStr::new(&legacy)));
        environment.extend(self.notify.iter().map(|(name, value)| assignment(OsStr::new(name), OsStr::new(value))));
        // Not through the standard library: its execvp hands a file that is no program to the shell.
        let binary = terminated(self.binary.as_os_str())?;
        Ok(execve(&binary, &all_terminated(&arguments)?, &all_terminated(&environment)?)?)
    }
}

fn assignment(name: &OsStr, value: &OsStr) -> OsString {
    let mut text = name.to_owned();
    text.push("=");
    text.push(value);
    text
}

fn terminated(text: &OsStr) -> io::Result<CString> {
    CString::new(text.as_bytes()).map_err(io::Error::other)
}

fn all_terminated(texts: &[OsString]) -> io::Result<Vec<CString>> {
    texts.iter().map(|text| terminated(text)).collect()
}

impl Master {
    /// Begins an upgrade.
    pub fn ask_upgrade(&mut self, asker: Asker, binary: Option<PathBuf>) {
        if let Some(upgrade) = &mut self.upgrade {
            upgrade.askers.push(asker);
            return;
        }
        let binary = match binary.or_else(|| self.binary.clone()) {
            Some(binary) if Path::new(&binary).is_file() => binary,
            Some(binary) => {
                self.answer(asker, Outcome::failed(format!("there is no file {}", binary.display())));
                return;
            }
            None => {
                self.answer(asker, Outcome::failed("the path of the running binary is not known; name one"));
                return;
            }
        };
        self.progress(asker, &format!("starts {}", binary.display()));
        self.upgrade_askers.push(asker);
        self.to_spawn.push_back(Wanted::Upgrade(Exec {
            binary,
            config: self.config.clone(),
            notify: self.notifier.environment(),
            channel: None,
            listeners: Vec::new(),
            detached: self.detached,
        }));
    }

    /// Forks the process that becomes the new binary. `Some` in that process.
    pub fn spawn_upgrade(&mut self, mut exec: Exec) -> io::Result<Option<End>> {
        let (ours, theirs) = Channel::pair()?;
        process::send(&ours, &Handover::Tickets(tickets::keys()?), &[])?;
        let binary = exec.binary.clone();
        match fork()? {
            Forked::Child => {
                exec.channel = Some(theirs);
                for listening in &self.listeners {
                    exec.listeners.push((listening.server.clone(), listening.configured.clone(), listening.for_child()?.fd));
                }
                Ok(Some(End::Exec(Box::new(exec))))
            }
            Forked::Parent(pid) => {
                log_info!("upgrade: {} starts as process {pid}", binary.display());
                let askers = std::mem::take(&mut self.upgrade_askers);
                let deadline = Instant::now() + LIMIT;
                self.upgrade = Some(Upgrade { pid, channel: ours, deadline, askers, binary, released: false, silent: false });
                Ok(None)
            }
        }
    }

    /// Reads what the new instance says.
    pub fn read_upgrade(&mut self) {
        loop {
            let Some(upgrade) = &mut self.upgrade else { return };
            match process::receive::<Handover>(&upgrade.channel) {
                Ok(Some((Handover::Ready, _))) => self.release(),
                Ok(Some((Handover::Taken, _))) => {
                    self.upgrade_succeeded();
                    return;
                }
                Ok(Some((Handover::Failed { why }, _))) => self.upgrade_failed(&why),
                Ok(Some((Handover::Go | Handover::Tickets(_), _))) => self.upgrade_failed("it does not follow the protocol"),
                Ok(None) => return,
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                    // How it ended is known when it has.
                    upgrade.silent = true;
                    upgrade.deadline = upgrade.deadline.min(Instant::now() + Duration::from_secs(1));
                    return;
                }
                Err(error) => self.upgrade_failed(&error.to_string()),
            }
        }
    }

    /// Lets go of what only one instance can have.
    fn release(&mut self) {
        if let Some(pid_file) = self.pid_file.take()
            && let Err(error) = pid_file.hand_over()
        {
            self.upgrade_failed(&format!("the pid file could not be let go of: {error}"));
            return;
        }
        self.control.close();
        let Some(upgrade) = &mut self.upgrade else { return };
        upgrade.released = true;
        if let Err(error) = process::send(&upgrade.channel, &Handover::Go, &[]) {
            self.upgrade_failed(&error.to_string());
        }
    }

    fn upgrade_succeeded(&mut self) {
        let Some(upgrade) = self.upgrade.take() else { return };
        self.notifier.main_pid(upgrade.pid.as_raw());
        // The new instance may have another pid file in its configuration.
        PidFile::remove_own(&self.settings.pid_file);
        let outcome = Outcome::done(format!("{} has taken over as process {}", upgrade.binary.display(), upgrade.pid));
        for asker in upgrade.askers {
            self.answer(asker, outcome.clone());
        }
        self.hand_over();
    }

    fn upgrade_failed(&mut self, why: &str) {
        let Some(upgrade) = self.upgrade.take() else { return };
        // It may be gone already.
        let _ = nix::sys::signal::kill(upgrade.pid, nix::sys::signal::Signal::SIGKILL);
        if upgrade.released {
            self.take_back();
        }
        let text = format!("upgrade failed, this instance serves on: {why}");
        self.trouble(text.clone());
        for asker in upgrade.askers {
            self.answer(asker, Outcome::failed(text.clone()));
        }
    }

    fn take_back(&mut self) {
        match PidFile::take(&self.settings.pid_file) {
            Ok(pid_file) => self.pid_file = Some(pid_file),
            Err(error) => self.trouble(format!("after a failed upgrade: {error}")),
        }
        if let Err(error) = self.control.bind(&self.settings.run) {
            self.trouble(format!("after a failed upgrade the control socket could not be bound again: {error}"));
        }
    }

    /// Gives up on a new instance that takes too long.
    pub fn check_upgrade(&mut self, now: Instant) {
        if let Some(upgrade) = self.upgrade.as_ref().filter(|upgrade| upgrade.deadline <= now) {
            let why =
                if upgrade.silent { "it closed its channel".to_owned() } else { format!("it was not ready within {} s", LIMIT.as_secs()) };
            self.upgrade_failed(&why);
        }
    }

    /// Whether this was the new instance.
    pub fn upgrade_ended(&mut self, pid: Pid, status: WaitStatus) -> bool {
        if self.upgrade.as_ref().is_none_or(|upgrade| upgrade.pid != pid) {
            return false;
        }
        // Why it failed may still be in the channel.
        self.read_upgrade();
        self.upgrade_failed(&format!("it {}", words(status)));
        true
    }

    /// The instance ends: so does the upgrade.
    pub fn abandon_upgrade(&mut self, why: &str) {
        self.upgrade_failed(why);
        for asker in std::mem::take(&mut self.upgrade_askers) {
            self.answer(asker, Outcome::failed(why));
        }
    }

    /// Everything of this new instance is ready: it asks for pid file and control socket.
    pub fn ask_to_take_over(&self) {
        if let Some(takeover) = &self.takeover {
            takeover.say(&Handover::Ready);
        }
    }

    /// Reads what the old instance says.
    pub fn read_takeover(&mut self) {
        let Some(takeover) = &self.takeover else { return };
        match process::receive::<Handover>(&takeover.channel) {
            Ok(Some((Handover::Go, _))) => self.take_over(),
            Ok(Some(_)) => self.start_failed("the other instance does not follow the protocol".to_owned()),
            Ok(None) => {}
            Err(error) => {
                self.takeover = None;
                self.start_failed(format!("the other instance has gone: {error}"));
            }
        }
    }

    fn take_over(&mut self) {
        let taken = PidFile::take(&self.settings.pid_file)
            .map_err(|error| error.to_string())
            .and_then(|pid_file| self.control.bind(&self.settings.run).map(|()| pid_file).map_err(|error| error.to_string()));
        match taken {
            Ok(pid_file) => {
                self.pid_file = Some(pid_file);
                self.taking_over = false;
                if let Some(takeover) = self.takeover.take() {
                    takeover.say(&Handover::Taken);
                }
                log_info!("has taken over");
                self.running();
            }
            Err(why) => self.start_failed(why),
        }
    }
}
