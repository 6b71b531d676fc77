//! A child as the master sees it, and the first steps of the forked process itself.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use nix::unistd::Pid;

use super::supervision::Phase;
use crate::process::{self, ChildContext, ToChild, ToMaster};
use crate::scoreboard::Role;
use crate::sys::channel::Channel;
use crate::sys::privileges::{self, Target};
use crate::sys::{limits, signals};
use crate::{hub, log_error, log_warn, telemetry, worker};

/// A worker or the hub.
#[derive(Debug)]
pub struct Child {
    pub slot: usize,
    pub pid: Pid,
    pub role: Role,
    pub generation: u64,
    /// The configuration it has, or is changing over to.
    pub revision: u64,
    pub control: Channel,
    pub phase: Phase,
    pub forked: Instant,
    /// When it is killed if it is still in this phase (starting, draining).
    pub deadline: Option<Instant>,
    /// Whether its end is what we wanted: then it is no crash.
    pub expected: bool,
    /// Whether we killed it, and why.
    pub killed: Option<String>,
    /// What it said of itself before it ended.
    pub failed: Option<String>,
    /// Whether it has closed its channel: nothing more is to be read.
    pub silent: bool,
    /// Its share of the jitter of recycling.
    pub early: f64,
    /// How many requests it had answered when it was last looked at, and when that was last another number than before.
    pub work: (u64, Instant),
}

impl Child {
    /// What it is called in the log.
    pub fn name(&self) -> String {
        match self.role {
            Role::Hub => format!("hub (process {})", self.pid),
            _ => format!("worker {} (process {})", self.slot, self.pid),
        }
    }

    /// Whether it takes work, or will.
    pub fn is_current(&self) -> bool {
        self.phase != Phase::Draining
    }

    /// Whether it is ready and not on its way out.
    pub fn is_ready(&self) -> bool {
        matches!(self.phase, Phase::Serving | Phase::Retiring)
    }

    /// Tells it something. One that cannot be told any more ends on its own, and its end is then seen.
    pub fn tell(&self, message: &ToChild) {
        self.tell_with(message, &[]);
    }

    /// Tells it something, with descriptors.
    pub fn tell_with(&self, message: &ToChild, fds: &[std::os::fd::BorrowedFd<'_>]) {
        if let Err(error) = process::send(&self.control, message, fds)
            && error.kind() != io::ErrorKind::BrokenPipe
        {
            log_warn!("{} could not be told: {error}", self.name());
        }
    }

    /// Has it finish what it has, and be killed after the limit.
    pub fn drain(&mut self, limit: Duration, now: Instant) {
        if self.phase == Phase::Draining {
            return;
        }
        self.phase = Phase::Draining;
        self.expected = true;
        self.deadline = Some(now + limit);
        let limit_ms = u64::try_from(limit.as_millis()).unwrap_or(u64::MAX);
        self.tell(&ToChild::Drain { limit_ms });
    }

    /// Has it end at once, and be killed when it does not.
    pub fn stop(&mut self, now: Instant) {
        self.phase = Phase::Draining;
        self.expected = true;
        self.deadline = Some(now + Duration::from_secs(1));
        self.tell(&ToChild::Stop);
    }

    /// Kills it.
    pub fn kill(&mut self, why: impl Into<String>) {
        self.deadline = None;
        self.killed.get_or_insert_with(|| why.into());
        if let Err(error) = nix::sys::signal::kill(self.pid, nix::sys::signal::Signal::SIGKILL) {
            log_error!("{} could not be killed: {error}", self.name());
        }
    }
}

/// Everything the forked process takes along from the master; all else is dropped before it is used.
pub struct Seed {
    pub role: Role,
    pub context: ChildContext,
    pub target: Target,
    /// The master's process id, as it was before the fork.
    pub parent: i32,
}

/// The life of a forked process after everything of the master's was dropped; returns its exit code.
pub fn enter(seed: Seed) -> i32 {
    let result = catch_unwind(AssertUnwindSafe(|| live(seed)));
    telemetry::flush();
    // The panic hook has reported it.
    result.unwrap_or(101)
}

fn live(seed: Seed) -> i32 {
    let Seed { role, mut context, target, parent } = seed;
    let name = match role {
        Role::Hub => "hub".to_owned(),
        _ => format!("worker {}", context.slot),
    };
    telemetry::after_fork(&name);
    // What this process tells anybody of locks counts until it has ended.
    let _right = context.right.clone();
    context.own_slot().pid().store(u64::from(std::process::id()), Relaxed);
    let title = if role == Role::Hub { "skep-hub" } else { "skep-worker" };
    let prepared = signals::reset_in_child()
        .and_then(|()| limits::set_title(title))
        .map_err(|error| error.to_string())
        .and_then(|()| target.enter().map_err(|error| error.to_string()))
        .and_then(|missing| privileges::die_with_parent(parent).map(|()| missing).map_err(|error| error.to_string()));
    match prepared {
        Ok(missing) => context.boot.privileges = missing,
        Err(why) => {
            log_error!("cannot start: {why}");
            // When the master cannot be told either, it still sees the exit code.
            let _ = process::send(&context.control, &ToMaster::Failed { why }, &[]);
            return 1;
        }
    }
    match role {
        Role::Hub => hub::main(context),
        _ => worker::main(context),
    }
}
