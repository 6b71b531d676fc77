//! Which server a request goes to.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::support::client::{Client, get};
use crate::support::wait;
use crate::upstream::{Scripted, proxy};

/// A server that says who it is.
fn named(name: &'static str) -> Scripted {
    Scripted::start(move |mut exchange| {
        while exchange.head().is_some() {
            let _gone = exchange.say(&format!("HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n{name}"));
        }
    })
}

fn who(skep: &crate::support::server::Skep, user: u32) -> String {
    let mut client = Client::connect(skep.address()).unwrap();
    client.send(format!("GET / HTTP/1.1\r\nHost: a\r\nX-User: {user}\r\n\r\n").as_bytes()).unwrap();
    client.read_reply().unwrap().text()
}

#[test]
fn a_user_stays_with_a_server_when_others_go() {
    let (a, b, c) = (named("a"), named("b"), named("c"));
    let hash = "balance: Hash(Header(\"x-user\")), failures: (count: 1, away: \"1h\", longest: \"1h\"),";
    let all = proxy(&[a.address, b.address, c.address], hash);
    let first: BTreeMap<u32, String> = (0..60).map(|user| (user, who(&all, user))).collect();
    for name in ["a", "b", "c"] {
        assert!(first.values().filter(|chosen| *chosen == name).count() > 5, "{first:?}");
    }
    for (user, name) in &first {
        assert_eq!(who(&all, *user), *name);
    }
    let fewer = proxy(&[a.address, b.address], hash);
    for (user, name) in first.iter().filter(|(_, name)| *name != "c") {
        assert_eq!(who(&fewer, *user), *name);
    }
}

#[test]
fn weights_and_backups_are_kept_to() {
    let (a, b, c) = (named("a"), named("b"), named("c"));
    let options = format!("balance: RoundRobin, weights: {{\"http://{}\": 3}}, backup: [\"http://{}\"],", a.address, c.address);
    let skep = proxy(&[a.address, b.address], &options);
    let chosen: Vec<String> = (0..8).map(|_| who(&skep, 0)).collect();
    let count = |name: &str| chosen.iter().filter(|chosen| *chosen == name).count();
    assert_eq!((count("a"), count("b"), count("c")), (6, 2, 0));
    let gone = crate::support::server::free_address();
    let options = format!("backup: [\"http://{}\"], failures: (count: 1, away: \"1h\", longest: \"1h\"),", c.address);
    let skep = proxy(&[gone], &options);
    assert_eq!((who(&skep, 0), who(&skep, 0)), ("c".to_owned(), "c".to_owned()));
}

#[test]
fn a_server_that_is_not_well_is_not_asked() {
    let well = Arc::new(AtomicBool::new(false));
    let is_well = well.clone();
    let moody = Scripted::start(move |mut exchange| {
        while let Some(head) = exchange.head() {
            let status = if head.starts_with("GET /health ") && !is_well.load(Ordering::SeqCst) { 503 } else { 200 };
            let _gone = exchange.say(&format!("HTTP/1.1 {status} X\r\nContent-Length: 1\r\n\r\nm"));
        }
    });
    let steady = named("s");
    let skep = proxy(&[moody.address, steady.address], "balance: RoundRobin, check: (path: \"/health\", interval: \"100ms\"),");
    wait::until("the log to say so", || skep.output().contains("it answers 503"));
    let chosen: Vec<String> = (0..6).map(|_| get(skep.address(), "/").unwrap().text()).collect();
    assert!(chosen.iter().all(|name| name == "s"), "{chosen:?}");
    well.store(true, Ordering::SeqCst);
    wait::until("both to be asked", || get(skep.address(), "/").unwrap().text() == "m");
}
