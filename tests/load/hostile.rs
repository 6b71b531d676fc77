//! An application that misbehaves in the same worker harms itself only.

use std::time::Duration;

use crate::support::client::{self, Reply};
use crate::support::server::{Site, Skep};
use crate::support::steady::Steady;
use crate::{HELLO, alone, workers};

/// What one step may take; everybody in the worker waits as long at most.
const STEP: Duration = Duration::from_millis(100);

fn is_right(reply: &Reply) -> bool {
    reply.status == 200 && reply.body == b"Hello, /good"
}

fn start(hostile: &str) -> Skep {
    let site = Site::new();
    site.write("apps/good/main.luau", HELLO);
    site.write("apps/hostile/main.luau", &format!("local app = {{}}\n\nfunction app.request(req)\n{hostile}\nend\n\nreturn app\n"));
    let step = STEP.as_millis();
    let apps = format!(
        "\"good\": Script(path: \"apps/good\"), \"hostile\": Script(path: \"apps/hostile\", limits: (memory: \"32 MiB\", step: \"{step}ms\"))"
    );
    site.configure(&workers(1), &apps, "(path: \"/\", app: \"good\"), (path: \"/hostile\", app: \"hostile\")");
    site.start()
}

/// What else runs on the machine makes a measurement worse and never better: the best of so many counts.
const ATTEMPTS: usize = 5;

/// Asks the hostile application many times beside a steady load on the good one. The answer of the hostile one must be an error page;
/// `extra` is what its steps may take from the others.
fn survives(hostile: &str, times: usize, extra: Duration) {
    let skep = start(hostile);
    let worker = skep.settled(1).workers[0].pid;
    let mut seen = Vec::new();
    let fair = (0..ATTEMPTS).any(|_| {
        let load = Steady::start(skep.address(), "/good", is_right, 2, 2);
        load.answered(20);
        for _ in 0..times {
            let reply = client::get(skep.address(), "/hostile").expect("an answer");
            assert_eq!(reply.status, 500, "{}", reply.text());
        }
        load.answered(20);
        let tally = load.stop();
        assert!(tally.failures.is_empty(), "{:#?}", tally.failures);
        seen.push(tally.p99());
        tally.p99() < Duration::from_millis(50) + extra
    });
    assert!(fair, "p99 {seen:?}");
    assert_eq!(skep.status().workers[0].pid, worker, "the worker lives");
}

#[test]
fn an_endless_loop_ends_at_its_step_limit() {
    let _alone = alone();
    survives("    while true do end", 10, STEP);
}

#[test]
fn a_loop_that_catches_errors_ends_too() {
    let _alone = alone();
    survives("    while true do pcall(function() while true do end end) end", 10, STEP);
}

#[test]
fn memory_without_end_is_an_error() {
    let _alone = alone();
    survives("    local all = {}\n    while true do all[#all + 1] = string.rep(\"x\", 65536) .. #all end", 10, STEP);
}

#[test]
fn recursion_without_end_is_an_error() {
    let _alone = alone();
    survives("    local function again(n) return 1 + again(n + 1) end\n    return tostring(again(1))", 20, STEP);
}

#[test]
fn an_error_in_every_request_is_a_500_each() {
    let _alone = alone();
    survives("    error(\"on purpose\")", 200, Duration::ZERO);
}

#[test]
fn sockets_without_end_are_an_error() {
    let _alone = alone();
    let connect =
        "    local net = require(\"@skep/net\")\n    local all = {}\n    while true do all[#all + 1] = net.connect(req.headers.host) end";
    let skep = start(connect);
    let load = Steady::start(skep.address(), "/good", is_right, 2, 2);
    load.answered(20);
    let request = format!("GET /hostile HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\r\n", skep.address());
    let mut client = client::Client::connect(skep.address()).expect("a connection");
    client.send(request.as_bytes()).expect("sent");
    assert_eq!(client.read_reply().expect("an answer").status, 500);
    load.answered(20);
    let tally = load.stop();
    assert!(tally.failures.is_empty(), "{:#?}", tally.failures);
}
