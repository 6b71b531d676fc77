//! What an application sees and can do.

use std::io::Write;

use crate::peer::{BINARY, CLOSE, Frame, PING, PONG, Peer, TEXT, frame};
use crate::support::client;
use crate::support::server::{Site, Skep};
use crate::support::wait;

/// The usual application of these tests.
pub const APP: &str = r#"
local skep = require("@skep")
local app = { websocket_protocols = { "chat.2", "chat.1" } }
local ended = "none"
local sockets = {}

function app.request(req)
    return req.path == "/ended" and ended or "plain"
end

function app.websocket_accept(req)
    if req.path == "/no" then
        return false
    elseif req.path == "/reply" then
        return { status = 401, headers = { ["www-authenticate"] = "Basic" }, body = "who are you?" }
    elseif req.path == "/chosen" then
        skep.sleep(0.01)
        return { protocol = "other", headers = { ["x-extra"] = "yes" } }
    elseif req.path == "/wrong" then
        return "never offered"
    end
    return nil
end

local commands = {}

function commands.request(ws)
    local req = ws.request
    ws:send(skep.json { path = req.path, base = req.base, who = req.get.who, agent = req.headers["user-agent"], sid = req.cookies.sid, address = req.remote.address })
end

function commands.bytes(ws)
    ws:send_binary("\0\255")
end

function commands.bad(ws)
    local ok, why = pcall(ws.send, ws, "\255")
    ws:send(tostring(ok) .. " " .. tostring(why))
end

function commands.timeout(ws)
    local message, why = ws:receive { timeout = 0.01 }
    ws:send(tostring(message) .. " " .. why)
end

function commands.bye(ws)
    ws:close(3001, "enough")
    ws:send("never")
end

commands["return"] = function()
    return "stop"
end

function commands.fail()
    error("as asked")
end

function commands.later(ws)
    skep.spawn(function()
        skep.sleep(0.01)
        ws:send("later")
    end)
end

function commands.join(ws)
    sockets[ws] = true
    ws:send("joined")
end

function commands.all(ws)
    for other in sockets do
        for number = 1, 50 do
            other:send("to all " .. number)
        end
    end
end

function app.websocket(ws)
    ws.onclose = function(code, reason)
        ended = code .. " " .. reason
        sockets[ws] = nil
    end
    for message, kind in ws:messages() do
        local command = commands[message]
        if command then
            if command(ws) == "stop" then
                return
            end
        elseif kind == "text" then
            ws:send(message)
        else
            ws:send_binary(message)
        end
    end
    if ws.closed.code ~= 3001 then
        ws:send("too late")
    end
end

return app
"#;

/// Starts skep with an application at `/app` and options of the server's `websocket` block.
pub fn start(app: &str, options: &str) -> Skep {
    prepare(app, options, "start: 1, min: 1, max: 1").start()
}

pub fn prepare(app: &str, options: &str, workers: &str) -> Site {
    let site = Site::new();
    let address = site.address;
    site.write("app/main.luau", app);
    site.write("plain/main.luau", "return { request = function() return 'no sockets here' end }");
    site.write(
        "config.ron",
        &format!(
            "Config(data: \"data\", run: \"run\", pid_file: \"run/skep.pid\", auto_reload: false, log: (level: Warn), workers: ({workers}), \
             admin: (listen: []), apps: {{\"app\": Script(path: \"app\"), \"plain\": Script(path: \"plain\")}}, servers: {{\"web\": \
             Http(listen: [\"{address}\"], routes: [(path: \"/app\", app: \"app\"), (path: \"/\", app: \"plain\")], websocket: ({options}))}})"
        ),
    );
    site
}

#[test]
fn messages_go_both_ways() {
    let skep = start(APP, "");
    let mut peer = Peer::connect(skep.address(), "/app/room?who=me").unwrap();
    assert_eq!(peer.field("sec-websocket-accept"), Some("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="));
    assert_eq!((peer.field("upgrade"), peer.field("connection")), (Some("websocket"), Some("Upgrade")));
    assert_eq!(peer.say("h\u{e9}llo"), "h\u{e9}llo");
    peer.send(BINARY, &[0, 1, 255]).unwrap();
    assert_eq!(peer.receive().unwrap(), Frame { opcode: BINARY, payload: vec![0, 1, 255] });
    peer.send(PING, b"alive?").unwrap();
    assert_eq!(peer.receive().unwrap(), Frame { opcode: PONG, payload: b"alive?".to_vec() });
    peer.text("bytes").unwrap();
    assert_eq!(peer.receive().unwrap(), Frame { opcode: BINARY, payload: vec![0, 255] });
    assert_eq!(peer.say("timeout"), "nil timeout");
    assert!(peer.say("bad").ends_with("websocket: a text message is UTF-8; send_binary takes any bytes"));
    assert_eq!(peer.say("later"), "later", "another coroutine sends while the handler waits");
    let large = "x".repeat(300_000);
    assert_eq!(peer.say(&large), large);
    let pieces: Vec<u8> = [frame(TEXT, b"in "), frame(0x80 | PING, b""), frame(0, b"three "), frame(0x80, b"pieces")].concat();
    peer.raw(&pieces).unwrap();
    assert_eq!(peer.receive().unwrap().opcode, PONG);
    assert_eq!(peer.line(), "in three pieces");
}

#[test]
fn the_request_is_at_hand() {
    let skep = start(APP, "");
    let fields = [("Cookie", "sid=7"), ("User-Agent", "test"), ("Sec-WebSocket-Protocol", "chat.1, chat.2")];
    let mut peer = Peer::ask(skep.address(), "/app/room%20one?who=me", &fields).unwrap();
    assert_eq!(peer.field("sec-websocket-protocol"), Some("chat.1"), "the client's order counts");
    let seen: serde_json::Value = serde_json::from_str(&peer.say("request")).unwrap();
    let expected =
        serde_json::json!({ "path": "/room one", "base": "/app", "who": "me", "agent": "test", "sid": "7", "address": "127.0.0.1" });
    assert_eq!(seen, expected);
    // What is sent right behind the request is not lost.
    let mut early = Peer::ask(skep.address(), "/app/", &[("Host", "test")]).unwrap();
    assert_eq!(early.say("x"), "x");
    let mut stream = std::net::TcpStream::connect(skep.address()).unwrap();
    let request = "GET /app/ HTTP/1.1\r\nHost: t\r\nUpgrade: websocket\r\nConnection: upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: \
                   dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
    stream.write_all(&[request.as_bytes(), &frame(0x80 | TEXT, b"early")].concat()).unwrap();
    let mut answer = Vec::new();
    let mut buffer = [0; 1024];
    while !answer.ends_with(b"early") {
        let count = std::io::Read::read(&mut stream, &mut buffer).unwrap();
        assert!(count > 0, "{answer:?}");
        answer.extend_from_slice(&buffer[..count]);
    }
}

#[test]
fn upgrades_are_refused_where_they_must_be() {
    let skep = start(APP, "origins: [\"https://*.example.com\"]");
    let ask = |path: &str, fields: &[(&str, &str)]| Peer::ask(skep.address(), path, fields).unwrap();
    let old = ask("/app", &[("Sec-WebSocket-Version", "8")]);
    assert_eq!((old.status(), old.field("sec-websocket-version")), (426, Some("13")));
    assert_eq!(ask("/app", &[("Sec-WebSocket-Key", "short")]).status(), 400);
    assert_eq!(ask("/app", &[("Origin", "https://evil.example")]).status(), 403);
    assert_eq!(ask("/app", &[("Origin", "https://www.example.com")]).status(), 101);
    assert_eq!(ask("/app/no", &[]).status(), 403);
    let reply = ask("/app/reply", &[]);
    assert_eq!((reply.status(), reply.field("www-authenticate")), (401, Some("Basic")));
    let chosen = ask("/app/chosen", &[("Sec-WebSocket-Protocol", "a, other")]);
    assert_eq!((chosen.status(), chosen.field("sec-websocket-protocol"), chosen.field("x-extra")), (101, Some("other"), Some("yes")));
    assert_eq!(ask("/app/wrong", &[("Sec-WebSocket-Protocol", "a")]).status(), 500);
    assert_eq!(ask("/elsewhere", &[]).status(), 200, "an application without `websocket` answers as always");
    assert_eq!(ask("/app", &[("Upgrade", "h2c")]).status(), 200, "another protocol is not ours");
    // The connection goes on after a refusal.
    let mut keeps = ask("/app/no", &[]);
    keeps.raw(b"GET /elsewhere HTTP/1.1\r\nHost: t\r\n\r\n").unwrap();
    assert_eq!(client::get(skep.address(), "/app").unwrap().text(), "plain");
}

#[test]
fn connections_end_in_order() {
    let skep = start(APP, "");
    let ended = |expected: &str| {
        wait::until(format!("the end {expected}"), || client::get(skep.address(), "/app/ended").unwrap().text() == expected);
    };
    let mut peer = Peer::connect(skep.address(), "/app").unwrap();
    peer.send(CLOSE, &[&4001u16.to_be_bytes()[..], b"done"].concat()).unwrap();
    assert_eq!(peer.closed(), 4001);
    assert!(peer.is_over());
    ended("4001 done");
    let mut peer = Peer::connect(skep.address(), "/app").unwrap();
    peer.text("bye").unwrap();
    assert_eq!(peer.receive().unwrap(), Frame { opcode: CLOSE, payload: [&3001u16.to_be_bytes()[..], b"enough"].concat() });
    ended("3001 enough");
    let mut peer = Peer::connect(skep.address(), "/app").unwrap();
    peer.text("return").unwrap();
    assert_eq!(peer.closed(), 1000);
    let mut peer = Peer::connect(skep.address(), "/app").unwrap();
    peer.text("fail").unwrap();
    assert_eq!(peer.closed(), 1011);
    assert!(skep.output().contains("main.luau") && skep.output().contains("as asked"), "{}", skep.output());
    let peer = Peer::connect(skep.address(), "/app").unwrap();
    drop(peer);
    ended("1006 the connection broke");
    wait::until("no connection is counted any more", || {
        let status = skep.status();
        status.states.busy == 0
    });
}

#[test]
fn a_burst_reaches_everybody_in_order() {
    let skep = start(APP, "");
    let mut peers: Vec<Peer> = (0..20).map(|_| Peer::connect(skep.address(), "/app").unwrap()).collect();
    for peer in &mut peers {
        assert_eq!(peer.say("join"), "joined");
    }
    peers[0].text("all").unwrap();
    for peer in &mut peers {
        for number in 1..=50 {
            assert_eq!(peer.line(), format!("to all {number}"));
        }
    }
}

#[test]
fn messages_are_compressed_with_who_can() {
    let skep = start(APP, "compression_min: \"100 B\"");
    let mut peer =
        Peer::ask(skep.address(), "/app", &[("Sec-WebSocket-Extensions", "permessage-deflate; client_max_window_bits")]).unwrap();
    let agreed = "permessage-deflate; server_no_context_takeover; client_no_context_takeover";
    assert_eq!(peer.field("sec-websocket-extensions"), Some(agreed));
    // "Hello", compressed as in RFC 7692 §7.2.3.1; the answer is short and comes as it is.
    peer.raw(&frame(0xc0 | TEXT, &[0xf2, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00])).unwrap();
    assert_eq!(peer.line(), "Hello");
    peer.text(&"long ".repeat(1000)).unwrap();
    let answer = peer.receive().unwrap();
    assert!(answer.payload.len() < 100, "{}", answer.payload.len());
    let off = start(APP, "compression: false");
    let peer = Peer::ask(off.address(), "/app", &[("Sec-WebSocket-Extensions", "permessage-deflate")]).unwrap();
    assert_eq!((peer.status(), peer.field("sec-websocket-extensions")), (101, None));
}
