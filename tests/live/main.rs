//! Pages through the real binary, in all three ways: what they get is in order, complete and single, or they are told.

mod faults;
mod page;
mod push;

#[path = "../websocket/peer.rs"]
#[allow(dead_code, clippy::unwrap_used, reason = "the client of the tests of WebSocket; this uses a part of it")]
mod peer;
#[path = "../support/mod.rs"]
mod support;

use std::io::Read;
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use page::{Place, place};
use peer::Peer;
use support::client::Client;
use support::server::{Site, Skep};
use support::wait;

const APP: &str = r#"
local live = require("@skep/live")
local options = {
    topics = { "t" },
    allow = function(topic, action)
        return topic == "t" or topic == "other"
    end,
    presence = function(topic, req)
        return { id = req.get.name or "somebody" }
    end,
    wait = "2s",
    keep_alive = "1s",
}
local app = {}
function app.request(req)
    return if req.path == "/live" then live.serve(req, options) else "here"
end
function app.websocket(ws)
    live.websocket(ws, options)
end
return app
"#;

/// Held by the test that runs: each has processes enough for the machine.
fn alone() -> MutexGuard<'static, ()> {
    static ONE: Mutex<()> = Mutex::new(());
    ONE.lock().unwrap_or_else(PoisonError::into_inner)
}

fn start(count: usize) -> Skep {
    start_with("events: Local(history: 10000),", count)
}

/// Starts one that shows WebSocket clients every second that it lives, and wants to know the same of them.
fn start_with(fields: &str, count: usize) -> Skep {
    let site = Site::new();
    site.write("apps/live/main.luau", APP);
    let (address, workers) = (site.address, format!("start: {count}, min: {count}, max: {count}, min_spare: 0, max_spare: {count}"));
    site.write(
        "config.ron",
        &format!(
            "Config(data: \"data\", run: \"run\", pid_file: \"run/skep.pid\", auto_reload: false, log: (level: Warn), {fields}\n\
             workers: ({workers}), admin: (listen: []), apps: {{\"live\": Script(path: \"apps/live\")}},\n\
             servers: {{\"web\": Http(listen: [\"{address}\"], routes: [(path: \"/\", app: \"live\")],\n\
             websocket: (ping: \"1s\", pong_timeout: \"2s\", drain_spread: \"100ms\", close_timeout: \"100ms\"))}})\n"
        ),
    );
    let skep = site.start();
    skep.settled(count);
    skep
}

fn post(address: SocketAddr, message: &serde_json::Value) -> Option<(u16, serde_json::Value)> {
    let body = message.to_string();
    let mut client = Client::connect(address).ok()?;
    let head = format!("POST /live HTTP/1.1\r\nHost: test\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n", body.len());
    client.send(format!("{head}{body}").as_bytes()).ok()?;
    let reply = client.read_reply().ok()?;
    Some((reply.status, serde_json::from_slice(&reply.body).ok()?))
}

/// Publishes all the time, one after the other.
struct Publisher {
    stop: Arc<AtomicBool>,
    count: Arc<AtomicUsize>,
    thread: JoinHandle<Vec<Place>>,
}

impl Publisher {
    fn start(address: SocketAddr) -> Self {
        let (stop, count) = (Arc::<AtomicBool>::default(), Arc::<AtomicUsize>::default());
        let (stopped, counted) = (stop.clone(), count.clone());
        let thread = std::thread::spawn(move || {
            let mut acknowledged = Vec::new();
            while !stopped.load(Relaxed) {
                let message = serde_json::json!({"type": "publish", "topic": "t", "data": {"filling": "x".repeat(100)}});
                if let Some((200, answer)) = post(address, &message) {
                    acknowledged.extend(place(&answer));
                    counted.fetch_add(1, Relaxed);
                }
            }
            acknowledged
        });
        Self { stop, count, thread }
    }

    /// Waits for so many more publications.
    fn published(&self, more: usize) {
        let target = self.count.load(Relaxed) + more;
        wait::until("publications", || self.count.load(Relaxed) >= target);
    }

    fn stop(self) -> Vec<Place> {
        self.stop.store(true, Relaxed);
        self.thread.join().expect("the publisher")
    }
}

#[test]
fn a_websocket_publishes_asks_and_chooses_its_topics() {
    let _alone = alone();
    let skep = start(2);
    let mut ann = Peer::connect(skep.address(), "/live?topics=t&name=ann").expect("a connection");
    assert!(ann.line().starts_with(r#"{"type":"ready","topic":"t""#));
    let mut say = |text: &str| serde_json::from_str::<serde_json::Value>(&ann.say(text)).expect("JSON");
    assert_eq!(say(r#"{"type":"subscribe","topic":"forbidden"}"#)["type"], "refused");
    assert_eq!(say(r#"{"type":"subscribe","topic":"other"}"#)["type"], "ready");
    assert_eq!(say(r#"{"type":"ping"}"#)["type"], "pong");
    assert_eq!(say(r#"{"type":"presence","topic":"other","id":1}"#)["members"][0]["id"], "ann");
    assert_eq!(say(r#"{"type":"nonsense","topic":"t","id":2}"#)["type"], "error");
    assert_eq!(say(r#"{"type":"publish","topic":"forbidden","data":1,"id":3}"#)["reason"], "not allowed");
    ann.text(r#"{"type":"unsubscribe","topic":"t"}"#).expect("sent");
    ann.text(r#"{"type":"publish","topic":"t","data":1,"id":4}"#).expect("sent");
    assert!(ann.line().starts_with('{') && ann.say(r#"{"type":"ping"}"#).contains("pong"), "no event of a topic that was left");
    ann.text("no JSON").expect("sent");
    assert_eq!(ann.closed(), 1008);
}

#[test]
fn a_silent_stream_shows_that_it_lives() {
    let _alone = alone();
    let skep = start(1);
    let mut socket = TcpStream::connect(skep.address()).expect("a connection");
    std::io::Write::write_all(&mut socket, b"GET /live HTTP/1.0\r\n\r\n").expect("sent");
    let mut seen = Vec::new();
    wait::until("two comments", || {
        let mut piece = [0; 512];
        let count = socket.read(&mut piece).expect("more");
        seen.extend_from_slice(&piece[..count]);
        String::from_utf8_lossy(&seen).matches("\n:\n\n").count() >= 2
    });
    let text = String::from_utf8_lossy(&seen);
    assert!(text.contains("content-type: text/event-stream") && text.contains("\nretry: "), "{text}");
}
