//! Two instances on one Redis: each is a machine. Redis is stopped, killed and cut off meanwhile.

use nix::sys::signal::Signal;
use serde_json::Value;

use crate::reader::{Present, Publisher, Reader, Stalled};
use crate::support::redis::Redis;
use crate::support::server::{Skep, send};
use crate::support::{client, wait};
use crate::{alone, readers, start_with, who_does_not_read};

fn two(redis: &Redis) -> (Skep, Skep) {
    (start_with(&redis.fields(), 2), start_with(&redis.fields(), 2))
}

fn ask(skep: &Skep, path: &str) -> Value {
    let reply = client::get(skep.address(), path).expect("an answer");
    serde_json::from_slice(&reply.body).unwrap_or_else(|_| panic!("{}", reply.text()))
}

#[test]
fn what_one_machine_publishes_the_other_receives() {
    let _alone = alone();
    let redis = Redis::start();
    let (here, there) = two(&redis);
    let mut all = readers(&here, 3);
    all.extend(readers(&there, 3));
    let publisher = Publisher::start(here.address());
    publisher.published(300);
    redis.cut();
    publisher.published(100);
    let acknowledged = publisher.stop();
    for reader in all {
        assert_eq!(reader.stop(&acknowledged).told, 0, "Redis was there all the time: everything is recovered");
    }
    let info = ask(&there, "/info");
    assert_eq!(info["offset"].as_f64(), Some(acknowledged.last.1 as f64));
    let history = ask(&there, "/history?topic=t");
    assert_eq!(history["events"].as_array().map(Vec::len), Some(100));
    ask(&here, "/publish?topic=other&n=1");
    assert_eq!(ask(&there, "/history?topic=other")["events"][0]["data"]["n"], 1, "a topic that nobody is subscribed to");
}

#[test]
fn everything_may_be_killed_and_is_told_only_where_it_matters() {
    let _alone = alone();
    let mut redis = Redis::start();
    let (here, there) = two(&redis);
    let mut all = readers(&here, 2);
    all.extend(readers(&there, 2));
    let publisher = Publisher::start(here.address());
    publisher.published(20);
    for skep in [&here, &there] {
        let hub = skep.status().hub.expect("a hub").pid;
        send(hub, Signal::SIGKILL);
        wait::until("another hub", || skep.status().hub.is_some_and(|now| now.pid != hub));
        let worker = skep.status().workers[0].pid;
        send(worker, Signal::SIGKILL);
        wait::until("another worker", || skep.settled(2).workers.iter().all(|now| now.pid != worker));
        publisher.published(20);
        skep.order("reload");
        skep.settled(2);
        publisher.published(20);
    }
    // A partition: nothing comes through, nothing is closed.
    send(redis.pid(), Signal::SIGSTOP);
    wait::briefly(|| there.output().contains("trying again"));
    send(redis.pid(), Signal::SIGCONT);
    publisher.published(20);
    redis.kill();
    redis.again();
    publisher.published(20);
    let acknowledged = publisher.stop();
    for reader in all {
        let tally = reader.stop(&acknowledged);
        assert!((1..=2).contains(&tally.told), "only Redis itself has lost something: {tally:?}");
        assert!(tally.broken > 0);
    }
}

#[test]
fn who_does_not_read_costs_little_and_is_told() {
    let _alone = alone();
    let redis = Redis::start();
    who_does_not_read(&start_with(&redis.fields().replace("10000", "100"), 2));
}

#[test]
fn prefixes_are_shared_and_their_gaps_told() {
    let _alone = alone();
    let redis = Redis::start();
    let (here, there) = two(&redis);
    let mut follower = Stalled::open_topic(there.address(), 1000, "t*");
    let mut second = Stalled::open_topic(there.address(), 1000, "*");
    let exact = Reader::start(there.address());
    let publisher = Publisher::start(here.address());
    publisher.published(50);
    redis.cut();
    follower.until(|value| value["kind"] == "gap");
    second.until(|value| value["kind"] == "gap");
    publisher.published(50);
    let acknowledged = publisher.stop();
    for stalled in [&mut follower, &mut second] {
        let mut before = 0;
        stalled.until(|value| {
            if value["kind"] == "event" {
                let offset = value["offset"].as_f64().expect("an offset") as u64;
                assert!(before == 0 || offset == before + 1, "after {before} came {offset}");
                before = offset;
            }
            before == acknowledged.last.1
        });
    }
    assert_eq!(exact.stop(&acknowledged).told, 0);
}

fn members(skep: &Skep) -> Vec<String> {
    let list = ask(skep, "/members");
    list.as_array().expect("a list").iter().map(|member| member["id"].as_str().expect("an id").to_owned()).collect()
}

#[test]
fn who_is_present_is_the_same_on_every_machine() {
    let _alone = alone();
    let redis = Redis::start();
    let (here, mut there) = two(&redis);
    let mut ann = Present::enter(here.address(), "ann");
    let bob = Present::enter(there.address(), "bob");
    ann.hears("joined bob");
    for skep in [&here, &there] {
        wait::until("both to be there", || members(skep) == ["ann", "bob"]);
    }
    // Nobody leaves because of a connection or of a hub.
    redis.cut();
    let hub = there.status().hub.expect("a hub").pid;
    send(hub, Signal::SIGKILL);
    wait::until("another hub", || there.status().hub.is_some_and(|now| now.pid != hub));
    let cem = Present::enter(there.address(), "cem");
    assert_eq!(ann.hears("joined cem"), Vec::<String>::new());
    for skep in [&here, &there] {
        wait::until("all to be there", || members(skep) == ["ann", "bob", "cem"]);
    }
    drop(bob);
    assert_eq!(ann.hears("left bob"), Vec::<String>::new());
    // A machine that breaks down takes its people with it.
    for pid in there.processes() {
        send(pid, Signal::SIGKILL);
    }
    there.wait_for_end();
    assert_eq!(ann.hears("left cem"), Vec::<String>::new());
    assert_eq!(members(&here), ["ann"]);
    drop(cem);
}
