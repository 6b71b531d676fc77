//! The server over real sockets, with bytes as a client sends them.

use super::config::Http;
use super::*;
use crate::net::{Balance, Listener, Peer};
use crate::reactor;
use crate::request::route::{Action, FixedReply, Host, Route};
use crate::request::{Answer, Handler, Request, Response, ResponseBody};
use crate::scoreboard::Scoreboard;
use crate::servers::host::RequestIds;
use crate::servers::limits::HttpTimeouts;
use crate::servers::live::Live;
use crate::units::HumanDuration;
use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::thread::JoinHandle;
use std::time::Duration;

thread_local! {
    /// Bodies that are not let go of, as a script's VM may for a while.
    static KEPT: std::cell::RefCell<Vec<crate::request::Body>> = const { std::cell::RefCell::new(Vec::new()) };
}

/// Answers by path.
struct Probe;

impl Handler for Probe {
    fn request(self: Rc<Self>, request: Request) -> Answer {
        match request.path() {
            "/panic" => panic!("as asked"),
            "/ignore" => Answer::Now(Response::text(200, "ignored")),
            "/echo" => Answer::Later(Box::pin(async move {
                match request.body.bytes(1 << 20).await {
                    Ok(bytes) => Response::new(200, bytes),
                    Err(error) => Response::error(error.status(), &error.to_string()),
                }
            })),
            "/stream" => {
                let pieces = ["one ", "two ", "three"].map(|text| Ok(bytes::Bytes::from_static(text.as_bytes())));
                Answer::Now(Response::new(200, ResponseBody::Stream(Box::pin(futures_lite::stream::iter(pieces)))))
            }
            "/broken" => {
                let pieces = [Ok(bytes::Bytes::from_static(b"half")), Err(std::io::Error::other("broken"))];
                Answer::Now(Response::new(200, ResponseBody::Stream(Box::pin(futures_lite::stream::iter(pieces)))))
            }
            "/keeps" => {
                KEPT.with_borrow_mut(|kept| kept.push(request.body));
                Answer::Now(Response::text(200, "kept"))
            }
            // The answer begins, and goes on with what is read then.
            "/onward" => {
                let body = request.body;
                let read = futures_lite::stream::once_future(async move { body.bytes(1 << 20).await.map_err(std::io::Error::other) });
                let begun = futures_lite::stream::iter([Ok(bytes::Bytes::from_static(b"begun "))]);
                Answer::Now(Response::new(200, ResponseBody::Stream(Box::pin(futures_lite::StreamExt::chain(begun, read)))))
            }
            "/wait" => Answer::Later(Box::pin(std::future::pending())),
            path => Answer::Now(Response::text(200, format!("{} {}", request.head.method, path))),
        }
    }
}

struct Always;

impl Balance for Always {
    fn is_loaded(&self) -> bool {
        false
    }
    fn has_room(&self) -> bool {
        true
    }
}

/// A server in a thread of its own. It ends, all connections with it, when `stop` is dropped.
struct Running {
    address: SocketAddr,
    stop: Option<async_channel::Sender<()>>,
    thread: Option<JoinHandle<(u64, u64)>>,
}

fn config() -> Http {
    let route = |path: &str, action| Route::new(Host::Any, path, action);
    Http {
        routes: vec![
            route("/", Action::App("probe".into())),
            route("/fixed", Action::Reply(FixedReply { body: "fixed".into(), ..FixedReply::default() })),
        ],
        ..Http::default()
    }
}

fn start(config: Http) -> Running {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let address = listener.local_addr().unwrap();
    let (stop, stopped) = async_channel::bounded::<()>(1);
    let thread = std::thread::spawn(move || {
        let board = Scoreboard::new(1).unwrap();
        let slot = board.slot(0);
        reactor::run(async move {
            let handler: Rc<dyn Handler> = Rc::new(Probe);
            let live = Live::new(config.terms(&std::collections::BTreeMap::new()), &[("probe".to_owned(), handler)].into(), None, slot);
            let server = HttpServer::new("web", live, slot, Rc::new(RequestIds::new(0, 1)));
            let listener = Listener::new(OwnedFd::from(listener)).unwrap();
            let accepting = server.clone();
            let task = reactor::spawn(async move {
                loop {
                    let accepted = listener.accept(&Always, |_| {}).await.unwrap();
                    accepting.serve(accepted, &Peer::Unknown).unwrap();
                }
            });
            // Ends with an error when the test drops its end: that is the signal.
            let _ = stopped.recv().await;
            task.cancel().await;
            server.stop().await;
        })
        .unwrap();
        let load = |word: &std::sync::atomic::AtomicU64| word.load(std::sync::atomic::Ordering::Relaxed);
        (load(slot.connections()), load(slot.active()))
    });
    Running { address, stop: Some(stop), thread: Some(thread) }
}

impl Running {
    fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(self.address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        stream
    }

    /// Sends bytes, says that no more come, and gives everything that is answered.
    fn talk(&self, bytes: &str) -> String {
        let mut stream = self.connect();
        stream.write_all(bytes.as_bytes()).unwrap();
        stream.shutdown(Shutdown::Write).unwrap();
        read_all(&mut stream)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.stop.take();
        let (connections, active) = self.thread.take().unwrap().join().unwrap();
        if !std::thread::panicking() {
            assert_eq!((connections, active), (0, 0), "the books are even at the end");
        }
    }
}

fn read_all(stream: &mut TcpStream) -> String {
    let mut all = Vec::new();
    stream.read_to_end(&mut all).unwrap();
    String::from_utf8(all).unwrap()
}

/// Reads until `end` was seen.
fn read_until(stream: &mut TcpStream, end: &str) -> String {
    let mut all = Vec::new();
    let mut buffer = [0; 1024];
    while !String::from_utf8_lossy(&all).contains(end) {
        let read = stream.read(&mut buffer).unwrap();
        assert!(read > 0, "closed after {:?}", String::from_utf8_lossy(&all));
        all.extend_from_slice(&buffer[..read]);
    }
    String::from_utf8(all).unwrap()
}

fn statuses(answers: &str) -> Vec<&str> {
    answers.match_indices("HTTP/1.1 ").map(|(at, _)| &answers[at + 9..at + 12]).collect()
}

#[test]
fn requests_are_answered_one_after_another() {
    let server = start(config());
    let mut stream = server.connect();
    for path in ["/a", "/b"] {
        write!(stream, "GET {path} HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
        let answer = read_until(&mut stream, &format!("GET {path}"));
        assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
        assert!(answer.contains("Content-Length: 6\r\n") && answer.contains("Date: ") && answer.contains("Server: skep\r\n"), "{answer}");
        assert!(!answer.contains("Connection:"), "{answer}");
    }
}

#[test]
fn a_reply_that_stands_is_the_same_whichever_way_it_is_found() {
    let server = start(config());
    let without_date = |answer: &str| answer.lines().filter(|line| !line.starts_with("Date: ")).collect::<Vec<_>>().join("\n");
    for method in ["GET", "HEAD"] {
        let mut stream = server.connect();
        // The second has an empty line in front, which is not usual.
        write!(stream, "{method} /fixed?a HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
        let short = read_until(&mut stream, if method == "GET" { "\r\n\r\nfixed" } else { "\r\n\r\n" });
        write!(stream, "\r\n{method} /fixed?a HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
        stream.shutdown(Shutdown::Write).unwrap();
        assert_eq!(without_date(&short), without_date(&read_all(&mut stream)));
        assert!(short.contains("Content-Length: 5\r\n") && short.contains("Content-Type: ") && short.contains("Date: "), "{short}");
    }
}

#[test]
fn replies_that_stand_keep_their_place_among_others_and_reach_who_has_said_all() {
    let server = start(config());
    let ask = |path: &str| format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n");
    let answers = server.talk(&["/fixed", "/a", "/fixed", "/fixed", "/stream", "/fixed"].map(ask).concat());
    let bodies: Vec<&str> = answers.split("HTTP/1.1 200 OK").skip(1).map(|answer| answer.split_once("\r\n\r\n").unwrap().1).collect();
    assert_eq!(bodies, ["fixed", "GET /a", "fixed", "fixed", "4\r\none \r\n4\r\ntwo \r\n5\r\nthree\r\n0\r\n\r\n", "fixed"]);
}

#[test]
fn replies_that_stand_wait_for_a_slow_reader_and_none_is_lost() {
    let server = start(Http { keep_alive_requests: 1 << 20, ..config() });
    let mut stream = server.connect();
    let mut writer = stream.try_clone().unwrap();
    // More answers than the buffers of two sockets hold, asked in many pieces while nothing is read.
    let count = 60_000;
    let asks = "GET /fixed HTTP/1.1\r\nHost: x\r\n\r\n".repeat(count);
    let writing = std::thread::spawn(move || {
        for piece in asks.as_bytes().chunks(1000) {
            writer.write_all(piece).unwrap();
        }
        writer.shutdown(Shutdown::Write).unwrap();
    });
    let mut beginning = [0; 100];
    stream.read_exact(&mut beginning).unwrap();
    let rest = read_all(&mut stream);
    writing.join().unwrap();
    assert_eq!(String::from_utf8_lossy(&beginning).matches("HTTP/1.1 200 OK").count() + statuses(&rest).len(), count);
    assert!(rest.ends_with("\r\n\r\nfixed"));
}

#[test]
fn pipelined_requests_keep_their_order() {
    let server = start(config());
    let body = "x".repeat(100);
    let answer = server.talk(&format!(
        "GET /1 HTTP/1.1\r\nHost: x\r\n\r\nPOST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{body}GET /3 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
    ));
    let places: Vec<_> = ["GET /1", &body, "GET /3"].iter().map(|text| answer.find(text).unwrap()).collect();
    assert!(places.is_sorted(), "{answer}");
    assert_eq!(statuses(&answer), ["200", "200", "200"]);
    assert!(answer.contains("Connection: close"));
}

#[test]
fn a_fixed_reply_and_a_head_request() {
    let server = start(config());
    let answer = server.talk("GET /fixed HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    assert!(answer.ends_with("\r\n\r\nfixed"), "{answer}");
    let answer = server.talk("HEAD /fixed HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    assert!(answer.contains("Content-Length: 5\r\n") && answer.ends_with("\r\n\r\n"), "{answer}");
}

#[test]
fn bodies_come_by_length_and_in_chunks_split_anywhere() {
    let server = start(config());
    let mut stream = server.connect();
    let bytes = b"POST /echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nwiki\r\n5;a=b\r\npedia\r\n0\r\nX-Sum: 1\r\n\r\n";
    for byte in bytes {
        stream.write_all(&[*byte]).unwrap();
    }
    assert!(read_until(&mut stream, "wikipedia").contains("Content-Length: 9"));
    stream.write_all(b"POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\na").unwrap();
    stream.write_all(b"bc").unwrap();
    assert!(read_until(&mut stream, "abc").contains("Content-Length: 3"));
}

#[test]
fn a_client_that_expects_to_be_told_is_told() {
    let server = start(config());
    let mut stream = server.connect();
    stream.write_all(b"POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\nExpect: 100-continue\r\n\r\n").unwrap();
    assert_eq!(read_until(&mut stream, "\r\n\r\n"), "HTTP/1.1 100 Continue\r\n\r\n");
    stream.write_all(b"ok").unwrap();
    assert!(read_until(&mut stream, "\r\n\r\nok").starts_with("HTTP/1.1 200"));
    // One whose body nobody wants is answered at once, and the connection ends since the body may come or not.
    stream.write_all(b"POST /ignore HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\nExpect: 100-continue\r\n\r\n").unwrap();
    let answer = read_all(&mut stream);
    assert!(answer.starts_with("HTTP/1.1 200") && answer.contains("Connection: close"), "{answer}");
}

#[test]
fn nothing_comes_between_an_answer_and_its_end() {
    let server = start(config());
    let mut stream = server.connect();
    stream.write_all(b"POST /onward HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\nExpect: 100-continue\r\n\r\n").unwrap();
    let begun = read_until(&mut stream, "6\r\nbegun \r\n");
    assert!(begun.starts_with("HTTP/1.1 200"), "{begun}");
    // It sees the answer, and sends what it has.
    stream.write_all(b"ok").unwrap();
    assert_eq!(read_all(&mut stream), "2\r\nok\r\n0\r\n\r\n");
}

#[test]
fn a_body_that_somebody_keeps_does_not_keep_the_connection() {
    let server = start(config());
    let mut stream = server.connect();
    stream.write_all(b"POST /keeps HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\nok").unwrap();
    assert!(read_until(&mut stream, "kept").starts_with("HTTP/1.1 200"));
    stream.write_all(b"GET /a HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").unwrap();
    assert!(read_all(&mut stream).ends_with("GET /a"));
}

#[test]
fn a_body_that_nobody_reads_is_read_away() {
    let server = start(config());
    let answer = server.talk(
        "POST /ignore HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhelloGET /after HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
    );
    assert_eq!(statuses(&answer), ["200", "200"]);
    assert!(answer.ends_with("GET /after"));
}

#[test]
fn who_looks_for_an_answer_only_when_all_is_sent_finds_it() {
    let server = start(Http { max_body: crate::units::HumanSize::kib(1), ..config() });
    let mut stream = server.connect();
    stream.write_all(b"POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 50000000\r\n\r\n").unwrap();
    // Far more than the buffers of both ends hold.
    let piece = vec![b'x'; 1_000_000];
    for _ in 0..50 {
        stream.write_all(&piece).unwrap();
    }
    assert_eq!(statuses(&read_all(&mut stream)), ["413"]);
}

#[test]
fn limits_have_their_status() {
    let server = start(Http { max_body: crate::units::HumanSize::kib(1), ..config() });
    let long = "a".repeat(9000);
    for (bytes, status) in [
        (format!("GET /{long} HTTP/1.1\r\nHost: x\r\n\r\n"), "414"),
        (format!("GET / HTTP/1.1\r\nHost: x\r\n{}\r\n", "X-A: b\r\n".repeat(101)), "431"),
        ("POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 1025\r\n\r\n".to_owned(), "413"),
        (format!("POST /echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n401\r\n{}\r\n0\r\n\r\n", "x".repeat(1025)), "413"),
        // What is too much by its size alone is not waited for.
        ("POST /echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n401\r\n".to_owned(), "413"),
        ("POST /echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffffffff\r\nx".to_owned(), "413"),
        (format!("POST /echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n3ff\r\n{}\r\n2\r\n", "x".repeat(1023)), "413"),
        // What has more digits than are counted is no size.
        ("POST /echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n10000000000000000\r\n".to_owned(), "400"),
        ("GET / HTTP/2.0\r\nHost: x\r\n\r\n".to_owned(), "505"),
        ("GET / HTTP/1.1\r\n\r\n".to_owned(), "400"),
        ("POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: gzip\r\n\r\n".to_owned(), "501"),
        ("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n".to_owned(), "400"),
        ("TRACE / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".to_owned(), "405"),
    ] {
        let answer = server.talk(&bytes);
        assert_eq!(statuses(&answer).first(), Some(&status), "{bytes:.80} → {answer}");
        assert!(answer.contains("Connection: close"), "{answer}");
    }
}

#[test]
fn slow_clients_are_told_or_closed() {
    let short = "60ms".parse::<HumanDuration>().unwrap();
    let timeouts = HttpTimeouts { header: short, body: short, idle: short, write: short };
    let server = start(Http { timeouts, ..config() });
    let mut stream = server.connect();
    stream.write_all(b"GET / HT").unwrap();
    assert!(read_all(&mut stream).starts_with("HTTP/1.1 408"));
    let mut stream = server.connect();
    stream.write_all(b"POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhe").unwrap();
    assert!(read_all(&mut stream).starts_with("HTTP/1.1 408"));
    let mut stream = server.connect();
    stream.write_all(b"GET /a HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
    let answer = read_all(&mut stream);
    assert!(answer.ends_with("GET /a"), "an idle connection is closed without a word: {answer}");
}

#[test]
fn streams_are_chunked_and_for_old_clients_end_with_the_connection() {
    let server = start(config());
    let answer = server.talk("GET /stream HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    assert!(answer.contains("Transfer-Encoding: chunked\r\n"));
    assert!(answer.ends_with("\r\n\r\n4\r\none \r\n4\r\ntwo \r\n5\r\nthree\r\n0\r\n\r\n"), "{answer}");
    let answer = server.talk("GET /stream HTTP/1.0\r\nConnection: keep-alive\r\n\r\n");
    assert!(answer.ends_with("\r\n\r\none two three") && answer.contains("Connection: close"), "{answer}");
    let answer = server.talk("GET /broken HTTP/1.1\r\nHost: x\r\n\r\n");
    assert!(answer.ends_with("4\r\nhalf\r\n"), "no last chunk after a fault: {answer}");
    let answer = server.talk("GET /a HTTP/1.0\r\nConnection: keep-alive\r\n\r\n");
    assert!(answer.contains("Connection: keep-alive\r\n"), "{answer}");
}

#[test]
fn a_handler_that_panics_fails_its_request_only() {
    let server = start(config());
    let answer = server.talk("GET /panic HTTP/1.1\r\nHost: x\r\n\r\nGET /a HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    assert_eq!(statuses(&answer), ["500", "200"]);
}

#[test]
fn a_client_that_leaves_ends_the_wait_for_it() {
    let server = start(config());
    let mut stream = server.connect();
    stream.write_all(b"GET /wait HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
    stream.shutdown(Shutdown::Write).unwrap();
    assert_eq!(read_all(&mut stream), "");
}

#[test]
fn a_connection_stays_small() {
    use super::connection::Connection as HttpConnection;
    use super::wire::Wire;
    use crate::net::{Socket, Stream};
    use crate::request::Origin;
    let (ours, _theirs) = std::os::unix::net::UnixStream::pair().unwrap();
    ours.set_nonblocking(true).unwrap();
    let size = reactor::run(async move {
        let board = Scoreboard::new(1).unwrap();
        let live = Live::new(config().terms(&std::collections::BTreeMap::new()), &std::collections::BTreeMap::new(), None, board.slot(0));
        let server = HttpServer::new("web", live, board.slot(0), Rc::new(RequestIds::new(0, 1)));
        let wire = Rc::new(Wire::new(Stream::from(Socket::new(OwnedFd::from(ours)).unwrap())));
        let origin = Rc::new(Origin::new(Peer::Unknown, Peer::Unknown, "web".into()));
        std::mem::size_of_val(&HttpConnection { wire, origin, server, crowded: false }.serve())
    })
    .unwrap();
    assert!(size <= 4096, "an idle connection takes {size} bytes");
}
