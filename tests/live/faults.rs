//! Pages while something is wrong, with both back ends of events: what they get is complete and single, or they are told.

use std::net::SocketAddr;
use std::sync::atomic::Ordering::Relaxed;

use crate::page::{Page, Place, Seen, Way};
use crate::support::redis::Redis;
use crate::support::server::{Skep, memory};
use crate::support::wait;
use crate::support::wire::Wire;
use crate::{Publisher, alone, start, start_with};

const WAYS: [Way; 3] = [Way::Stream, Way::Poll, Way::WebSocket];
/// What the processes of an instance may have more after the faults than before, of a build that nobody made small.
const GROWTH: u64 = 64 << 20;

/// Two pages of each way.
fn pages(address: SocketAddr) -> Vec<(Way, Page)> {
    WAYS.into_iter().chain(WAYS).map(|way| (way, Page::open(address, way))).collect()
}

/// Each page has seen all, in order and once, and was told of no loss.
fn all_complete(pages: Vec<(Way, Page)>, acknowledged: &[Place]) -> Vec<(Way, Seen)> {
    let last = *acknowledged.last().expect("publications");
    let one = |(way, page): (Way, Page)| {
        let seen = page.close_at(last);
        assert_eq!((&seen.wrong, seen.told), (&Vec::new(), 0), "{way:?}: what keeps the history was there all the time");
        assert_eq!(seen.events, acknowledged, "{way:?}");
        (way, seen)
    };
    pages.into_iter().map(one).collect()
}

/// Memory of the hub and of the largest worker.
fn largest(skep: &Skep) -> (u64, u64) {
    let status = skep.status();
    let worker = status.workers.iter().map(|worker| memory(worker.pid)).max();
    (status.hub.map_or(0, |hub| memory(hub.pid)), worker.unwrap_or_default())
}

fn fifty_reloads(skep: &Skep) {
    let pages = pages(skep.address());
    let publisher = Publisher::start(skep.address());
    publisher.published(10);
    let before = largest(skep);
    for _ in 0..50 {
        publisher.published(10);
        skep.order("reload");
        skep.settled(2);
    }
    publisher.published(10);
    let after = largest(skep);
    assert!(after.0 < before.0 + GROWTH && after.1 < before.1 + GROWTH, "hub and worker had {before:?} bytes and have {after:?}");
    let acknowledged = publisher.stop();
    let broken: Vec<usize> = pages.iter().map(|(_, page)| page.broken.load(Relaxed)).collect();
    for ((way, seen), broken) in all_complete(pages, &acknowledged).into_iter().zip(broken) {
        if way == Way::Stream {
            assert!(seen.goodbyes >= 25, "workers that go say so: {}", seen.goodbyes);
        }
        if way != Way::Poll {
            assert!(broken >= 25, "{way:?}: pages had to come back: {broken}");
        }
    }
}

#[test]
fn fifty_reloads_lose_and_double_nothing() {
    let _alone = alone();
    fifty_reloads(&start(2));
}

#[test]
fn fifty_reloads_lose_and_double_nothing_with_redis() {
    let _alone = alone();
    let redis = Redis::start();
    fifty_reloads(&start_with(&redis.fields(), 2));
}

fn half_open(skep: &Skep) {
    let subscriptions = || skep.status().workers.iter().map(|worker| worker.events.subscriptions).sum::<u64>();
    let wire = Wire::to(skep.address());
    let (near, far) = (pages(skep.address()), pages(wire.address));
    let publisher = Publisher::start(skep.address());
    publisher.published(50);
    let most = subscriptions();
    for _ in 0..3 {
        let before: Vec<usize> = far.iter().map(|(_, page)| page.broken.load(Relaxed)).collect();
        wire.cut();
        publisher.published(50);
        // A page that polls may have been between two requests.
        wait::until("every page to notice", || {
            far.iter().zip(&before).all(|((way, page), before)| *way == Way::Poll || page.broken.load(Relaxed) > *before)
        });
        // Whoever sees something is connected anew, and can be cut off again.
        let before: Vec<usize> = far.iter().map(|(_, page)| page.look(|seen| seen.events.len())).collect();
        wait::until("every page to be back", || {
            far.iter().zip(&before).all(|((_, page), before)| page.look(|seen| seen.events.len()) > *before)
        });
    }
    // A stream cannot ask whether anybody is there, and this wire goes on to take what it is given; a WebSocket asks.
    let streams = 2 * 3;
    wait::until("the server to give up WebSockets that do not answer", || subscriptions() <= most + streams);
    publisher.published(50);
    let acknowledged = publisher.stop();
    let untouched: Vec<usize> = near.iter().filter(|(way, _)| *way != Way::Poll).map(|(_, page)| page.broken.load(Relaxed)).collect();
    assert_eq!(untouched, [0; 4], "nobody else noticed");
    all_complete(near, &acknowledged);
    all_complete(far, &acknowledged);
}

#[test]
fn half_open_connections_are_given_up_and_recovered_from() {
    let _alone = alone();
    half_open(&start(2));
}

#[test]
fn half_open_connections_are_given_up_and_recovered_from_with_redis() {
    let _alone = alone();
    let redis = Redis::start();
    half_open(&start_with(&redis.fields(), 2));
}

/// Kills hub and workers by turns; how often pages were told.
fn kill_by_turns(skep: &Skep) -> Vec<(Way, usize)> {
    let pages = pages(skep.address());
    let publisher = Publisher::start(skep.address());
    for round in 0..6 {
        publisher.published(20);
        skep.lose(round % 2 == 0);
        publisher.published(20);
    }
    let acknowledged = publisher.stop();
    let last = *acknowledged.last().expect("publications");
    let one = |(way, page): (Way, Page)| {
        let seen = page.close_at(last);
        assert_eq!(seen.wrong, Vec::<String>::new(), "{way:?}");
        assert!(seen.events.iter().all(|event| seen.events.iter().filter(|other| other == &event).count() == 1), "{way:?}: nothing twice");
        (way, seen.told)
    };
    pages.into_iter().map(one).collect()
}

#[test]
fn killed_workers_and_hubs_are_told() {
    let _alone = alone();
    for (way, told) in kill_by_turns(&start(2)) {
        assert!((3..=12).contains(&told), "{way:?}: three hubs were killed, it was told {told} times");
    }
}

#[test]
fn killed_workers_and_hubs_cost_nothing_with_redis() {
    let _alone = alone();
    let redis = Redis::start();
    for (way, told) in kill_by_turns(&start_with(&redis.fields(), 2)) {
        assert_eq!(told, 0, "{way:?}: the history is in Redis");
    }
}
