//! What is looked at every second: stuck children, workers that have served long enough, how many there should be.

use std::collections::HashMap;
use std::os::fd::BorrowedFd;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use nix::sys::wait::WaitStatus;
use nix::unistd::Pid;

use super::instance::{End, Life, Master};
use super::mpm::{self, Limits, Load};
use super::spawning::Wanted;
use super::supervision::Phase;
use super::{policy, recycling};
use crate::config::Mpm;
use crate::net::tickets;
use crate::scoreboard::{Role, now_ms};
use crate::sys::fork::{Forked, fork};
use crate::sys::{limits, memory};
use crate::units::counted;
use crate::{log_info, log_warn};

pub use super::policy::Policy;

const SECOND: Duration = Duration::from_secs(1);
/// How often the master looks at its own memory, and from which size on it gives some back.
const TRIM_EVERY: Duration = Duration::from_mins(1);
const TRIM_FROM: u64 = 3 << 20;

/// When what is looked at next, and what was seen the last time.
#[derive(Debug)]
pub struct Rounds {
    check: Instant,
    trim: Instant,
    mpm: Instant,
    certificates: Instant,
    measured: Instant,
    /// Busy microseconds and requests of each worker at the last measurement, by process id.
    seen: HashMap<i32, (u64, u64)>,
    policy: Option<policy::Running>,
    /// Whether the script's failure was reported already; once it works again, the next failure is news.
    policy_failing: bool,
    /// Whether it was reported that there is no new key for session tickets.
    keys_failing: bool,
}

impl Rounds {
    /// Nothing seen yet.
    #[must_use]
    pub fn new(now: Instant) -> Rounds {
        Rounds {
            check: now + SECOND,
            trim: now + TRIM_EVERY,
            mpm: now + SECOND,
            certificates: now,
            measured: now,
            seen: HashMap::new(),
            policy: None,
            policy_failing: false,
            keys_failing: false,
        }
    }

    /// When the next round is due.
    #[must_use]
    pub fn next(&self, now: Instant) -> Instant {
        let policy = self.policy.as_ref().map_or(now + SECOND, policy::Running::deadline);
        self.check.min(self.mpm).min(policy)
    }

    /// Where the answer of a script that runs will come from.
    pub fn policy_fd(&self) -> Option<BorrowedFd<'_>> {
        self.policy.as_ref().map(policy::Running::fd)
    }
}

impl Master {
    /// Makes the rounds that are due.
    pub fn make_rounds(&mut self, now: Instant) {
        self.notifier.beat(now);
        if self.watch.as_ref().and_then(crate::config::Watch::wait) == Some(Duration::ZERO) {
            self.config_changed();
        }
        if let Some(policy) = &mut self.rounds.policy {
            policy.enforce_deadline(now);
        }
        if self.rounds.check <= now {
            self.rounds.check = now + SECOND.min(*self.settings.workers.heartbeat / 2).max(Duration::from_millis(50));
            self.measure_memory();
            self.watch_heartbeats();
            self.turn_ticket_keys();
            if self.life == Life::Running {
                self.recycle();
            }
        }
        if self.rounds.trim <= now {
            self.rounds.trim = now + TRIM_EVERY;
            if limits::rss() > TRIM_FROM {
                memory::trim();
            }
        }
        if self.rounds.certificates <= now && self.life == Life::Running {
            self.rounds.certificates = self.watch_certificates(now);
        }
        if self.rounds.mpm <= now && self.life == Life::Running {
            self.rounds.mpm = now + (*self.settings.workers.mpm_delay).max(Duration::from_millis(50));
            self.adjust(now);
        }
    }

    /// New keys for the sessions of TLS clients, in time.
    fn turn_ticket_keys(&mut self) {
        match tickets::turn(*self.settings.session_keys) {
            Ok(()) => self.rounds.keys_failing = false,
            // It is tried again in a second.
            Err(error) if !std::mem::replace(&mut self.rounds.keys_failing, true) => log_warn!("no new key for session tickets: {error}"),
            Err(_) => {}
        }
    }

    /// Workers in a chroot cannot read their own size.
    fn measure_memory(&self) {
        for child in &self.children {
            let rss = limits::rss_of_pid(child.pid.as_raw());
            if rss > 0 {
                self.board.slot(child.slot).rss().store(rss, Relaxed);
            }
        }
    }

    /// Kills children whose loop has not turned for too long, and says what they ran.
    fn watch_heartbeats(&mut self) {
        let limit = u64::try_from(self.settings.workers.heartbeat.as_millis()).unwrap_or(u64::MAX);
        let now = now_ms();
        let board = self.board;
        for child in self.children.iter_mut().filter(|c| c.killed.is_none() && c.phase != Phase::Starting) {
            let slot = board.slot(child.slot);
            let silent = now.saturating_sub(slot.heartbeat_ms().load(Relaxed));
            if slot.waiting().load(Relaxed) == 1 || silent < limit {
                continue;
            }
            child.expected = false;
            child.kill(format!("its loop did not turn for {silent} ms (workers.heartbeat)"));
        }
    }

    /// Replaces a worker that has served long enough; one at a time.
    fn recycle(&mut self) {
        let (board, now) = (self.board, Instant::now());
        for child in self.children.iter_mut().filter(|child| child.role == Role::Worker) {
            let slot = board.slot(child.slot);
            let requests = slot.requests().load(Relaxed);
            if requests != child.work.0 || slot.active().load(Relaxed) > 0 {
                child.work = (requests, now);
            }
        }
        if self.workers().any(|c| matches!(c.phase, Phase::Retiring | Phase::Starting)) {
            return;
        }
        let due = self.workers().filter(|c| c.phase == Phase::Serving).find_map(|child| {
            let slot = board.slot(child.slot);
            let record = recycling::Record {
                requests: slot.requests().load(Relaxed),
                memory: slot.rss().load(Relaxed),
                idle: now.saturating_duration_since(child.work.1),
                age: child.forked.elapsed(),
            };
            Some((child.pid, recycling::due(&record, child.early, &self.settings.workers)?))
        });
        if let Some((pid, why)) = due
            && let Some(child) = self.child(pid)
        {
            log_info!("{} is replaced: {why}", child.name());
            child.phase = Phase::Retiring;
        }
    }

    /// Finds how many workers there should be.
    fn adjust(&mut self, now: Instant) {
        let load = self.load(now);
        let limits = Limits::of(&self.settings.workers);
        match self.settings.workers.mpm.clone() {
            Mpm::Default => self.want(mpm::wanted(&load, &limits), "load"),
            Mpm::Script(path) => {
                if self.rounds.policy.is_none() {
                    self.to_spawn.push_back(Wanted::Policy(Policy::new(path, load, limits)));
                }
            }
        }
    }

    fn want(&mut self, wanted: usize, why: &str) {
        if wanted != self.wanted {
            log_info!("{} wanted instead of {} ({why})", counted(wanted, "worker"), self.wanted);
            self.wanted = wanted;
        }
    }

    fn load(&mut self, now: Instant) -> Load {
        let elapsed = (now - self.rounds.measured).as_secs_f64().max(0.001);
        self.rounds.measured = now;
        let mut load = Load { wanted: self.wanted, ..Load::default() };
        let mut seen = HashMap::new();
        let mut requests = 0;
        for child in self.workers().filter(|c| c.phase != Phase::Draining) {
            let slot = self.board.slot(child.slot);
            let now = (slot.busy_us().load(Relaxed), slot.requests().load(Relaxed));
            let before = self.rounds.seen.get(&child.pid.as_raw()).copied().unwrap_or(now);
            if child.phase != Phase::Retiring {
                load.workers += 1;
            }
            load.busy += (now.0.saturating_sub(before.0) as f64 / 1_000_000.0 / elapsed).min(1.0);
            load.connections += slot.connections().load(Relaxed);
            load.active += slot.active().load(Relaxed);
            requests += now.1.saturating_sub(before.1);
            seen.insert(child.pid.as_raw(), now);
        }
        load.requests_a_second = requests as f64 / elapsed;
        self.rounds.seen = seen;
        load
    }

    /// Forks the process that asks the script. `Some` in that process.
    pub fn spawn_policy(&mut self, policy: Policy) -> std::io::Result<Option<End>> {
        let (running, mut policy) = policy::Running::prepare(policy)?;
        let target = self.target.clone();
        match fork()? {
            Forked::Child => {
                policy.target = target;
                Ok(Some(End::Policy(Box::new(policy))))
            }
            Forked::Parent(pid) => {
                self.rounds.policy = Some(running.of(pid));
                Ok(None)
            }
        }
    }

    /// Reads what the script has answered.
    pub fn read_policy(&mut self) {
        let Some(policy) = &mut self.rounds.policy else { return };
        let Some(answer) = policy.answer() else { return };
        let load = policy.load();
        self.rounds.policy = None;
        let limits = Limits::of(&self.settings.workers);
        match answer {
            Ok(wanted) => {
                self.rounds.policy_failing = false;
                self.want(limits.clamp(wanted), "mpm script");
            }
            Err(why) => {
                if !self.rounds.policy_failing {
                    self.rounds.policy_failing = true;
                    self.trouble(format!("the script in workers.mpm failed, the built-in algorithm is used instead: {why}"));
                }
                self.want(mpm::wanted(&load, &limits), "load");
            }
        }
    }

    /// Whether this was a process that asked the script.
    pub fn policy_ended(&mut self, pid: Pid, _: WaitStatus) -> bool {
        // Its answer, or that there is none, is seen on its pipe.
        policy::is_policy(pid, self.rounds.policy.as_ref()) || !self.knows(pid)
    }

    fn knows(&self, pid: Pid) -> bool {
        self.children.iter().any(|c| c.pid == pid) || self.upgrade.as_ref().is_some_and(|u| u.pid == pid)
    }

    /// A file of the configuration was saved, perhaps.
    pub fn config_changed(&mut self) {
        let Some(watch) = &mut self.watch else { return };
        match watch.changed() {
            Ok(files) if files.is_empty() => {}
            Ok(files) => {
                log_info!("{} was saved: the configuration is read again", files[0].display());
                self.command(super::commands::Asker::Saved, crate::process::Command::Update);
            }
            Err(error) => {
                log_warn!("the configuration is not watched any more: {error}");
                self.watch = None;
            }
        }
    }
}
