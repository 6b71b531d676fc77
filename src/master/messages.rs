//! What children say.

use std::io;
use std::time::{Duration, Instant};

use nix::unistd::Pid;

use super::commands::Asker;
use super::instance::{Life, Master};
use super::supervision::Phase;
use crate::process::{self, Command, Outcome, ToMaster};
use crate::scoreboard::Role;
use crate::{log_debug, log_warn};

impl Master {
    /// Reads all that a child has sent.
    pub fn read_child(&mut self, pid: Pid) {
        loop {
            let Some(child) = self.child(pid) else { return };
            if child.control.wants_write()
                && let Err(error) = child.control.flush()
            {
                log_debug!("{} closed its channel: {error}", child.name());
            }
            match process::receive::<ToMaster>(&child.control) {
                Ok(Some((message, _))) => self.message(pid, message),
                Ok(None) => return,
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                    self.lost(pid);
                    return;
                }
                Err(error) => {
                    let name = child.name();
                    child.kill("it broke its channel to the master");
                    log_warn!("{name} is killed: it broke its channel to the master: {error}");
                    return;
                }
            }
        }
    }

    /// A child has closed its channel: it is about to end, or has. One that lives on without it would be out of reach.
    fn lost(&mut self, pid: Pid) {
        self.collect_exits();
        if let Some(child) = self.child(pid)
            && child.killed.is_none()
        {
            // An exit that is on its way is not turned into a kill: it gets a moment. The channel must not wake us meanwhile.
            let soon = Instant::now() + Duration::from_secs(1);
            child.deadline = Some(child.deadline.map_or(soon, |deadline| deadline.min(soon)));
            child.silent = true;
        }
    }

    fn message(&mut self, pid: Pid, message: ToMaster) {
        match message {
            ToMaster::Ready => self.child_ready(pid),
            ToMaster::Failed { why } => {
                if let Some(child) = self.child(pid) {
                    child.failed = Some(why);
                }
            }
            ToMaster::Updated { revision, result } => self.child_updated(pid, revision, result),
            ToMaster::Drained => {
                if let Some(child) = self.child(pid) {
                    child.expected = true;
                }
            }
            ToMaster::Renewed => self.renewed(pid),
            ToMaster::Ordered(orders) => self.ordered(pid, orders),
            ToMaster::Ask { id, command } => self.asked(pid, id, command),
        }
    }

    /// Children have fewer rights than the master, and may be in other hands than the operator's. So only the hub, which speaks for the
    /// admin listener, may ask for anything, and what the master is to execute nobody of them may name.
    fn asked(&mut self, pid: Pid, id: u64, command: Command) {
        let Some(child) = self.child(pid) else { return };
        if child.role != Role::Hub {
            log_warn!("{} asked for {command:?}, which is not a worker's to ask", child.name());
            return;
        }
        match command {
            Command::Upgrade { binary: Some(_) } => {
                self.answer(Asker::Hub(id), Outcome::failed("the new binary can only be named by `skep upgrade` on this machine"));
            }
            command => self.command(Asker::Hub(id), command),
        }
    }

    fn child_ready(&mut self, pid: Pid) {
        let revision = self.revision;
        let Some(child) = self.child(pid) else { return };
        if child.phase == Phase::Starting {
            child.phase = Phase::Serving;
            child.deadline = None;
        }
        log_debug!("{} is ready after {} ms", child.name(), child.forked.elapsed().as_millis());
        let (role, generation, behind) = (child.role, child.generation, child.revision < revision);
        if behind {
            self.bring_up_to_date(pid);
        }
        if role == Role::Worker {
            self.reload_ready(generation);
        }
        if self.life == Life::Starting {
            self.check_started();
        }
    }

    /// Whether the hub and all workers of the start are ready; then the instance runs.
    fn check_started(&mut self) {
        let ready = self.workers().filter(|c| c.is_ready()).count();
        if ready >= self.wanted && self.hub().is_some_and(super::child::Child::is_ready) {
            self.all_ready();
        }
    }
}
