//! The end of an instance: workers finish first, then the hub goes, then the master.

use std::time::{Duration, Instant};

use super::commands::Asker;
use super::instance::{Life, Master};
use crate::process::{Outcome, control_socket};
use crate::scoreboard::Role;
use crate::units::counted;
use crate::{log_info, log_warn};

impl Master {
    /// Ends the instance: gracefully, or (also while a graceful end goes on) at once.
    pub fn stop(&mut self, asker: Asker, hard: bool) {
        let now = Instant::now();
        self.stop_askers.push(asker);
        let limit = *self.settings.workers.drain;
        if matches!(self.life, Life::Starting | Life::Running) {
            log_info!("{}", if hard { "stops at once" } else { "stops: workers finish what they have" });
            self.life = Life::Stopping;
            self.notifier.stopping();
            self.abandon("skep is stopping");
            self.close_listeners();
            if !hard && self.connections() > 0 {
                let line = format!("{} open, with {} s to end", counted(self.connections() as usize, "connection"), limit.as_secs());
                self.progress(asker, &line);
            }
        }
        self.is_ending_at_once |= hard;
        for child in &mut self.children {
            if hard {
                child.stop(now);
            } else if child.role == Role::Worker {
                child.drain(limit, now);
            }
        }
    }

    /// After another instance took over: finish, and leave everything that is now its own.
    pub fn hand_over(&mut self) {
        log_info!("another instance has taken over; workers finish what they have");
        self.life = Life::HandedOver;
        self.watch = None;
        self.abandon("another instance has taken over");
        self.listeners.clear();
        let (now, limit) = (Instant::now(), *self.settings.workers.drain);
        for worker in self.workers_mut() {
            worker.drain(limit, now);
        }
    }

    fn abandon(&mut self, why: &str) {
        self.to_spawn.clear();
        self.abandon_reload(why);
        self.abandon_update(why);
        self.abandon_upgrade(why);
    }

    fn close_listeners(&mut self) {
        for listening in self.listeners.drain(..) {
            listening.remove_file();
        }
    }

    /// What has to follow from what happened in this turn.
    pub fn check_progress(&mut self, now: Instant) {
        match self.life {
            Life::Starting => {}
            Life::Running => {
                self.check_update(now);
                self.check_reload();
                self.check_upgrade(now);
            }
            Life::Stopping | Life::HandedOver => self.check_end(now),
        }
    }

    fn check_end(&mut self, now: Instant) {
        if self.workers().next().is_some() || self.exit.is_some() {
            return;
        }
        if let Some(hub) = self.children.iter_mut().find(|c| c.is_current()) {
            hub.drain(Duration::from_secs(2), now);
        }
        if !self.children.is_empty() {
            return;
        }
        if self.life == Life::Stopping {
            if let Err(error) = control_socket::remove(&self.settings.run) {
                log_warn!("the control socket cannot be removed: {error}");
            }
            if let Some(pid_file) = self.pid_file.take() {
                pid_file.remove();
            }
        }
        log_info!("stopped");
        for asker in std::mem::take(&mut self.stop_askers) {
            if !matches!(asker, Asker::Signal) {
                self.answer(asker, Outcome::done("stopped"));
            }
        }
        self.exit = Some(self.exit_code);
    }

    /// The start has failed: everything that was begun is ended, and the process with it.
    pub fn start_failed(&mut self, why: String) {
        let now = Instant::now();
        self.trouble(format!("cannot start: {why}"));
        self.exit_code = 1;
        if let Some(takeover) = self.takeover.take() {
            takeover.failed(&why);
        }
        if let Some(started) = self.started.take() {
            started(Err(why));
        }
        self.to_spawn.clear();
        if self.taking_over {
            // What came from the other instance it goes on serving.
            self.life = Life::HandedOver;
            self.listeners.clear();
        } else {
            self.life = Life::Stopping;
            self.notifier.stopping();
            self.close_listeners();
        }
        self.is_ending_at_once = true;
        for child in &mut self.children {
            child.stop(now);
        }
    }
}
