//! Bodies of requests: forms, files, JSON, and what comes bit by bit.

use serde_json::{Value, json};

use crate::Case;
use crate::exchange::{Announced, Asked, read};
use crate::served::{MOST, Served, Way};
use crate::support::wait;

pub const CASES: &[Case] = &[
    ("forms", forms),
    ("forms with files", forms_with_files),
    ("JSON", json_bodies),
    ("bytes of any kind", bytes),
    ("bodies of unknown length", unknown_length),
    ("a body is read while it arrives", read_while_it_arrives),
    ("bodies that are too large", too_large),
    ("forms that are too large or none", bad_forms),
    ("a body that nobody reads", unread),
    ("who waits to be told gets told or answered", continued),
];

const FORM: (&str, &str) = ("content-type", "application/x-www-form-urlencoded");

fn forms(served: &Served) {
    let told = served.told("POST", "/echo?a=query", &[FORM], b"a=1&a%20b=%u0416+x&n[k][]=2&n[k][]=3&empty=");
    assert_eq!(told["post"], json!({"a": "1", "a b": "Ж x", "n": {"k": ["2", "3"]}, "empty": ""}));
    assert_eq!((&told["get"]["a"], &told["method"]), (&"query".into(), &"POST".into()));
    let large = format!("text={}", "x".repeat(900_000));
    assert_eq!(served.told("POST", "/echo", &[FORM], large.as_bytes())["post"]["text"].as_str().map(str::len), Some(900_000));
}

fn forms_with_files(served: &Served) {
    let mut body = Vec::new();
    let mut part = |head: &str, content: &[u8]| {
        body.extend_from_slice(b"--limit\r\nContent-Disposition: form-data; ");
        body.extend_from_slice(head.as_bytes());
        body.extend_from_slice(b"\r\n\r\n");
        body.extend_from_slice(content);
        body.extend_from_slice(b"\r\n");
    };
    part("name=\"words\"", "zwei Wörter".as_bytes());
    part("name=\"n[k][]\"", b"2");
    part("name=\"small\"; filename=\"C:\\dir\\a b.txt\"\r\nContent-Type: text/plain", b"abcdef");
    let mut large = vec![b'z'; 3_000_000];
    large[..3].copy_from_slice(b"beg");
    large.extend_from_slice(b"end");
    part("name=\"large\"; filename=\"large.bin\"\r\nContent-Type: application/octet-stream", &large);
    body.extend_from_slice(b"--limit--\r\n");
    let fields = [("content-type", "multipart/form-data; boundary=limit")];
    let told = served.told("POST", "/echo", &fields, &body);
    assert_eq!(told["post"], json!({"words": "zwei Wörter", "n": {"k": ["2"]}}));
    assert_eq!(
        told["files"],
        json!({
            "small": {"filename": "a b.txt", "type": "text/plain", "size": 6, "read": 6, "ends": "abcdef"},
            "large": {"filename": "large.bin", "type": "application/octet-stream", "size": 3_000_003, "read": 3_000_003, "ends": "begend"},
        })
    );
}

fn json_bodies(served: &Served) {
    let sent = json!({"list": [1, 2.5, true, null, "ä\u{0}"], "empty": {}, "nested": {"deep": ["x"]}});
    let fields = [("content-type", "application/json")];
    let got = served.told("PUT", "/json", &fields, sent.to_string().as_bytes());
    assert_eq!((&got["list"], &got["nested"]), (&sent["list"], &sent["nested"]));
    assert_eq!(served.ask("PUT", "/json", &fields, b"{\"a\":").status, 400);
}

fn bytes(served: &Served) {
    let sent: Vec<u8> = (0..1_000_000u32).map(|at| (at % 251) as u8).collect();
    for method in ["POST", "PUT", "PATCH"] {
        assert!(served.ask(method, "/raw", &[], &sent).body == sent, "{method}");
    }
    assert_eq!(served.ask("POST", "/raw", &[("content-length", "0")], b"").body, b"");
}

fn unknown_length(served: &Served) {
    let mut exchange = served.open(Asked { method: "POST", target: "/raw", fields: &[], body: Announced::Unknown });
    for piece in [&b"one "[..], b"two ", b"three"] {
        exchange.send(piece).expect("sent");
    }
    exchange.finish().expect("sent");
    let reply = read(&mut *exchange).expect("a reply");
    assert_eq!((reply.status, reply.text().as_str()), (200, "one two three"));
    let form = b"a=1&b=2";
    let mut exchange = served.open(Asked { method: "POST", target: "/echo", fields: &[FORM], body: Announced::Unknown });
    exchange.send(form).and_then(|()| exchange.finish()).expect("sent");
    let told: Value = serde_json::from_slice(&read(&mut *exchange).expect("a reply").body).expect("JSON");
    assert_eq!(told["post"], json!({"a": "1", "b": "2"}));
}

fn read_while_it_arrives(served: &Served) {
    let (first, passed) = served.first_piece();
    let length = first.len() + 3;
    for (key, body) in served.announced(length as u64) {
        let mut exchange = served.open(Asked { method: "POST", target: &format!("/read?key={key}"), fields: &[], body });
        exchange.send(&first).expect("sent");
        served.has_read(key, passed);
        exchange.send(b"def").and_then(|()| exchange.finish()).expect("sent");
        assert_eq!(read(&mut *exchange).expect("a reply").text(), length.to_string());
    }
}

fn too_large(served: &Served) {
    let reply = served.ask("POST", "/raw", &[], &vec![b'x'; (16 << 20) + 1]);
    assert_eq!(reply.status, 413, "more than a script is given whole");
    // Apache looks at the answer once it has read the whole body: a gibibyte is too much for a test.
    if served.way != Way::Apache {
        let mut exchange = served.open(Asked { method: "POST", target: "/count", fields: &[], body: Announced::Length(MOST + 1) });
        exchange.send(&served.first_piece().0).expect("sent");
        let reply = read(&mut *exchange).expect("a reply");
        assert_eq!((reply.status, reply.text().contains("1073741824 bytes")), (413, true), "{}", reply.text());
    }
}

fn bad_forms(served: &Served) {
    assert_eq!(served.ask("POST", "/echo", &[FORM], &vec![b'x'; 1_500_000]).status, 413);
    let many: String = (0..1500).map(|number| format!("f{number}=1&")).collect();
    assert_eq!(served.ask("POST", "/echo", &[FORM], many.as_bytes()).status, 413);
    let reply = served.ask("POST", "/echo", &[("content-type", "multipart/form-data")], b"--x\r\n");
    assert_eq!(reply.status, 400, "no boundary");
    let reply = served.ask(
        "POST",
        "/echo",
        &[("content-type", "multipart/form-data; boundary=x")],
        b"--x\r\nContent-Disposition: form-data; name=\"a\"\r\n\r\nhalf",
    );
    assert_eq!(reply.status, 400, "it breaks off");
}

fn unread(served: &Served) {
    for length in [1000, 5_000_000] {
        let reply = served.ask("POST", "/reply?body=unread", &[], &vec![b'x'; length]);
        assert_eq!((reply.status, reply.text().as_str()), (200, "unread"), "{length}");
    }
}

fn continued(served: &Served) {
    let expect = [("expect", "100-continue")];
    let mut exchange = served.open(Asked { method: "POST", target: "/read?key=told", fields: &expect, body: Announced::Length(3) });
    // HAProxy asks when the body is there.
    if !served.way.is_haproxy() {
        wait::until("the handler to begin", || served.remembered("told") == "begun");
    }
    exchange.send(b"abc").and_then(|()| exchange.finish()).expect("sent");
    assert_eq!(read(&mut *exchange).expect("a reply").text(), "3");
    assert_eq!(served.ask("POST", "/reply?body=answered", &expect, b"abc").text(), "answered");
}
