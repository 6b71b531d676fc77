//! `@skep/websocket` against our own server.

use std::io::{Read, Write};
use std::net::TcpListener;

use crate::served::{APP, prepare};
use crate::support::client;

/// Every case is a path; what goes wrong is what is answered.
const CLIENT: &str = r#"
local websocket = require("@skep/websocket")
local skep = require("@skep")

local function raises(message, run, ...)
    local ok, said = pcall(run, ...)
    assert(not ok, "should raise " .. message)
    assert(string.find(said, message, 1, true), said)
end

local cases = {}

function cases.talk(server)
    local ws = websocket.connect(server .. "/app/room", { protocols = { "chat.1" }, headers = { Cookie = "sid=9" } })
    assert(ws.protocol == "chat.1")
    ws:send("hello")
    local message, kind = ws:receive { timeout = 5 }
    assert(message == "hello" and kind == "text")
    ws:send_binary("\0\1")
    message, kind = ws:receive { timeout = 5 }
    assert(message == "\0\1" and kind == "binary")
    ws:send("request")
    assert(string.find(ws:receive { timeout = 5 } or "", '"sid":"9"', 1, true))
    local large = string.rep("compress me ", 20000)
    ws:send(large)
    assert(ws:receive { timeout = 5 } == large)
    local nothing, why = ws:receive { timeout = 0.01 }
    assert(nothing == nil and why == "timeout")
    local told
    ws.onclose = function(code, reason)
        told = code .. reason
    end
    ws:close(3000, "done")
    nothing, why = ws:receive { timeout = 5 }
    assert(nothing == nil and why == "closed" and ws.closed.code == 3000)
    assert(ws:send("x") == false)
    while not told do skep.sleep(0.005) end
    assert(told == "3000done")
end

function cases.ended(server)
    local ws = websocket.connect(server .. "/app", { compression = false })
    ws:send("bye")
    local count = 0
    for _ in ws:messages() do
        count += 1
    end
    assert(count == 0 and ws.closed.code == 3001 and ws.closed.reason == "enough")
end

function cases.errors(server)
    raises("websocket: the server answered with status 403", websocket.connect, server .. "/app/no")
    raises("websocket: the server answered with status 200", websocket.connect, server .. "/elsewhere")
    raises("websocket: an address begins with ws:// or wss://", websocket.connect, "http://127.0.0.1/")
    raises("connection refused", websocket.connect, "ws://127.0.0.1:1/")
    raises("is set by the handshake", websocket.connect, server .. "/app", { headers = { Upgrade = "x" } })
    raises("no option named protocol", websocket.connect, server .. "/app", { protocol = "x" })
end

function cases.many(server)
    local sockets = {}
    for number = 1, 20 do
        sockets[number] = websocket.connect(server .. "/app")
        sockets[number]:send("join")
        assert(sockets[number]:receive { timeout = 5 } == "joined")
    end
    sockets[1]:send("all")
    for _, ws in sockets do
        for number = 1, 50 do
            assert(ws:receive { timeout = 5 } == "to all " .. number)
        end
    end
    assert(skep.worker().sockets >= 20)
    for _, ws in sockets do
        ws:close()
    end
    while skep.worker().sockets > 0 do skep.sleep(0.005) end
end

function cases.mute(server)
    raises("timed out", websocket.connect, "ws://" .. server, { timeout = 0.05 })
end

function cases.silent(server)
    local ws = websocket.connect("ws://" .. server, { ping = 0.02, pong_timeout = 0.02 })
    local nothing, why = ws:receive { timeout = 5 }
    assert(nothing == nil and why == "closed" and ws.closed.code == 1006, why)
    assert(string.find(ws.closed.reason, "answered no ping", 1, true), ws.closed.reason)
end

return { request = function(req)
    local ok, why = pcall(cases[req.get.case], req.get.server)
    return if ok then "ok" else why
end }
"#;

fn run(cases: &[&str]) {
    let site = prepare(APP, "compression_min: \"100 B\"", "start: 1, min: 1, max: 1");
    site.write("plain/main.luau", CLIENT);
    let skep = site.start();
    for case in cases {
        let server = format!("ws://{}", skep.address());
        assert_eq!(client::get(skep.address(), &format!("/?case={case}&server={server}")).unwrap().text(), "ok", "{case}");
    }
}

#[test]
fn messages_go_both_ways() {
    run(&["talk", "ended", "many"]);
}

#[test]
fn what_goes_wrong_is_said() {
    run(&["errors"]);
}

#[test]
fn servers_that_say_nothing_are_given_up() {
    let site = prepare(APP, "", "start: 1, min: 1, max: 1");
    site.write("plain/main.luau", CLIENT);
    let skep = site.start();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let server = listener.local_addr().unwrap();
    let ask = |case: &str| client::get(skep.address(), &format!("/?case={case}&server={server}")).unwrap().text();
    assert_eq!(ask("mute"), "ok");
    drop(listener.accept().unwrap());
    let silent = std::thread::spawn(move || {
        // It agrees to the upgrade, and then says nothing more.
        let (mut stream, _) = listener.accept().unwrap();
        let mut request = Vec::new();
        let mut piece = [0; 1024];
        while !request.ends_with(b"\r\n\r\n") {
            let count = stream.read(&mut piece).unwrap();
            request.extend_from_slice(&piece[..count]);
        }
        let request = String::from_utf8(request).unwrap();
        let key = request.lines().find_map(|line| line.strip_prefix("sec-websocket-key: ").or(line.strip_prefix("Sec-WebSocket-Key: ")));
        let accept = skep::codec::websocket::handshake::accept(key.unwrap().as_bytes());
        let head = format!("HTTP/1.1 101 x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: {accept}\r\n\r\n");
        stream.write_all(head.as_bytes()).unwrap();
        // Until the client gives up.
        while stream.read(&mut piece).unwrap_or(0) > 0 {}
    });
    assert_eq!(ask("silent"), "ok");
    silent.join().unwrap();
}
