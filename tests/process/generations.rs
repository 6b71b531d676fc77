//! Replies without an end, and what a reload does about them: how many workers live at most, and how long.

use std::collections::BTreeSet;
use std::fs;
use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::process::{Child, Stdio};

use serde_json::Value;

use crate::instance::{Instance, wait_for, workers};

/// Writes for as long as somebody reads.
const APP: &str = r#"local skep = require("@skep")

local app = {}

function app.request(req)
    if req.path ~= "/endless" then
        return "hello"
    end
    while true do
        req:write("tick\n")
        skep.sleep("10ms")
    end
end

return app
"#;

fn start(workers: &str) -> Instance {
    let instance = Instance::new("");
    fs::create_dir(instance.path("app")).expect("made");
    fs::write(instance.path("app/main.luau"), APP).expect("written");
    instance.write_config(&format!(
        r#"Config(
            auto_reload: false, log: (file: "skep.log"), admin: (listen: []), workers: ({workers}),
            apps: {{ "app": Script(path: "app") }},
            servers: {{ "web": Http(listen: ["127.0.0.1:0"], routes: [(path: "/", app: "app")]) }},
        )"#
    ));
    instance.start()
}

/// A client that has begun to read a reply without an end.
fn endless(instance: &Instance) -> TcpStream {
    let mut stream = TcpStream::connect(instance.address("web")).expect("connected");
    stream.write_all(b"GET /endless HTTP/1.1\r\nHost: test\r\n\r\n").expect("sent");
    let mut seen = Vec::new();
    let mut piece = [0; 256];
    while !String::from_utf8_lossy(&seen).contains("tick") {
        let read = stream.read(&mut piece).expect("it goes on");
        assert!(read > 0, "it ended");
        seen.extend_from_slice(&piece[..read]);
    }
    stream
}

fn reload(instance: &Instance) -> Child {
    instance.command(&["reload"]).stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("the binary runs")
}

fn generations(status: &Value) -> BTreeSet<u64> {
    status["workers"].as_array().expect("a list").iter().filter_map(|worker| worker["generation"].as_u64()).collect()
}

#[test]
fn a_reply_without_an_end_ends_at_the_drain_limit_and_the_new_workers_serve_on() {
    let instance = start(r#"start: 1, min: 1, max: 1, drain: "1s""#);
    let before = workers(&instance.status())[0];
    let mut stream = endless(&instance);
    instance.ok(&["reload"]);
    assert_eq!(instance.get().body, "hello", "the new generation serves while the old one drains");
    let mut rest = Vec::new();
    if let Err(error) = stream.read_to_end(&mut rest) {
        assert_eq!(error.kind(), ErrorKind::ConnectionReset);
    }
    assert!(!rest.ends_with(b"0\r\n\r\n"), "a body that was broken off must not look whole");
    instance.until("the old worker to go", |status| !workers(status).contains(&before));
    instance.until_logged("the time to drain is over: 1 connections were broken off");
    assert!(!instance.log().contains("is killed"), "it ended by itself: {}", instance.log());
    assert_eq!(instance.get().body, "hello");
}

#[test]
fn two_generations_live_at_most() {
    let instance = start(r#"start: 1, min: 1, max: 1, drain: "2s""#);
    let _first = endless(&instance);
    let mut reloads = vec![reload(&instance)];
    instance.until("the second generation", |status| generations(status) == BTreeSet::from([1, 2]));
    let _second = endless(&instance);
    // Both wait until nothing of the first generation is left, and then are one.
    reloads.extend([reload(&instance), reload(&instance)]);
    let mut seen = Vec::new();
    instance.until("the last generation alone", |status| {
        let now = generations(status);
        assert!(now.len() <= 2, "{now:?}");
        if seen.last() != Some(&now) {
            seen.push(now.clone());
        }
        now == BTreeSet::from([3])
    });
    assert!(seen.contains(&BTreeSet::from([1, 2])), "{seen:?}");
    for mut reload in reloads {
        assert!(reload.wait().expect("own child").success());
    }
    assert_eq!(instance.status()["master"]["generation"], 3, "two reloads that wait are one");
}

#[test]
fn there_are_never_more_processes_than_allowed() {
    let instance = start(r#"start: 2, min: 2, max: 2, max_total: 3, drain: "1s""#);
    let _busy: Vec<TcpStream> = (0..8).map(|_| endless(&instance)).collect();
    let before = workers(&instance.status());
    let mut reload = reload(&instance);
    let mut most = 0;
    wait_for("the reload", || {
        let now = workers(&instance.status());
        most = most.max(now.len());
        assert!(now.len() <= 3, "{now:?}");
        now.len() == 2 && !now.iter().any(|pid| before.contains(pid))
    });
    assert_eq!(most, 3, "it went up to what is allowed");
    assert!(reload.wait().expect("own child").success());
}
