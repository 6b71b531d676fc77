//! How children end, and what follows.

use std::sync::atomic::Ordering::Relaxed;
use std::time::Instant;

use nix::errno::Errno;
use nix::sys::signal::Signal;
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;

use super::backoff::End;
use super::child::Child;
use super::instance::{Life, Master};
use super::supervision::Phase;
use crate::process::ToChild;
use crate::scoreboard::{Role, Slot};
use crate::{log_debug, log_error, log_info, log_warn};

impl Master {
    /// Takes note of every child that has ended.
    pub fn collect_exits(&mut self) {
        loop {
            match waitpid(None, Some(WaitPidFlag::WNOHANG)) {
                Ok(WaitStatus::StillAlive) | Err(Errno::ECHILD) => return,
                Ok(status) => {
                    if let Some(pid) = status.pid() {
                        self.ended(pid, status);
                    }
                }
                Err(Errno::EINTR) => {}
                Err(error) => {
                    log_error!("children cannot be waited for: {error}");
                    return;
                }
            }
        }
    }

    fn ended(&mut self, pid: Pid, status: WaitStatus) {
        if self.policy_ended(pid, status) || self.upgrade_ended(pid, status) {
            return;
        }
        // What it said last may still be in the channel: why it failed, above all.
        if self.child(pid).is_some_and(|child| !child.silent) {
            if let Some(child) = self.child(pid) {
                child.silent = true;
            }
            self.read_child(pid);
        }
        let Some(at) = self.children.iter().position(|c| c.pid == pid) else { return };
        let child = self.children.remove(at);
        let slot = self.board.slot(child.slot);
        let crashed = !child.expected;
        if crashed {
            self.report(&child, status, slot);
        } else if child.killed.is_none() {
            log_debug!("{} has ended", child.name());
        }
        self.boot.leases_until = self.boot.leases_until.max(slot.leases_until().load(Relaxed));
        slot.clear();
        self.limiter.forget_process(child.slot);
        self.follow_up(&child, status, crashed);
    }

    fn report(&mut self, child: &Child, status: WaitStatus, slot: Slot) {
        self.crashes += 1;
        let mut text = format!("{} {}", child.name(), words(status));
        if let Some(why) = &child.killed {
            text = format!("{} was killed: {why}", child.name());
        }
        if let Some(why) = &child.failed {
            text = format!("{} could not start: {why}", child.name());
        } else if let Some(step) = slot.step() {
            text = format!("{text} while it ran: {step}");
        }
        self.trouble(text);
    }

    fn follow_up(&mut self, child: &Child, status: WaitStatus, crashed: bool) {
        let now = Instant::now();
        if child.role == Role::Worker
            && let Some(hub) = self.hub()
        {
            hub.tell(&ToChild::WorkerGone { slot: child.slot, pid: child.pid.as_raw() });
        }
        if child.role == Role::Hub {
            // Until there is another one, which reads what was taken, nobody could be asked about it.
            self.fast_path.close();
        }
        self.update_lost(child.pid);
        let why = || child.failed.clone().unwrap_or_else(|| format!("{} {}", child.name(), words(status)));
        if child.phase == Phase::Starting && crashed {
            if self.life == Life::Starting {
                self.start_failed(why());
                return;
            }
            if child.role == Role::Worker {
                self.reload_failed(child.generation, &why());
            }
        }
        if crashed && (child.role == Role::Hub || matches!(self.life, Life::Starting | Life::Running)) {
            let killed_in_service = child.phase != Phase::Starting && child.killed.is_none() && killed(status);
            let end = End { lived: now - child.forked, killed_in_service };
            let settings = &self.settings.workers.backoff;
            let backoff = if child.role == Role::Hub { &mut self.hub_backoff } else { &mut self.worker_backoff };
            let wait = backoff.ended(end, now, settings);
            if backoff.in_a_row() > 1 {
                log_warn!("{} early ends in a row; the next start is in {} ms", backoff.in_a_row(), wait.as_millis());
            } else {
                log_info!("another one takes the place of {} in {} ms", child.name(), wait.as_millis());
            }
        }
    }

    /// Kills what has passed its limit.
    pub fn enforce_deadlines(&mut self, now: Instant) {
        let life = self.life;
        for child in self.children.iter_mut().filter(|c| c.deadline.is_some_and(|deadline| deadline <= now)) {
            let why = match child.phase {
                _ if child.silent => "it closed its channel and did not end",
                Phase::Starting => "it did not become ready in time",
                Phase::Draining => "it did not finish in time",
                Phase::Serving | Phase::Retiring => "it was told to end",
            };
            if child.phase != Phase::Draining || life == Life::Running {
                log_warn!("{} is killed: {why}", child.name());
            }
            child.kill(why);
        }
    }
}

fn killed(status: WaitStatus) -> bool {
    matches!(status, WaitStatus::Signaled(_, Signal::SIGKILL, _))
}

/// How a process ended, in words.
pub(super) fn words(status: WaitStatus) -> String {
    match status {
        WaitStatus::Exited(_, code) => format!("ended with code {code}"),
        WaitStatus::Signaled(_, signal, true) => format!("was ended by {signal} (core dumped)"),
        WaitStatus::Signaled(_, signal, false) => format!("was ended by {signal}"),
        other => format!("ended: {other:?}"),
    }
}
