//! HTTP/2: the conformance suite h2spec, curl, h2load, and a client of our own for what those do not do.

#[path = "support/mod.rs"]
mod support;

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::thread;
use std::time::Duration;

use support::server::{Site, Skep, free_address};
use support::wait;

const APP: &str = r#"
local skep = require("@skep")
local app = { stream = { "/upload" } }

function app.request(req)
    if req.path == "/upload" then
        local total = 0
        for chunk in req:chunks() do
            total += #chunk
        end
        return tostring(total)
    elseif req.path == "/stream" then
        for line = 1, 5 do
            req:write(`line {line}\n`)
            req:flush()
            skep.sleep(0.02)
        end
        return ""
    elseif req.path == "/wait" then
        skep.sleep(3600)
    elseif req.path == "/cookies" then
        return `{req.cookies.a} {req.cookies.b} {req.headers.cookie}`
    end
    return `{req.method} {req.path} {req.headers.host} {req.server.scheme}`
end

app.websocket_protocols = { "chat.2" }
local ended = "nothing"

function app.websocket(ws)
    local req = ws.request
    ws:send(`{req.method} {req.path} {req.headers.host} {req.headers["x-more"]}`)
    ws.onclose = function(code)
        ended = tostring(code)
    end
    for message in ws:messages() do
        if message == "much" then
            ws:send(string.rep("m", 300000))
        elseif message == "ended" then
            ws:send(ended)
        else
            ws:send(message)
        end
    end
end

return app
"#;

/// A skep that speaks HTTP/2 with and without TLS.
struct Server {
    skep: Skep,
    plain: SocketAddr,
    secure: SocketAddr,
}

impl Server {
    fn start() -> Self {
        let site = Site::new();
        let (plain, secure, inner) = (site.address, free_address(), free_address());
        let made = Command::new("openssl")
            .args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2", "-subj", "/CN=one.test"])
            .args(["-addext", "subjectAltName=DNS:one.test", "-keyout", "key.pem", "-out", "cert.pem"])
            .current_dir(site.path())
            .output()
            .expect("openssl: tests/peers/http2.sh installs it");
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        site.write("apps/site.luau", APP);
        site.write("public/file.txt", &"0123456789".repeat(300_000));
        let common = "http2: (streams: 50, resets: 20), timeouts: (header: \"2s\", write: \"1s\"),\n\
                      routes: [(path: \"/\", app: \"site\"), (path: \"/files\", app: \"files\"), (path: \"/onward\", app: \"onward\"), (path: \"/fixed\", reply: (body: \"here\"))]";
        site.write(
            "config.ron",
            &format!(
                "Config(data: \"data\", run: \"run\", pid_file: \"run/skep.pid\", auto_reload: false, log: (level: Warn),\n\
                 workers: (start: 2, min: 2, max: 2, min_spare: 0, max_spare: 2), admin: (listen: []),\n\
                 apps: {{\"site\": Script(path: \"apps/site.luau\"), \"files\": Files(root: \"public\"), \"onward\": Proxy(to: [\"http://{inner}\"])}},\n\
                 servers: {{\n\
                 \"inner\": Http(listen: [\"{inner}\"], routes: [(path: \"/\", app: \"site\")]),\n\
                 \"plain\": Http(listen: [\"{plain}\"], max_body: \"1 GiB\", {common}),\n\
                 \"secure\": Http(listen: [\"{secure}\"], max_body: \"1 MiB\", tls: (certificate: \"cert.pem\", key: \"key.pem\"), {common})}})\n"
            ),
        );
        let skep = site.start();
        skep.settled(2);
        Self { skep, plain, secure }
    }

    /// curl, which writes what it got, then the version and the status.
    fn curl(&self, more: &[&str]) -> String {
        let resolve = format!("one.test:{}:127.0.0.1", self.secure.port());
        let output = Command::new("curl")
            .args(["--silent", "--show-error", "--max-time", "60", "--cacert", "cert.pem", "--resolve", &resolve])
            .args(["--write-out", " %{http_version} %{http_code}"])
            .args(more)
            .current_dir(self.skep.site.path())
            .output()
            .expect("curl: tests/peers/http2.sh installs it");
        assert!(output.status.success(), "{more:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    fn secure(&self, path: &str) -> String {
        format!("https://one.test:{}{path}", self.secure.port())
    }

    fn plain(&self, path: &str) -> String {
        format!("http://{}{path}", self.plain)
    }

    /// The most memory that a worker ever had, kilobytes.
    fn peak(&self) -> u64 {
        let of = |pid: i32| {
            let status = fs::read_to_string(format!("/proc/{pid}/status")).expect("a process");
            let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("a figure");
            peak.trim().trim_end_matches(" kB").parse().expect("a number")
        };
        self.skep.status().workers.iter().map(|worker| of(worker.pid)).max().unwrap_or_default()
    }
}

/// Where a program is that is built for the tests.
fn built(name: &str) -> PathBuf {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("target/peers").join(name);
    assert!(path.exists(), "{}: tests/peers/http2.sh builds it", path.display());
    path
}

/// What h2spec finds wrong: the titles of cases.
fn found_wrong(address: SocketAddr, more: &[&str]) -> (usize, Vec<String>) {
    let output = Command::new(built("h2spec"))
        .args(["-h", "127.0.0.1", "-p", &address.port().to_string(), "-o", "10"])
        .args(more)
        .output()
        .expect("it is there");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let counts = text.lines().rfind(|line| line.contains(" tests, ")).unwrap_or_else(|| panic!("no end: {text}"));
    let passed = counts.split(", ").find_map(|part| part.strip_suffix(" passed")).and_then(|count| count.parse().ok()).expect("a number");
    let failures = text.split_once("Failures:").map_or("", |(_, failures)| failures);
    let wrong = failures.lines().filter_map(|line| line.trim().strip_prefix("× ")).map(str::to_owned).collect();
    (passed, wrong)
}

#[test]
fn the_conformance_suite_finds_nothing() {
    let server = Server::start();
    // What reads its body: an answer before that may be out before a fault further behind is seen.
    let (passed, wrong) = found_wrong(server.secure, &["-t", "-k", "--strict", "-P", "/upload"]);
    assert_eq!(wrong, Vec::<String>::new());
    assert!(passed >= 145, "{passed}");
    // Without TLS the port speaks HTTP/1.1 too, and who begins with something else gets its 400, where the suite wants a close without a word.
    let (passed, wrong) = found_wrong(server.plain, &["--strict", "-P", "/upload"]);
    assert_eq!(wrong, ["2: Sends invalid connection preface"]);
    assert!(passed >= 144, "{passed}");
}

#[test]
fn curl_gets_everything_by_every_version() {
    let server = Server::start();
    let port = server.secure.port();
    assert_eq!(server.curl(&["--http2", &server.secure("/a?b")]), format!("GET /a one.test:{port} https 2 200"));
    assert_eq!(server.curl(&["--http1.1", &server.secure("/a")]), format!("GET /a one.test:{port} https 1.1 200"));
    assert_eq!(server.curl(&["--no-alpn", &server.secure("/a")]), format!("GET /a one.test:{port} https 1.1 200"));
    assert_eq!(server.curl(&["--http2-prior-knowledge", &server.plain("/")]), format!("GET / {} http 2 200", server.plain));
    assert_eq!(server.curl(&["--http1.1", &server.plain("/")]), format!("GET / {} http 1.1 200", server.plain));

    let known = "--http2-prior-knowledge";
    assert_eq!(server.curl(&[known, &server.plain("/stream")]), "line 1\nline 2\nline 3\nline 4\nline 5\n 2 200");
    assert_eq!(server.curl(&[known, "-H", "Cookie: a=1; b=2", &server.plain("/cookies")]), "1 2 a=1; b=2 2 200");
    assert_eq!(server.curl(&[known, "--output", "/dev/null", "--head", &server.plain("/files/file.txt")]), " 2 200");
    assert_eq!(server.curl(&[known, "--range", "5-14", &server.plain("/files/file.txt")]), "5678901234 2 206");
    assert_eq!(server.curl(&[known, "--output", "got.txt", &server.plain("/files/file.txt")]), " 2 200");
    assert_eq!(fs::read(server.skep.site.path().join("got.txt")).expect("a file"), b"0123456789".repeat(300_000));
    let upload = ["--http2", "--data-binary", "@public/file.txt", &server.secure("/upload")];
    assert_eq!(server.curl(&upload), "413 Content Too Large: the body may have at most 1048576 bytes\n 2 413");
    let upload = [known, "--data-binary", "@public/file.txt", "-H", "Expect: 100-continue", &server.plain("/upload")];
    assert_eq!(server.curl(&upload), "3000000 2 200");
    // Nobody reads this one. (curl 7 itself waits for ever when an answer is whole before its body is, behind nginx too: END_STREAM and then
    // RST_STREAM with NO_ERROR, as RFC 9113 §8.1 has it, is what both send.)
    let output =
        Command::new("nghttp").args(["-d", "public/file.txt", &server.plain("/fixed")]).current_dir(server.skep.site.path()).output();
    assert_eq!(output.expect("nghttp: tests/peers/http2.sh installs it").stdout, b"here");
}

#[test]
fn a_large_upload_takes_no_memory_and_many_streams_are_answered() {
    let server = Server::start();
    let large = fs::File::create(server.skep.site.path().join("large")).expect("a file");
    large.set_len(512 << 20).expect("a length");
    let said = server.curl(&["--http2-prior-knowledge", "--upload-file", "large", &server.plain("/upload")]);
    assert_eq!(said, format!("{} 2 200", 512 << 20));
    for url in [server.plain("/files/file.txt"), server.plain("/stream"), format!("https://{}/a", server.secure)] {
        let load = Command::new("h2load")
            .args(["-n", "400", "-c", "4", "-m", "40", &url])
            .output()
            .expect("h2load: tests/peers/http2.sh installs it");
        let text = String::from_utf8_lossy(&load.stdout).into_owned();
        assert!(text.contains("400 done, 400 succeeded, 0 failed, 0 errored"), "{url}: {text}");
        assert!(text.contains("400 2xx"), "{url}: {text}");
    }
    assert!(server.peak() < 96 << 10, "{} kB", server.peak());
}

/// Types of frames (RFC 9113 §6).
const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const GOAWAY: u8 = 7;
const WINDOW_UPDATE: u8 = 8;

const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;
const ACK: u8 = 1;

/// A client that does what it is told, right or wrong.
struct Frames(TcpStream);

struct Frame {
    kind: u8,
    flags: u8,
    stream: u32,
    payload: Vec<u8>,
}

impl Frames {
    /// Connects; `settings` are the payload of the first frame.
    fn connect(address: SocketAddr, settings: &[u8]) -> io::Result<Self> {
        let stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(Duration::from_secs(20)))?;
        stream.set_write_timeout(Some(Duration::from_secs(20)))?;
        let mut frames = Self(stream);
        frames.0.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")?;
        frames.send(SETTINGS, 0, 0, settings)?;
        Ok(frames)
    }

    fn send(&mut self, kind: u8, flags: u8, stream: u32, payload: &[u8]) -> io::Result<()> {
        let mut frame = u32::try_from(payload.len()).unwrap_or(u32::MAX).to_be_bytes()[1..].to_vec();
        frame.extend([kind, flags]);
        frame.extend(stream.to_be_bytes());
        frame.extend(payload);
        self.0.write_all(&frame)
    }

    /// Asks with GET: fields without the dynamic table, some by their index (RFC 7541).
    fn get(&mut self, stream: u32, path: &str) -> io::Result<()> {
        let mut block = vec![0x82, 0x86, 0x01, 1, b'a', 0x04, u8::try_from(path.len()).unwrap_or(0)];
        block.extend(path.as_bytes());
        self.send(HEADERS, END_STREAM | END_HEADERS, stream, &block)
    }

    /// Asks for another protocol on a stream (RFC 8441): fields as in [`Frames::get`].
    fn ask_for(&mut self, stream: u32, protocol: &str, path: &str, fields: &[(&str, &str)]) -> io::Result<()> {
        let text = |block: &mut Vec<u8>, text: &str| {
            block.push(u8::try_from(text.len()).unwrap_or(0));
            block.extend(text.as_bytes());
        };
        // The method, and the scheme http.
        let mut block = vec![0x02];
        text(&mut block, "CONNECT");
        block.push(0x86);
        block.push(0x04);
        text(&mut block, path);
        block.extend([0x01, 1, b'a']);
        for (name, value) in [(":protocol", protocol)].iter().chain(fields) {
            block.push(0x00);
            text(&mut block, name);
            text(&mut block, value);
        }
        self.send(HEADERS, END_HEADERS, stream, &block)
    }

    /// Begins WebSocket on a stream; gives the first message.
    fn websocket(&mut self, stream: u32, path: &str) -> io::Result<String> {
        let fields = [("sec-websocket-version", "13"), ("sec-websocket-protocol", "chat.1, chat.2"), ("x-more", "yes")];
        self.ask_for(stream, "websocket", path, &fields)?;
        let head = self.until(HEADERS, stream)?;
        // 200 has a number of its own.
        assert_eq!((head.flags & END_STREAM, head.payload.first()), (0, Some(&0x88)), "{:?}", String::from_utf8_lossy(&head.payload));
        self.message(stream)
    }

    /// Sends a short text message.
    fn say(&mut self, stream: u32, message: &str) -> io::Result<()> {
        let mut frame = vec![0x81, 0x80 | u8::try_from(message.len()).unwrap_or(0), 0, 0, 0, 0];
        frame.extend(message.as_bytes());
        self.send(DATA, 0, stream, &frame)
    }

    /// The next message of WebSocket on a stream, in as many frames of HTTP/2 as it needs; its windows are opened for it.
    fn message(&mut self, stream: u32) -> io::Result<String> {
        let mut bytes = Vec::new();
        loop {
            let (from, length) = match bytes.get(1) {
                Some(127) if bytes.len() >= 10 => (10, u64::from_be_bytes(bytes[2..10].try_into().unwrap_or_default()) as usize),
                Some(126) if bytes.len() >= 4 => (4, usize::from(u16::from_be_bytes([bytes[2], bytes[3]]))),
                Some(&short) if short < 126 => (2, usize::from(short)),
                _ => (0, usize::MAX),
            };
            if length <= bytes.len() - from.min(bytes.len()) && from > 0 {
                assert_eq!((bytes[0], bytes.len()), (0x81, from + length), "one whole text message, and nothing else");
                return Ok(String::from_utf8_lossy(&bytes[from..]).into_owned());
            }
            let data = self.until(DATA, stream)?;
            assert_eq!(data.flags & END_STREAM, 0, "the stream goes on");
            let credit = u32::try_from(data.payload.len()).unwrap_or(0).to_be_bytes();
            self.send(WINDOW_UPDATE, 0, 0, &credit)?;
            self.send(WINDOW_UPDATE, 0, stream, &credit)?;
            bytes.extend(data.payload);
        }
    }

    fn read(&mut self) -> io::Result<Frame> {
        let mut head = [0; 9];
        self.0.read_exact(&mut head)?;
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
        let stream = u32::from_be_bytes([head[5], head[6], head[7], head[8]]);
        let mut payload = vec![0; length as usize];
        self.0.read_exact(&mut payload)?;
        Ok(Frame { kind: head[3], flags: head[4], stream, payload })
    }

    /// Reads until a frame of this type comes on this stream. Answers settings and pings on the way.
    fn until(&mut self, kind: u8, stream: u32) -> io::Result<Frame> {
        loop {
            let frame = self.read()?;
            let is_told = matches!(frame.kind, SETTINGS | PING);
            if (frame.kind, frame.stream) == (kind, stream) {
                return Ok(frame);
            }
            if is_told && frame.flags & ACK == 0 {
                let payload = if frame.kind == PING { &frame.payload[..] } else { &[] };
                self.send(frame.kind, ACK, 0, payload)?;
            }
        }
    }

    /// Reads until the end of the connection: the reason of the last GOAWAY.
    fn end(&mut self) -> Option<u32> {
        let mut reason = None;
        while let Ok(frame) = self.read() {
            if frame.kind == GOAWAY {
                reason = frame.payload.get(4..8).and_then(|code| code.try_into().ok()).map(u32::from_be_bytes);
            }
        }
        reason
    }
}

fn is_answered(server: &Server) -> bool {
    let mut other = Frames::connect(server.plain, &[]).expect("a connection");
    other.get(1, "/fixed").and_then(|()| other.until(DATA, 1)).is_ok_and(|frame| frame.payload == b"here")
}

#[test]
fn who_takes_requests_back_at_once_is_cut_off() {
    const ENHANCE_YOUR_CALM: u32 = 11;
    let server = Server::start();
    let mut client = Frames::connect(server.plain, &[]).expect("a connection");
    let mut all = Vec::new();
    for number in 0..2_000u32 {
        let stream = number * 2 + 1;
        // In one write, so that they are taken back before anybody has seen them.
        all.extend([0, 0, 6, HEADERS, END_STREAM | END_HEADERS]);
        all.extend(stream.to_be_bytes());
        all.extend([0x82, 0x86, 0x84, 0x01, 1, b'a']);
        all.extend([0, 0, 4, RST_STREAM, 0]);
        all.extend(stream.to_be_bytes());
        all.extend(8u32.to_be_bytes());
    }
    // It is closed on the way.
    let _closed = client.0.write_all(&all);
    let reason = client.end();
    assert!(matches!(reason, Some(ENHANCE_YOUR_CALM) | None), "{reason:?}");
    assert!(is_answered(&server));
    assert!(server.skep.status().workers.iter().map(|worker| worker.requests).sum::<u64>() < 1_000);
}

#[test]
fn floods_end_and_others_are_served_meanwhile() {
    let server = Server::start();
    for (kind, payload) in [(PING, &[0; 8][..]), (SETTINGS, &[0, 3, 0, 0, 0, 100][..])] {
        let mut client = Frames::connect(server.plain, &[]).expect("a connection");
        let mut many = Vec::new();
        for _ in 0..1_000 {
            many.extend([0, 0, u8::try_from(payload.len()).unwrap_or(0), kind, 0, 0, 0, 0, 0]);
            many.extend(payload);
        }
        // Answers are never read: at some time nothing more is taken, and then the connection is closed.
        client.0.set_write_timeout(Some(Duration::from_secs(30))).expect("set");
        let mut sent = 0u64;
        while client.0.write_all(&many).is_ok() {
            sent += many.len() as u64;
            assert!(sent < 1 << 30, "a flood of type {kind} goes on for ever");
        }
        assert!(is_answered(&server));
    }
    assert!(server.peak() < 96 << 10, "{} kB", server.peak());
}

#[test]
fn a_stalled_stream_stalls_nobody_else_and_is_cut() {
    let server = Server::start();
    // SETTINGS_INITIAL_WINDOW_SIZE 0: nothing may be sent of any body.
    let mut client = Frames::connect(server.plain, &[0, 4, 0, 0, 0, 0]).expect("a connection");
    client.get(1, "/files/file.txt").expect("sent");
    client.get(3, "/fixed").expect("sent");
    client.until(HEADERS, 3).expect("a head");
    client.send(WINDOW_UPDATE, 0, 3, &100u32.to_be_bytes()).expect("sent");
    assert_eq!(client.until(DATA, 3).expect("a body").payload, b"here");
    // The other one is given up after the time for writing.
    client.until(RST_STREAM, 1).expect("a reset");
    client.get(5, "/fixed").and_then(|()| client.send(WINDOW_UPDATE, 0, 5, &100u32.to_be_bytes())).expect("sent");
    assert_eq!(client.until(DATA, 5).expect("a body").payload, b"here");
}

#[test]
fn what_is_taken_back_ends_and_too_much_is_refused() {
    const REFUSED_STREAM: u32 = 7;
    let server = Server::start();
    let mut client = Frames::connect(server.plain, &[]).expect("a connection");
    let active = || server.skep.status().workers.iter().map(|worker| worker.active).sum::<u64>();
    for number in 0..50 {
        client.get(number * 2 + 1, "/wait").expect("sent");
    }
    wait::until("all to wait", || active() >= 50);
    client.get(101, "/fixed").expect("sent");
    let refused = client.until(RST_STREAM, 101).expect("a reset");
    assert_eq!(refused.payload, REFUSED_STREAM.to_be_bytes());
    for number in 0..50 {
        client.send(RST_STREAM, 0, number * 2 + 1, &8u32.to_be_bytes()).expect("sent");
    }
    wait::until("all to end", || active() == 0);
    client.get(103, "/fixed").expect("sent");
    assert_eq!(client.until(DATA, 103).expect("a body").payload, b"here");
}

/// A setting of the server (RFC 8441 §3): other protocols may be asked for.
const ENABLE_CONNECT_PROTOCOL: [u8; 6] = [0, 8, 0, 0, 0, 1];

#[test]
fn websocket_is_spoken_on_streams() {
    let server = Server::start();
    let mut client = Frames::connect(server.plain, &[]).expect("a connection");
    let settings = client.read().expect("a frame");
    assert_eq!(settings.kind, SETTINGS);
    assert!(settings.payload.chunks(6).any(|setting| setting == ENABLE_CONNECT_PROTOCOL), "{:?}", settings.payload);
    // Two of them, and requests between.
    assert_eq!(client.websocket(1, "/ws").expect("a message"), "GET /ws a yes");
    assert_eq!(client.websocket(3, "/ws").expect("a message"), "GET /ws a yes");
    for (stream, message) in [(1, "one"), (3, "three"), (1, "")] {
        client.say(stream, message).expect("sent");
        assert_eq!(client.message(stream).expect("a message"), message);
    }
    client.get(7, "/fixed").expect("sent");
    assert_eq!(client.until(DATA, 7).expect("a body").payload, b"here");
    // More than a window.
    client.say(1, "much").expect("sent");
    assert_eq!(client.message(1).expect("a message").len(), 300_000);
    // One is closed as it should be: our close is answered, and the stream ends. The other is broken off.
    client.send(DATA, 0, 1, &[0x88, 0x82, 0, 0, 0, 0, 0x03, 0xe8]).expect("sent");
    let close = client.until(DATA, 1).expect("a close");
    assert_eq!(close.payload, [0x88, 0x02, 0x03, 0xe8]);
    let last = if close.flags & END_STREAM == 0 { client.until(DATA, 1).expect("the end") } else { close };
    assert_eq!(last.flags & END_STREAM, END_STREAM);
    // The same worker tells what it has seen of the ends.
    client.websocket(9, "/ws").expect("a message");
    let mut ended = |code: &str| {
        client.say(9, "ended").expect("sent");
        client.message(9).expect("a message") == code
    };
    wait::until("the end to be seen", || ended("1000"));
    client.send(RST_STREAM, 0, 3, &8u32.to_be_bytes()).expect("sent");
    let mut ended = |code: &str| {
        client.say(9, "ended").expect("sent");
        client.message(9).expect("a message") == code
    };
    wait::until("the other end to be seen", || ended("1006"));
}

#[test]
fn websocket_on_a_stream_passes_the_proxy() {
    let server = Server::start();
    let mut client = Frames::connect(server.plain, &[]).expect("a connection");
    assert_eq!(client.websocket(1, "/onward/ws").expect("a message"), "GET /onward/ws a yes");
    client.say(1, "through").expect("sent");
    assert_eq!(client.message(1).expect("a message"), "through");
    client.say(1, "much").expect("sent");
    assert_eq!(client.message(1).expect("a message").len(), 300_000);
}

#[test]
fn what_speaks_no_websocket_says_so_and_never_with_200() {
    let server = Server::start();
    // SETTINGS_HEADER_TABLE_SIZE 0: every status stands in its own head.
    let mut client = Frames::connect(server.plain, &[0, 1, 0, 0, 0, 0]).expect("a connection");
    let version = ("sec-websocket-version", "13");
    for (stream, protocol, path, fields, status) in [
        (1, "websocket", "/fixed", vec![version], "501"),
        (3, "websocket", "/files/file.txt", vec![version], "501"),
        (5, "connect-udp", "/ws", vec![version], "501"),
        (7, "websocket", "/ws", vec![("sec-websocket-version", "12")], "426"),
        (9, "websocket", "/ws", vec![version, ("origin", "http://elsewhere.test")], "403"),
        (11, "websocket", "/files/none", vec![version], "404"),
    ] {
        client.ask_for(stream, protocol, path, &fields).expect("sent");
        let head = client.until(HEADERS, stream).expect("a head");
        assert_eq!(status_of(&head.payload), status, "{path}: {:x?}", head.payload);
    }
    assert!(is_answered(&server));
}

/// The status, which comes first: 404 has a number of its own, others are literals behind the number of their name, in Huffman's code or not (RFC 7541).
fn status_of(block: &[u8]) -> String {
    // What is said of the table's size is no field.
    let block = block.strip_prefix(&[0x20]).unwrap_or(block);
    match block {
        [0x8d, ..] => "404".to_owned(),
        [0x48 | 0x08, 3, text @ ..] => String::from_utf8_lossy(&text[..3]).into_owned(),
        [0x48 | 0x08, length, text @ ..] if length & 0x80 != 0 => {
            let bits: String = text[..usize::from(length & 0x7f)].iter().map(|byte| format!("{byte:08b}")).collect();
            digits(&bits)
        }
        _ => format!("{block:x?}"),
    }
}

/// Digits in Huffman's code have five or six bits (RFC 7541, appendix B).
fn digits(mut bits: &str) -> String {
    const CODES: [&str; 10] = ["00000", "00001", "00010", "011001", "011010", "011011", "011100", "011101", "011110", "011111"];
    let mut text = String::new();
    while let Some(digit) = CODES.iter().position(|code| bits.starts_with(code)) {
        text.push_str(&digit.to_string());
        bits = &bits[CODES[digit].len()..];
    }
    text
}

#[test]
fn a_worker_that_goes_closes_websocket_on_streams_with_a_word() {
    let server = Server::start();
    let mut client = Frames::connect(server.plain, &[]).expect("a connection");
    client.websocket(1, "/ws").expect("a message");
    server.skep.order("reload");
    assert_eq!(client.until(GOAWAY, 0).expect("a word").payload[4..8], [0; 4], "no error");
    let close = client.until(DATA, 1).expect("a close");
    assert_eq!(close.payload[..4], [0x88, close.payload[1], 0x03, 0xe9], "1001, going away");
    client.send(DATA, END_STREAM, 1, &[0x88, 0x82, 0, 0, 0, 0, 0x03, 0xe9]).expect("sent");
    assert!(matches!(client.end(), None | Some(0)), "no error");
}

#[test]
fn a_client_that_only_begins_is_closed() {
    let server = Server::start();
    let mut silent = TcpStream::connect(server.plain).expect("a connection");
    silent.write_all(b"PRI * HTTP/2.0\r\n\r\n").expect("sent");
    silent.set_read_timeout(Some(Duration::from_secs(20))).expect("set");
    let mut rest = Vec::new();
    assert!(silent.read_to_end(&mut rest).is_ok_and(|_| rest.iter().all(|&byte| byte != b'H')), "{rest:?}");
}

/// Asks until it is told to stop, one request after the other, and goes to a new connection when it is sent away.
fn ask_on(address: SocketAddr, stop: &AtomicBool, answers: &AtomicU64) -> Result<(), String> {
    'connections: while !stop.load(Relaxed) {
        let mut client = Frames::connect(address, &[]).map_err(|error| format!("no connection: {error}"))?;
        let mut last = u32::MAX;
        for stream in (1..).step_by(2) {
            if stop.load(Relaxed) {
                break 'connections;
            }
            // A connection that is closed between requests is no failure; one that took the request is.
            if client.get(stream, "/fixed").is_err() {
                continue 'connections;
            }
            let mut seen = BTreeMap::new();
            loop {
                let frame = match client.read() {
                    Ok(frame) => frame,
                    Err(_) if last < stream => continue 'connections,
                    Err(error) => return Err(format!("stream {stream} (last {last}, seen {seen:?}): {error}")),
                };
                *seen.entry(frame.kind).or_insert(0) += 1;
                match frame.kind {
                    GOAWAY => last = u32::from_be_bytes([frame.payload[0], frame.payload[1], frame.payload[2], frame.payload[3]]),
                    PING | SETTINGS if frame.flags & ACK == 0 => {
                        let payload = if frame.kind == PING { frame.payload } else { Vec::new() };
                        // Then the read says what is wrong.
                        let _gone = client.send(frame.kind, ACK, 0, &payload);
                    }
                    DATA if frame.flags & END_STREAM != 0 => {
                        answers.fetch_add(1, Relaxed);
                        break;
                    }
                    RST_STREAM => return Err(format!("stream {stream} was reset: {:?}", frame.payload)),
                    _ => {}
                }
            }
            if last != u32::MAX {
                continue 'connections;
            }
        }
    }
    Ok(())
}

#[test]
fn reloads_under_load_lose_no_request() {
    let server = Server::start();
    let (stop, answers) = (AtomicBool::new(false), AtomicU64::new(0));
    thread::scope(|scope| {
        let clients: Vec<_> = (0..4).map(|_| scope.spawn(|| ask_on(server.plain, &stop, &answers))).collect();
        for _ in 0..10 {
            let before = answers.load(Relaxed);
            wait::until("answers", || answers.load(Relaxed) > before + 50);
            server.skep.order("reload");
            server.skep.settled(2);
        }
        stop.store(true, Relaxed);
        for client in clients {
            assert_eq!(client.join().expect("it ends"), Ok(()));
        }
    });
}
