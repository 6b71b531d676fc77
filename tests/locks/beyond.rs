//! What is spoken to who says `hello 2`.

use std::time::Duration;

use nix::sys::signal::Signal;

use crate::client::{Client, value};
use crate::support::server::send;
use crate::support::wait;
use crate::{configure, start};

#[test]
fn leases_are_waited_for_in_order_and_tokens_grow() {
    let locks = start(2, "");
    let [mut one, mut two, mut three] = [(); 3].map(|()| Client::extended(locks.address));
    let first = one.ask("lock a%20b lease=30s");
    assert_eq!(first[..2], ["LOCKED", "a%20b"]);
    assert!(value(&first, "left") > 25_000);
    assert_eq!(two.ask("lock a%20b"), ["BUSY", "a%20b"]);
    assert_eq!(two.ask("lock a%20b wait=20s"), ["QUEUED", "a%20b"]);
    assert_eq!(three.ask("lock a%20b wait=1ms"), ["QUEUED", "a%20b"]);
    assert_eq!(three.words(), ["TIMEOUT", "a%20b"]);
    let renewed = one.ask("renew a%20b lease=60s");
    assert_eq!((value(&renewed, "token"), value(&renewed, "left") > 50_000), (value(&first, "token"), true));
    assert_eq!(one.ask("token a%20b"), ["TOKEN".to_owned(), "a%20b".to_owned(), format!("token={}", value(&first, "token"))]);
    assert_eq!(one.ask("unlock a%20b"), ["UNLOCKED", "a%20b"]);
    let second = two.words();
    assert!(value(&second, "token") > value(&first, "token"));
    assert_eq!(one.ask("renew a%20b"), ["NOTHELD", "a%20b"]);
    // A lease runs out, and its holder is told.
    let short = one.ask("lock short lease=1ms");
    assert_eq!(one.words(), ["LOST".to_owned(), "short".to_owned(), format!("token={}", value(&short, "token"))]);
    // Who leaves has nothing more.
    drop(two);
    assert_eq!(three.ask("lock a%20b wait=20s")[1], "a%20b");
}

#[test]
fn shared_locks_semaphores_and_lists() {
    let locks = start(2, "");
    let [mut one, mut two, mut three] = [(); 3].map(|()| Client::extended(locks.address));
    for client in [&mut one, &mut two] {
        assert_eq!(client.ask("lock read shared")[0], "LOCKED");
        assert_eq!(client.ask("lock pool permits=2")[0], "LOCKED");
    }
    assert_eq!(three.ask("lock read"), ["BUSY", "read"]);
    assert_eq!(three.ask("lock pool permits=2"), ["BUSY", "pool"]);
    three.exchange(b"acquire job\n", b"RUN job\n");
    assert_eq!(three.ask("list"), ["LIST", "3"]);
    let listed: Vec<Vec<String>> = (0..3).map(|_| three.words()).collect();
    assert_eq!(listed[0][1..5], ["job", "mode=job", "holders=1", "waiting=0"]);
    assert_eq!(listed[1][1..5], ["pool", "mode=2", "holders=2", "waiting=0"]);
    assert_eq!(listed[2][1..5], ["read", "mode=shared", "holders=2", "waiting=0"]);
    assert_eq!(three.ask("list po limit=1"), ["LIST", "1"]);
    assert_eq!(three.words()[1], "pool");
    assert_eq!(three.ask("ping"), ["PONG"]);
    assert_eq!(three.ask("lock x wat=1"), ["PROTOCOL_ERROR"]);
}

#[test]
fn a_session_is_taken_up_on_another_connection() {
    let locks = start(2, "");
    let mut one = Client::connect(locks.address);
    let hello = one.ask("hello 2 session");
    let session = hello[2].clone();
    let first = one.ask("lock a lease=60s");
    assert_eq!(first[0], "LOCKED");
    // The worker dies, the hub dies: the lease stands.
    for worker in locks.skep.status().workers {
        send(worker.pid, Signal::SIGKILL);
    }
    one.expect_end();
    locks.skep.settled(2);
    let mut other = Client::extended(locks.address);
    assert_eq!(other.ask("lock a"), ["BUSY", "a"]);
    let mut again = Client::connect(locks.address);
    assert_eq!(again.ask(&format!("hello 2 {session}")), ["HELLO".to_owned(), "2".to_owned(), session.clone(), "held=1".to_owned()]);
    let held = again.words();
    assert_eq!((held[0].as_str(), value(&held, "token")), ("HELD", value(&first, "token")));
    // An earlier connection of the session is closed.
    let mut third = Client::connect(locks.address);
    assert_eq!(third.ask(&format!("hello 2 {session}"))[3], "held=1");
    again.expect_end();
    third.words();
    assert_eq!(third.ask("unlock a"), ["UNLOCKED", "a"]);
    assert_eq!(other.ask("lock a")[0], "LOCKED");
}

#[test]
fn after_any_restart_tokens_are_larger_and_leases_that_nobody_speaks_for_are_waited_for() {
    let locks = start(1, "");
    let mut client = Client::connect(locks.address);
    client.ask("hello 2 session");
    let mut last = value(&client.ask("lock t lease=4s"), "token");
    // With the hub the worker dies, which knew of the lease.
    let status = locks.skep.status();
    send(status.hub.expect("a hub").pid, Signal::SIGKILL);
    send(status.workers[0].pid, Signal::SIGKILL);
    client.expect_end();
    locks.skep.settled(1);
    let mut other = Client::extended(locks.address);
    let started = std::time::Instant::now();
    let token = value(&other.ask("lock t"), "token");
    assert!(token > last, "{token} after {last}");
    assert!(started.elapsed() < Duration::from_secs(10));
    last = token;
    // A clean end and a kill of everything.
    let mut site = locks.skep.into_site();
    for kill in [false, true] {
        let address = crate::support::server::free_address();
        configure(&site, address, 1);
        let mut skep = site.start();
        let mut client = Client::extended(address);
        let token = value(&client.ask("lock t"), "token");
        assert!(token > last, "{token} after {last}");
        last = token;
        if kill {
            send(skep.master(), Signal::SIGKILL);
            skep.wait_for_end();
            wait::until("the children to end", || skep.processes().is_empty());
        }
        site = skep.into_site();
    }
}
