//! Peers and processes that fail.

use std::io::Read;
use std::time::{Duration, Instant};

use crate::feeds;
use crate::peer::{CLOSE, Frame, PING, Peer, TEXT, frame};
use crate::served::{APP, prepare, start};
use crate::support::client;
use crate::support::server::{self, Skep};
use crate::support::wait;

/// Resident memory of the only worker, in bytes.
fn memory(skep: &Skep) -> u64 {
    server::memory(skep.status().workers[0].pid)
}

#[test]
fn who_answers_no_ping_is_dropped() {
    let skep = start(APP, "ping: \"50ms\", pong_timeout: \"50ms\"");
    let mut silent = Peer::connect(skep.address(), "/app").unwrap();
    assert_eq!(silent.receive().unwrap(), Frame { opcode: PING, payload: Vec::new() });
    assert_eq!(silent.closed(), 1006);
    wait::until("the application is told", || {
        client::get(skep.address(), "/app/ended").unwrap().text() == "1006 the peer answered no ping"
    });
    // Who answers stays, however long it says nothing else.
    let mut quiet = Peer::connect(skep.address(), "/app").unwrap();
    for _ in 0..5 {
        assert_eq!(quiet.receive().unwrap().opcode, PING);
        quiet.send(0xa, b"").unwrap();
    }
    assert_eq!(quiet.say("still here"), "still here");
}

#[test]
fn time_runs_out_though_pings_are_far() {
    let skep = start(APP, "ping: \"1h\", close_timeout: \"100ms\"");
    let mut peer = Peer::connect(skep.address(), "/app").unwrap();
    peer.text("bye").unwrap();
    assert_eq!(peer.closed(), 3001);
    assert!(peer.is_over(), "its answer to the close is not waited for any longer");

    let skep = start(feeds::APP, "queue: \"4 MiB\", ping: \"1h\", pong_timeout: \"100ms\"");
    let mut stuck = Peer::connect(skep.address(), "/app").unwrap();
    stuck.text(r#"{"topic":"flood"}"#).unwrap();
    assert!(stuck.line().contains("ready"));
    let subscriptions = || skep.status().workers.iter().map(|worker| worker.events.subscriptions).sum::<u64>();
    wait::until("a subscription", || subscriptions() == 1);
    let text = "x".repeat(4000);
    // More than sockets hold on both sides.
    for _ in 0..4 {
        client::get(skep.address(), &format!("/app?topic=flood&text={text}&count=1000")).unwrap();
    }
    wait::until("who takes nothing to be given up", || subscriptions() == 0);
}

#[test]
fn what_breaks_the_protocol_is_told_and_ends_the_connection() {
    let skep = start(APP, "max_message: \"10 KiB\", max_frame: \"10 KiB\"");
    let long = frame(0x80 | TEXT, &[b'x'; 10_241]);
    for (bytes, code) in [
        (frame(0x80 | TEXT, b"\xff"), 1007),
        (frame(0xf0 | TEXT, b"x"), 1002),
        (frame(0x83, b"x"), 1002),
        (b"\x81\x01x".to_vec(), 1002),
        (long[..long.len() / 2].to_vec(), 1009),
    ] {
        let mut peer = Peer::connect(skep.address(), "/app").unwrap();
        peer.raw(&bytes).unwrap();
        assert_eq!(peer.closed(), code);
        assert!(peer.is_over(), "{code}");
    }
    assert_eq!(Peer::connect(skep.address(), "/app").unwrap().say("next"), "next");
}

#[test]
fn who_reads_nothing_costs_no_more_than_its_queue() {
    let skep = start(feeds::APP, "queue: \"256 KiB\", pong_timeout: \"1s\", ping: \"1s\"");
    let mut stuck: Vec<Peer> = (0..20).map(|_| Peer::connect(skep.address(), "/app").unwrap()).collect();
    for peer in &mut stuck {
        peer.text(r#"{"topic":"flood"}"#).unwrap();
        assert!(peer.line().contains("ready"));
    }
    let before = memory(&skep);
    let text = "x".repeat(4000);
    // 40 MB for each of them.
    for _ in 0..10 {
        client::get(skep.address(), &format!("/app?topic=flood&text={text}&count=1000")).unwrap();
    }
    let grown = memory(&skep).saturating_sub(before);
    assert!(grown < 48 << 20, "{} MiB more", grown >> 20);
    // They take nothing, so they are given up.
    for peer in &mut stuck {
        let mut rest = Vec::new();
        // A reset is an end as good as any.
        let _ = peer.stream.read_to_end(&mut rest);
    }
}

#[test]
fn a_flood_of_pings_is_held_back() {
    let skep = start(APP, "queue: \"64 KiB\"");
    let mut peer = Peer::connect(skep.address(), "/app").unwrap();
    peer.stream.set_write_timeout(Some(Duration::from_millis(300))).unwrap();
    let pings: Vec<u8> = std::iter::repeat_with(|| frame(0x80 | PING, &[b'p'; 125])).take(1000).flatten().collect();
    let before = memory(&skep);
    // The server stops reading once its answers are not taken; the kernel's buffers then fill up. 64 MB are far more than these hold.
    let blocked = (0..512).any(|_| peer.raw(&pings).is_err());
    assert!(blocked, "everything was taken");
    assert!(memory(&skep).saturating_sub(before) < 16 << 20);
    assert_eq!(Peer::connect(skep.address(), "/app").unwrap().say("others"), "others");
}

#[test]
fn a_worker_that_goes_closes_its_connections_one_after_the_other() {
    let site = prepare(APP, "drain_spread: \"1s\"", "start: 1, min: 1, max: 1");
    let skep = site.start();
    let mut peers: Vec<Peer> = (0..20).map(|_| Peer::connect(skep.address(), "/app").unwrap()).collect();
    for peer in &mut peers {
        assert_eq!(peer.say("x"), "x");
    }
    skep.order("reload");
    let begun = Instant::now();
    let mut times: Vec<Duration> = Vec::new();
    for peer in &mut peers {
        assert_eq!(peer.closed(), 1001);
        times.push(begun.elapsed());
        let mut again = Peer::connect(skep.address(), "/app").unwrap();
        assert_eq!(again.say("again"), "again");
    }
    let spread = times[19].saturating_sub(times[0]);
    assert!(spread > Duration::from_millis(500), "{times:?}");
    // In between, some are closed and others not yet.
    assert!(
        times.iter().any(|time| *time > times[0] + Duration::from_millis(200) && *time + Duration::from_millis(200) < times[19]),
        "{times:?}"
    );
}

/// A client that comes back and asks for what it has missed.
struct Follower {
    peer: Peer,
    place: Option<(String, u64)>,
    numbers: Vec<u64>,
}

impl Follower {
    fn connect(skep: &Skep, place: Option<(String, u64)>) -> Peer {
        let mut connected = None;
        wait::until("a connection", || {
            connected = Peer::connect(skep.address(), "/app").ok();
            connected.is_some()
        });
        let mut peer = connected.unwrap();
        let mut wish = serde_json::json!({ "topic": "steady" });
        if let Some((epoch, offset)) = place {
            wish["options"] = serde_json::json!({ "since": { "epoch": epoch, "offset": offset } });
        }
        peer.text(&wish.to_string()).unwrap();
        peer
    }

    /// Reads one message, or comes back.
    fn step(&mut self, skep: &Skep) {
        match self.peer.receive() {
            Ok(Frame { opcode: TEXT, payload }) => {
                let message: serde_json::Value = serde_json::from_slice(&payload).unwrap();
                let kind = message["type"].as_str().unwrap();
                assert!(!matches!(kind, "missed" | "gap") && message["recovered"] != serde_json::json!(false), "{message}");
                if let (Some(epoch), Some(offset)) = (message["epoch"].as_str(), message["offset"].as_u64()) {
                    // What is recovered comes behind "ready", which says where the topic is now.
                    if kind == "event" || self.place.is_none() {
                        self.place = Some((epoch.to_owned(), offset));
                    }
                }
                if kind == "event" {
                    self.numbers.push(message["data"]["text"].as_str().unwrap().parse().unwrap());
                }
            }
            Ok(Frame { opcode: CLOSE, .. }) | Err(_) => self.peer = Self::connect(skep, self.place.clone()),
            Ok(_) => {}
        }
    }
}

#[test]
fn fifty_reloads_lose_nothing_and_double_nothing() {
    let skep = prepare(feeds::APP, "drain_spread: \"100ms\", close_timeout: \"100ms\"", "start: 2, min: 2, max: 2, drain: \"5s\"").start();
    let mut followers: Vec<Follower> =
        (0..4).map(|_| Follower { peer: Follower::connect(&skep, None), place: None, numbers: Vec::new() }).collect();
    for follower in &mut followers {
        while follower.place.is_none() {
            follower.step(&skep);
        }
    }
    for number in 1..=50 {
        wait::until("a reload", || skep.site.command("reload").output().unwrap().status.success());
        wait::until("a publication", || {
            client::get(skep.address(), &format!("/app?topic=steady&text={number}")).is_ok_and(|reply| reply.status == 200)
        });
    }
    for follower in &mut followers {
        while follower.numbers.len() < 50 {
            follower.step(&skep);
        }
        assert_eq!(follower.numbers, (1..=50).collect::<Vec<u64>>());
    }
}
