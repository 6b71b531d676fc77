//! Hubs and workers that are killed, and consumers that do not read.

use std::collections::BTreeSet;

use nix::sys::signal::Signal;
use serde_json::{Value, json};

use crate::peer::Peer;
use crate::start;
use crate::support::server::send;
use crate::support::wait;

#[test]
fn subscribers_live_through_the_end_of_the_hub() {
    let rtep = start(2, "", "", None);
    let mut subscribers: Vec<Peer> = (0..8).map(|_| Peer::connect(rtep.address)).collect();
    for peer in &mut subscribers {
        assert_eq!(peer.subscribe(&["chat"]), 1);
    }
    let mut publisher = Peer::connect(rtep.address);
    assert_eq!(publisher.publish(&json!({"name": "chat", "n": 1})), 1);
    let hub = rtep.skep.settled(2).hub.expect("a hub").pid;
    send(hub, Signal::SIGKILL);
    wait::until("a publication after the end", || publisher.publish(&json!({"name": "chat", "n": 2})) == 1);
    let mut lost = 0;
    for peer in &mut subscribers {
        assert_eq!(peer.event()["n"], 1);
        // What may have been lost is told; afterwards everything comes again. A publication may have come before the subscriptions did.
        loop {
            let packet = peer.packet();
            if packet["type"] == "missed" {
                lost += 1;
                break;
            }
            assert_eq!(packet["event"]["n"], 2, "{packet}");
        }
    }
    assert_eq!(lost, 8, "each was told");
    assert_eq!(publisher.publish(&json!({"name": "chat", "n": 3})), 1);
    for peer in &mut subscribers {
        while peer.event()["n"] != 3 {}
    }
}

#[test]
fn the_end_of_a_worker_costs_its_connections_only() {
    let rtep = start(2, "", "", None);
    let mut subscribers: Vec<Peer> = (0..16).map(|_| Peer::connect(rtep.address)).collect();
    for peer in &mut subscribers {
        assert_eq!(peer.subscribe(&["chat"]), 1);
    }
    let status = rtep.skep.settled(2);
    let busy = status.workers.iter().max_by_key(|worker| worker.connections).expect("a worker").pid;
    send(busy, Signal::SIGKILL);
    rtep.skep.settled(2);
    let mut publisher = Peer::connect(rtep.address);
    assert_eq!(publisher.publish(&json!({"name": "chat", "n": 1})), 1);
    let mut got = 0;
    for mut peer in subscribers {
        match peer.line() {
            None => {
                let mut again = Peer::connect(rtep.address);
                assert_eq!(again.subscribe(&["chat"]), 1);
            }
            Some(line) => {
                let packet: Value = serde_json::from_str(&line).expect("a packet");
                assert_eq!(packet["event"]["n"], 1);
                got += 1;
            }
        }
    }
    assert!(got < 16, "somebody was at the worker that ended");
}

#[test]
fn who_does_not_read_is_told_what_it_missed_and_holds_nobody_up() {
    let rtep = start(1, "queue: 8, queue_bytes: \"256KiB\"", "", None);
    let [mut slow, mut fast] = [(); 2].map(|()| Peer::connect(rtep.address));
    for peer in [&mut slow, &mut fast] {
        assert_eq!(peer.subscribe(&["chat"]), 1);
    }
    let mut publisher = Peer::connect(rtep.address);
    let text = "x".repeat(64 << 10);
    let count = 300;
    for n in 0..count {
        assert_eq!(publisher.publish(&json!({"name": "chat", "n": n, "text": text})), 1);
        assert_eq!(fast.event()["n"], n);
    }
    let (mut seen, mut missed) = (BTreeSet::new(), 0);
    while !seen.contains(&(count - 1)) {
        let packet = slow.packet();
        if packet["type"] == "missed" {
            missed += packet["count"].as_u64().expect("a count");
        } else {
            assert!(seen.insert(packet["event"]["n"].as_u64().expect("a number")), "nothing comes twice");
        }
    }
    assert!(missed > 0);
    assert_eq!(seen.len() as u64 + missed, count, "what was not seen was counted");
}

#[test]
fn a_reload_ends_connections_in_order() {
    let rtep = start(2, "", "", None);
    let mut peers: Vec<Peer> = (0..6).map(|_| Peer::connect(rtep.address)).collect();
    for peer in &mut peers {
        assert_eq!(peer.subscribe(&["chat"]), 1);
    }
    let mut http = Peer::connect(rtep.address);
    http.send("GET / HTTP/1.1\r\n\r\n");
    while http.line().is_some_and(|line| line != "\r\n") {}
    rtep.skep.order("reload");
    for peer in &mut peers {
        peer.expect_end();
    }
    http.expect("0\r\n\r\n");
    http.expect_end();
    let mut again = Peer::connect(rtep.address);
    assert_eq!(again.subscribe(&["chat"]), 1);
}
