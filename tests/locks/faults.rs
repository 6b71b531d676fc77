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
const LEASE: u64 = 400_000;
const SESSIONS: usize = 20;
const JOBS: usize = 15;
const SCRIPTS: usize = 15;

/// A lock held for a moment, with the times of the script's own clock.
const SCRIPT: &str = r#"
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
struct Log {
    grants: Mutex<Vec<Grant>>,
    /// When workers were killed: right before, and when that was certainly done.
    kills: Mutex<Vec<(Moment, Moment)>>,
    over: AtomicBool,
    /// How often something else came of an attempt.
    others: Mutex<BTreeMap<String, usize>>,
}

impl Log {
    fn grant(&self, grant: Grant) {
        self.grants.lock().expect("a log").push(grant);
    }

    fn other(&self, what: &str) {
        *self.others.lock().expect("a log").entry(what.to_owned()).or_default() += 1;
    }

    /// Kills a worker. A job may be given between the two moments and its connection break.
    fn kill(&self, worker: i32) {
        let at = {
            let mut kills = self.kills.lock().expect("a log");
            kills.push((now(), Moment::MAX));
            kills.len() - 1
        };
        send(worker, Signal::SIGKILL);
        self.kills.lock().expect("a log")[at].1 = now();
    }

    fn is_over(&self) -> bool {
        self.over.load(Relaxed)
    }
}

/// Different numbers at every call, the same in every run.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % sides
    }
}

/// A client with a session: its leases outlast its connections.
fn session(number: usize, address: SocketAddr, log: &Log) {
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
            whole = hold(number, &mut client, &name, &mut dice, log).is_some();
        }
        log.other("connections of sessions");
    }
}

/// One lease from the asking to the end; `None` when the connection broke.
fn hold(number: usize, client: &mut Client, name: &str, dice: &mut Dice, log: &Log) -> Option<()> {
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
    wait::pause(if stopped { Duration::from_micros(LEASE + LEASE / 2) } else { Duration::from_micros(dice.roll(10_000)) });
    let to = now().min(counted + LEASE).max(from);
    log.grant(Grant { client: number, name: name.into(), asked, queued, from, to, token: Some(value(&words, "token")) });
    let words = client.ask_of(&format!("unlock {name}"))?;
    log.other(&words[0]);
    Some(())
}

/// A client of the original's protocol.
fn job(number: usize, address: SocketAddr, log: &Log) {
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
                    wait::pause(Duration::from_micros(dice.roll(5_000)));
                    let to = now();
                    client.try_send(format!("{} {name}\n", if dice.roll(2) == 0 { "done" } else { "failed" }).as_bytes());
                    let told = client.words();
                    // What it did after its connection was broken it did in good faith, as the documentation says.
                    let kills = log.kills.lock().expect("a log");
                    let broken = kills.iter().find(|(_, done)| *done >= asked).filter(|_| told.is_empty());
                    let to = broken.map_or(to, |(broken, _)| to.min(*broken).max(from));
                    drop(kills);
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
fn script(number: usize, address: SocketAddr, log: &Log) {
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
    let grants = || log.grants.lock().expect("a log").len();
    let mut dice = Dice(99);
    for round in 0..30 {
        let before = grants();
        wait::until("grants to go on", || grants() > before + 60);
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
    let before = grants();
    wait::until("grants to go on to the end", || grants() > before + 100);
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
    assert!(grants.len() > 1000 && queued > 100, "{} grants, {queued} queued", grants.len());
    assert_planted_errors_are_found(&grants);
}
