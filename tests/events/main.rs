//! Events through the real binary: several workers, one hub, and what becomes of them meanwhile. Every subscriber checks what it gets against
//! everything that was published.

mod reader;
mod redis;

#[path = "../support/mod.rs"]
mod support;

use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Mutex, MutexGuard, PoisonError};

use reader::{Publisher, Reader, Stalled, Stopped};
use support::server::{Site, Skep, memory};
use support::wait;

/// Publishes at `/publish?n=…`, streams at `/stream`, and ends the streams when the worker goes.
const APP: &str = r#"
local events = require("@skep/events")
local json = require("@skep/json")
local app = { open = {} }

function app.request(req)
    if req.path == "/publish" then
        return json.encode(events.publish(req.get.topic or "t", { n = tonumber(req.get.n), filling = string.rep("x", tonumber(req.get.filling or "0")) }))
    elseif req.path == "/info" then
        return json.encode(events.info("t"))
    elseif req.path == "/history" then
        return json.encode(events.history(req.get.topic))
    elseif req.path == "/members" then
        return json.encode(json.array(events.presence("t")))
    elseif req.path == "/present" then
        local subscription = events.subscribe("t", nil, { presence = { id = req.get.id }, watch = true })
        req.onabort = function()
            subscription:close()
        end
        req:write("here\n")
        req:flush()
        for event in subscription:events() do
            if event.kind == "joined" or event.kind == "left" then
                req:write(event.kind, " ", event.member.id, "\n")
                req:flush()
            end
        end
        return ""
    elseif req.path == "/stream" then
        local since = req.get.epoch and { epoch = tonumber(req.get.epoch), offset = tonumber(req.get.offset) }
        local subscription = events.subscribe(req.get.topic or "t", nil, { since = since, queue = tonumber(req.get.queue or "10000") })
        app.open[subscription] = true
        req:write(json.encode({ kind = "open" }), "\n")
        req:flush()
        for event in subscription:events() do
            req:write(json.encode(event), "\n")
            req:flush()
        end
        app.open[subscription] = nil
        return ""
    end
    return "here"
end

function app.drain()
    for subscription in app.open do
        subscription:close()
    end
end

return app
"#;

/// Held by the test that runs: each has processes enough for the machine.
fn alone() -> MutexGuard<'static, ()> {
    static ONE: Mutex<()> = Mutex::new(());
    ONE.lock().unwrap_or_else(PoisonError::into_inner)
}

fn start(count: usize) -> Skep {
    start_with("events: Local(history: 10000),", count)
}

fn start_with(fields: &str, count: usize) -> Skep {
    let site = Site::new();
    site.write("apps/events/main.luau", APP);
    let workers = format!("start: {count}, min: {count}, max: {count}, min_spare: 0, max_spare: {count}");
    site.configure_with(fields, &workers, "\"events\": Script(path: \"apps/events\")", "(path: \"/\", app: \"events\")");
    let skep = site.start();
    skep.settled(count);
    skep
}

fn readers(skep: &Skep, count: usize) -> Vec<Reader> {
    let subscriptions = || skep.status().workers.iter().map(|worker| worker.events.subscriptions).sum::<u64>();
    let before = subscriptions();
    let one = |number| {
        let reader = Reader::start(skep.address());
        // One after the other, so that they spread over the workers.
        wait::until("the reader to read", || subscriptions() >= before + number);
        reader
    };
    (1..=count as u64).map(one).collect()
}

#[test]
fn what_one_worker_publishes_all_receive_in_order() {
    let _alone = alone();
    let skep = start(3);
    let readers = readers(&skep, 12);
    let publisher = Publisher::start(skep.address());
    publisher.published(500);
    let status = skep.status();
    assert!(status.workers.iter().all(|worker| worker.events.subscriptions > 0), "every worker has subscribers: {status:?}");
    let acknowledged = publisher.stop();
    for reader in readers {
        let tally = reader.stop(&acknowledged);
        assert_eq!((tally.told, tally.broken), (0, 0), "nothing happened that could lose something");
        assert_eq!(tally.events, acknowledged.events.len());
    }
    let hub = skep.status().hub.expect("a hub");
    assert_eq!(hub.events.published, acknowledged.events.len() as u64);
    assert!(hub.events.delivered <= hub.events.published * 3, "once a worker: {:?}", hub.events);
}

#[test]
fn twenty_reloads_lose_nothing_of_who_recovers() {
    let _alone = alone();
    let skep = start(2);
    let readers = readers(&skep, 4);
    let publisher = Publisher::start(skep.address());
    for _ in 0..20 {
        publisher.published(10);
        skep.order("reload");
        skep.settled(2);
    }
    publisher.published(10);
    let acknowledged = publisher.stop();
    for reader in readers {
        let tally = reader.stop(&acknowledged);
        assert_eq!(tally.told, 0, "the hub was there all the time: everything is recovered");
        assert!(tally.broken > 0, "the reader had to come back: {tally:?}");
    }
}

#[test]
fn killed_workers_and_hubs_are_told() {
    let _alone = alone();
    let skep = start(2);
    let readers = readers(&skep, 4);
    let publisher = Publisher::start(skep.address());
    for round in 0..6 {
        publisher.published(20);
        skep.lose(round % 2 == 0);
        publisher.published(20);
    }
    let acknowledged = publisher.stop();
    let mut broken = 0;
    for reader in readers {
        let tally = reader.stop(&acknowledged);
        assert!((3..=12).contains(&tally.told), "three hubs were killed: {tally:?}");
        broken += tally.broken;
    }
    assert!(broken > 0, "workers were killed");
}

/// What a process may have more for somebody who reads nothing, of a build that nobody made small: 30 MB go past it.
const GROWTH: u64 = 24 << 20;

fn who_does_not_read(skep: &Skep) {
    let (stalled, stopped) = (Stalled::open(skep.address(), 100), Stopped::open(skep.address(), 100));
    let reader = readers(skep, 1).remove(0);
    let publisher = Publisher::start(skep.address());
    publisher.filling.store(60_000, Relaxed);
    // What they may hold they hold then.
    publisher.published(200);
    let memory = || {
        let status = skep.status();
        let all = status.workers.iter().map(|worker| worker.pid).chain(status.hub.map(|hub| hub.pid));
        all.map(|pid| (pid, memory(pid))).collect::<Vec<_>>()
    };
    let before = memory();
    publisher.published(500);
    let after = memory();
    publisher.filling.store(0, Relaxed);
    let grown = before.iter().zip(&after).all(|(before, after)| before.0 == after.0 && after.1 < before.1 + GROWTH);
    assert!(grown, "processes had {before:?} bytes and have {after:?}");
    // 42 MB do not fit into their queues and their sockets. The hub has taken them all; workers may still be at it.
    wait::until("messages dropped", || skep.status().workers.iter().map(|worker| worker.events.dropped).sum::<u64>() >= 2 * 400);
    publisher.published(10);
    let acknowledged = publisher.stop();
    for (events, missed) in [stalled.read_all(acknowledged.last), stopped.go_on_to(acknowledged.last)] {
        assert_eq!(events + missed, acknowledged.events.len(), "what is missing is counted");
        assert!(missed >= 400);
    }
    assert_eq!(reader.stop(&acknowledged).told, 0, "the others are not slower for it");
}

#[test]
fn who_does_not_read_costs_little_and_is_told() {
    let _alone = alone();
    who_does_not_read(&start_with("events: Local(history: 100),", 2));
}
