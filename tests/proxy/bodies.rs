//! Bodies: as they come, both ways, without being held.

use std::fs;
use std::io::{Read, Write};
use std::sync::Mutex;
use std::sync::mpsc;
use std::time::Duration;

use crate::support::client::Client;
use crate::support::server::Skep;
use crate::support::wait;
use crate::upstream::{Scripted, proxy};

const LARGE: usize = 200 << 20;
const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

/// No worker ever held more than this.
fn assert_flat(skep: &Skep) {
    for worker in skep.status().workers {
        let status = fs::read_to_string(format!("/proc/{}/status", worker.pid)).unwrap();
        let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
        let kilobytes: u64 = peak.trim().trim_end_matches(" kB").parse().unwrap();
        assert!(kilobytes < 64 << 10, "{peak}");
    }
}

fn allowing_large(server: &Scripted) -> Skep {
    let skep = proxy(&[server.address], "");
    let site = skep.into_site();
    let config = fs::read_to_string(site.config()).unwrap();
    site.write("config.ron", &config.replace("routes:", "max_body: \"1 GiB\", routes:"));
    site.start()
}

#[test]
fn large_bodies_pass_both_ways_in_flat_memory() {
    let server = Scripted::start(|mut exchange| {
        while let Some(head) = exchange.head() {
            if head.starts_with("PUT") {
                let piece = 1 << 20;
                for _ in 0..LARGE / piece {
                    assert!(exchange.body(piece));
                }
                exchange.say(OK).unwrap();
            } else if head.starts_with("GET /large") {
                exchange.say(&format!("HTTP/1.1 200 OK\r\nContent-Length: {LARGE}\r\n\r\n")).unwrap();
                let piece = vec![b'x'; 1 << 20];
                for _ in 0..LARGE / piece.len() {
                    exchange.stream.write_all(&piece).unwrap();
                }
            } else {
                exchange.say(OK).unwrap();
            }
        }
    });
    let skep = allowing_large(&server);
    let mut client = Client::connect(skep.address()).unwrap();
    client.send(format!("PUT /large HTTP/1.1\r\nHost: a\r\nContent-Length: {LARGE}\r\n\r\n").as_bytes()).unwrap();
    let piece = vec![b'y'; 1 << 20];
    for _ in 0..LARGE / piece.len() {
        client.send(&piece).unwrap();
    }
    assert_eq!(client.read_reply().unwrap().text(), "ok");
    client.send(b"GET /large HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
    let mut stream = client.stream();
    let (mut head, mut byte) = (Vec::new(), [0]);
    while !head.ends_with(b"\r\n\r\n") {
        stream.read_exact(&mut byte).unwrap();
        head.push(byte[0]);
    }
    assert!(String::from_utf8(head).unwrap().contains(&format!("Content-Length: {LARGE}\r\n")));
    let (mut left, mut buffer) = (LARGE, vec![0; 1 << 20]);
    while left > 0 {
        let read = stream.read(&mut buffer[..left.min(1 << 20)]).unwrap();
        assert!(read > 0 && buffer[..read].iter().all(|byte| *byte == b'x'));
        left -= read;
    }
    assert_eq!(client.get("/").unwrap().text(), "ok", "the connection goes on");
    assert_flat(&skep);
}

#[test]
fn who_does_not_read_holds_the_sender_up() {
    // The server says how much it could send when the client has not read anything for a while.
    let (tell, told) = mpsc::channel();
    let tell = Mutex::new(tell);
    let server = Scripted::start(move |mut exchange| {
        if exchange.head().is_some_and(|head| head.starts_with("GET /flood")) {
            exchange.say("HTTP/1.1 200 OK\r\n\r\n").unwrap();
            exchange.stream.set_write_timeout(Some(Duration::from_secs(1))).unwrap();
            let (piece, mut sent) = (vec![0; 64 << 10], 0);
            while exchange.stream.write_all(&piece).is_ok() {
                sent += piece.len();
            }
            tell.lock().unwrap().send(sent).unwrap();
        }
    });
    let skep = proxy(&[server.address], "");
    let mut client = Client::connect(skep.address()).unwrap();
    client.send(b"GET /flood HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
    let sent = told.recv_timeout(Duration::from_secs(30)).unwrap();
    assert!(sent < 32 << 20, "{sent} bytes are in sockets");
    assert_flat(&skep);
}

#[test]
fn a_chunked_body_and_its_answer_go_on_at_the_same_time() {
    // Each piece comes back before the next is sent.
    let server = Scripted::start(|mut exchange| {
        let Some(head) = exchange.odd_head() else { return };
        assert!(head.contains("transfer-encoding: chunked\r\n"), "{head}");
        exchange.say("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n").unwrap();
        let mut buffer = [0; 1024];
        while let Ok(read) = exchange.stream.read(&mut buffer) {
            if read == 0 || exchange.stream.write_all(&buffer[..read]).is_err() || buffer[..read].ends_with(b"0\r\n\r\n") {
                return;
            }
        }
    });
    let skep = proxy(&[server.address], "");
    let mut client = Client::connect(skep.address()).unwrap();
    client.send(b"POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n").unwrap();
    let mut stream = client.stream().try_clone().unwrap();
    let mut seen = String::new();
    let mut read_until = |end: &str| {
        while !seen.ends_with(end) {
            let mut byte = [0];
            stream.read_exact(&mut byte).unwrap();
            seen.push(char::from(byte[0]));
        }
    };
    read_until("\r\n\r\n");
    for text in ["one", "two", "three"] {
        client.send(format!("{:x}\r\n{text}\r\n", text.len()).as_bytes()).unwrap();
        read_until(text);
    }
    client.send(b"0\r\nX-Trailer: 1\r\n\r\n").unwrap();
    read_until("0\r\n\r\n");
}

#[test]
fn an_answer_before_the_end_of_the_body_is_passed_on() {
    let server = Scripted::start(|mut exchange| {
        if exchange.head().is_some_and(|head| head.starts_with("POST")) {
            let _sent = exchange.say("HTTP/1.1 413 Too Large\r\nConnection: close\r\nContent-Length: 3\r\n\r\nno!");
        }
    });
    let skep = allowing_large(&server);
    let mut client = Client::connect(skep.address()).unwrap();
    client.send(format!("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: {LARGE}\r\n\r\nbegun").as_bytes()).unwrap();
    let reply = client.read_reply().unwrap();
    assert_eq!((reply.status, reply.text().as_str(), reply.closes()), (413, "no!", true));
}

#[test]
fn who_waits_for_100_continue_gets_it_once_a_server_is_there() {
    let server = Scripted::start(|mut exchange| {
        while let Some(head) = exchange.head() {
            assert!(!head.contains("expect"), "{head}");
            if head.starts_with("POST") {
                assert!(exchange.body(3));
            }
            let _sent = exchange.say(OK);
        }
    });
    let skep = proxy(&[server.address], "");
    let mut client = Client::connect(skep.address()).unwrap();
    client.send(b"POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\n").unwrap();
    let mut interim = [0; 25];
    client.stream().read_exact(&mut interim).unwrap();
    assert_eq!(&interim, b"HTTP/1.1 100 Continue\r\n\r\n");
    client.send(b"abc").unwrap();
    assert_eq!(client.read_reply().unwrap().text(), "ok");
    let gone = proxy(&[crate::support::server::free_address()], "");
    let mut client = Client::connect(gone.address()).unwrap();
    client.send(b"POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\n").unwrap();
    assert_eq!(client.read_reply().unwrap().status, 502, "and not before");
}

#[test]
fn a_client_that_leaves_takes_its_exchange_with_it() {
    let (tell, told) = mpsc::channel();
    let tell = Mutex::new(tell);
    let server = Scripted::start(move |mut exchange| {
        let Some(head) = exchange.head() else { return };
        if head.starts_with("GET /stream") {
            exchange.say("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\ndata: 1\n\n").unwrap();
        } else if !head.starts_with("GET /wait") {
            return drop(exchange.say(OK));
        }
        // The end of the connection, and nothing else, is what comes next.
        let ended = matches!(exchange.stream.read(&mut [0]), Ok(0) | Err(_));
        tell.lock().unwrap().send(ended).unwrap();
    });
    let skep = proxy(&[server.address], "");
    for path in ["/wait", "/stream"] {
        let heads = server.heads().len();
        let mut client = Client::connect(skep.address()).unwrap();
        client.send(format!("GET {path} HTTP/1.1\r\nHost: a\r\n\r\n").as_bytes()).unwrap();
        wait::until("the request to be there", || server.heads().len() > heads);
        if path == "/stream" {
            let (mut seen, mut byte) = (Vec::new(), [0]);
            while !seen.ends_with(b"data: 1\n\n") {
                client.stream().read_exact(&mut byte).unwrap();
                seen.push(byte[0]);
            }
        }
        drop(client);
        assert!(told.recv_timeout(Duration::from_secs(10)).unwrap(), "{path}");
    }
}
