//! Processes are killed: what they had is lost, and nothing else.

use nix::sys::signal::Signal;

use crate::support::client::{Client, Reply, get};
use crate::support::server::{is_gone, send};
use crate::support::steady::Steady;
use crate::support::wait;
use crate::{alone, hello, workers};

fn is_right(reply: &Reply) -> bool {
    reply.status == 200 && reply.body == b"Hello, /"
}

#[test]
fn a_killed_worker_costs_its_own_requests_only() {
    let _alone = alone();
    let skep = hello(&workers(2)).start();
    let status = skep.settled(2);
    let victim = status.workers[0].pid;
    let mut clients: Vec<Client> = (0..40).map(|_| Client::connect(skep.address()).expect("a connection")).collect();
    for client in &mut clients {
        assert!(is_right(&client.get("/").expect("an answer")));
    }
    send(victim, Signal::SIGKILL);
    wait::until("two workers again", || {
        let status = skep.status();
        let others = status.workers.iter().filter(|worker| worker.pid != victim).count();
        others == 2 && status.states.idle + status.states.busy == 2
    });
    let alive = clients.iter_mut().filter_map(|client| client.get("/").ok()).filter(is_right).count();
    assert!((10..=30).contains(&alive), "{alive} of 40 connections went on: those of the other worker must, and only those can");
    assert!(is_right(&get(skep.address(), "/").expect("an answer")));
}

#[test]
fn workers_serve_on_without_the_hub() {
    let _alone = alone();
    let skep = hello(&workers(2)).start();
    let hub = skep.settled(2).hub.expect("a hub").pid;
    let workers: Vec<i32> = skep.status().workers.iter().map(|worker| worker.pid).collect();
    let load = Steady::start(skep.address(), "/", is_right, 2, 2);
    load.answered(20);
    send(hub, Signal::SIGKILL);
    wait::until("another hub", || skep.status().hub.is_some_and(|now| now.pid != hub));
    load.answered(50);
    let tally = load.stop();
    assert!(tally.failures.is_empty(), "{:#?}", tally.failures);
    let now: Vec<i32> = skep.status().workers.iter().map(|worker| worker.pid).collect();
    assert_eq!(now, workers, "the workers are the same");
}

#[test]
fn without_the_master_all_end_and_the_next_start_works() {
    let _alone = alone();
    let skep = hello(&workers(2)).start();
    let status = skep.settled(2);
    let mut children: Vec<i32> = status.workers.iter().map(|worker| worker.pid).collect();
    children.extend(status.hub.map(|hub| hub.pid));
    send(skep.master(), Signal::SIGKILL);
    wait::until("the end of every child", || children.iter().all(|&pid| is_gone(pid)));
    // The pid file is stale now, and the port free.
    let skep = skep.into_site().start();
    assert!(is_right(&get(skep.address(), "/").expect("an answer")));
}
