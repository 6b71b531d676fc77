//! Each exchange that the original's protocol documents, byte for byte.

use std::io::Write as _;

use serde_json::{Value, json};

use crate::peer::Peer;
use crate::start;

fn request(id: u64, rest: &str) -> String {
    format!("{{\"id\":{id},\"type\":\"request\",\"request\":{{\"op\":{rest}}}}}\n")
}

fn response(id: u64, rest: &str) -> String {
    format!("{{\"id\":{id},\"response\":{{\"op\":{rest}}},\"type\":\"response\"}}\n")
}

fn without_times(mut event: Value) -> Value {
    let event_members = event.as_object_mut().expect("an event is an object");
    for time in ["_ts", "currentTime"] {
        let seconds = event_members.remove(time).and_then(|time| time.as_f64()).expect("a time");
        assert!(seconds > 1.6e9, "{time} is seconds since 1970: {seconds}");
    }
    event
}

#[test]
fn every_exchange_of_the_original() {
    let rtep = start(2, "", "", None);
    let [mut one, mut two] = [(); 2].map(|()| Peer::connect(rtep.address));
    one.exchange(request(1, "\"ping\""), response(1, "\"ping\",\"msg\":\"pong\""));
    one.exchange(request(2, "\"ping\"").replace('\n', "\r\n"), response(2, "\"ping\",\"msg\":\"pong\""));
    one.exchange(request(3, "\"subscribeEvents\",\"events\":[\"chat\",\"news:sport:2\"]"), response(3, "\"subscribeEvents\",\"status\":1"));
    // `events` is missing or no list.
    for events in ["", ",\"events\":\"chat\"", ",\"events\":{}", ",\"events\":[1]", ",\"events\":[\"a*\"]", ",\"events\":[\"\"]"] {
        for op in ["subscribeEvents", "unsubscribeEvents"] {
            one.send(request(4, &format!("\"{op}\"{events}")));
            let packet = one.packet();
            let is_list = events.starts_with(",\"events\":[\"");
            let status = if is_list && op == "unsubscribeEvents" { 1 } else { -1 };
            assert_eq!((&packet["id"], &packet["response"]["status"]), (&json!(4), &json!(status)), "{op}{events}");
        }
    }
    two.exchange(request(1, "\"event\",\"event\":{\"name\":\"chat\",\"text\":\"hi\"}"), response(1, "\"event\",\"status\":1"));
    assert_eq!(without_times(one.event()), json!({"name": "chat", "text": "hi"}));
    two.exchange(request(2, "\"event\",\"event\":{\"text\":[1,{\"a\":null}],\"name\":\"news\"}"), response(2, "\"event\",\"status\":1"));
    assert_eq!(without_times(one.event()), json!({"name": "news", "text": [1, {"a": null}]}));
    one.exchange(request(5, "\"unsubscribeEvents\",\"events\":[\"chat\"]"), response(5, "\"unsubscribeEvents\",\"status\":1"));
    two.exchange(request(3, "\"event\",\"event\":{\"name\":\"chat\"}"), response(3, "\"event\",\"status\":1"));
    two.exchange(request(4, "\"event\",\"event\":{\"name\":\"news\",\"n\":1}"), response(4, "\"event\",\"status\":1"));
    assert_eq!(without_times(one.event()), json!({"name": "news", "n": 1}));
    one.send(request(6, "\"unknown\""));
    let packet = one.packet();
    assert_eq!((&packet["id"], packet["response"]["error"].is_string()), (&json!(6), true));
    // The interrupts of telnet close.
    one.send(b"\xff\xf4\xff\xfd\x06");
    one.expect_end();
    two.send(b"{\"id\"\xff\xec");
    two.expect_end();
    // What was asked before the end is answered.
    let mut three = Peer::connect(rtep.address);
    three.send(request(1, "\"event\",\"event\":{\"name\":\"chat\"}"));
    three.end();
    three.expect(response(1, "\"event\",\"status\":1"));
    three.expect_end();
}

#[test]
fn the_form_for_http() {
    let rtep = start(1, "", "", None);
    let head = "HTTP/1.1 200 OK\r\nContent-Type: text/json\r\nCache-Control: no-store\r\nTransfer-Encoding: chunked\r\n\r\n";
    let chunk = |line: String| format!("{:x}\r\n{line}\r\n", line.len());
    let mut plain = Peer::connect(rtep.address);
    assert_eq!(plain.subscribe(&["chat"]), 1);
    for method in ["GET", "POST", "PUT"] {
        let mut http = Peer::connect(rtep.address);
        http.exchange(format!("{method} / HTTP/1.1\r\nHost: events\r\n\r\n"), head);
        http.exchange(request(1, "\"ping\""), chunk(response(1, "\"ping\",\"msg\":\"pong\"")));
        http.exchange(request(2, "\"subscribeEvents\",\"events\":[\"chat\"]"), chunk(response(2, "\"subscribeEvents\",\"status\":1")));
        plain.send(request(9, "\"event\",\"event\":{\"name\":\"chat\",\"by\":\"plain\"}"));
        let line = loop {
            let line = plain.line().expect("an event");
            if line.starts_with("{\"type\":\"event\"") {
                break line;
            }
        };
        http.expect(chunk(line));
        // The end of the server is the end of the body.
        http.end();
        http.expect("0\r\n\r\n");
        http.expect_end();
        assert!(plain.request(&json!({"op": "ping"}))["msg"] == "pong");
    }
    let mut page = Peer::connect(rtep.address);
    page.send("POST / HTTP/1.1\r\nHost: events\r\nOrigin: http://elsewhere\r\n\r\n{\"id\":1,\"type\":\"request\",\"request\":{\"op\":\"ping\"}}\n");
    page.expect("HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
    page.expect_end();
}

#[test]
fn bad_input_harms_nobody_else() {
    let rtep = start(1, "max_line: \"4KiB\"", "", None);
    let mut good = Peer::connect(rtep.address);
    assert_eq!(good.subscribe(&["chat"]), 1);
    let mut bad = Peer::connect(rtep.address);
    for line in [
        &b"no JSON"[..],
        b"[]",
        b"{\"id\":7}",
        b"{\"id\":7,\"type\":\"request\",\"request\":[]}",
        b"\"\xff\"",
        b"{\"type\":\"event\",\"event\":{}}",
    ] {
        bad.send([line, b"\n"].concat());
        let packet = bad.packet();
        assert!(packet["response"]["error"].is_string(), "{packet}");
        assert_eq!(packet["id"], if line.contains(&b'7') { json!(7) } else { Value::Null });
    }
    for event in [json!(null), json!([]), json!({}), json!({"name": 1}), json!({"name": ""}), json!({"name": "a\nb"})] {
        assert_eq!(bad.publish(&event), -1, "{event}");
    }
    assert_eq!(bad.request(&json!({"op": "ping", "more": [[[{}]]]}))["msg"], "pong");
    bad.send([b'x'; 5000]);
    assert_eq!(bad.packet()["response"]["error"], "the line is too long");
    bad.expect_end();
    let mut endless = Peer::connect(rtep.address);
    endless.send("GET / HTTP/1.1\r\n");
    // The server closes before it has read all of that, so writing may fail.
    let _ = endless.stream.write_all(&b"a: b\r\n".repeat(10_000));
    while endless.line().is_some() {}
    assert_eq!(good.publish(&json!({"name": "chat", "n": 1})), 1);
    assert!(good.is_quiet());
}
