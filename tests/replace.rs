//! Strings replaced in answers, in the real binary: applications, files, other servers, with compression behind it.

#[path = "support/mod.rs"]
mod support;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::process::Command;
use std::thread;

use support::client::{Client, Reply, get};
use support::server::{Site, Skep, free_address};

const APP: &str = r#"
local app = {}

function app.request(req)
    if req.path == "/pieces" then
        req:head(200, { ["Content-Type"] = "text/html" })
        for piece in string.gmatch("see ht|tp:|//old.exa|mple/ an|d http|://old.example", "[^|]+") do
            req:write(piece)
            req:flush()
        end
        return ""
    elseif req.path == "/moved" then
        return { status = 302, headers = { Location = "http://old.example/there", ["X-Other"] = "http://old.example" } }
    elseif req.path == "/plain" then
        return { headers = { ["Content-Type"] = "text/plain" }, body = "http://old.example" }
    elseif req.path == "/kept" then
        return { headers = { ["Content-Type"] = "text/html", ["Cache-Control"] = "no-transform" }, body = "http://old.example" }
    elseif req.path == "/coding" then
        return { headers = { ["Content-Type"] = "text/html" }, body = req.headers["accept-encoding"] or "none" }
    end
    return { headers = { ["Content-Type"] = "text/html; charset=utf-8", ETag = '"1"' }, body = "<a href=http://old.example>HTTP://OLD.EXAMPLE</a>" }
end

return app
"#;

const REPLACE: &str = r#"replace: (strings: {"http://old.example": "https://new.example", "old": "young"}, fields: ["Location"])"#;

fn start(upstream: SocketAddr) -> Skep {
    let site = Site::new();
    site.write("apps/site/main.luau", APP);
    site.write("public/page.html", &"<p>http://old.example and more</p>\n".repeat(10_000));
    site.write("public/page.txt", "http://old.example");
    site.configure_with(
        "",
        "start: 1, min: 1, max: 1, min_spare: 0, max_spare: 1",
        &format!("\"site\": Script(path: \"apps/site\"), \"files\": Files(root: \"public\"), \"far\": Proxy(to: [\"http://{upstream}\"])"),
        &format!(
            "(path: \"/\", app: \"site\", {REPLACE}), (path: \"/files\", app: \"files\", {REPLACE}), (path: \"/far\", app: \"far\", {REPLACE}),\n\
             (path: \"/case\", app: \"site\", replace: (strings: {{\"HTTP://old.example\": \"x\"}}, ignore_case: true, once: true))"
        ),
    );
    site.start()
}

fn ask(address: SocketAddr, head: &str) -> Reply {
    let mut client = Client::connect(address).expect("connected");
    client.send(format!("{head}\r\nHost: test\r\n\r\n").as_bytes()).expect("sent");
    client.read_reply().expect("an answer")
}

/// A server that sends an answer that looks compressed, and keeps what it was asked.
fn upstream(answer: &'static [u8]) -> (SocketAddr, thread::JoinHandle<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("bound");
    let address = listener.local_addr().expect("an address");
    let run = thread::spawn(move || {
        let (mut stream, _) = listener.accept().expect("a connection");
        let mut asked = Vec::new();
        while !asked.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            stream.read_exact(&mut byte).expect("a head");
            asked.push(byte[0]);
        }
        stream.write_all(answer).expect("sent");
        String::from_utf8(asked).expect("text")
    });
    (address, run)
}

#[test]
fn strings_are_replaced_wherever_they_stand() {
    let skep = start(free_address());
    let address = skep.address();
    let whole = get(address, "/").expect("an answer");
    assert_eq!(whole.text(), "<a href=https://new.example>HTTP://OLD.EXAMPLE</a>");
    assert_eq!((whole.header("etag"), whole.header("content-length")), (Some("W/\"1\""), Some("50")));
    // Over the borders of what the application sends.
    assert_eq!(get(address, "/pieces").expect("an answer").text(), "see https://new.example/ and https://new.example");
    assert_eq!(get(address, "/case").expect("an answer").text(), "<a href=x>HTTP://OLD.EXAMPLE</a>");
    assert_eq!(get(address, "/plain").expect("an answer").text(), "http://old.example");
    assert_eq!(get(address, "/kept").expect("an answer").text(), "http://old.example");
    assert_eq!(ask(address, "GET /coding HTTP/1.1\r\nAccept-Encoding: gzip").text(), "none");
    let moved = get(address, "/moved").expect("an answer");
    assert_eq!((moved.header("location"), moved.header("x-other")), (Some("https://new.example/there"), Some("http://old.example")));
}

#[test]
fn files_are_replaced_as_a_whole() {
    let skep = start(free_address());
    let address = skep.address();
    let expected = "<p>https://new.example and more</p>\n".repeat(10_000);
    let page = get(address, "/files/page.html").expect("an answer");
    assert!(page.text() == expected);
    assert_eq!((page.header("accept-ranges"), page.header("last-modified"), page.header("content-length")), (None, None, None));
    let tag = page.header("etag").expect("a tag").to_owned();
    assert!(tag.starts_with("W/"), "{tag}");
    // A part of the file would be no part of the page.
    let part = ask(address, "GET /files/page.html HTTP/1.1\r\nRange: bytes=10-20");
    assert!(part.status == 200 && part.text() == expected, "{}", part.status);
    let other = ask(address, "GET /files/page.txt HTTP/1.1\r\nRange: bytes=0-3");
    assert_eq!((other.status, other.text().as_str()), (206, "http"));
    let known = ask(address, &format!("GET /files/page.html HTTP/1.1\r\nIf-None-Match: {tag}"));
    assert_eq!((known.status, known.header("etag")), (304, Some(&*tag)));
    // HEAD does not tell a length that would be wrong.
    let mut client = Client::connect(address).expect("connected");
    client.send(b"HEAD /files/page.html HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n").expect("sent");
    let mut head = String::new();
    client.stream().read_to_string(&mut head).expect("an end");
    assert!(head.starts_with("HTTP/1.1 200 ") && !head.to_lowercase().contains("content-length"), "{head}");
}

#[test]
fn other_servers_are_asked_not_to_compress_and_what_they_compress_stays() {
    let (address, asked) = upstream(b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 22\r\n\r\nsee http://old.example");
    let skep = start(address);
    let reply = ask(skep.address(), "GET /far HTTP/1.1\r\nAccept-Encoding: gzip, br");
    assert_eq!(reply.text(), "see https://new.example");
    let asked = asked.join().expect("it was asked").to_lowercase();
    assert!(!asked.contains("accept-encoding"), "{asked}");
    let (address, asked) = upstream(b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Encoding: x\r\nContent-Length: 3\r\n\r\nold");
    let skep = start(address);
    let reply = get(skep.address(), "/far").expect("an answer");
    assert_eq!((reply.text().as_str(), reply.header("content-length")), ("old", Some("3")));
    asked.join().expect("it was asked");
}

#[test]
fn what_was_replaced_is_compressed() {
    let skep = start(free_address());
    let text = std::fs::read_to_string(skep.site.config()).expect("a configuration");
    skep.site.write("config.ron", &text.replace("routes: [", "compress: (), routes: ["));
    skep.order("update");
    let output = Command::new("curl")
        .args(["--silent", "--show-error", "--max-time", "60", "--compressed", "--dump-header", "head"])
        .arg(format!("http://{}/files/page.html", skep.address()))
        .current_dir(skep.site.path())
        .output()
        .expect("curl: tests/peers/http.sh installs it");
    assert!(String::from_utf8_lossy(&output.stdout) == "<p>https://new.example and more</p>\n".repeat(10_000));
    let head = std::fs::read_to_string(skep.site.path().join("head")).expect("a head").to_lowercase();
    assert!(head.contains("content-encoding: ") && head.contains("vary: accept-encoding"), "{head}");
}
