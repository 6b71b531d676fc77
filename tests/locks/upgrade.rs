//! Two instances on one data directory during an upgrade, and what of the old one is killed meanwhile: who was told of a lock by an old worker holds it
//! until that worker has ended, whatever becomes of the others.

use std::process::Stdio;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use skep::process::Status;

use crate::client::{Client, value};
use crate::faults::{Dice, Log, SCRIPT, finish, job, lease, script};
use crate::support::server::{is_gone, send};
use crate::support::wait;
use crate::{Locks, start, start_with};

/// What an upgrade leaves behind: the processes of the instance that was there.
struct Old {
    master: i32,
    hub: i32,
    workers: Vec<i32>,
}

impl Old {
    fn of(status: &Status) -> Self {
        Self {
            master: status.master.pid,
            hub: status.hub.as_ref().expect("a hub").pid,
            workers: status.workers.iter().map(|worker| worker.pid).collect(),
        }
    }

    fn is_gone(&self) -> bool {
        is_gone(self.master) && self.workers.iter().all(|pid| is_gone(*pid))
    }
}

fn upgrade(locks: &Locks) -> Old {
    let old = Old::of(&locks.skep.status());
    locks.skep.order("upgrade");
    old
}

/// The same of an instance with one worker, which takes no connection any more when this returns.
fn upgrade_and_drain(locks: &Locks) -> Old {
    let mut idle = Client::connect(locks.address);
    idle.exchange(b"hullo\n", b"PROTOCOL_ERROR\n");
    let old = upgrade(locks);
    idle.expect_end();
    old
}

/// Holds a job and a lease in an old worker, and has somebody wait for each.
struct Holders {
    job: Client,
    lease: Client,
    waits: Client,
    token: u64,
}

impl Holders {
    fn at(locks: &Locks) -> Self {
        let mut job = Client::connect(locks.address);
        job.exchange(b"acquire job\n", b"RUN job\n");
        // Another job that the hub knows nothing of.
        job.exchange(b"acquire alone\n", b"RUN alone\n");
        let mut waits = Client::connect(locks.address);
        waits.exchange(b"acquireWait job\n", b"WAIT job\n");
        let mut lease = Client::extended(locks.address);
        let token = value(&lease.ask("lock lease lease=10m"), "token");
        Self { job, lease, waits, token }
    }

    /// Nobody has told them of an end.
    fn assert_they_hold(&mut self) {
        assert_eq!(self.lease.ask("token lease"), ["TOKEN".to_owned(), "lease".into(), format!("token={}", self.token)]);
        self.job.exchange(b"hullo\n", b"PROTOCOL_ERROR\n");
        self.waits.exchange(b"hullo\n", b"PROTOCOL_ERROR\n");
    }
}

#[test]
fn the_new_hub_grants_nothing_while_old_workers_live_though_the_old_hub_was_killed() {
    let locks = start(1, "");
    let mut holders = Holders::at(&locks);
    let old = upgrade_and_drain(&locks);
    send(old.hub, Signal::SIGKILL);
    // They ask the new instance, and the answer to each is that it cannot say.
    let mut new: Vec<Client> = (0..4).map(|_| Client::extended(locks.address)).collect();
    let started = Instant::now();
    new[0].send(b"acquire job\n");
    new[1].send(b"acquire alone\n");
    new[2].send(b"lock lease\n");
    assert_eq!(new[3].ask("lock other wait=300ms"), ["BUSY", "other"], "in time, though nothing can be granted");
    assert!(started.elapsed() >= Duration::from_millis(300));
    holders.assert_they_hold();
    // The old instance has another hub, which the old workers have told what there is to know.
    let Holders { mut job, mut lease, mut waits, .. } = holders;
    assert_eq!(lease.ask("renew lease")[0], "RENEWED");
    job.exchange(b"done job\n", b"DONE job\n");
    waits.expect(b"DONE job\n");
    job.exchange(b"done alone\n", b"DONE alone\n");
    assert_eq!(lease.ask("unlock lease"), ["UNLOCKED", "lease"]);
    // Nothing keeps the old workers now; with them the right to grant goes over.
    new[0].expect(b"RUN job\n");
    new[1].expect(b"RUN alone\n");
    assert_eq!(new[2].words()[..2], ["LOCKED", "lease"]);
    assert!(old.workers.iter().all(|pid| is_gone(*pid)), "an old worker was still there");
}

#[test]
fn the_old_hub_may_die_before_the_new_instance_has_taken_over() {
    let locks = start(1, "");
    let mut holders = Holders::at(&locks);
    let old = Old::of(&locks.skep.status());
    let before = locks.skep.processes();
    let mut command = locks.skep.site.command("upgrade");
    let mut command = command.stdout(Stdio::null()).spawn().expect("the binary starts");
    // The hub of the new instance must find the old one without.
    send(old.hub, Signal::SIGKILL);
    wait::until("the new instance", || locks.skep.processes().iter().any(|pid| !before.contains(pid)));
    let mut new = Client::connect(locks.address);
    new.send(b"acquire job\n");
    assert!(command.wait().expect("a child").success());
    let mut new = [new, Client::connect(locks.address)];
    new[1].send(b"acquire alone\n");
    holders.assert_they_hold();
    // The connection may have been the old worker's: then the answer is that somebody has it.
    holders.job.exchange(b"failed job\n", b"FAILED job\n");
    holders.waits.expect(b"FAILED job\n");
    holders.job.exchange(b"done alone\n", b"DONE alone\n");
    drop(holders);
    assert!(matches!(new[0].line().as_slice(), b"RUN job\n" | b"FAILED job\n"));
    new[1].expect(b"RUN alone\n");
    assert!(old.workers.iter().all(|pid| is_gone(*pid)), "an old worker was still there");
}

#[test]
fn what_a_killed_master_leaves_of_the_old_instance_is_waited_for() {
    let locks = start(1, "");
    let mut holders = Holders::at(&locks);
    let old = upgrade_and_drain(&locks);
    let mut new = Client::connect(locks.address);
    new.send(b"acquire job\n");
    holders.assert_they_hold();
    // With a worker that does not run, and no hub that could be asked.
    old.workers.iter().for_each(|pid| send(*pid, Signal::SIGSTOP));
    send(old.hub, Signal::SIGKILL);
    send(old.master, Signal::SIGKILL);
    new.expect(b"RUN job\n");
    assert!(old.is_gone(), "a process of the old instance was still there");
    holders.job.expect_end();
}

#[test]
fn thirty_clients_over_upgrades_in_which_the_old_instance_is_killed_piece_by_piece() {
    let locks = start_with(2, "", "\"hold\": Script(path: \"apps/hold\")", Some(SCRIPT));
    let log = Arc::new(Log { longest: 300_000, ..Log::default() });
    let (lock, web) = (locks.address, locks.skep.address());
    let mut clients = Vec::new();
    for number in 0..30 {
        let log = log.clone();
        clients.push(thread::spawn(move || match number % 3 {
            0 => lease(number, lock, &log),
            1 => job(number, lock, &log),
            _ => script(number, web, &log),
        }));
    }
    let mut dice = Dice(7);
    for round in 0..10 {
        let before = log.count();
        wait::until("grants to go on", || log.count() > before + 100);
        let old = if round % 2 == 0 {
            upgrade(&locks)
        } else {
            // In mid-upgrade, at a moment that is another one each time.
            let old = Old::of(&locks.skep.status());
            let mut command = locks.skep.site.command("upgrade").stdout(Stdio::null()).spawn().expect("the binary starts");
            wait::pause(Duration::from_millis(dice.roll(200)));
            send(old.hub, Signal::SIGKILL);
            assert!(command.wait().expect("a child").success(), "the upgrade failed\n{}", locks.skep.output());
            old
        };
        match round % 5 {
            0 => send(old.hub, Signal::SIGKILL),
            2 => log.break_off(|| {
                send(old.master, Signal::SIGKILL);
                wait::until("the end of the old workers", || old.is_gone());
            }),
            3 => old.workers.iter().for_each(|worker| log.kill(*worker)),
            _ => {
                let hub = locks.skep.status().hub.expect("a hub").pid;
                send(hub, Signal::SIGKILL);
            }
        }
        wait::until("the old instance to end", || old.is_gone());
    }
    finish(&log, clients, 100);
}
