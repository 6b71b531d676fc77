//! The master: what it holds, and its loop.

use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::unistd::Pid;

use super::backoff::Backoff;
use super::child::{Child, Seed};
use super::commands::Asker;
use super::control::{self, Control};
use super::listeners::Listening;
use super::pid_file::PidFile;
use super::reload::Reload;
use super::rounds::Rounds;
use super::spawning::Wanted;
use super::starting::Started;
use super::systemd::Notifier;
use super::update::Update;
use super::upgrade::{Takeover, Upgrade};
use crate::config::{Settings, Watch};
use crate::limiter::Limiter;
use crate::link::locks::{FastPath, Right};
use crate::process::{BootInfo, Command, OrderStatus, Outcome};
use crate::scoreboard::{Role, Scoreboard};
use crate::sys::privileges::Target;
use crate::sys::signals::Signals;
use crate::{log_error, log_warn, telemetry};

/// The master looks around at least this often.
const ROUND: Duration = Duration::from_secs(1);

/// Where the instance is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Life {
    /// Not everything is ready yet; a failure now is the failure of the start.
    Starting,
    /// It serves.
    Running,
    /// It ends: workers first, then the hub.
    Stopping,
    /// As stopping, but pid file, sockets and control socket belong to the instance that took over.
    HandedOver,
}

/// How the loop ended.
pub enum End {
    /// In the master: its exit code.
    Exit(i32),
    /// In a forked child: what it is to be. The caller drops the master first.
    Child(Box<Seed>),
    /// In a forked child: the new binary, to be executed.
    Exec(Box<super::upgrade::Exec>),
    /// In a forked child: how many workers there should be, by the configuration's script.
    Policy(Box<super::rounds::Policy>),
}

/// The master process. Single-threaded; it owns everything that outlives a worker.
pub struct Master {
    pub settings: Settings,
    /// The configuration file, as given or found; read again by an update.
    pub config: Option<PathBuf>,
    /// The running binary's path on disk, as it was at the start: what an upgrade executes when no other is named.
    pub binary: Option<PathBuf>,
    /// Whether there is no terminal.
    pub detached: bool,
    /// What the start had to say.
    pub notes: Vec<String>,
    pub boot: BootInfo,
    pub target: Target,
    pub board: Scoreboard,
    pub limiter: Limiter,
    pub fast_path: FastPath,
    pub right: Right,
    pub listeners: Vec<Listening>,
    pub children: Vec<Child>,
    /// Processes to fork at the end of this turn.
    pub to_spawn: VecDeque<Wanted>,
    pub life: Life,
    /// Whether children were told to end at once, without finishing anything.
    pub is_ending_at_once: bool,
    pub generation: u64,
    pub revision: u64,
    pub wanted: usize,
    pub worker_backoff: Backoff,
    pub hub_backoff: Backoff,
    /// Whether a hub was forked already, by this master or the one it takes over from.
    pub had_hub: bool,
    pub control: Control,
    pub signals: Signals,
    pub notifier: Notifier,
    pub pid_file: Option<PidFile>,
    pub reload: Reload,
    pub update: Update,
    pub upgrade: Option<Upgrade>,
    /// Who asked for an upgrade that is about to be forked.
    pub upgrade_askers: Vec<Asker>,
    /// The instance that this one takes over from.
    pub takeover: Option<Takeover>,
    pub rounds: Rounds,
    pub watch: Option<Watch>,
    /// Who waits for the end.
    pub stop_askers: Vec<Asker>,
    pub started: Option<Started>,
    /// How it is about the certificates that the hub orders.
    pub orders: Vec<OrderStatus>,
    pub crashes: u64,
    pub last_error: Option<String>,
    /// Whether this instance was started to take over from another, and has not yet.
    pub taking_over: bool,
    /// What the process will exit with.
    pub exit_code: i32,
    /// Set when the loop is to end.
    pub exit: Option<i32>,
}

/// What became ready.
#[derive(Clone, Copy, Debug)]
enum Source {
    Signals,
    Control(control::Watch),
    Child(Pid),
    Upgrade,
    Takeover,
    Config,
    Policy,
}

impl Master {
    /// Turns the loop until the instance ends, or this is a forked child.
    pub fn run(&mut self) -> io::Result<End> {
        self.supervise(Instant::now());
        loop {
            if let Some(end) = self.fork_what_is_wanted() {
                return Ok(end);
            }
            if let Some(code) = self.exit {
                return Ok(End::Exit(code));
            }
            telemetry::flush();
            let ready = self.wait()?;
            for source in ready {
                self.handle(source);
            }
            self.collect_exits();
            let now = Instant::now();
            self.enforce_deadlines(now);
            self.make_rounds(now);
            self.supervise(now);
            self.check_progress(now);
        }
    }

    fn wait(&self) -> io::Result<Vec<Source>> {
        let mut sources: Vec<(Source, BorrowedFd<'_>, bool)> = vec![(Source::Signals, self.signals.as_fd(), false)];
        sources.extend(self.control.watched().map(|(watch, fd, write)| (Source::Control(watch), fd, write)));
        sources
            .extend(self.children.iter().filter(|c| !c.silent).map(|c| (Source::Child(c.pid), c.control.as_fd(), c.control.wants_write())));
        sources.extend(self.upgrade.iter().filter(|u| !u.silent).map(|u| (Source::Upgrade, u.channel.as_fd(), false)));
        sources.extend(self.takeover.iter().map(|t| (Source::Takeover, t.channel.as_fd(), false)));
        sources.extend(self.watch.iter().map(|w| (Source::Config, w.as_fd(), false)));
        sources.extend(self.rounds.policy_fd().map(|fd| (Source::Policy, fd, false)));
        let mut fds: Vec<PollFd<'_>> = sources
            .iter()
            .map(|(_, fd, write)| PollFd::new(*fd, if *write { PollFlags::POLLIN | PollFlags::POLLOUT } else { PollFlags::POLLIN }))
            .collect();
        let timeout = self.next_deadline().saturating_duration_since(Instant::now());
        // Rounded up: a deadline must have passed when the loop wakes for it.
        let timeout = PollTimeout::try_from(timeout + Duration::from_millis(1)).unwrap_or(PollTimeout::MAX);
        match poll(&mut fds, timeout) {
            Ok(_) | Err(Errno::EINTR) => {}
            Err(error) => return Err(error.into()),
        }
        let ready = sources.iter().zip(&fds).filter(|(_, fd)| fd.any() == Some(true));
        Ok(ready.map(|((source, _, _), _)| *source).collect())
    }

    fn handle(&mut self, source: Source) {
        match source {
            Source::Signals => self.read_signals(),
            Source::Control(watch) => {
                if let Some((id, command)) = self.control.ready(watch) {
                    self.command(Asker::Client(id), command);
                }
            }
            Source::Child(pid) => self.read_child(pid),
            Source::Upgrade => self.read_upgrade(),
            Source::Takeover => self.read_takeover(),
            Source::Config => self.config_changed(),
            Source::Policy => self.read_policy(),
        }
    }

    fn next_deadline(&self) -> Instant {
        let now = Instant::now();
        let deadlines = [
            self.children.iter().filter_map(|c| c.deadline).min(),
            self.worker_backoff.blocked(now),
            self.hub_backoff.blocked(now),
            self.notifier.next_beat(),
            self.update.deadline(),
            self.upgrade.as_ref().map(|u| u.deadline),
            self.watch.as_ref().and_then(Watch::wait).map(|wait| now + wait),
            Some(self.rounds.next(now)),
            Some(now + ROUND),
        ];
        deadlines.into_iter().flatten().min().unwrap_or(now)
    }

    /// Reports something that went wrong and keeps it for the status.
    pub fn trouble(&mut self, text: impl Into<String>) {
        let text = text.into();
        log_error!("{text}");
        self.last_error = Some(text);
    }

    /// Answers whoever asked.
    pub fn answer(&mut self, asker: Asker, outcome: Outcome) {
        match asker {
            Asker::Client(id) => self.control.reply(id, &crate::process::Reply::Done(outcome)),
            Asker::Hub(id) => {
                if let Some(hub) = self.hub() {
                    hub.tell(&crate::process::ToChild::Answer { id, outcome });
                }
            }
            Asker::Signal | Asker::Saved | Asker::Renewed => {
                for line in &outcome.lines {
                    if outcome.ok {
                        crate::log_info!("{line}");
                    } else {
                        log_error!("{line}");
                    }
                }
                for warning in &outcome.warnings {
                    log_warn!("{warning}");
                }
            }
        }
    }

    /// Tells whoever waits that something goes on.
    pub fn progress(&mut self, asker: Asker, line: &str) {
        if let Asker::Client(id) = asker {
            self.control.reply(id, &crate::process::Reply::Progress(line.to_owned()));
        }
    }

    /// The hub, unless it is on its way out.
    pub fn hub(&self) -> Option<&Child> {
        self.children.iter().find(|c| c.role == Role::Hub && c.is_current())
    }

    /// The workers, in every phase.
    pub fn workers(&self) -> impl Iterator<Item = &Child> {
        self.children.iter().filter(|c| c.role == Role::Worker)
    }

    /// The workers, in every phase.
    pub fn workers_mut(&mut self) -> impl Iterator<Item = &mut Child> {
        self.children.iter_mut().filter(|c| c.role == Role::Worker)
    }

    /// One child.
    pub fn child(&mut self, pid: Pid) -> Option<&mut Child> {
        self.children.iter_mut().find(|c| c.pid == pid)
    }

    /// Asks itself, as a signal does.
    pub fn signal_asks(&mut self, command: Command) {
        self.command(Asker::Signal, command);
    }
}
