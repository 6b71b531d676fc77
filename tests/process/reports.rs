//! What the log says of requests that take long and of workers that end badly.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::instance::{Instance, wait_for, workers};

/// An application that rests for a while or never comes back.
const APP: &str = r#"local skep = require("@skep")

local app = {}

-- A field, so that it is called and not made a part of its caller.
function app.rest()
    skep.sleep("600ms")
end

function app.request(req)
    if req.path == "/rest" then
        app.rest()
    elseif req.path == "/spin" then
        while true do
        end
    elseif req.path == "/steady" then
        for _ = 1, 60 do
            req:write("piece")
            skep.sleep("10ms")
        end
    elseif req.path == "/pause" then
        req:write("first")
        app.rest()
    elseif req.path == "/events" then
        req:head(200, { ["content-type"] = "text/event-stream" })
        req:write("data: first\n\n")
        app.rest()
    end
    return "done"
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
            apps: {{ "shop": Script(path: "app", limits: (step: "2500ms")) }},
            servers: {{ "web": Http(listen: ["127.0.0.1:0"], slow_request: "300ms", routes: [(path: "/", app: "shop")]) }},
        )"#
    ));
    instance.start()
}

fn send(instance: &Instance, path: &str) -> TcpStream {
    let mut stream = TcpStream::connect(instance.address("web")).expect("connected");
    stream.write_all(format!("GET {path} HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n").as_bytes()).expect("sent");
    stream
}

#[test]
fn a_request_that_waits_for_long_is_reported_with_the_lines_where_it_waits() {
    let instance = start("start: 1");
    let mut stream = send(&instance, "/rest");
    instance.until_logged("slow: app shop, server web: GET /rest waits since 0.");
    let log = instance.log();
    assert!(log.contains("at main.luau:7 in rest") && log.contains("at main.luau:12 in request"), "{log}");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("an answer");
    assert!(answer.ends_with("done"), "{answer}");
    instance.until_logged("slow: app shop, server web: GET /rest took 0.");
    assert_eq!(instance.log().matches("waits since").count(), 1);
}

#[test]
fn a_worker_that_ends_in_a_request_is_reported_with_it() {
    let instance = start("start: 1, min: 1, max: 1");
    let victim = workers(&instance.status())[0];
    let _stream = send(&instance, "/spin");
    instance.until("the request", |status| status["workers"][0]["state"] == "busy");
    kill(Pid::from_raw(victim), Signal::SIGABRT).expect("it is there");
    instance.until_logged("while it ran: app shop, server web, GET /spin");
}

#[test]
fn a_worker_that_is_stuck_is_reported_with_what_it_runs_and_replaced() {
    let instance = start(r#"start: 1, min: 1, max: 1, heartbeat: "3s""#);
    let victim = workers(&instance.status())[0];
    let _stream = send(&instance, "/spin");
    instance.until("the request", |status| status["workers"][0]["state"] == "busy");
    // The step limit would end it: a native call that hangs looks like this.
    kill(Pid::from_raw(victim), Signal::SIGSTOP).expect("it is there");
    instance.until("another worker", |status| workers(status).iter().any(|pid| *pid != victim));
    let log = instance.log();
    let named = |line: &str| line.contains("its loop did not turn") && line.contains("while it ran: app shop, server web, GET /spin");
    assert!(log.lines().any(named), "{log}");
}

#[test]
fn what_a_worker_runs_is_shown_while_it_runs_and_not_while_it_waits() {
    let instance = start("start: 1, min: 1, max: 1");
    let _spinning = send(&instance, "/spin?secret=1");
    let status = instance.until("the step", |status| status["workers"][0]["step"].is_string());
    assert_eq!(status["workers"][0]["step"], "app shop, server web, GET /spin");
    let _another = send(&instance, "/spin");
    wait_for("the table to name it", || instance.ok(&["fullstatus"]).contains("app shop, server web, GET /spin"));
    let _waiting = send(&instance, "/rest");
    instance.until("all three", |status| status["workers"][0]["active"] == 1 && status["workers"][0]["step"].is_null());
}

#[test]
fn a_reply_that_is_written_bit_by_bit_is_slow_when_its_next_piece_is() {
    let instance = start("start: 1");
    for path in ["/steady", "/events", "/pause"] {
        let mut answer = String::new();
        send(&instance, path).read_to_string(&mut answer).expect("an answer");
        assert!(answer.contains("done"), "{answer}");
    }
    instance.until_logged("GET /pause took 0.");
    let log = instance.log();
    assert!(log.contains("slow: app shop, server web: GET /pause has sent nothing for 0."), "{log}");
    assert!(log.contains("at main.luau:7 in rest") && log.contains("at main.luau:23 in request"), "{log}");
    assert_eq!(log.matches("slow:").count(), 2, "one that goes on for long is not slow, nor one without events: {log}");
}
