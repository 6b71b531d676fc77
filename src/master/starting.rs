//! From settings to an instance that serves.

use std::fs::{self, DirBuilder, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, chown};
use std::path::{Path, PathBuf};
use std::time::Instant;

use nix::unistd::Uid;

use super::backoff::Backoff;
use super::control::Control;
use super::instance::{End, Life, Master};
use super::listeners::{self, Inherited};
use super::mpm::Limits;
use super::pid_file::PidFile;
use super::rounds::Rounds;
use super::systemd::{self, Notifier};
use super::upgrade::{self, Takeover};
use super::{admin_token, child, commands};
use crate::config::{self, Settings, Watch};
use crate::limiter::Limiter;
use crate::link::locks::{FastPath, Right};
use crate::net::tickets;
use crate::process::{BootInfo, ListenerName};
use crate::scoreboard::{Scoreboard, Slot, epoch_ms};
use crate::sys::fork::exit_now;
use crate::sys::privileges::Target;
use crate::sys::signals::Signals;
use crate::sys::{limits, memory};
use crate::telemetry::config::LogFile;
use crate::units::counted;
use crate::{log_info, log_warn, telemetry};

/// What is said once the instance serves, or cannot: called exactly once, in the master's process.
pub type Started = Box<dyn FnOnce(Result<Report, String>)>;

/// An instance to start.
pub struct Options {
    /// The configuration as checked.
    pub settings: Settings,
    /// Every file it was read from, to be watched.
    pub files_read: Vec<PathBuf>,
    /// Whether it has no terminal: then a log on stderr goes to `skep.log` in the run directory instead.
    pub detached: bool,
    /// Told when it serves.
    pub started: Started,
}

/// What serves now.
#[derive(Debug)]
pub struct Report {
    /// The master's process id.
    pub pid: i32,
    /// Workers that are ready.
    pub workers: usize,
    /// What is listened on.
    pub listeners: Vec<ListenerName>,
    /// For the operator: defaults that moved, what could not be done as a normal user.
    pub notes: Vec<String>,
}

/// Runs an instance until it ends; returns the exit code. It forks: in its children it does not return.
#[must_use]
pub fn run(options: Options) -> i32 {
    telemetry::install_panic_hook(|| Slot::own().and_then(Slot::step));
    let mut master = match Master::start(options) {
        Ok(master) => master,
        Err(code) => {
            telemetry::flush();
            return code;
        }
    };
    let end = master.run();
    match end {
        Ok(End::Exit(code)) => {
            telemetry::flush();
            code
        }
        Ok(End::Child(seed)) => {
            drop(master);
            exit_now(child::enter(*seed))
        }
        Ok(End::Exec(exec)) => {
            drop(master);
            exit_now(exec.run())
        }
        Ok(End::Policy(policy)) => {
            drop(master);
            exit_now(policy.answer())
        }
        Err(error) => {
            crate::log_error!("the master's loop failed: {error}");
            telemetry::flush();
            1
        }
    }
}

/// What an instance needs before it can fork.
struct Ground {
    target: Target,
    takeover: Option<Takeover>,
    pid_file: Option<PidFile>,
    control: Control,
    plan: listeners::Plan,
    signals: Signals,
    board: Scoreboard,
    limiter: Limiter,
    fast_path: FastPath,
    right: Right,
    notifier: Notifier,
    settings: Settings,
    detached: bool,
}

impl Master {
    /// Prepares everything up to the first fork.
    ///
    /// # Errors
    /// The exit code; the reason was told to `options.started`.
    fn start(options: Options) -> Result<Master, i32> {
        let Options { settings, files_read, detached, started } = options;
        let taken_over = match upgrade::legacy() {
            Ok(legacy) => legacy,
            Err(error) => {
                started(Err(format!("cannot take over: {error}")));
                return Err(1);
            }
        };
        let (takeover, inherited, detached) = match taken_over {
            Some((takeover, inherited, detached)) => (Some(takeover), inherited, detached),
            None => {
                let sockets = systemd::activated_sockets();
                (None, sockets.into_iter().map(|fd| Inherited { origin: None, fd }).collect(), detached)
            }
        };
        match prepare(settings, detached, inherited, takeover.is_some()) {
            Ok(mut ground) => {
                ground.takeover = takeover;
                Ok(Master::on(ground, &files_read, started))
            }
            Err(why) => {
                if let Some(takeover) = takeover {
                    takeover.failed(&why);
                }
                crate::log_error!("cannot start: {why}");
                started(Err(why));
                Err(1)
            }
        }
    }

    fn on(ground: Ground, files_read: &[PathBuf], started: Started) -> Master {
        let now = Instant::now();
        let Ground { target, takeover, pid_file, control, plan, signals, board, limiter, fast_path, right, notifier, settings, detached } =
            ground;
        for note in &plan.notes {
            log_warn!("{note}");
        }
        let boot = BootInfo {
            master_pid: std::process::id() as i32,
            started_ms: epoch_ms(),
            config: settings.file.clone(),
            dev: settings.dev,
            ..BootInfo::default()
        };
        let watch = if settings.auto_reload && settings.file.is_some() {
            Watch::new(files_read).inspect_err(|error| log_warn!("the configuration cannot be watched: {error}")).ok()
        } else {
            None
        };
        Master {
            wanted: Limits::of(&settings.workers).clamp(settings.workers.start as usize),
            config: settings.file.clone(),
            binary: std::env::current_exe().ok(),
            settings,
            detached,
            boot,
            target,
            board,
            limiter,
            fast_path,
            right,
            listeners: plan.all,
            notes: plan.notes,
            children: Vec::new(),
            to_spawn: std::collections::VecDeque::new(),
            life: Life::Starting,
            is_ending_at_once: false,
            generation: 1,
            revision: 1,
            worker_backoff: Backoff::default(),
            hub_backoff: Backoff::default(),
            had_hub: takeover.is_some(),
            control,
            signals,
            notifier,
            pid_file,
            reload: super::reload::Reload::default(),
            update: super::update::Update::default(),
            upgrade: None,
            upgrade_askers: Vec::new(),
            taking_over: takeover.is_some(),
            takeover,
            rounds: Rounds::new(now),
            watch,
            stop_askers: Vec::new(),
            started: Some(started),
            orders: Vec::new(),
            crashes: 0,
            last_error: None,
            exit_code: 0,
            exit: None,
        }
    }

    /// The hub and the workers of the start are ready.
    pub fn all_ready(&mut self) {
        if self.taking_over {
            self.ask_to_take_over();
        } else {
            self.running();
        }
    }

    /// The instance serves from now on.
    pub fn running(&mut self) {
        self.life = Life::Running;
        self.notifier.ready(&self.summary());
        log_info!("{}", self.summary());
        for missing in self.target.impossible() {
            log_warn!("{missing}");
        }
        if let Some(started) = self.started.take() {
            let mut notes = self.notes.clone();
            notes.extend(self.target.impossible());
            started(Ok(Report {
                pid: self.boot.master_pid,
                workers: self.workers().filter(|c| c.is_ready()).count(),
                listeners: self.listeners.iter().map(listeners::Listening::name).collect(),
                notes,
            }));
        }
        memory::trim();
    }

    /// The instance in one line.
    #[must_use]
    pub fn summary(&self) -> String {
        let listeners: Vec<String> = self.listeners.iter().map(|l| format!("{} on {}", l.server, l.bound)).collect();
        let ready = self.workers().filter(|c| c.is_ready()).count();
        format!("serving {} with {}", listeners.join(", "), counted(ready, "worker"))
    }

    /// What this way of running changes of a configuration.
    pub fn adjust_settings(&self, settings: &mut Settings) {
        adjust(settings, self.detached);
    }

    /// Makes the access log, so that the user whom workers become may write it.
    pub fn prepare_access_log(&self, settings: &Settings) {
        if let Some(access) = &settings.access_log
            && let LogFile::Path(path) = &access.file
            && let Err(error) = make_file(path, &self.target)
        {
            log_warn!("the access log {} cannot be made: {error}", path.display());
        }
    }
}

fn adjust(settings: &mut Settings, detached: bool) {
    if detached && settings.log.file == LogFile::Stderr {
        settings.log.file = LogFile::Path(settings.run.join("skep.log"));
    }
}

fn prepare(mut settings: Settings, detached: bool, inherited: Vec<Inherited>, taking_over: bool) -> Result<Ground, String> {
    let said = |error: &dyn std::fmt::Display| error.to_string();
    adjust(&mut settings, detached);
    let target = Target::find(settings.user.as_deref(), settings.group.as_deref(), settings.chroot.as_deref(), settings.cwd.as_deref())
        .map_err(|error| said(&error))?;
    make_directory(&settings.run, 0o755, None)?;
    make_directory(&settings.data, 0o750, Some(&target))?;
    telemetry::init(&settings.log, "master").map_err(|error| said(&error))?;
    admin_token::complete(&mut settings);
    if let Some(access) = &settings.access_log
        && let LogFile::Path(path) = &access.file
    {
        make_file(path, &target).map_err(|error| format!("cannot make the access log {}: {error}", path.display()))?;
    }
    limits::raise_descriptors().map_err(|error| format!("cannot raise the limit of descriptors: {error}"))?;
    limits::set_title("skep-master").map_err(|error| said(&error))?;
    // Before the first fork: all workers open each other's tickets.
    tickets::begin().map_err(|error| format!("no keys for session tickets: {error}"))?;
    let processes = 1 + settings.workers.max_total as usize;
    let no_memory = |error| format!("no shared memory: {error}");
    let board = Scoreboard::new(processes).map_err(no_memory)?;
    let limiter = Limiter::new(settings.limiter.addresses as usize, processes).map_err(no_memory)?;
    let fast_path = FastPath::shared(board).map_err(no_memory)?;
    let right = Right::open(&settings.data);
    let signals = Signals::new(&commands::SIGNALS).map_err(|error| said(&error))?;
    let notifier = Notifier::from_environment(Instant::now());
    let pid_file = if taking_over { None } else { Some(PidFile::take(&settings.pid_file).map_err(|error| said(&error))?) };
    match occupy(&settings, inherited, taking_over) {
        Ok((plan, control)) => Ok(Ground {
            target,
            takeover: None,
            pid_file,
            control,
            plan,
            signals,
            board,
            limiter,
            fast_path,
            right,
            notifier,
            settings,
            detached,
        }),
        Err(why) => {
            if let Some(pid_file) = pid_file {
                pid_file.remove();
            }
            Err(why)
        }
    }
}

/// Binds what others can reach: the control socket (unless another instance still has it) and the listeners.
fn occupy(settings: &Settings, inherited: Vec<Inherited>, taking_over: bool) -> Result<(listeners::Plan, Control), String> {
    let plan = listeners::plan(settings, &[], inherited).map_err(|error| error.to_string())?;
    let mut control = Control::closed();
    if !taking_over && let Err(error) = control.bind(&settings.run) {
        plan.all.iter().for_each(listeners::Listening::remove_file);
        return Err(format!("cannot bind the control socket in {}: {error}", settings.run.display()));
    }
    Ok((plan, control))
}

/// Makes a directory that is not there; as root it is given to the user whom the children become.
fn make_directory(path: &Path, mode: u32, owner: Option<&Target>) -> Result<(), String> {
    if path.is_dir() {
        return Ok(());
    }
    let made = DirBuilder::new().recursive(true).mode(mode).create(path);
    let given = made.and_then(|()| give(path, owner));
    given.map_err(|error| format!("cannot make the directory {}: {}", path.display(), config::plain_reason(&error)))
}

fn make_file(path: &Path, owner: &Target) -> io::Result<()> {
    if fs::symlink_metadata(path).is_ok() {
        return Ok(());
    }
    OpenOptions::new().append(true).create_new(true).mode(0o640).open(path)?;
    give(path, Some(owner))
}

fn give(path: &Path, owner: Option<&Target>) -> io::Result<()> {
    match owner.and_then(|target| target.user.as_ref()) {
        Some(user) if Uid::effective().is_root() => chown(path, Some(user.uid), Some(user.gid)),
        _ => Ok(()),
    }
}
