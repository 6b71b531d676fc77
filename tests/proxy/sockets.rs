//! WebSocket and streams of events through the proxy, with skep itself behind it.

use std::io::Read;
use std::time::Duration;

use crate::peer::{CLOSE, Peer, TEXT};
use crate::support::client::Client;
use crate::support::server::{Site, Skep, free_address};
use crate::upstream::{Scripted, proxy};

const APP: &str = r#"
local app = {}
function app.request(req)
    return "plain"
end
function app.websocket_accept(req)
    if req.path == "/no" then
        return { status = 401, body = "who are you?" }
    end
end
function app.websocket(ws)
    for message in ws:messages() do
        ws:send(message)
    end
end
return app
"#;

/// A skep that is its own upstream: the proxy on one address, an application behind it on another.
fn doubled() -> Skep {
    let site = Site::new();
    let (front, behind) = (site.address, free_address());
    site.write("apps/echo/main.luau", APP);
    site.write(
        "config.ron",
        &format!(
            "Config(data: \"data\", run: \"run\", pid_file: \"run/skep.pid\", auto_reload: false, log: (level: Warn),\n\
             workers: (start: 1, min: 1, max: 2, min_spare: 0, max_spare: 2), admin: (listen: []),\n\
             apps: {{\"echo\": Script(path: \"apps/echo\"), \"proxy\": Proxy(to: [\"http://{behind}\"], timeouts: (tunnel: \"1h\"))}},\n\
             servers: {{\"front\": Http(listen: [\"{front}\"], routes: [(path: \"/\", app: \"proxy\")], websocket: (drain_spread: \"100ms\")),\n\
             \"behind\": Http(listen: [\"{behind}\"], routes: [(path: \"/\", app: \"echo\")], websocket: (drain_spread: \"1m\"))}})\n"
        ),
    );
    site.start()
}

#[test]
fn messages_pass_both_ways() {
    let skep = doubled();
    let mut peer = Peer::connect(skep.address(), "/").unwrap();
    assert_eq!(peer.field("connection"), Some("Upgrade"));
    for length in [0, 5, 125, 126, 70_000, 900_000] {
        let text = "x".repeat(length);
        assert_eq!(peer.say(&text).len(), length);
    }
    peer.send(CLOSE, &[3, 232]).unwrap();
    assert_eq!(peer.closed(), 1000);
    assert!(peer.is_over());
    let refused = Peer::ask(skep.address(), "/no", &[]).unwrap();
    assert_eq!(refused.status(), 401);
}

#[test]
fn connections_end_in_order_when_the_worker_goes() {
    let skep = doubled();
    let mut peers: Vec<Peer> = (0..5).map(|_| Peer::connect(skep.address(), "/").unwrap()).collect();
    for peer in &mut peers {
        assert_eq!(peer.say("here"), "here");
    }
    skep.order("reload");
    for peer in &mut peers {
        assert_eq!(peer.closed(), 1001);
        peer.send(CLOSE, &[3, 233]).unwrap();
        assert!(peer.is_over());
    }
    let mut peer = Peer::connect(skep.address(), "/").unwrap();
    assert_eq!(peer.say("again"), "again");
}

#[test]
fn a_silent_connection_ends_and_a_lying_server_gets_none() {
    let silent = Scripted::start(|mut exchange| {
        let Some(head) = exchange.head() else { return };
        let accept = if head.starts_with("GET /lie") { "bm90aGluZw==" } else { "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=" };
        let answer = format!(
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: {accept}\r\n\r\n"
        );
        let early = "\u{1}\u{1}a";
        let _gone = exchange.say(&(answer + early));
        let _ended = exchange.head();
    });
    let skep = proxy(&[silent.address], "timeouts: (tunnel: \"300ms\"),");
    let mut peer = Peer::connect(skep.address(), "/").unwrap();
    let early = peer.receive().unwrap();
    assert_eq!((early.opcode, early.payload.as_slice()), (TEXT, &b"a"[..]), "what came with the answer");
    assert!(peer.is_over(), "nothing went either way for too long");
    assert_eq!(Peer::ask(skep.address(), "/lie", &[]).unwrap().status(), 502);
}

#[test]
fn a_bad_handshake_is_answered_by_the_server_and_not_held_against_it() {
    let skep = doubled();
    let old = Peer::ask(skep.address(), "/", &[("Sec-WebSocket-Version", "8")]).unwrap();
    assert_eq!((old.status(), old.field("sec-websocket-version")), (426, Some("13")));
    assert_eq!(Peer::ask(skep.address(), "/", &[("Sec-WebSocket-Key", "short")]).unwrap().status(), 400);

    // One that takes whatever comes.
    let lax = Scripted::start(|mut exchange| {
        let Some(head) = exchange.head() else { return };
        if !head.contains("websocket") {
            let _gone = exchange.say("HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
            return;
        }
        let accept = if head.contains("dGhlIHNhbXBsZSBub25jZQ==") { "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=" } else { "bm90aGluZw==" };
        let answer = format!(
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: {accept}\r\n\r\n"
        );
        let _gone = exchange.say(&answer);
        let _ended = exchange.head();
    });
    let skep = proxy(&[lax.address], "");
    for _ in 0..4 {
        assert_eq!(Peer::ask(skep.address(), "/", &[("Sec-WebSocket-Key", "short")]).unwrap().status(), 400);
    }
    assert_eq!(Peer::ask(skep.address(), "/", &[]).unwrap().status(), 101);
    let upstream = skep.status().upstreams.remove(0);
    assert!(upstream.requests >= 5);
    assert_eq!((upstream.failures, upstream.well), (0, upstream.workers));
}

#[test]
fn events_come_one_by_one_and_end_whole_when_the_worker_goes() {
    let server = Scripted::start(|mut exchange| {
        if exchange.head().is_some_and(|head| head.starts_with("GET /events")) {
            exchange
                .say("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n9\r\ndata: 1\n\n\r\n")
                .unwrap();
            let _ended = exchange.head();
        } else {
            let _gone = exchange.say("HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
        }
    });
    let skep = proxy(&[server.address], "timeouts: (between: \"200ms\"),");
    let mut client = Client::connect(skep.address()).unwrap();
    client.send(b"GET /events HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
    let mut seen = String::new();
    let mut stream = client.stream();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    let mut read_until = |end: &str| {
        while !seen.ends_with(end) {
            let mut byte = [0];
            stream.read_exact(&mut byte).unwrap();
            seen.push(char::from(byte[0]));
        }
    };
    read_until("data: 1\n\n\r\n");
    skep.order("reload");
    read_until("0\r\n\r\n");
}
