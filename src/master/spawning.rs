//! Forking workers and the hub.

use std::fs;
use std::io;
use std::os::fd::AsFd;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use nix::unistd::{Pid, Uid};

use super::child::{Child, Seed};
use super::instance::{End, Life, Master};
use super::supervision::{Phase, View, decide};
use super::{recycling, upgrade};
use crate::config::{ADMIN, Settings};
use crate::process::{BootInfo, ChildContext, ListenSocket, ToChild};
use crate::scoreboard::{Role, Slot};
use crate::sys::channel::Channel;
use crate::sys::fork::{Forked, fork};
use crate::{log_debug, log_error, telemetry};

/// How long a child may take to become ready.
const START_LIMIT: Duration = Duration::from_mins(1);
/// The hub's place in the scoreboard; workers have the others.
pub const HUB_SLOT: usize = 0;
/// The most of `/etc/hosts` and `/etc/resolv.conf` that children are given, bytes.
const MOST_OF_A_FILE: usize = 64 << 10;

/// A process to fork.
#[derive(Debug)]
pub enum Wanted {
    /// The hub.
    Hub,
    /// A worker of a generation.
    Worker(u64),
    /// A new binary.
    Upgrade(upgrade::Exec),
    /// The configuration's own algorithm for the number of workers.
    Policy(super::rounds::Policy),
}

impl Master {
    /// Forks what is wanted. `Some` in a forked child only.
    pub fn fork_what_is_wanted(&mut self) -> Option<End> {
        if !self.to_spawn.is_empty() {
            // What is not written yet must not be in the buffers of two processes.
            telemetry::flush();
        }
        while let Some(wanted) = self.to_spawn.pop_front() {
            let forked = match wanted {
                Wanted::Hub => self.spawn(Role::Hub, self.generation),
                Wanted::Worker(generation) => self.spawn(Role::Worker, generation),
                Wanted::Upgrade(exec) => self.spawn_upgrade(exec),
                Wanted::Policy(policy) => self.spawn_policy(policy),
            };
            match forked {
                Ok(None) => {}
                Ok(end) => return end,
                Err(error) => {
                    let now = Instant::now();
                    let end = super::backoff::End { lived: Duration::ZERO, killed_in_service: false };
                    self.worker_backoff.ended(end, now, &self.settings.workers.backoff);
                    self.trouble(format!("cannot start a process: {error}"));
                }
            }
        }
        None
    }

    /// Compares what is with what should be, and starts and drains accordingly.
    pub fn supervise(&mut self, now: Instant) {
        let lives_on = matches!(self.life, Life::Starting | Life::Running);
        // Who finishes what it has needs the hub for it as much.
        let needs_hub = lives_on || !self.is_ending_at_once && self.workers().next().is_some();
        if needs_hub
            && self.hub().is_none()
            && self.hub_backoff.blocked(now).is_none()
            && !self.to_spawn.iter().any(|w| matches!(w, Wanted::Hub))
        {
            self.to_spawn.push_back(Wanted::Hub);
        }
        if !lives_on {
            return;
        }
        let views: Vec<View> = self
            .workers()
            .map(|c| View { slot: c.slot, phase: c.phase, connections: self.board.slot(c.slot).connections().load(Relaxed) })
            .collect();
        let queued = self.to_spawn.iter().filter(|w| matches!(w, Wanted::Worker(_))).count();
        let cap = self.settings.workers.max_total as usize;
        let decision = decide(&views, self.wanted, cap);
        if self.worker_backoff.blocked(now).is_none() && queued == 0 {
            let generation = self.generation;
            self.to_spawn.extend((0..decision.start).map(|_| Wanted::Worker(generation)));
        }
        let limit = *self.settings.workers.drain;
        for slot in decision.drain {
            if let Some(worker) = self.workers_mut().find(|c| c.slot == slot && c.is_current()) {
                log_debug!("{} drains", worker.name());
                worker.drain(limit, now);
            }
        }
    }

    /// Forks one child. `Some` in the child.
    fn spawn(&mut self, role: Role, generation: u64) -> io::Result<Option<End>> {
        let Some(slot) = self.free_slot(role) else {
            return Err(io::Error::other("the scoreboard is full"));
        };
        let (ours, theirs) = Channel::pair()?;
        let hub_pair = if role == Role::Worker { Some(Channel::pair()?) } else { None };
        let now = Instant::now();
        let parent = std::process::id() as i32;
        self.board.slot(slot).claim(role, generation);
        match fork() {
            Err(error) => {
                self.board.slot(slot).clear();
                Err(error)
            }
            Ok(Forked::Child) => {
                let context = ChildContext {
                    slot,
                    generation,
                    revision: self.revision,
                    settings: Self::seen_by(role, &self.settings),
                    listeners: self.listeners_for(role),
                    control: theirs,
                    hub: hub_pair.map(|(worker_end, _)| worker_end),
                    scoreboard: self.board,
                    limiter: self.limiter.clone(),
                    fast_path: self.fast_path,
                    right: self.right.clone(),
                    boot: self.boot_info(),
                };
                Ok(Some(End::Child(Box::new(Seed { role, context, target: self.target.clone(), parent }))))
            }
            Ok(Forked::Parent(pid)) => {
                let shown: Slot = self.board.slot(slot);
                shown.pid().store(u64::from(pid.as_raw().unsigned_abs()), Relaxed);
                self.children.push(Child {
                    slot,
                    pid,
                    role,
                    generation,
                    revision: self.revision,
                    control: ours,
                    phase: Phase::Starting,
                    forked: now,
                    deadline: Some(now + START_LIMIT),
                    expected: false,
                    killed: None,
                    failed: None,
                    silent: false,
                    early: recycling::early(pid.as_raw()),
                    work: (0, Instant::now()),
                });
                match hub_pair {
                    Some((_, hub_end)) => self.introduce(slot, pid, hub_end),
                    None => {
                        self.had_hub = true;
                        self.introduce_all();
                    }
                }
                Ok(None)
            }
        }
    }

    /// Gives the hub its end of a new worker's channel.
    fn introduce(&self, slot: usize, pid: Pid, hub_end: Channel) {
        if let Some(hub) = self.hub() {
            hub.tell_with(&ToChild::WorkerChannel { slot, pid: pid.as_raw() }, &[hub_end.as_fd()]);
        }
    }

    /// Connects a new hub with the workers that are there.
    fn introduce_all(&self) {
        for worker in self.workers().filter(|w| w.phase != Phase::Draining || self.life != Life::Starting) {
            match Channel::pair() {
                Ok((worker_end, hub_end)) => {
                    worker.tell_with(&ToChild::HubChannel, &[worker_end.as_fd()]);
                    self.introduce(worker.slot, worker.pid, hub_end);
                }
                Err(error) => log_error!("{} cannot be connected with the hub: {error}", worker.name()),
            }
        }
    }

    fn free_slot(&self, role: Role) -> Option<usize> {
        let used = |slot: &usize| self.children.iter().any(|c| c.slot == *slot);
        match role {
            Role::Hub if !used(&HUB_SLOT) => Some(HUB_SLOT),
            _ => (HUB_SLOT + 1..self.board.len()).find(|slot| !used(slot)),
        }
    }

    /// In the child: its own descriptors of the sockets it serves.
    fn listeners_for(&self, role: Role) -> Vec<ListenSocket> {
        let own = self.listeners.iter().filter(|l| (l.server == ADMIN) == (role == Role::Hub));
        own.filter_map(|listening| match listening.for_child() {
            Ok(socket) => Some(socket),
            Err(error) => {
                log_error!("cannot listen on {}: {error}", listening.bound);
                None
            }
        })
        .collect()
    }

    /// Settings as a child gets them: with the paths that it finds in its root (a master that is not root could not change it), and the admin token
    /// only for the hub, which asks for it.
    pub fn seen_by(role: Role, settings: &Settings) -> Settings {
        let mut settings = settings.clone();
        if role != Role::Hub {
            settings.admin.token = None;
        }
        if Uid::effective().is_root() { settings.inside_chroot() } else { settings }
    }

    /// In the child, before the root changes: what can only be read now.
    fn boot_info(&self) -> BootInfo {
        let (resolv_conf, hosts) = (text_of("/etc/resolv.conf"), text_of("/etc/hosts"));
        BootInfo { chroot: self.settings.chroot.is_some(), resolv_conf, hosts, first_hub: !self.had_hub, ..self.boot.clone() }
    }
}

/// A small text file; empty when it is not there, cut where it is too long.
fn text_of(path: &str) -> String {
    let bytes = fs::read(path).unwrap_or_default();
    String::from_utf8_lossy(&bytes[..bytes.len().min(MOST_OF_A_FILE)]).into_owned()
}
