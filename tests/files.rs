//! A directory of files behind the HTTP server, asked over real sockets.

#![allow(clippy::unwrap_used, reason = "a test says what it expects in the shortest way")]

use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::rc::Rc;
use std::thread::JoinHandle;
use std::time::{Duration, SystemTime};

use skep::apps::files::Folder;
use skep::apps::files::config::{FileCache, Files};
use skep::net::{Balance, Listener, Peer};
use skep::reactor;
use skep::request::Handler;
use skep::request::route::{Action, Host, Route};
use skep::scoreboard::Scoreboard;
use skep::servers::host::RequestIds;
use skep::servers::http::HttpServer;
use skep::servers::http::config::Http;
use skep::servers::live::Live;
use skep::units::{HumanDuration, HumanSize};

struct Always;

impl Balance for Always {
    fn is_loaded(&self) -> bool {
        false
    }
    fn has_room(&self) -> bool {
        true
    }
}

/// A server in a thread of its own, over a directory that goes with it.
struct Running {
    folder: tempfile::TempDir,
    address: SocketAddr,
    stop: Option<async_channel::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

/// A response taken apart.
#[derive(Debug)]
struct Answer {
    status: u16,
    head: String,
    body: Vec<u8>,
}

impl Answer {
    fn field(&self, name: &str) -> Option<&str> {
        self.head.lines().skip(1).find_map(|line| {
            let (found, value) = line.split_once(": ")?;
            found.eq_ignore_ascii_case(name).then_some(value)
        })
    }

    fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }
}

/// Makes `public` below a new directory, fills it, and serves it at `/` and below `/static`.
fn start(fill: impl FnOnce(&Path), change: impl FnOnce(&mut Files)) -> Running {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("public");
    fs::create_dir(&root).unwrap();
    fill(&root);
    let mut files = Files { root, ..Files::default() };
    change(&mut files);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let address = listener.local_addr().unwrap();
    let (stop, stopped) = async_channel::bounded::<()>(1);
    let thread = std::thread::spawn(move || {
        let board = Scoreboard::new(1).unwrap();
        let slot = board.slot(0);
        reactor::run(async move {
            let handler: Rc<dyn Handler> = Rc::new(Folder::open(&files).unwrap());
            let route = |path: &str| Route::new(Host::Any, path, Action::App("site".into()));
            let config = Http { routes: vec![route("/"), route("/static")], ..Http::default() };
            let live = Live::new(config.terms(&std::collections::BTreeMap::new()), &[("site".to_owned(), handler)].into(), None, slot);
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
    });
    Running { folder, address, stop: Some(stop), thread: Some(thread) }
}

impl Running {
    fn root(&self) -> std::path::PathBuf {
        self.folder.path().join("public")
    }

    fn ask(&self, method: &str, target: &str, fields: &str) -> Answer {
        let mut stream = TcpStream::connect(self.address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        write!(stream, "{method} {target} HTTP/1.1\r\nHost: files.example\r\nConnection: close\r\n{fields}\r\n").unwrap();
        let mut bytes = Vec::new();
        stream.read_to_end(&mut bytes).unwrap();
        let end = bytes.windows(4).position(|window| window == b"\r\n\r\n").unwrap();
        let head = String::from_utf8(bytes[..end].to_vec()).unwrap();
        let status = head[9..12].parse().unwrap();
        Answer { status, head, body: bytes[end + 4..].to_vec() }
    }

    fn get(&self, target: &str) -> Answer {
        self.ask("GET", target, "")
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.stop.take();
        let ended = self.thread.take().unwrap().join();
        if !std::thread::panicking() {
            ended.unwrap();
        }
    }
}

/// Sets a file's time, so that tests need not wait for clocks.
fn date(path: &Path, time: SystemTime) {
    fs::File::options().write(true).open(path).unwrap().set_modified(time).unwrap();
}

fn an_hour_ago() -> SystemTime {
    SystemTime::now() - Duration::from_hours(1)
}

/// Bytes in which every place can be told from every other.
fn pattern(length: usize) -> Vec<u8> {
    (0..length).map(|at| (at ^ (at >> 8) ^ (at >> 16)) as u8).collect()
}

#[test]
fn files_come_whole_with_their_header() {
    let server = start(
        |root| {
            fs::write(root.join("small.txt"), "hello").unwrap();
            fs::write(root.join("empty.css"), "").unwrap();
            fs::write(root.join("large.bin"), pattern(3 << 20)).unwrap();
            date(&root.join("small.txt"), SystemTime::UNIX_EPOCH + Duration::from_secs(784_111_777));
        },
        |files| files.cache_control = Some("public, max-age=60".into()),
    );
    for _ in 0..2 {
        let answer = server.get("/small.txt");
        assert_eq!((answer.status, answer.text()), (200, "hello"));
        assert_eq!(answer.field("content-type"), Some("text/plain; charset=utf-8"));
        assert_eq!(answer.field("content-length"), Some("5"));
        assert_eq!(answer.field("last-modified"), Some("Sun, 06 Nov 1994 08:49:37 GMT"));
        assert_eq!(answer.field("cache-control"), Some("public, max-age=60"));
        assert_eq!(answer.field("accept-ranges"), Some("bytes"));
        assert!(answer.field("etag").unwrap().starts_with('"'));
    }
    let answer = server.ask("HEAD", "/small.txt", "");
    assert_eq!((answer.status, answer.field("content-length"), answer.text()), (200, Some("5"), ""));
    assert_eq!(server.get("/static/small.txt?x=1").text(), "hello");
    assert_eq!(server.get("/small%2Etxt").text(), "hello");
    assert_eq!((server.get("/empty.css").status, server.get("/empty.css").text()), (200, ""));
    let large = server.get("/large.bin");
    assert_eq!(large.field("content-length"), Some("3145728"));
    assert!(large.body == pattern(3 << 20));
    let head = server.ask("HEAD", "/large.bin", "");
    assert_eq!((head.field("content-length"), head.body.len()), (Some("3145728"), 0));
}

#[test]
fn only_reading_is_allowed() {
    let server = start(|root| fs::write(root.join("a.txt"), "a").unwrap(), |_| {});
    for method in ["POST", "PUT", "DELETE", "PATCH", "BREW"] {
        let answer = server.ask(method, "/a.txt", "");
        assert_eq!((answer.status, answer.field("allow")), (405, Some("GET, HEAD, OPTIONS")), "{method}");
    }
    let answer = server.ask("OPTIONS", "/a.txt", "");
    assert_eq!((answer.status, answer.field("allow")), (204, Some("GET, HEAD, OPTIONS")));
}

#[test]
fn nothing_hidden_or_outside_is_served() {
    let server = start(
        |root| {
            fs::write(root.parent().unwrap().join("secret.txt"), "secret").unwrap();
            fs::create_dir_all(root.join(".git")).unwrap();
            fs::create_dir_all(root.join(".well-known/acme")).unwrap();
            fs::create_dir_all(root.join("dir")).unwrap();
            for path in [".git/config", ".env", ".well-known/acme/token", "dir/.hidden", "dir/file.txt", "back\\slash"] {
                fs::write(root.join(path), path).unwrap();
            }
            symlink("../secret.txt", root.join("out.txt")).unwrap();
            symlink(root.parent().unwrap().join("secret.txt"), root.join("absolute.txt")).unwrap();
            symlink("..", root.join("up")).unwrap();
            symlink("dir/file.txt", root.join("in.txt")).unwrap();
            nix::unistd::mkfifo(&root.join("pipe"), nix::sys::stat::Mode::S_IRWXU).unwrap();
        },
        |_| {},
    );
    for target in [
        "/.git/config",
        "/.env",
        "/dir/.hidden",
        "/%2egit/config",
        "/dir/%2e%2e/.env",
        "/out.txt",
        "/absolute.txt",
        "/up/secret.txt",
        "/..%2fsecret.txt",
        "/dir%2ffile.txt",
        "/dir//file.txt",
        "//dir/file.txt",
        "/back%5cslash",
        "/back\\slash",
        "/pipe",
        "/missing",
        "/dir/file.txt/",
        "/dir/file.txt/more",
        "/a%0d%0aX:%20y",
    ] {
        let answer = server.get(target);
        assert_eq!(answer.status, 404, "{target}");
        assert!(!answer.text().contains("secret"), "{target}");
    }
    for target in
        ["/../secret.txt", "/%2e%2e/secret.txt", "/dir/../../secret.txt", "/%00", "/in.txt%00", "/%zz", "/%c0%ae%c0%ae/secret.txt", "/%ff"]
    {
        assert_eq!(server.get(target).status, 400, "{target}");
    }
    assert_eq!(server.get("/.well-known/acme/token").text(), ".well-known/acme/token");
    assert_eq!(server.get("/in.txt").text(), "dir/file.txt");
    assert_eq!(server.get("/dir/../dir/file.txt").text(), "dir/file.txt");
}

#[test]
fn links_can_be_turned_off() {
    let fill = |root: &Path| {
        fs::write(root.join("a.txt"), "a").unwrap();
        symlink("a.txt", root.join("b.txt")).unwrap();
    };
    let server = start(fill, |files| files.follow_symlinks = false);
    assert_eq!((server.get("/a.txt").status, server.get("/b.txt").status), (200, 404));
}

#[test]
fn directories_have_an_index_or_a_listing() {
    let fill = |root: &Path| {
        fs::create_dir_all(root.join("with")).unwrap();
        fs::create_dir_all(root.join("without/sub")).unwrap();
        fs::write(root.join("with/second.html"), "second").unwrap();
        fs::write(root.join("without/<b> & 'c'.txt"), "x").unwrap();
        fs::write(root.join("without/.hidden"), "x").unwrap();
        symlink("../../..", root.join("without/up")).unwrap();
        symlink("sub", root.join("without/inside")).unwrap();
    };
    let index = vec!["first.html".to_owned(), "second.html".to_owned()];
    let server = start(fill, |files| files.index.clone_from(&index));
    let answer = server.get("/static/with?a=b");
    assert_eq!((answer.status, answer.field("location")), (301, Some("/static/with/?a=b")));
    assert_eq!(server.get("/with/").text(), "second");
    assert_eq!(server.get("/with/").field("content-type"), Some("text/html; charset=utf-8"));
    assert_eq!(server.get("/without/").status, 403);
    fs::write(server.root().join("with/first.html"), "first").unwrap();
    until(|| server.get("/with/").text() == "first");
    drop(server);

    let server = start(fill, |files| files.listing = true);
    let listing = server.get("/without/");
    assert_eq!((listing.status, listing.field("content-type")), (200, Some("text/html; charset=utf-8")));
    let html = listing.text();
    assert!(html.contains("<a href=\"%3Cb%3E%20%26%20%27c%27.txt\">&lt;b&gt; &amp; &#39;c&#39;.txt</a>"), "{html}");
    assert!(html.contains("href=\"sub/\"") && html.contains("href=\"inside/\"") && html.contains("href=\"../\""), "{html}");
    assert!(!html.contains(".hidden") && !html.contains("up"), "{html}");
    assert_eq!(server.ask("HEAD", "/without/", "").status, 200);
    assert_eq!(server.get("/without/%3Cb%3E%20%26%20%27c%27.txt").text(), "x");
}

/// Waits for a condition that depends on the server's clock.
fn until(condition: impl Fn() -> bool) {
    let start = std::time::Instant::now();
    while !condition() {
        assert!(start.elapsed() < Duration::from_secs(10), "it does not come");
        std::thread::yield_now();
    }
}

#[test]
fn changes_are_seen() {
    let server = start(
        |root| {
            fs::write(root.join("a.txt"), "one").unwrap();
            date(&root.join("a.txt"), an_hour_ago());
        },
        |files| files.cache = FileCache { check: HumanDuration::milliseconds(20), ..FileCache::default() },
    );
    assert_eq!(server.get("/a.txt").text(), "one");
    let before = server.get("/a.txt").field("etag").unwrap().to_owned();
    fs::write(server.root().join("a.txt"), "two").unwrap();
    until(|| server.get("/a.txt").text() == "two");
    let answer = server.ask("GET", "/a.txt", &format!("If-None-Match: {before}\r\n"));
    assert_eq!((answer.status, answer.text()), (200, "two"));
    // The same size, and a time that hides the change: the kernel's change time still shows it.
    let time = fs::metadata(server.root().join("a.txt")).unwrap().modified().unwrap();
    fs::write(server.root().join("a.txt"), "six").unwrap();
    date(&server.root().join("a.txt"), time);
    until(|| server.get("/a.txt").text() == "six");
    fs::write(server.root().join("new"), "new").unwrap();
    fs::rename(server.root().join("new"), server.root().join("a.txt")).unwrap();
    until(|| server.get("/a.txt").text() == "new");
    fs::remove_file(server.root().join("a.txt")).unwrap();
    until(|| server.get("/a.txt").status == 404);
    fs::write(server.root().join("a.txt"), "again").unwrap();
    assert_eq!(server.get("/a.txt").text(), "again");
}

#[test]
fn conditions_are_answered_from_memory_and_from_disk() {
    let server = start(
        |root| {
            fs::write(root.join("small.txt"), "hello").unwrap();
            fs::write(root.join("large.bin"), pattern(1 << 20)).unwrap();
            date(&root.join("small.txt"), an_hour_ago());
            date(&root.join("large.bin"), an_hour_ago());
        },
        |files| files.cache_control = Some("no-cache".into()),
    );
    for path in ["/small.txt", "/large.bin"] {
        let plain = server.get(path);
        let (etag, modified) = (plain.field("etag").unwrap(), plain.field("last-modified").unwrap());
        for (fields, status) in [
            (format!("If-None-Match: {etag}\r\n"), 304),
            (format!("If-None-Match: W/{etag}\r\n"), 304),
            (format!("If-None-Match: \"x\", {etag}\r\n"), 304),
            ("If-None-Match: \"x\"\r\n".to_owned(), 200),
            (format!("If-Modified-Since: {modified}\r\n"), 304),
            ("If-Modified-Since: Sun, 06 Nov 1994 08:49:37 GMT\r\n".to_owned(), 200),
            (format!("If-Match: {etag}\r\n"), 200),
            ("If-Match: \"x\"\r\n".to_owned(), 412),
            ("If-Unmodified-Since: Sun, 06 Nov 1994 08:49:37 GMT\r\n".to_owned(), 412),
        ] {
            for method in ["GET", "HEAD"] {
                let answer = server.ask(method, path, &fields);
                assert_eq!(answer.status, status, "{method} {path} {fields}");
                if status == 304 {
                    assert!(answer.body.is_empty());
                    assert_eq!((answer.field("etag"), answer.field("cache-control")), (Some(etag), Some("no-cache")));
                    assert_eq!(answer.field("content-type"), None);
                }
            }
        }
    }
}

#[test]
fn ranges_are_answered_from_memory_and_from_disk() {
    for size in [1000, 200_000] {
        let bytes = pattern(size);
        let server = start(
            |root| {
                fs::write(root.join("a.bin"), &bytes).unwrap();
                date(&root.join("a.bin"), an_hour_ago());
            },
            |_| {},
        );
        let etag = server.get("/a.bin").field("etag").unwrap().to_owned();
        for (range, expected) in [("0-0", 0..1), ("10-19", 10..20), ("-5", size - 5..size), ("990-", 990..size), ("0-", 0..size)] {
            let answer = server.ask("GET", "/a.bin", &format!("Range: bytes={range}\r\n"));
            assert_eq!(answer.status, 206, "{range}");
            assert_eq!(answer.field("content-range"), Some(format!("bytes {}-{}/{size}", expected.start, expected.end - 1).as_str()));
            assert_eq!(answer.field("content-type"), Some("application/octet-stream"));
            assert!(answer.body == bytes[expected], "{range}");
        }
        let answer = server.ask("GET", "/a.bin", &format!("Range: bytes={size}-\r\n"));
        assert_eq!((answer.status, answer.field("content-range")), (416, Some(format!("bytes */{size}").as_str())));
        for (fields, status) in [
            ("Range: lines=1-2\r\n".to_owned(), 200),
            ("Range: bytes=5-1\r\n".to_owned(), 200),
            (format!("Range: bytes=0-1\r\nIf-Range: {etag}\r\n"), 206),
            ("Range: bytes=0-1\r\nIf-Range: \"x\"\r\n".to_owned(), 200),
            (format!("Range: bytes=0-1\r\nIf-None-Match: {etag}\r\n"), 304),
        ] {
            assert_eq!(server.ask("GET", "/a.bin", &fields).status, status, "{fields}");
        }
        let head = server.ask("HEAD", "/a.bin", "Range: bytes=0-1\r\n");
        assert_eq!((head.status, head.field("content-length")), (200, Some(size.to_string().as_str())));

        let answer = server.ask("GET", "/a.bin", "Range: bytes=1-2, 500-502, -1\r\n");
        assert_eq!(answer.status, 206);
        let boundary = answer.field("content-type").unwrap().strip_prefix("multipart/byteranges; boundary=").unwrap();
        let mut expected = Vec::new();
        for range in [1..3, 500..503, size - 1..size] {
            let (first, last) = (range.start, range.end - 1);
            let head =
                format!("\r\n--{boundary}\r\nContent-Type: application/octet-stream\r\nContent-Range: bytes {first}-{last}/{size}\r\n\r\n");
            expected.extend_from_slice(head.as_bytes());
            expected.extend_from_slice(&bytes[range]);
        }
        expected.extend_from_slice(format!("\r\n--{boundary}--\r\n").as_bytes());
        assert!(answer.body == expected);
    }
}

#[test]
fn without_a_cache_everything_comes_from_disk() {
    let server = start(
        |root| fs::write(root.join("a.txt"), "hello").unwrap(),
        |files| files.cache = FileCache { size: HumanSize::bytes(0), ..FileCache::default() },
    );
    for _ in 0..3 {
        assert_eq!(server.get("/a.txt").text(), "hello");
    }
    fs::write(server.root().join("a.txt"), "changed").unwrap();
    assert_eq!(server.get("/a.txt").text(), "changed");
}

#[test]
fn a_directory_that_is_not_there_is_a_start_error() {
    let missing = Files { root: "/nowhere/at/all".into(), ..Files::default() };
    assert!(Folder::open(&missing).unwrap_err().0.contains("/nowhere/at/all"));
    let bad = Files { root: "/".into(), cache_control: Some("a\nb".into()), ..Files::default() };
    assert!(Folder::open(&bad).unwrap_err().0.contains("cache_control"));
}
