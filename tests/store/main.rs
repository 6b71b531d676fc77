//! The store through the real binary: several workers write, and whatever dies meanwhile, what was acknowledged is there, whole and once.

#[path = "../support/mod.rs"]
mod support;

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};

use nix::sys::signal::Signal;
use support::server::{Site, Skep, send};
use support::{client, wait};

/// `/insert?n=…`, `/ids` (of whole documents), `/tail?after=…&count=…`: as many changes, then the point after them.
const APP: &str = r#"
local store = require("@skep/store")
local lines = store.collection("lines")
local filling = string.rep("x", 500)

return { request = function(req)
    if req.path == "/insert" then
        local n = tonumber(req.get.n)
        lines:insert { _id = n, first = n, filling = filling, last = n }
        assert(lines:count { _id = n } == 1, "a worker reads what it wrote")
        return "ok"
    elseif req.path == "/ids" then
        local ids = {}
        for _, line in lines:find({}, { fields = { "first", "last" } }) do
            assert(line.first == line._id and line.last == line._id, "half a document")
            table.insert(ids, tostring(line._id))
        end
        return table.concat(ids, " ")
    elseif req.path == "/point" then
        return store.point()
    elseif req.path == "/tail" then
        local seen, point = {}, nil
        for change in lines:tail { after = req.get.after } do
            table.insert(seen, tostring(change.id))
            point = change.point
            if #seen == tonumber(req.get.count) then break end
        end
        return `{table.concat(seen, " ")}\n{point}`
    end
    return "here"
end }
"#;

/// Held by the test that runs: each has processes enough for the machine.
fn alone() -> MutexGuard<'static, ()> {
    static ONE: Mutex<()> = Mutex::new(());
    ONE.lock().unwrap_or_else(PoisonError::into_inner)
}

fn start(count: usize) -> Skep {
    let site = Site::new();
    site.write("apps/store/main.luau", APP);
    let workers = format!("start: {count}, min: {count}, max: {count}, min_spare: 0, max_spare: {count}");
    site.configure(&workers, "\"store\": Script(path: \"apps/store\")", "(path: \"/\", app: \"store\")");
    let skep = site.start();
    skep.settled(count);
    skep
}

/// Inserts one document after the other; each has its own numbers.
struct Writer {
    ending: Arc<AtomicBool>,
    /// Sent, and of these acknowledged.
    numbers: Arc<Mutex<(Vec<u64>, Vec<u64>)>>,
    thread: JoinHandle<()>,
}

impl Writer {
    fn start(address: SocketAddr, writer: u64) -> Self {
        let (ending, numbers) = (Arc::new(AtomicBool::new(false)), Arc::new(Mutex::new((Vec::new(), Vec::new()))));
        let (end, list) = (ending.clone(), numbers.clone());
        let thread = thread::spawn(move || {
            for number in 0.. {
                if end.load(Relaxed) {
                    return;
                }
                let number = writer * 1_000_000 + number;
                list.lock().expect("nobody panics with it").0.push(number);
                match client::get(address, &format!("/insert?n={number}")) {
                    Ok(reply) if reply.text() == "ok" => list.lock().expect("nobody panics with it").1.push(number),
                    // Whoever was killed had it.
                    _ => wait::pause(std::time::Duration::from_millis(5)),
                }
            }
        });
        Self { ending, numbers, thread }
    }

    fn acknowledged(&self) -> usize {
        self.numbers.lock().expect("nobody panics with it").1.len()
    }

    fn stop(self) -> (Vec<u64>, Vec<u64>) {
        self.ending.store(true, Relaxed);
        self.thread.join().expect("the writer ends");
        std::mem::take(&mut *self.numbers.lock().expect("nobody panics with it"))
    }
}

struct Load(Vec<Writer>);

impl Load {
    fn start(skep: &Skep) -> Self {
        Self((1..=4).map(|writer| Writer::start(skep.address(), writer)).collect())
    }

    /// Waits until every writer has written more.
    fn goes_on(&self) {
        let before: Vec<usize> = self.0.iter().map(Writer::acknowledged).collect();
        wait::until("every writer to write", || self.0.iter().zip(&before).all(|(writer, before)| writer.acknowledged() >= before + 5));
    }

    /// Ends the writing; every acknowledged document is there, none that was not sent. Gives how many were sent and not acknowledged.
    fn check(self, address: SocketAddr) -> usize {
        let (sent, acknowledged): (Vec<_>, Vec<_>) = self.0.into_iter().map(Writer::stop).unzip();
        check(address, &sent.concat(), &acknowledged.concat())
    }
}

fn check(address: SocketAddr, sent: &[u64], acknowledged: &[u64]) -> usize {
    let mut there = String::new();
    wait::until("the list", || {
        client::get(address, "/ids").is_ok_and(|reply| {
            there = reply.text();
            reply.status == 200
        })
    });
    let list: Vec<u64> = there.split(' ').map(|id| id.parse().unwrap_or_else(|_| panic!("{there}"))).collect();
    let there: BTreeSet<u64> = list.iter().copied().collect();
    assert_eq!(there.len(), list.len(), "nothing is there twice");
    let lost: Vec<_> = acknowledged.iter().filter(|number| !there.contains(number)).collect();
    assert!(lost.is_empty(), "acknowledged and lost: {lost:?}");
    let sent: BTreeSet<u64> = sent.iter().copied().collect();
    assert!(there.is_subset(&sent));
    sent.len() - acknowledged.len()
}

fn hub(skep: &Skep) -> i32 {
    let mut hub = None;
    wait::until("a hub", || {
        hub = skep.status().hub;
        hub.is_some()
    });
    hub.expect("it was waited for").pid
}

#[test]
fn a_killed_hub_loses_nothing_acknowledged() {
    let _alone = alone();
    let skep = start(2);
    let load = Load::start(&skep);
    for _ in 0..5 {
        load.goes_on();
        let victim = hub(&skep);
        send(victim, Signal::SIGKILL);
        wait::until("another hub", || skep.status().hub.is_some_and(|hub| hub.pid != victim));
    }
    load.goes_on();
    load.check(skep.address());
}

#[test]
fn a_killed_master_loses_nothing_acknowledged() {
    let _alone = alone();
    let skep = start(2);
    let load = Load::start(&skep);
    load.goes_on();
    send(skep.master(), Signal::SIGKILL);
    let numbers: Vec<_> = load.0.into_iter().map(Writer::stop).collect();
    let skep = skep.into_site().start();
    let (sent, acknowledged): (Vec<_>, Vec<_>) = numbers.into_iter().unzip();
    check(skep.address(), &sent.concat(), &acknowledged.concat());
}

#[test]
fn reloads_and_upgrades_lose_no_write() {
    let _alone = alone();
    let skep = start(2);
    let load = Load::start(&skep);
    for order in ["reload", "reload", "upgrade", "reload"] {
        load.goes_on();
        skep.order(order);
        skep.settled(2);
    }
    load.goes_on();
    load.check(skep.address());
}

#[test]
fn a_tail_goes_on_over_killed_hubs_without_loss_or_doubles() {
    let _alone = alone();
    let skep = start(2);
    let point = client::get(skep.address(), "/point").expect("an answer").text();
    let load = Load::start(&skep);
    let address = skep.address();
    let tail = thread::spawn(move || {
        let (mut point, mut seen) = (point, Vec::new());
        while seen.len() < 150 {
            let text = client::get(address, &format!("/tail?after={point}&count=10")).expect("an answer").text();
            let (ids, after) = text.split_once('\n').unwrap_or_else(|| panic!("{text}"));
            seen.extend(ids.split(' ').map(|id| id.parse::<u64>().unwrap_or_else(|_| panic!("{text}"))));
            point = after.to_owned();
        }
        seen
    });
    while !tail.is_finished() {
        load.goes_on();
        let victim = hub(&skep);
        send(victim, Signal::SIGKILL);
        wait::until("another hub", || skep.status().hub.is_some_and(|hub| hub.pid != victim));
    }
    let seen = tail.join().expect("the tail ends");
    load.check(address);
    let all = client::get(address, "/ids").expect("an answer").text();
    let all: Vec<u64> = all.split(' ').map(|id| id.parse().expect("a number")).collect();
    assert_eq!(seen, all[..seen.len()], "the changes are the documents in their order");
}
