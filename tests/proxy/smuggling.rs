//! Odd requests through skep and through nginx to the same server, which writes down what it got. No request may become another, or two; where the
//! two proxies differ, the list says why.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use crate::nginx::Nginx;
use crate::support::client::get;
use crate::support::server::{Site, Skep, free_address};
use crate::support::wait;

mod oddities;

/// An odd request, what skep makes of it and what nginx 1.22 does, as `statuses | what the server got`, and why they differ.
struct Case {
    name: &'static str,
    sent: &'static [u8],
    skep: &'static str,
    /// Empty: the same.
    nginx: &'static str,
    why: &'static str,
}

/// The server: it reads strictly, answers each request with 200, and writes down method, target, fields that matter and body.
#[derive(Clone, Default)]
pub struct Recorder {
    pub got: Arc<Mutex<Vec<String>>>,
}

/// Fields of a request that a smuggler would have liked to get through.
const TELLING: [&str; 7] = ["host", "transfer-encoding", "content-length", "x-smuggled", "x_forwarded_for", "upgrade", "trailer"];

impl Recorder {
    fn start(&self) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let recorder = self.clone();
        thread::spawn(move || {
            for stream in listener.incoming() {
                let recorder = recorder.clone();
                thread::spawn(move || recorder.serve(stream.unwrap()));
            }
        });
        address
    }

    fn serve(&self, mut stream: TcpStream) {
        while let Some(head) = read_until(&mut stream, b"\r\n\r\n") {
            let head = String::from_utf8_lossy(&head).into_owned();
            let mut lines = head.split("\r\n");
            let first = lines.next().unwrap_or_default().to_owned();
            let fields: Vec<(String, String)> = lines
                .filter_map(|line| line.split_once(':'))
                .map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned()))
                .collect();
            let field = |wanted: &str| fields.iter().find(|(name, _)| name == wanted).map(|(_, value)| value.as_str());
            let body = match (field("transfer-encoding"), field("content-length")) {
                (Some(_), Some(_)) => Some(b"BOTH LENGTHS".to_vec()),
                (Some("chunked"), None) => read_chunks(&mut stream),
                (Some(_), None) => Some(b"ANOTHER CODING".to_vec()),
                (None, Some(length)) => length.parse().ok().and_then(|length| read_exactly(&mut stream, length)),
                (None, None) => Some(Vec::new()),
            };
            let mut told = first.strip_suffix(" HTTP/1.1").or(first.strip_suffix(" HTTP/1.0")).unwrap_or(&first).to_owned();
            for (name, value) in fields.iter().filter(|(name, _)| TELLING.contains(&name.as_str())) {
                // What frames the body may differ as long as the body does not.
                if !(name == "host" && value == "a" || name == "content-length" || name == "transfer-encoding" && value == "chunked") {
                    told.extend([" ", name, "=", value]);
                }
            }
            // A body that breaks off is no request: a server does nothing about it.
            let Some(body) = body else { return };
            if !body.is_empty() {
                told.extend([" [", &String::from_utf8_lossy(&body), "]"]);
            }
            if !first.starts_with("GET /ready ") {
                self.got.lock().unwrap().push(told);
            }
            if stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").is_err() {
                return;
            }
        }
    }
}

fn read_exactly(stream: &mut TcpStream, length: usize) -> Option<Vec<u8>> {
    let mut body = vec![0; length.min(1 << 20)];
    stream.read_exact(&mut body).ok().map(|()| body)
}

fn read_until(stream: &mut TcpStream, end: &[u8]) -> Option<Vec<u8>> {
    let (mut all, mut byte) = (Vec::new(), [0]);
    while !all.ends_with(end) {
        if !matches!(stream.read(&mut byte), Ok(1)) {
            return None;
        }
        all.push(byte[0]);
    }
    Some(all)
}

fn read_chunks(stream: &mut TcpStream) -> Option<Vec<u8>> {
    let mut body = Vec::new();
    loop {
        let line = read_until(stream, b"\r\n")?;
        let size = usize::from_str_radix(std::str::from_utf8(&line).ok()?.trim(), 16).ok()?;
        if size == 0 {
            loop {
                let line = read_until(stream, b"\r\n")?;
                if line == b"\r\n" {
                    return Some(body);
                }
                body.extend_from_slice(b"TRAILER ");
            }
        }
        body.extend(read_exactly(stream, size)?);
        read_until(stream, b"\r\n").filter(|end| end == b"\r\n")?;
    }
}

/// Sends bytes, says that nothing more comes, and reads all answers: their statuses. `-`: the connection ended without any.
fn statuses(address: SocketAddr, sent: &[u8]) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.write_all(sent).unwrap();
    let mut all = Vec::new();
    // What waits for the rest of a request must be told that there is none; an answer that is on its way must not be cut off by that.
    stream.set_read_timeout(Some(Duration::from_secs(1))).unwrap();
    let mut buffer = [0; 4096];
    let mut ended = false;
    loop {
        match stream.read(&mut buffer) {
            Ok(0) => break,
            Ok(read) => {
                all.extend_from_slice(&buffer[..read]);
                if !ended {
                    stream.set_read_timeout(Some(Duration::from_millis(250))).unwrap();
                }
            }
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) && !ended => {
                ended = true;
                let _gone = stream.shutdown(Shutdown::Write);
                stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
            }
            Err(_) => break,
        }
    }
    let text = String::from_utf8_lossy(&all);
    let found: Vec<&str> = text.match_indices("HTTP/1.1 ").filter_map(|(at, _)| text.get(at + 9..at + 12)).collect();
    if found.is_empty() { "-".to_owned() } else { found.join(" ") }
}

impl Recorder {
    fn outcome(&self, address: SocketAddr, sent: &[u8]) -> String {
        self.got.lock().unwrap().clear();
        let statuses = statuses(address, sent);
        let got = self.got.lock().unwrap().join(", ");
        if got.is_empty() { statuses } else { format!("{statuses} | {got}") }
    }
}

/// The two proxies in front of one recording server; several of these are looked at at the same time.
pub struct Lane {
    pub recorder: Recorder,
    pub skep: SocketAddr,
    pub nginx: SocketAddr,
    /// nginx that speaks HTTP/2. skep does so at the one address.
    pub nginx2: SocketAddr,
}

/// So many lanes of one skep and one nginx.
pub fn lanes(count: usize) -> (Skep, Nginx, Vec<Lane>) {
    let site = Site::new();
    let (mut lanes, mut apps, mut servers, mut fronts) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for number in 0..count {
        let recorder = Recorder::default();
        let behind = recorder.start();
        let skep = if number == 0 { site.address } else { free_address() };
        let lane = Lane { recorder, skep, nginx: free_address(), nginx2: free_address() };
        apps.push(format!("\"to{number}\": Proxy(to: [\"http://{behind}\"])"));
        servers.push(format!("\"web{number}\": Http(listen: [\"{skep}\"], routes: [(path: \"/\", app: \"to{number}\")])"));
        // Keeping connections, as skep does: what is left over on one would begin the next request.
        let location = format!(
            "client_max_body_size 64m; location / {{ proxy_pass http://{behind}; proxy_http_version 1.1; proxy_set_header Connection \"\"; proxy_set_header Host $http_host; }}"
        );
        fronts.push(format!("server {{ listen {}; {location} }} server {{ listen {} http2; {location} }}", lane.nginx, lane.nginx2));
        lanes.push(lane);
    }
    let (apps, servers) = (apps.join(", "), servers.join(", "));
    site.write(
        "config.ron",
        &format!(
            "Config(data: \"data\", run: \"run\", auto_reload: false, log: (level: Warn), workers: (start: 1, min: 1, max: 1, min_spare: 0, max_spare: 1),\n\
             admin: (listen: []), apps: {{{apps}}}, servers: {{{servers}}})\n"
        ),
    );
    // The server's own block ends, and those of the lanes follow.
    let nginx = Nginx::start(&format!("}} {} server {{ listen {};", fronts.join(" "), free_address()));
    for lane in &lanes {
        wait::until("nginx to answer", || get(lane.nginx, "/ready").is_ok());
    }
    (site.start(), nginx, lanes)
}

/// How many are looked at at once: each mostly waits for what does not come.
const LANES: usize = 8;

#[test]
fn no_request_becomes_another() {
    let (_skep, _nginx, lanes) = lanes(LANES);
    let cases: Vec<&Case> = CASES.iter().chain(oddities::CASES).collect();
    assert!(cases.len() > 200);
    let look = &|lane: &Lane, number: usize| {
        let mut wrong = Vec::new();
        for case in cases.iter().skip(number).step_by(LANES) {
            let (ours, theirs) = (lane.recorder.outcome(lane.skep, case.sent), lane.recorder.outcome(lane.nginx, case.sent));
            let expected = if case.nginx.is_empty() { case.skep } else { case.nginx };
            if ours != case.skep || theirs != expected {
                wrong.push(format!("{}\n  skep  {ours}\n  nginx {theirs}", case.name));
            }
        }
        wrong
    };
    let wrong: Vec<String> = thread::scope(|scope| {
        let looking: Vec<_> = lanes.iter().enumerate().map(|(number, lane)| scope.spawn(move || look(lane, number))).collect();
        looking.into_iter().flat_map(|one| one.join().unwrap()).collect()
    });
    assert!(wrong.is_empty(), "{} of {}:\n{}", wrong.len(), cases.len(), wrong.join("\n"));
    for case in cases {
        assert!(case.nginx.is_empty() == case.why.is_empty(), "{}: a difference has a reason", case.name);
    }
}

const CASES: &[Case] = &[
    Case { name: "a plain request", sent: b"GET /a HTTP/1.1\r\nHost: a\r\n\r\n", skep: "200 | GET /a", nginx: "", why: "" },
    Case { name: "two requests at once", sent: b"GET /a HTTP/1.1\r\nHost: a\r\n\r\nGET /b HTTP/1.1\r\nHost: a\r\n\r\n", skep: "200 200 | GET /a, GET /b", nginx: "", why: "" },
    Case { name: "a body with a length", sent: b"POST /a HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc", skep: "200 | POST /a [abc]", nginx: "", why: "" },
    Case { name: "a body in chunks", sent: b"POST /a HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n", skep: "200 | POST /a [abc]", nginx: "", why: "" },
    Case { name: "both lengths, the chunks shorter", sent: b"POST /a HTTP/1.1\r\nHost: a\r\nContent-Length: 43\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n", skep: "400", nginx: "", why: "" },
    Case { name: "both lengths, the other way round", sent: b"POST /a HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n26\r\nGET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n\r\n0\r\n\r\n", skep: "400", nginx: "", why: "" },
    Case { name: "two lengths", sent: b"POST /a HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nContent-Length: 41\r\n\r\nabcGET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n", skep: "400", nginx: "", why: "" },
    Case { name: "the same length twice", sent: b"POST /a HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nContent-Length: 3\r\n\r\nabc", skep: "400", nginx: "", why: "" },
    Case { name: "a list of lengths", sent: b"POST /a HTTP/1.1\r\nHost: a\r\nContent-Length: 3, 3\r\n\r\nabc", skep: "400", nginx: "", why: "" },
    Case { name: "a negative length", sent: b"POST /a HTTP/1.1\r\nHost: a\r\nContent-Length: -3\r\n\r\nabc", skep: "400", nginx: "", why: "" },
    Case { name: "a length with a plus", sent: b"POST /a HTTP/1.1\r\nHost: a\r\nContent-Length: +3\r\n\r\nabc", skep: "400", nginx: "", why: "" },
    Case { name: "a hexadecimal length", sent: b"POST /a HTTP/1.1\r\nHost: a\r\nContent-Length: 0x3\r\n\r\nabc", skep: "400", nginx: "", why: "" },
    Case { name: "a length with a zero in front", sent: b"POST /a HTTP/1.1\r\nHost: a\r\nContent-Length: 03\r\n\r\nabc", skep: "200 | POST /a [abc]", nginx: "", why: "" },
    Case { name: "an empty length", sent: b"POST /a HTTP/1.1\r\nHost: a\r\nContent-Length: \r\n\r\nabc", skep: "400", nginx: "", why: "" },
    Case { name: "a length beyond 64 bits", sent: b"POST /a HTTP/1.1\r\nHost: a\r\nContent-Length: 18446744073709551619\r\n\r\nabc", skep: "400", nginx: "", why: "" },
    Case { name: "a length with white space inside", sent: b"POST /a HTTP/1.1\r\nHost: a\r\nContent-Length: 1 3\r\n\r\nabc", skep: "400", nginx: "", why: "" },
    Case { name: "a length under a name with an underscore", sent: b"POST /a HTTP/1.1\r\nHost: a\r\nContent_Length: 38\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n", skep: "200 200 | POST /a, GET /smuggled", nginx: "", why: "" },
    Case { name: "a coding under a name with an underscore", sent: b"POST /a HTTP/1.1\r\nHost: a\r\nTransfer_Encoding: chunked\r\nContent-Length: 3\r\n\r\nabc", skep: "200 | POST /a [abc]", nginx: "", why: "" },
    Case { name: "a space before the colon of a length", sent: b"POST /a HTTP/1.1\r\nHost: a\r\nContent-Length : 38\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n", skep: "400", nginx: "", why: "" },
    Case { name: "a space before the colon of a coding", sent: b"POST /a HTTP/1.1\r\nHost: a\r\nTransfer-Encoding : chunked\r\nContent-Length: 3\r\n\r\nabc", skep: "400", nginx: "", why: "" },
    Case { name: "a tab before a coding's value", sent: b"POST /a HTTP/1.1\r\nHost: a\r\nTransfer-Encoding:\tchunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n", skep: "200 | POST /a [abc]", nginx: "501", why: "a tab is white space around a value (RFC 9110 §5.6.3); nginx keeps it in the value and refuses" },
    Case { name: "a vertical tab before a coding's value", sent: b"POST /a HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: \x0bchunked\r\nContent-Length: 3\r\n\r\nabc", skep: "400", nginx: "501", why: "refused by both: skep for the control character, nginx for the coding" },
    Case { name: "a coding nobody knows", sent: b"POST /a HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: xchunked\r\n\r\n0\r\n\r\n", skep: "501", nginx: "", why: "" },
    Case { name: "a coding nobody knows and a length", sent: b"POST /a HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: xchunked\r\nContent-Length: 3\r\n\r\nabc", skep: "400", nginx: "501", why: "refused by both: skep for the two lengths, nginx for the coding" },
    Case { name: "chunked twice", sent: b"POST /a HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", skep: "501", nginx: "400", why: "refused by both, with 501 (RFC 9112 §6.1) and with 400" },
    Case { name: "chunked and identity", sent: b"POST /a HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n0\r\n\r\n", skep: "501", nginx: "400", why: "refused by both, with 501 (RFC 9112 §6.1) and with 400" },
    Case { name: "identity in front of chunked", sent: b"POST /a HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: identity, chunked\r\n\r\n0\r\n\r\n", skep: "501", nginx: "", why: "" },
    Case { name: "chunked in front of gzip", sent: b"POST /a HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked, gzip\r\n\r\n0\r\n\r\n", skep: "501", nginx: "", why: "" },
    Case { name: "chunked in capitals", sent: b"POST /a HTTP/1.1\r\nHost: a\r\nTRANSFER-ENCODING: CHUNKED\r\n\r\n3\r\nabc\r\n0\r\n\r\n", skep: "200 | POST /a [abc]", nginx: "", why: "" },
    Case { name: "chunked in quotes", sent: b"POST /a HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: \"chunked\"\r\n\r\n0\r\n\r\n", skep: "501", nginx: "", why: "" },
    Case { name: "an empty coding", sent: b"POST /a HTTP/1.1\r\nHost: a\r\nTransfer-Encoding:\r\nContent-Length: 3\r\n\r\nabc", skep: "400", nginx: "501", why: "refused by both: skep for the two lengths, nginx for the coding" },
    Case { name: "chunked in HTTP/1.0", sent: b"POST /a HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", skep: "400", nginx: "", why: "" },
    Case { name: "a coding in a folded line", sent: b"POST /a HTTP/1.1\r\nHost: a\r\nX-Folded: b\r\n Transfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\nabc", skep: "400", nginx: "", why: "" },
    Case { name: "a folded coding", sent: b"POST /a HTTP/1.1\r\nHost: a\r\nTransfer-Encoding:\r\n chunked\r\nContent-Length: 3\r\n\r\nabc", skep: "400", nginx: "", why: "" },
    Case { name: "a chunk size with a plus", sent: b"POST /a HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n+3\r\nabc\r\n0\r\n\r\n", skep: "400", nginx: "", why: "" },
    Case { name: "a chunk size with 0x", sent: b"POST /a HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0x3\r\nabc\r\n0\r\n\r\n", skep: "400", nginx: "", why: "" },
    Case { name: "a chunk size with a space behind", sent: b"POST /a HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3 \r\nabc\r\n0\r\n\r\n", skep: "400", nginx: "200 | POST /a [abc]", why: "nginx allows white space that is in no grammar; skep does behind a size only in front of an extension" },
    Case { name: "a chunk size beyond 64 bits", sent: b"POST /a HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n10000000000000003\r\nabc\r\n0\r\n\r\n", skep: "400", nginx: "", why: "" },
    Case { name: "a negative chunk size", sent: b"POST /a HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n-3\r\nabc\r\n0\r\n\r\n", skep: "400", nginx: "", why: "" },
    Case { name: "an empty chunk size", sent: b"POST /a HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n\r\nabc\r\n0\r\n\r\n", skep: "400", nginx: "", why: "" },
    Case { name: "a chunk with an extension", sent: b"POST /a HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3;x=y\r\nabc\r\n0\r\n\r\n", skep: "200 | POST /a [abc]", nginx: "", why: "" },
    Case { name: "a line feed in a chunk's extension", sent: b"POST /a HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3;x\nabc\r\n0\r\n\r\n", skep: "400", nginx: "200 | POST /a [abc]", why: "nginx takes a bare line feed for a line's end; a server that does not reads another body" },
    Case { name: "a chunk that is longer than it says", sent: b"POST /a HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabcdef\r\n0\r\n\r\n", skep: "400", nginx: "", why: "" },
    Case { name: "chunks with bare line feeds", sent: b"POST /a HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\nabc\n0\n\n", skep: "400", nginx: "200 | POST /a [abc]", why: "nginx takes a bare line feed for a line's end; a server that does not reads another body" },
    Case { name: "a trailer that frames", sent: b"POST /a HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nContent-Length: 9\r\nX-Smuggled: 1\r\n\r\n", skep: "200 | POST /a [abc]", nginx: "", why: "" },
    Case { name: "a body that ends too early", sent: b"POST /a HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\nabc", skep: "400", nginx: "-", why: "refused with a word, and without one by nginx; the server gets no whole request from either" },
    Case { name: "chunks that end too early", sent: b"POST /a HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n", skep: "400", nginx: "-", why: "refused with a word, and without one by nginx; the server gets no whole request from either" },
    Case { name: "a request behind a GET with a body", sent: b"GET /a HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabcGET /b HTTP/1.1\r\nHost: a\r\n\r\n", skep: "200 200 | GET /a [abc], GET /b", nginx: "", why: "" },
    Case { name: "a request behind a DELETE with chunks", sent: b"DELETE /a HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\nGET /b HTTP/1.1\r\nHost: a\r\n\r\n", skep: "200 200 | DELETE /a [abc], GET /b", nginx: "", why: "" },
    Case { name: "a HEAD with a body", sent: b"HEAD /a HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc", skep: "200 | HEAD /a [abc]", nginx: "", why: "" },
    Case { name: "no host", sent: b"GET /a HTTP/1.1\r\n\r\n", skep: "400", nginx: "", why: "" },
    Case { name: "two hosts", sent: b"GET /a HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", skep: "400", nginx: "", why: "" },
    Case { name: "a host in the target and another in the field", sent: b"GET http://b/a HTTP/1.1\r\nHost: a\r\n\r\n", skep: "200 | GET /a host=b", nginx: "200 | GET /a", why: "the target counts (RFC 9112 §3.2.2), and the field is written from it; nginx was told to pass the field" },
    Case { name: "a host with a path", sent: b"GET /a HTTP/1.1\r\nHost: a/b\r\n\r\n", skep: "400", nginx: "", why: "" },
    Case { name: "a host with user information", sent: b"GET /a HTTP/1.1\r\nHost: u@a\r\n\r\n", skep: "400", nginx: "200 | GET /a host=u@a", why: "RFC 9110 §4.2.4 has it refused" },
    Case { name: "a host with a space", sent: b"GET /a HTTP/1.1\r\nHost: a b\r\n\r\n", skep: "400", nginx: "", why: "" },
    Case { name: "an empty host", sent: b"GET /a HTTP/1.1\r\nHost:\r\n\r\n", skep: "400", nginx: "", why: "" },
    Case { name: "bare line feeds", sent: b"GET /a HTTP/1.1\nHost: a\n\n", skep: "400", nginx: "200 | GET /a", why: "RFC 9112 §2.2 lets a server take them; another on the way may not, so skep does not" },
    Case { name: "a bare carriage return in a value", sent: b"GET /a HTTP/1.1\r\nHost: a\r\nX-A: b\rX-Smuggled: 1\r\n\r\n", skep: "400", nginx: "", why: "" },
    Case { name: "a bare line feed in a value", sent: b"GET /a HTTP/1.1\r\nHost: a\r\nX-A: b\nX-Smuggled: 1\r\n\r\n", skep: "400", nginx: "200 | GET /a x-smuggled=1", why: "the same: to nginx this is two fields" },
    Case { name: "a zero byte in a value", sent: b"GET /a HTTP/1.1\r\nHost: a\r\nX-A: b\0c\r\n\r\n", skep: "400", nginx: "", why: "" },
    Case { name: "a zero byte in a name", sent: b"GET /a HTTP/1.1\r\nHost: a\r\nX\0A: b\r\n\r\n", skep: "400", nginx: "", why: "" },
    Case { name: "a field without a colon", sent: b"GET /a HTTP/1.1\r\nHost: a\r\nX-Smuggled\r\n\r\n", skep: "400", nginx: "200 | GET /a x-smuggled=", why: "nginx passes a field without a value on as one with an empty value; RFC 9112 §5 knows no such line" },
    Case { name: "a field without a name", sent: b"GET /a HTTP/1.1\r\nHost: a\r\n: X-Smuggled\r\n\r\n", skep: "400", nginx: "", why: "" },
    Case { name: "a space in a name", sent: b"GET /a HTTP/1.1\r\nHost: a\r\nX Smuggled: 1\r\n\r\n", skep: "400", nginx: "", why: "" },
    Case { name: "a folded line", sent: b"GET /a HTTP/1.1\r\nHost: a\r\nX-A: b\r\n c\r\n\r\n", skep: "400", nginx: "", why: "" },
    Case { name: "a space before the first field", sent: b"GET /a HTTP/1.1\r\n Host: a\r\nHost: a\r\n\r\n", skep: "400", nginx: "", why: "" },
    Case { name: "an empty line in front", sent: b"\r\nGET /a HTTP/1.1\r\nHost: a\r\n\r\n", skep: "200 | GET /a", nginx: "", why: "" },
    Case { name: "two spaces in the request line", sent: b"GET  /a HTTP/1.1\r\nHost: a\r\n\r\n", skep: "400", nginx: "200 | GET /a", why: "RFC 9112 §3: one space; servers that split in another way see another target" },
    Case { name: "a tab in the request line", sent: b"GET\t/a HTTP/1.1\r\nHost: a\r\n\r\n", skep: "400", nginx: "", why: "" },
    Case { name: "a space in the target", sent: b"GET /a b HTTP/1.1\r\nHost: a\r\n\r\n", skep: "400", nginx: "", why: "" },
    Case { name: "a version of the future", sent: b"GET /a HTTP/1.9\r\nHost: a\r\n\r\n", skep: "505", nginx: "200 | GET /a", why: "RFC 9110 §15.6.6: 505 for what is not spoken; nginx takes every HTTP/1" },
    Case { name: "another version", sent: b"GET /a HTTP/2.0\r\nHost: a\r\n\r\n", skep: "505", nginx: "", why: "" },
    Case { name: "a version in small letters", sent: b"GET /a http/1.1\r\nHost: a\r\n\r\n", skep: "400", nginx: "", why: "" },
    Case { name: "no version", sent: b"GET /a\r\n\r\n", skep: "400", nginx: "- | GET /a", why: "HTTP/0.9, which nginx still answers, without a status" },
    Case { name: "a method in small letters", sent: b"get /a HTTP/1.1\r\nHost: a\r\n\r\n", skep: "200 | get /a", nginx: "400", why: "a method is any token (RFC 9110 §9.1); nginx wants capitals" },
    Case { name: "a method that is no token", sent: b"G(T /a HTTP/1.1\r\nHost: a\r\n\r\n", skep: "400", nginx: "", why: "" },
    Case { name: "CONNECT", sent: b"CONNECT a:80 HTTP/1.1\r\nHost: a\r\n\r\n", skep: "501", nginx: "400", why: "refused by both, with 501 (RFC 9110 §9.1) and with 400" },
    Case { name: "TRACE", sent: b"TRACE /a HTTP/1.1\r\nHost: a\r\n\r\n", skep: "405", nginx: "", why: "" },
    Case { name: "a fragment in the target", sent: b"GET /a#b HTTP/1.1\r\nHost: a\r\n\r\n", skep: "400", nginx: "200 | GET /a#b", why: "no target has one (RFC 9112 §3.2); nginx passes it on" },
    Case { name: "a path that leads above the root", sent: b"GET /../a HTTP/1.1\r\nHost: a\r\n\r\n", skep: "400", nginx: "", why: "" },
    Case { name: "dots in the path", sent: b"GET /x/../a HTTP/1.1\r\nHost: a\r\n\r\n", skep: "200 | GET /a", nginx: "200 | GET /x/../a", why: "skep routes by the path without dots and passes that on, so that the server cannot see another; nginx passes on what came" },
    Case { name: "encoded dots in the path", sent: b"GET /x/%2e%2e/a HTTP/1.1\r\nHost: a\r\n\r\n", skep: "200 | GET /a", nginx: "200 | GET /x/%2e%2e/a", why: "skep routes by the path without dots and passes that on, so that the server cannot see another; nginx passes on what came" },
    Case { name: "an encoded slash", sent: b"GET /a%2f..%2fb HTTP/1.1\r\nHost: a\r\n\r\n", skep: "200 | GET /a%2f..%2fb", nginx: "", why: "" },
    Case { name: "an encoded line end in the target", sent: b"GET /a%0d%0aX-Smuggled:%201 HTTP/1.1\r\nHost: a\r\n\r\n", skep: "200 | GET /a%0d%0aX-Smuggled:%201", nginx: "", why: "" },
    Case { name: "a backslash in the target", sent: b"GET /a\\..\\b HTTP/1.1\r\nHost: a\r\n\r\n", skep: "200 | GET /a%5C..%5Cb", nginx: "200 | GET /a\\..\\b", why: "skep encodes what is no character of a URI: a server may take it for a slash" },
    Case { name: "bytes beyond ASCII in the target", sent: b"GET /\xc3\xa4 HTTP/1.1\r\nHost: a\r\n\r\n", skep: "200 | GET /%C3%A4", nginx: "200 | GET /ä", why: "skep encodes what is no character of a URI" },
    Case { name: "a connection field that names the host", sent: b"GET /a HTTP/1.1\r\nHost: a\r\nConnection: host, x-smuggled\r\nX-Smuggled: 1\r\n\r\n", skep: "200 | GET /a", nginx: "200 | GET /a x-smuggled=1", why: "what Connection names ends at the proxy (RFC 9110 §7.6.1), except what the proxy writes itself; nginx passes it on" },
    Case { name: "a connection field that names the length", sent: b"POST /a HTTP/1.1\r\nHost: a\r\nConnection: content-length\r\nContent-Length: 3\r\n\r\nabc", skep: "200 | POST /a [abc]", nginx: "", why: "" },
    Case { name: "an upgrade to HTTP/2", sent: b"GET /a HTTP/1.1\r\nHost: a\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n\r\n", skep: "200 | GET /a", nginx: "", why: "" },
    Case { name: "an upgrade with a body", sent: b"POST /a HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nContent-Length: 3\r\n\r\nabc", skep: "200 | POST /a [abc]", nginx: "", why: "" },
    Case { name: "a forged address with underscores", sent: b"GET /a HTTP/1.1\r\nHost: a\r\nX_Forwarded_For: 1.2.3.4\r\n\r\n", skep: "200 | GET /a", nginx: "", why: "" },
    Case { name: "an expectation nobody knows", sent: b"POST /a HTTP/1.1\r\nHost: a\r\nExpect: 200-ok\r\nContent-Length: 3\r\n\r\nabc", skep: "417", nginx: "200 | POST /a [abc]", why: "RFC 9110 §10.1.1: 417; nginx drops it" },
    Case { name: "an announced trailer", sent: b"POST /a HTTP/1.1\r\nHost: a\r\nTrailer: X-Smuggled\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nX-Smuggled: 1\r\n\r\n", skep: "200 | POST /a", nginx: "200 | POST /a trailer=X-Smuggled", why: "trailers end at both, and at skep their announcement too" },
    Case { name: "the preface of HTTP/2", sent: b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", skep: "-", nginx: "400", why: "skep speaks HTTP/2 here and nothing is asked; nginx takes it for a bad request" },
    Case { name: "the beginning of TLS", sent: b"\x16\x03\x01\0\xa5\x01\0\0\xa1\x03\x03\r\n\r\n", skep: "400", nginx: "", why: "" },
];
