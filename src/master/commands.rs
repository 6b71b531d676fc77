//! What people, signals and the admin listener ask for.

use std::os::fd::AsFd;
use std::sync::atomic::Ordering::Relaxed;

use nix::sys::signal::Signal;

use super::instance::{Life, Master};
use super::supervision::Phase;
use crate::process::{Command, MasterStatus, Outcome, Status, ToChild};
use crate::scoreboard::epoch_ms;
use crate::sys::limits;
use crate::{log_error, log_info, telemetry};

/// Who asked, and so who gets the answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asker {
    /// A command on the control socket, by connection.
    Client(u64),
    /// The admin listener, by question.
    Hub(u64),
    /// A signal: the answer goes to the log.
    Signal,
    /// A saved file: the answer goes to the log.
    Saved,
    /// A certificate that was ordered: the answer goes to the log.
    Renewed,
}

/// What the master does on which signal, the original's.
pub const SIGNALS: [Signal; 7] =
    [Signal::SIGINT, Signal::SIGTERM, Signal::SIGQUIT, Signal::SIGHUP, Signal::SIGUSR1, Signal::SIGUSR2, Signal::SIGCHLD];

impl Master {
    /// Reads the signals that have arrived. Children that ended are collected every turn.
    pub fn read_signals(&mut self) {
        loop {
            let command = match self.signals.next() {
                Ok(Some(Signal::SIGINT)) => Command::HardStop,
                Ok(Some(Signal::SIGTERM | Signal::SIGQUIT)) => Command::Stop,
                Ok(Some(Signal::SIGHUP)) => Command::Update,
                Ok(Some(Signal::SIGUSR1)) => Command::ReopenLogs,
                Ok(Some(Signal::SIGUSR2)) => Command::Reload,
                Ok(Some(_)) => continue,
                Ok(None) => return,
                Err(error) => {
                    log_error!("signals cannot be read: {error}");
                    return;
                }
            };
            self.signal_asks(command);
        }
    }

    /// Does what is asked, or begins to.
    pub fn command(&mut self, asker: Asker, command: Command) {
        match command {
            Command::Status => {
                let outcome = Outcome { ok: true, status: Some(Box::new(self.status())), ..Outcome::default() };
                self.answer(asker, outcome);
            }
            Command::Stop => self.stop(asker, false),
            Command::HardStop => self.stop(asker, true),
            Command::ReopenLogs => {
                let outcome = self.reopen_logs();
                self.answer(asker, outcome);
            }
            _ if self.life != Life::Running => {
                let why = if self.life == Life::Starting { "not yet: skep is still starting" } else { "no: skep is stopping" };
                self.answer(asker, Outcome::failed(why));
            }
            Command::Update => self.ask_update(asker),
            Command::Reload => self.ask_reload(asker),
            Command::Upgrade { binary } => self.ask_upgrade(asker, binary),
            Command::Recycle { slot } => {
                let outcome = self.recycle_one(slot);
                self.answer(asker, outcome);
            }
        }
    }

    fn recycle_one(&mut self, slot: usize) -> Outcome {
        match self.workers_mut().find(|c| c.slot == slot && c.is_ready()) {
            Some(worker) => {
                worker.phase = Phase::Retiring;
                Outcome::done(format!("{} is replaced", worker.name()))
            }
            None => Outcome::failed(format!("no worker serves in slot {slot}")),
        }
    }

    fn reopen_logs(&mut self) -> Outcome {
        self.prepare_access_log(&self.settings);
        let fd = match telemetry::open_again() {
            Ok(fd) => fd,
            Err(error) => return Outcome::failed(error.to_string()),
        };
        for child in &self.children {
            match &fd {
                Some(fd) => child.tell_with(&ToChild::ReopenLogs, &[fd.as_fd()]),
                None => child.tell(&ToChild::ReopenLogs),
            }
        }
        if let Err(error) = telemetry::reopen(fd) {
            return Outcome::failed(error.to_string());
        }
        log_info!("the logs were opened again");
        // Whoever rotates logs may look at the new file as soon as the answer is there.
        telemetry::flush();
        Outcome::done("the logs were opened again")
    }

    /// How everything is.
    pub fn status(&self) -> Status {
        let state = match self.life {
            Life::Starting => "starting",
            Life::Running if self.upgrade.is_some() => "upgrading",
            Life::Running => "running",
            Life::Stopping | Life::HandedOver => "stopping",
        };
        let master = MasterStatus {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            pid: self.boot.master_pid,
            state: state.to_owned(),
            started_ms: self.boot.started_ms,
            uptime_s: epoch_ms().saturating_sub(self.boot.started_ms) / 1000,
            revision: self.revision,
            generation: self.generation,
            wanted: self.wanted,
            config: self.config.as_ref().map(|path| path.display().to_string()),
            listeners: self.listeners.iter().map(super::listeners::Listening::name).collect(),
            certificates: self.certificates(),
            orders: self.orders.clone(),
            rss: limits::rss(),
            crashes: self.crashes,
            last_error: self.last_error.clone(),
            privileges: self.target.impossible(),
        };
        let mut states = self.board.counts();
        // A slot whose process is being forked this very moment has no number yet.
        let workers: Vec<_> = self.board.worker_statuses().into_iter().filter(|worker| worker.pid != 0).collect();
        states.total = workers.len();
        let (upstreams, upstreams_left_out) = self.board.upstream_statuses();
        let limits = self.limiter.refusals();
        Status { master, states, hub: self.board.hub_status(), workers, upstreams, upstreams_left_out, limits }
    }

    /// Connections open in all workers.
    pub fn connections(&self) -> u64 {
        self.workers().map(|c| self.board.slot(c.slot).connections().load(Relaxed)).sum()
    }
}
