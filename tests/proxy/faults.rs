//! Servers that are gone, slow, full or talk nonsense: scripted, so that every one is bad in one way.

use std::io::ErrorKind;
use std::net::TcpStream;
use std::sync::{Arc, Mutex, mpsc};
use std::time::{Duration, Instant};

use crate::support::client::{Client, get};
use crate::support::server::free_address;
use crate::support::wait;
use crate::upstream::{Scripted, proxy};

const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

#[test]
fn nonsense_is_not_passed_on() {
    const NONSENSE: &[&str] = &[
        "hello\r\n\r\n",
        "HTTP/1.1 abc OK\r\n\r\n",
        "HTTP/2.0 200 OK\r\n\r\n",
        "HTTP/1.1 999 Odd\r\nContent-Length: 0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nok!",
        "HTTP/1.1 200 OK\r\nContent-Length: 2, 2\r\n\r\nok",
        "HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\nContent-Length: 2\n\nok",
        "HTTP/1.1 200 OK\r\n Folded: x\r\n\r\n",
        "HTTP/1.1 200 OK\r\nName : x\r\n\r\n",
        "HTTP/1.1 200 OK\r\nA: b\0c\r\n\r\n",
        "HTTP/1.1 200 OK\r\nA: b\rc\r\n\r\n",
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\n",
    ];
    let next = Arc::new(Mutex::new(""));
    let says = next.clone();
    let server = Scripted::start(move |mut exchange| {
        if exchange.odd_head().is_some() {
            let _gone = exchange.say(*says.lock().unwrap());
            let _ended = exchange.head();
        }
    });
    let skep = proxy(&[server.address], "tries: 1,");
    for nonsense in NONSENSE {
        *next.lock().unwrap() = nonsense;
        assert_eq!(get(skep.address(), "/odd").unwrap().status, 502, "{nonsense:?}");
    }
    *next.lock().unwrap() = OK;
    assert_eq!(get(skep.address(), "/odd").unwrap().text(), "ok", "the others go on");
    assert!(skep.output().contains(&format!("upstream {}", server.address)), "{}", skep.output());
}

#[test]
fn an_answer_that_breaks_off_does_not_look_whole() {
    for answer in [
        "HTTP/1.1 200 OK\r\nContent-Length: 20\r\n\r\nhalf",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\nzz\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalfmore\r\n0\r\n\r\n",
    ] {
        let server = Scripted::start(move |mut exchange| {
            if exchange.odd_head().is_some() {
                let _gone = exchange.say(answer);
            }
        });
        let skep = proxy(&[server.address], "");
        assert_eq!(get(skep.address(), "/odd").unwrap_err().kind(), ErrorKind::UnexpectedEof, "{answer:?}");
    }
}

#[test]
fn slow_servers_time_out_where_they_are_slow() {
    let silent = Scripted::start(|mut exchange| while exchange.odd_head().is_some() {});
    let skep = proxy(&[silent.address], "tries: 1, timeouts: (answer: \"200ms\"),");
    let begun = Instant::now();
    assert_eq!(get(skep.address(), "/odd").unwrap().status, 504);
    assert!(begun.elapsed() < Duration::from_secs(5));
    let trickling = Scripted::start(|mut exchange| {
        if exchange.odd_head().is_some() {
            let _sent = exchange.say("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n12345");
            let _ended = exchange.head();
        }
    });
    let skep = proxy(&[trickling.address], "tries: 1, timeouts: (between: \"200ms\"),");
    assert_eq!(get(skep.address(), "/odd").unwrap_err().kind(), ErrorKind::UnexpectedEof);
}

#[test]
fn a_server_that_takes_nothing_of_a_body_times_out() {
    let server = Scripted::start(|mut exchange| {
        if exchange.odd_head().is_some() {
            // It keeps the connection and reads nothing more until the proxy gives up.
            while matches!(exchange.stream.peek(&mut [0]), Ok(1)) {
                wait::pause(Duration::from_millis(20));
                if exchange.stream.take_error().is_ok_and(|error| error.is_some()) {
                    return;
                }
            }
        }
    });
    let skep = proxy(&[server.address], "timeouts: (between: \"300ms\"),");
    let mut client = Client::connect(skep.address()).unwrap();
    client.stream().set_write_timeout(Some(Duration::from_millis(500))).unwrap();
    client.send(b"PUT /odd HTTP/1.1\r\nHost: a\r\nContent-Length: 60000000\r\n\r\n").unwrap();
    let piece = vec![0; 64 << 10];
    // Nobody takes more at some point, and the answer is there then.
    while client.send(&piece).is_ok() {}
    assert_eq!(client.read_reply().unwrap().status, 504);
}

#[test]
fn who_cannot_be_reached_is_left_alone_and_comes_back() {
    let address = free_address();
    let skep = proxy(&[address], "failures: (count: 1, away: \"50ms\", longest: \"100ms\"),");
    assert_eq!(get(skep.address(), "/").unwrap().status, 502);
    assert_eq!(get(skep.address(), "/own").unwrap().text(), "own");
    let listener = std::net::TcpListener::bind(address).unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            use std::io::{Read, Write};
            let mut stream: TcpStream = stream.unwrap();
            let _read = stream.read(&mut [0; 4096]);
            let _sent = stream.write_all(OK.as_bytes());
        }
    });
    wait::until("the server to be asked again", || get(skep.address(), "/").is_ok_and(|reply| reply.status == 200));
}

#[test]
fn what_may_be_repeated_is_tried_elsewhere_and_not_too_often() {
    let dying = || Scripted::start(|mut exchange| drop(exchange.head()));
    let (one, two, three) = (dying(), dying(), Scripted::answering(OK));
    let options = "balance: RoundRobin, tries: 2, failures: (count: 1000),";
    let skep = proxy(&[one.address, two.address, three.address], options);
    let count = || one.heads().len() + two.heads().len() + three.heads().len();
    for _ in 0..9 {
        let before = count();
        let reply = get(skep.address(), "/").unwrap();
        let tried = count() - before;
        assert!((1..=2).contains(&tried), "{tried} tries");
        assert!(reply.status == 200 || tried == 2, "given up after one try");
    }
    // A request that may have been done is not done twice.
    let before = count();
    let mut statuses = Vec::new();
    for _ in 0..3 {
        let mut client = Client::connect(skep.address()).unwrap();
        client.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n").unwrap();
        statuses.push(client.read_reply().unwrap().status);
    }
    assert_eq!(count() - before, 3, "one try each");
    statuses.sort_unstable();
    assert_eq!(statuses, [200, 502, 502]);
    // Without a connection nothing was done.
    let skep = proxy(&[free_address(), three.address], "balance: RoundRobin,");
    for _ in 0..4 {
        let mut client = Client::connect(skep.address()).unwrap();
        client.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc").unwrap();
        assert_eq!(client.read_reply().unwrap().status, 200);
    }
}

#[test]
fn a_kept_connection_that_dies_under_a_request_is_replaced() {
    // Each connection answers one request, and closes when the next has come.
    let server = Scripted::start(|mut exchange| {
        if exchange.head().is_some() && exchange.say(OK).is_ok() {
            let _second = exchange.head();
        }
    });
    let skep = proxy(&[server.address], "tries: 1,");
    let mut client = Client::connect(skep.address()).unwrap();
    for _ in 0..10 {
        assert_eq!(client.get("/").unwrap().text(), "ok");
    }
    assert!(!skep.output().contains("upstream"), "that is no failure of the server: {}", skep.output());
    // What may not be repeated is not: the server has seen it, and nobody knows what it did.
    let post = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n";
    client.send(post).unwrap();
    assert_eq!(client.read_reply().unwrap().status, 502);
    client.send(post).unwrap();
    assert_eq!(client.read_reply().unwrap().status, 200);
}

#[test]
fn a_full_proxy_says_so_and_when_to_come_again() {
    let (open, gate) = mpsc::channel::<()>();
    let gate = Mutex::new(gate);
    let server = Scripted::start(move |mut exchange| {
        while let Some(head) = exchange.head() {
            if head.starts_with("GET /hold") {
                gate.lock().unwrap().recv().unwrap();
            }
            let _gone = exchange.say(OK);
        }
    });
    let skep = proxy(&[server.address], "connections: (max: 1, queue: 1, queue_time: \"20s\"),");
    let before = server.heads().len();
    let ask = |path: &str| {
        let mut client = Client::connect(skep.address()).unwrap();
        client.send(format!("GET {path} HTTP/1.1\r\nHost: a\r\n\r\n").as_bytes()).unwrap();
        client
    };
    let mut first = ask("/hold");
    wait::until("the first to be there", || server.heads().len() > before);
    let mut waiting = Vec::new();
    // One of these waits, every other is turned away.
    let mut refused = 0;
    for _ in 0..3 {
        waiting.push(ask("/wait"));
    }
    for client in &mut waiting {
        client.stream().set_read_timeout(Some(Duration::from_millis(500))).unwrap();
        if let Ok(reply) = client.read_reply() {
            assert_eq!((reply.status, reply.header("retry-after")), (503, Some("20")));
            refused += 1;
        }
    }
    assert_eq!(refused, 2);
    open.send(()).unwrap();
    assert_eq!(first.read_reply().unwrap().text(), "ok");
    let served = waiting.iter_mut().filter_map(|client| client.read_reply().ok()).filter(|reply| reply.status == 200).count();
    assert_eq!(served, 1);
    let skep = proxy(&[server.address], "connections: (max: 1, queue: 5, queue_time: \"100ms\"),");
    let mut first = {
        let mut client = Client::connect(skep.address()).unwrap();
        client.send(b"GET /hold HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
        client
    };
    let before = server.heads().len();
    wait::until("the second to be there", || server.heads().len() > before || server.heads().last().unwrap().starts_with("GET /hold"));
    assert_eq!(get(skep.address(), "/").unwrap().status, 503, "it has waited long enough");
    open.send(()).unwrap();
    assert_eq!(first.read_reply().unwrap().status, 200);
}

#[test]
fn the_status_says_how_servers_are() {
    let (good, bad) = (Scripted::answering(OK), free_address());
    let options = "failures: (count: 1, away: \"1h\", longest: \"1h\"), balance: RoundRobin,";
    let skep = proxy(&[good.address, bad], options);
    for _ in 0..6 {
        assert_eq!(get(skep.address(), "/").unwrap().status, 200);
    }
    wait::until("the last request to be over", || skep.status().upstreams.iter().all(|one| one.active == 0));
    let all = skep.status().upstreams;
    let of = |address: std::net::SocketAddr| all.iter().find(|one| one.upstream == address.to_string()).unwrap();
    let (one, two) = (of(good.address), of(bad));
    assert_eq!((all.len(), &*one.app, one.backup, one.workers, one.well), (2, "proxy", false, 1, 1), "{all:?}");
    // The first answer, which `start` waits for, is one of them.
    assert!(one.requests >= 6 && one.failures == 0 && one.active == 0 && one.idle == 1, "{one:?}");
    assert_eq!((two.workers, two.well, two.requests, two.failures, two.idle), (1, 0, 1, 1, 0), "{two:?}");
    let output = skep.order("status");
    let shown = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(shown.contains(&format!("upstream   proxy \u{2192} {}: well, 0 under way, 1 kept, ", good.address)), "{shown}");
    assert!(shown.contains(&format!("proxy \u{2192} {bad}: away, 0 under way, 0 kept, 1 request, 1 failure")), "{shown}");
    // Another configuration has other servers, from the next status on.
    let text = std::fs::read_to_string(skep.site.config()).unwrap();
    skep.site.write("config.ron", &text.replace(&format!(", \"http://{bad}\""), ""));
    skep.order("update");
    wait::until("one server", || skep.status().upstreams.len() == 1);
}
