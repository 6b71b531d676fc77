//! The chat through the real binary: several workers, people on each of them, and what becomes of their talk meanwhile.

#![allow(clippy::unwrap_used, reason = "a test says what it expects in the shortest way")]

#[path = "../websocket/peer.rs"]
#[allow(dead_code, reason = "the chat needs a part of it")]
mod peer;
#[path = "../support/mod.rs"]
mod support;
mod talker;

use nix::sys::signal::Signal;
use serde_json::{Value, json};
use support::redis::Redis;
use support::server::{Site, Skep, send};
use support::wait;
use talker::Talker;

/// Without pauses between messages, unless a test is about them.
const FREELY: &str = r#"{"su": "open sesame", "interval": 0, "kick": 60}"#;

fn prepare(config: &str) -> Site {
    prepare_with("", config)
}

fn prepare_with(fields: &str, config: &str) -> Site {
    let site = Site::new();
    let app = format!("\"chat\": Script(path: \"embedded:chat\", config: {config})");
    let workers = "start: 3, min: 3, max: 3, min_spare: 0, max_spare: 3";
    site.configure_with(fields, workers, &app, "(path: \"/\", app: \"chat\")");
    site
}

fn start(config: &str) -> Skep {
    let skep = prepare(config).start();
    skep.settled(3);
    skep
}

/// So many people in one room; with a dozen, each worker has some.
fn crowd(skep: &Skep, count: usize, tag: &str) -> Vec<Talker> {
    let people: Vec<Talker> = (0..count).map(|number| Talker::enter(skep.address(), &format!("user{number}"), &[tag])).collect();
    let workers = skep.status().workers;
    assert!(workers.iter().all(|worker| worker.connections > 0), "somebody is in every worker");
    people
}

#[test]
fn what_one_says_all_see_once_and_in_order() {
    let skep = start(FREELY);
    let mut people = crowd(&skep, 12, "hall");
    for number in 0..10 {
        let writer = number % 12;
        let answer = people[writer].say(&format!("line {number}"), "hall", &format!("m{number}"));
        assert_eq!(answer["error"], Value::Null, "{answer}");
    }
    let expected: Vec<String> = (0..10).map(|number| format!("line {number}")).collect();
    for one in &mut people {
        one.sees_text("line 9");
        assert_eq!(one.texts(), expected);
    }
    let mut late = Talker::enter(skep.address(), "late", &["hall"]);
    assert_eq!(late.history("hall", 0.0), expected);
    assert_eq!(late.people("hall").len(), 13);
    drop(people);
    for number in 0..12 {
        late.sees(|packet| packet["type"] == "partsUser" && packet["username"] == format!("user{number}"));
    }
    assert_eq!(late.people("hall"), ["late"]);
}

#[test]
fn what_is_sent_again_comes_once() {
    let skep = start(r#"{"interval": 3600}"#);
    let mut reader = Talker::enter(skep.address(), "reader", &["hall"]);
    let mut writer = Talker::enter(skep.address(), "writer", &["hall"]);
    assert_eq!(writer.say("once", "hall", "same")["error"], Value::Null);
    assert_eq!(writer.say("once", "hall", "same")["error"], Value::Null, "it is there already, which costs no turn");
    let refused = writer.say("more", "hall", "other");
    assert_eq!(refused["error"], "tooFast");
    assert!(refused["wait"].as_f64().unwrap() > 3000.0);
    drop(writer);
    // In whichever worker: the turn is the user's.
    let mut again = Talker::enter(skep.address(), "writer", &["hall"]);
    assert_eq!(again.say("once", "hall", "same")["error"], Value::Null);
    assert_eq!(again.say("more", "hall", "other")["error"], "tooFast");
    again.go(&[]);
    assert_eq!(again.say("elsewhere", "hall", "third")["error"], "notThere");
    reader.sees(|packet| packet["type"] == "partsUser");
    assert_eq!(reader.texts(), ["once"]);
    assert_eq!(reader.history("hall", 0.0), ["once"]);
}

#[test]
fn names_belong_to_one_in_all_workers() {
    let skep = start(FREELY);
    let address = skep.address();
    let mut ann = Talker::enter(address, "Ann", &["hall"]);
    for number in 0..6 {
        let mut other = Talker::connect(address, &format!("other{number}"));
        assert_eq!(other.ask(json!({ "cmd": "setUsername", "username": "aNN" }))["error"], "taken");
        assert_eq!(other.ask(json!({ "cmd": "setUsername", "username": "two words" }))["error"], "invalid");
        assert_eq!(other.say("hello", "hall", "x")["error"], "noName");
    }
    // A second page of the same browser is the same person.
    let mut second = Talker::connect(address, "Ann");
    second.go(&["hall"]);
    assert_eq!(second.people("hall"), ["Ann"]);
    assert_eq!(ann.say("/nick Anna", "hall", "n")["error"], Value::Null);
    second.sees(|packet| packet["type"] == "cstatus" && packet["username"] == "Anna");
    second.sees(|packet| packet["type"] == "changedUsername" && packet["new"] == "Anna");
    assert_eq!(second.people("hall"), ["Anna"]);
    Talker::enter(address, "Ann2", &["hall"]);
    let mut heir = Talker::connect(address, "heir");
    assert_eq!(heir.ask(json!({ "cmd": "setUsername", "username": "Ann" }))["error"], Value::Null, "the old name is free");
}

#[test]
fn moderators_reach_everybody() {
    let skep = start(FREELY);
    let mut people = crowd(&skep, 9, "hall");
    let mut judge = Talker::enter(skep.address(), "judge", &["hall", "office"]);
    judge.say("/kick user*", "hall", "k1");
    judge.sees_text("* Your powers are weak, old man.");
    judge.say("/su open sesame", "hall", "s");
    judge.sees_text("* You've got the power.");
    judge.say("/fchname user0 gentleman", "hall", "f");
    people[0].sees(|packet| packet["type"] == "cstatus" && packet["username"] == "gentleman");
    judge.say("/kick user? #hall be nice", "hall", "k2");
    for one in &mut people[1..] {
        one.sees_text("* You were kicked from #hall. Reason: be nice");
        one.sees(|packet| packet["type"] == "tags" && packet["tags"].as_array().is_some_and(Vec::is_empty));
        one.say("/join hall", "hall", "j");
        one.sees_text("* You were kicked from #hall a moment ago. Try again later.");
    }
    for number in 1..9 {
        judge.sees(|packet| packet["type"] == "partsUser" && packet["username"] == format!("user{number}"));
    }
    assert_eq!(judge.people("hall"), ["gentleman", "judge"]);
    for number in 1..9 {
        people[0].sees_text(&format!("* Kicked: user{number}, reason: be nice"));
    }
    for number in 0..10 {
        people[1].say(&format!("/su guess{number}"), "hall", "g");
    }
    people[1].sees_text("* Too many tries. Wait ten minutes.");
}

#[test]
fn talk_goes_on_over_a_reload_and_a_restart() {
    let skep = start(FREELY);
    let mut ann = Talker::enter(skep.address(), "Ann", &["hall"]);
    let mut bob = Talker::enter(skep.address(), "Bob", &["hall"]);
    ann.say("before", "hall", "m1");
    bob.sees_text("before");
    skep.order("reload");
    ann.say("while", "hall", "m2");
    // Those of the new workers and of the old ones, which go within some seconds, see each other.
    let mut eve = Talker::enter(skep.address(), "Eve", &["hall"]);
    eve.say("after", "hall", "m3");
    ann.sees_text("after");
    bob.sees_text("after");
    assert_eq!(bob.texts(), ["before", "while", "after"]);
    for one in [&mut ann, &mut bob] {
        one.reconnected();
    }
    bob.say("again", "hall", "m4");
    ann.sees_text("again");
    for one in [&ann, &bob] {
        assert_eq!(one.texts(), ["before", "while", "after", "again"]);
    }
    let site = skep.into_site();
    let skep = site.start();
    let mut ann = Talker::connect(skep.address(), "Ann");
    ann.go(&["hall"]);
    assert_eq!(ann.history("hall", 0.0), ["before", "while", "after", "again"]);
    let middle = ann.packets[1]["ts"].as_f64().unwrap();
    assert_eq!(ann.history("hall", middle), ["after", "again"]);
    assert_eq!(ann.people("hall"), ["Ann"]);
}

#[test]
fn what_is_no_packet_does_no_harm() {
    let skep = start(FREELY);
    let mut one = Talker::enter(skep.address(), "Ann", &["hall"]);
    for text in ["[]", "7", "{\"cmd\":7}"] {
        one.send(&serde_json::from_str(text).unwrap());
    }
    assert_eq!(one.ask(json!({ "cmd": "fly" }))["error"], "unknown");
    assert_eq!(one.ask(json!({ "cmd": "setTags", "tags": { "a": [1] } }))["error"], Value::Null);
    assert_eq!(one.ask(json!({ "cmd": "setTags", "tags": ["a b", 7, "hall", "%all"] }))["error"], Value::Null);
    assert_eq!(one.ask(json!({ "cmd": "getHistory", "tags": "hall", "lastTS": "x", "before": [] }))["error"], Value::Null);
    assert_eq!(one.ask(json!({ "cmd": "sendMessage", "text": "   ", "tags": ["hall"] }))["error"], "empty");
    assert_eq!(one.say(&"x".repeat(2001), "hall", "long")["error"], "tooLong");
    assert_eq!(one.say("fine", "hall", "not an id!")["error"], Value::Null);
    one.flood();
    assert_eq!(one.closed(), 1008, "too many packets");
}

/// A machine of a chat that has several.
fn machine(redis: &Redis) -> Skep {
    let skep = prepare_with(&redis.fields(), FREELY).start();
    skep.settled(3);
    skep
}

#[test]
fn two_machines_are_one_chat() {
    let redis = Redis::start();
    let (here, there) = (machine(&redis), machine(&redis));
    let mut ann = Talker::enter(here.address(), "Ann", &["hall"]);
    let mut bob = Talker::enter(there.address(), "Bob", &["hall"]);
    wait::until("each to be in the other's list", || ann.people("hall") == ["Ann", "Bob"] && bob.people("hall") == ["Ann", "Bob"]);
    for number in 0..6 {
        let writer = if number % 2 == 0 { &mut ann } else { &mut bob };
        assert_eq!(writer.say(&format!("line {number}"), "hall", &format!("m{number}"))["error"], Value::Null);
    }
    let expected: Vec<String> = (0..6).map(|number| format!("line {number}")).collect();
    for one in [&mut ann, &mut bob] {
        one.sees_text("line 5");
        wait::until("the lines", || {
            one.history("hall", 0.0);
            one.texts().len() == expected.len()
        });
    }
    for (skep, name) in [(&here, "late here"), (&there, "late there")] {
        let mut late = Talker::connect(skep.address(), &name.replace(' ', "-"));
        late.go(&["hall"]);
        wait::until("the same past on both machines", || late.history("hall", 0.0) == expected);
    }
    // A name is taken on all machines, and so is one's own place kept.
    let mut other = Talker::connect(there.address(), "other");
    assert_eq!(other.ask(json!({ "cmd": "setUsername", "username": "ann" }))["error"], "taken");
    ann.say("/nick Anna", "hall", "n");
    bob.sees(|packet| packet["type"] == "changedUsername" && packet["new"] == "Anna");
    wait::until("the new name in the list", || bob.people("hall") == ["Anna", "Bob"]);
    // A moderator's hand reaches to the other machine.
    ann.say("/su open sesame", "hall", "s");
    ann.say("/kick bob #hall be nice", "hall", "k");
    bob.sees_text("* You were kicked from #hall. Reason: be nice");
    ann.sees(|packet| packet["type"] == "partsUser" && packet["username"] == "Bob");
    drop(bob);
    let mut bob = Talker::connect(here.address(), "Bob");
    wait::until("the ban on this machine too", || {
        bob.go(&["hall"]);
        bob.packets.iter().any(|packet| packet["text"] == "* You were kicked from #hall a moment ago. Try again later.")
    });
}

#[test]
fn a_machine_that_was_away_catches_up() {
    let mut redis = Redis::start();
    let (here, there) = (machine(&redis), machine(&redis));
    let mut ann = Talker::enter(here.address(), "Ann", &["hall"]);
    ann.say("one", "hall", "m1");
    let site = there.into_site();
    ann.say("two", "hall", "m2");
    ann.say("three", "hall", "m3");
    let there = site.start();
    there.settled(3);
    let mut bob = Talker::enter(there.address(), "Bob", &["hall"]);
    wait::until("what was said meanwhile", || bob.history("hall", 0.0) == ["one", "two", "three"]);
    // Without Redis nothing is acknowledged, and what was is there afterwards.
    redis.kill();
    let mut number = 0;
    wait::until("a refusal", || {
        number += 1;
        ann.say("nobody hears this", "hall", &format!("lost{number}"))["error"] == "failed"
    });
    redis.again();
    wait::until("an acknowledgement", || ann.say("four", "hall", "m4")["error"] == Value::Null);
    // What Redis had is gone with it: the page is told of a gap, and reads again.
    wait::until("the line on both machines", || {
        [&mut ann, &mut bob].iter_mut().all(|one| one.history("hall", 0.0).contains(&"four".to_owned()))
    });
}

#[test]
fn workers_and_hubs_that_are_killed_lose_nothing_that_was_acknowledged() {
    let skep = start(FREELY);
    let mut writer = Talker::enter(skep.address(), "writer", &["hall"]);
    let mut readers: Vec<Talker> = (0..4).map(|number| Talker::enter(skep.address(), &format!("reader{number}"), &["hall"])).collect();
    let mut expected = Vec::new();
    for round in 0..6 {
        for line in 0..5 {
            let text = format!("round {round} line {line}");
            // Said again with the same id until it is acknowledged.
            wait::until("an acknowledgement", || writer.say(&text, "hall", &format!("m{round}-{line}"))["error"] == Value::Null);
            expected.push(text);
        }
        let status = skep.status();
        let hub = status.hub.expect("a hub").pid;
        let victim = if round % 2 == 0 { status.workers[round % 3].pid } else { hub };
        send(victim, Signal::SIGKILL);
        wait::until("another process", || {
            let status = skep.status();
            let mut all = status.workers.iter().map(|worker| worker.pid).chain(status.hub.iter().map(|hub| hub.pid));
            status.workers.len() == 3 && status.hub.is_some() && all.all(|pid| pid != victim)
        });
    }
    for reader in &mut readers {
        expected.iter().for_each(|text| drop(reader.sees_text(text)));
        assert_eq!(reader.texts().len(), expected.len(), "nothing comes twice under two ids");
    }
}
