//! Workers, configuration and the binary are replaced under a steady load of new and kept connections: not one request fails.

use crate::support::client::{self, Reply};
use crate::support::server::Skep;
use crate::support::steady::Steady;
use crate::support::wait;
use crate::{APPS, ROUTES, alone, hello, workers};

const PATH: &str = "/steady";

fn is_right(reply: &Reply) -> bool {
    reply.status == 200 && reply.body == b"Hello, /steady"
}

fn load(skep: &Skep) -> Steady {
    let load = Steady::start(skep.address(), PATH, is_right, 4, 4);
    load.answered(50);
    load
}

fn nothing_failed(load: Steady) {
    let tally = load.stop();
    assert!(tally.failures.is_empty(), "{} of {} failed: {:#?}", tally.failures.len(), tally.answers, tally.failures);
    assert!(tally.answers > 100, "{} answers are no load", tally.answers);
    println!("{} answers, {} sent again, p99 {:?}", tally.answers, tally.repeated, tally.p99());
}

#[test]
fn fifty_reloads_lose_no_request() {
    let _alone = alone();
    let skep = hello(&workers(2)).start();
    let load = load(&skep);
    for _ in 0..50 {
        let before: Vec<i32> = skep.status().workers.iter().map(|worker| worker.pid).collect();
        skep.order("reload");
        let after = skep.settled(2);
        assert!(after.workers.iter().all(|worker| !before.contains(&worker.pid)), "{before:?} and after it {:?}", after.workers);
        load.answered(20);
    }
    nothing_failed(load);
}

#[test]
fn fifty_updates_lose_no_request() {
    let _alone = alone();
    let skep = hello(&workers(2)).start();
    let load = load(&skep);
    let address = skep.address();
    for number in 1..=50 {
        let more = format!("{ROUTES}, (path: \"/number\", reply: (status: 200, body: \"{number}\"))");
        skep.site.configure(&workers(2), APPS, &more);
        skep.order("update");
        wait::until("the new answer", || client::get(address, "/number").is_ok_and(|reply| reply.text() == number.to_string()));
        load.answered(20);
    }
    nothing_failed(load);
}

#[test]
fn twenty_scalings_lose_no_request() {
    let _alone = alone();
    let skep = hello(&workers(2)).start();
    let load = load(&skep);
    for number in 0..20 {
        let count = if number % 2 == 0 { 4 } else { 1 };
        skep.site.configure(&format!("{}, mpm_delay: \"50ms\"", workers(count)), APPS, ROUTES);
        skep.order("update");
        skep.settled(count);
        load.answered(20);
    }
    nothing_failed(load);
}

#[test]
fn five_upgrades_lose_no_request() {
    let _alone = alone();
    let skep = hello(&workers(2)).start();
    let load = load(&skep);
    let mut before = skep.status().master;
    for _ in 0..5 {
        skep.order("upgrade");
        wait::until("the new instance", || {
            let now = skep.status().master;
            now.state == "running" && (now.pid != before.pid || now.started_ms != before.started_ms)
        });
        before = skep.status().master;
        load.answered(20);
    }
    nothing_failed(load);
}
