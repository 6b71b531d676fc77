//! Fifty clients, half of the time with something broken, and what they saw.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use nix::sys::signal::Signal;

use crate::client::{Client, value};
use crate::history::{Grant, Moment, assert_planted_errors_are_found, check, now};
use crate::start_with;
use crate::support::server::send;
use crate::support::{client as http, wait};

/// The lease that clients ask for, microseconds.
pub const LEASE: u64 = 400_000;
const SESSIONS: usize = 20;
const JOBS: usize = 15;
const SCRIPTS: usize = 15;

/// A lock held for a moment, with the times of the script's own clock.
pub const SCRIPT: &str = r#"
local lock = require("@skep/lock")
local json = require("@skep/json")
local skep = require("@skep")
local app = {}

function app.request(req)
    if req.path == "/" then
        return "here"
    end
    local mine, why = lock.acquire(req.get.name, { wait = "1500ms", lease = "400ms" })
    if not mine then
        return skep.json_reply({ why = why })
    end
    local from = skep.now()
    skep.sleep(math.random() * 0.01)
    local to = skep.now()
    local lost = mine.lost
    mine:release()
    return skep.json_reply({ from = from, to = to, token = mine.token, lost = lost })
end

return app
"#;

/// What all clients write to.
#[derive(Default)]
pub struct Log {
    pub grants: Mutex<Vec<Grant>>,
    /// When workers were killed: right before, and when that was certainly done.
    pub kills: Mutex<Vec<(Moment, Moment)>>,
    pub over: AtomicBool,
    /// The longest that is worked under a lock for, beyond what is usual, microseconds.
    pub longest: u64,
    /// How often something else came of an attempt.
    pub others: Mutex<BTreeMap<String, usize>>,
}

impl Log {
    fn grant(&self, grant: Grant) {
        self.grants.lock().expect("a log").push(grant);
    }

    fn other(&self, what: &str) {
        *self.others.lock().expect("a log").entry(what.to_owned()).or_default() += 1;
    }

    pub fn count(&self) -> usize {
        self.grants.lock().expect("a log").len()
    }

    /// Kills a worker. A job may be given between the two moments and its connection break.
    pub fn kill(&self, worker: i32) {
        self.break_off(|| send(worker, Signal::SIGKILL));
    }

    /// Does what breaks connections.
    pub fn break_off(&self, act: impl FnOnce()) {
        let at = {
            let mut kills = self.kills.lock().expect("a log");
            kills.push((now(), Moment::MAX));
            kills.len() - 1
        };
        act();
        self.kills.lock().expect("a log")[at].1 = now();
    }

    /// When the connection was broken that somebody asked over at this moment, and that has ended since.
    fn broken(&self, asked: Moment) -> Option<Moment> {
        let kills = self.kills.lock().expect("a log");
        kills.iter().find(|(_, done)| *done >= asked).map(|(broken, _)| *broken)
    }

    /// How long to work under a lock: for up to so many microseconds, sometimes for longer.
    fn work(&self, dice: &mut Dice, usual: u64) {
        let most = if dice.roll(8) == 0 { usual + self.longest } else { usual };
        wait::pause(Duration::from_micros(dice.roll(most)));
    }

    fn is_over(&self) -> bool {
        self.over.load(Relaxed)
    }
}

/// Different numbers at every call, the same in every run.
pub struct Dice(pub u64);

impl Dice {
    pub fn roll(&mut self, sides: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % sides
    }
}

/// A client with a session: its leases outlast its connections.
pub fn session(number: usize, address: SocketAddr, log: &Log) {
    let mut dice = Dice(number as u64);
    let mut session: Option<String> = None;
    while !log.is_over() {
        let mut client = Client::connect(address);
        let words = client.ask(&format!("hello 2 {}", session.as_deref().unwrap_or("session")));
        if words.first().is_none_or(|word| word != "HELLO") {
            continue;
        }
        session = Some(words[2].clone());
        let mut whole = true;
        for _ in 0..value(&words, "held") {
            let held = client.words();
            whole = whole && held.len() > 1 && client.ask_of(&format!("unlock {}", held[1])).is_some();
        }
        while whole && !log.is_over() {
            let name = format!("lease-{}", dice.roll(3));
            whole = hold(number, &mut client, &name, true, &mut dice, log).is_some();
        }
        log.other("connections of sessions");
    }
}

/// A client whose leases end with its connections.
pub fn lease(number: usize, address: SocketAddr, log: &Log) {
    let mut dice = Dice(number as u64);
    while !log.is_over() {
        let mut client = Client::connect(address);
        let mut whole = client.ask("hello 2") == ["HELLO", "2"];
        while whole && !log.is_over() {
            let name = format!("lease-{}", dice.roll(3));
            whole = hold(number, &mut client, &name, false, &mut dice, log).is_some();
        }
        log.other("connections of leases");
    }
}

/// One lease from the asking to the end; `None` when the connection broke.
fn hold(number: usize, client: &mut Client, name: &str, lasting: bool, dice: &mut Dice, log: &Log) -> Option<()> {
    let asked = now();
    let mut counted = asked;
    let mut queued = None;
    let mut words = client.ask_of(&format!("lock {name} lease={}ms wait=1500ms", LEASE / 1000))?;
    if words[0] == "QUEUED" {
        queued = Some(now());
        words = client.answer_of(name)?;
        if words[0] == "LOCKED" {
            let token = value(&words, "token");
            counted = now();
            words = client.ask_of(&format!("renew {name}"))?;
            if words[0] == "RENEWED" {
                assert_eq!(value(&words, "token"), token);
            }
        }
    }
    if !matches!(words[0].as_str(), "LOCKED" | "RENEWED") {
        log.other(&words[0]);
        return Some(());
    }
    let from = now();
    // Now and then a client stops for longer than its lease; it then looks at its clock first.
    let stopped = dice.roll(40) == 0;
    if stopped {
        wait::pause(Duration::from_micros(LEASE + LEASE / 2));
    } else {
        log.work(dice, 10_000);
    }
    let to = now().min(counted + LEASE).max(from);
    let token = Some(value(&words, "token"));
    let told = client.ask_of(&format!("unlock {name}"));
    let broken = log.broken(asked).filter(|_| told.is_none() && !lasting);
    let to = broken.map_or(to, |broken| to.min(broken).max(from));
    log.grant(Grant { client: number, name: name.into(), asked, queued, from, to, token });
    let words = told?;
    log.other(&words[0]);
    Some(())
}

/// A client of the original's protocol.
pub fn job(number: usize, address: SocketAddr, log: &Log) {
    let mut dice = Dice(number as u64);
    while !log.is_over() {
        let mut client = Client::connect(address);
        while !log.is_over() {
            let name = format!("job-{}", dice.roll(3));
            let asked = now();
            client.try_send(format!("{} {name}\n", if dice.roll(2) == 0 { "acquire" } else { "acquireWait" }).as_bytes());
            let words = client.words();
            let Some(word) = words.first() else { break };
            log.other(word);
            match word.as_str() {
                "RUN" => {
                    let from = now();
                    log.work(&mut dice, 5_000);
                    let to = now();
                    client.try_send(format!("{} {name}\n", if dice.roll(2) == 0 { "done" } else { "failed" }).as_bytes());
                    let told = client.words();
                    // What it did after its connection was broken it did in good faith, as the documentation says.
                    let broken = log.broken(asked).filter(|_| told.is_empty());
                    let to = broken.map_or(to, |broken| to.min(broken).max(from));
                    log.grant(Grant { client: number, name, asked, queued: None, from, to, token: None });
                    if told.is_empty() {
                        break;
                    }
                }
                "WAIT" if client.words().is_empty() => break,
                _ => {}
            }
        }
        log.other("connections of jobs");
    }
}

/// A client whose lock an application holds.
pub fn script(number: usize, address: SocketAddr, log: &Log) {
    let mut dice = Dice(number as u64);
    while !log.is_over() {
        let name = format!("lease-{}", dice.roll(3));
        let asked = now();
        let Ok(answer) = http::get(address, &format!("/hold?name={name}")) else {
            log.other("a request broke");
            continue;
        };
        let Ok(answer) = serde_json::from_slice::<serde_json::Value>(&answer.body) else {
            log.other("no JSON");
            continue;
        };
        let micros = |field: &str| answer[field].as_f64().map(|seconds| (seconds * 1e6) as u64);
        match (micros("from"), micros("to"), answer["token"].as_u64().or_else(|| answer["token"].as_f64().map(|token| token as u64))) {
            (Some(from), Some(to), token) if answer["lost"] == false => {
                log.grant(Grant { client: number, name, asked, queued: None, from, to, token });
            }
            _ => log.other(answer["why"].as_str().unwrap_or("lost")),
        }
    }
}

#[test]
fn fifty_clients_under_faults_see_one_holder_growing_tokens_and_fair_queues() {
    let locks = start_with(3, "", "\"hold\": Script(path: \"apps/hold\")", Some(SCRIPT));
    let log = Arc::new(Log::default());
    let mut clients = Vec::new();
    let (lock, web) = (locks.address, locks.skep.address());
    for number in 0..SESSIONS + JOBS + SCRIPTS {
        let log = log.clone();
        clients.push(thread::spawn(move || match number {
            0..SESSIONS => session(number, lock, &log),
            number if number < SESSIONS + JOBS => job(number, lock, &log),
            _ => script(number, web, &log),
        }));
    }
    let mut dice = Dice(99);
    for round in 0..30 {
        let before = log.count();
        wait::until("grants to go on", || log.count() > before + 60);
        let status = locks.skep.status();
        match round % 3 {
            0 if !status.workers.is_empty() => {
                let victim = &status.workers[dice.roll(status.workers.len() as u64) as usize];
                log.kill(victim.pid);
            }
            1 => {
                if let Some(hub) = status.hub {
                    send(hub.pid, Signal::SIGKILL);
                }
                // Sometimes a worker dies with it.
                if let Some(worker) = status.workers.first().filter(|_| round % 2 == 0) {
                    log.kill(worker.pid);
                }
            }
            _ => {
                let _answer = locks.skep.site.command("reload").output().expect("the binary starts");
            }
        }
    }
    finish(&log, clients, 100);
}

/// Waits for some more grants, ends the clients, and looks at what they saw.
pub fn finish(log: &Log, clients: Vec<thread::JoinHandle<()>>, least_queued: usize) {
    let before = log.count();
    wait::until("grants to go on to the end", || log.count() > before + 100);
    log.over.store(true, Relaxed);
    for client in clients {
        client.join().expect("no client failed");
    }
    let grants = log.grants.lock().expect("a log").clone();
    let queued = grants.iter().filter(|grant| grant.queued.is_some()).count();
    println!("{} grants, {queued} of them after a wait; {:?}", grants.len(), log.others.lock().expect("a log"));
    let violations = check(&grants);
    if !violations.is_empty() {
        println!("workers were killed at {:?}", log.kills.lock().expect("a log"));
    }
    assert!(violations.is_empty(), "{} violations, the first: {}", violations.len(), violations[0]);
    assert!(grants.len() > 1000 && queued > least_queued, "{} grants, {queued} queued", grants.len());
    assert_planted_errors_are_found(&grants);
}
