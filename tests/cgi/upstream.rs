//! Programs behind a FastCGI server: PHP-FPM, and servers of a few lines that do what PHP-FPM does not.

use std::fs;
use std::io::{self, Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::thread;

use skep::codec::fastcgi::{EndRequest, Kind, ProtocolStatus, decode, pairs, write_end, write_record};

use crate::fpm::Fpm;
use crate::front;
use crate::support::client::{Client, Reply, get};
use crate::support::server::{Site, Skep};
use crate::support::wait;

/// What goes through a server of a few lines.
const SIZE: usize = 200 << 20;

/// An instance before servers; each is `{folder}/{name}.sock`.
fn start(site: Site) -> Skep {
    let address = site.address;
    let folder = site.path().display().to_string();
    let apps: String = [
        ("fpm", "chunked: Collect"),
        ("echo", "chunked: Stream, max_idle: 8, split: [\".cgi\"]"),
        ("down", ""),
        ("mute", "timeouts: (head: \"300ms\"), split: [\".cgi\", \".php\"]"),
        ("narrow", "max_connections: 1, queue: 0, split: [\".cgi\"]"),
        ("once", "max_idle: 8, split: [\".cgi\"]"),
        ("garbage", "split: [\".cgi\"]"),
    ]
    .iter()
    .map(|(name, options)| {
        format!("\"{name}\": FastCgiUpstream(address: \"unix:{name}.sock\", root: \"{folder}/www\", parameters: {{\"OWN\": \"value\"}}, {options}),\n")
    })
    .collect();
    let routes: String = ["fpm", "echo", "down", "mute", "narrow", "once", "garbage"]
        .iter()
        .map(|name| format!("(path: \"/{name}\", app: \"{name}\"), "))
        .collect();
    let routes = format!("[{routes} (path: \"/\", reply: (status: 200, body: \"up\"))]");
    site.write(
        "config.ron",
        &format!(
            "Config(data: \"data\", run: \"run\", auto_reload: false, log: (level: Info), workers: (start: 1, min: 1, max: 1, max_spare: 1),\n\
             admin: (listen: []), apps: {{ {apps} }}, servers: {{ \"web\": Http(listen: [\"{address}\"], max_body: \"1 GiB\", routes: {routes}),\n\
             \"fcgi\": FastCgi(listen: [\"unix:run/fcgi.sock\"], routes: {routes}) }})"
        ),
    );
    site.start()
}

fn logged(skep: &Skep, parts: &[&str]) {
    wait::until(format!("a line of the log with {parts:?}"), || {
        skep.output().lines().any(|line| parts.iter().all(|part| line.contains(part)))
    });
}

/// Runs `serve` for every connection to a socket, in a thread each; counts them. The threads end with the test program.
fn serve(folder: &Path, name: &str, serve: impl Fn(UnixStream) -> io::Result<()> + Send + Sync + 'static) -> Arc<AtomicUsize> {
    let listener = UnixListener::bind(folder.join(format!("{name}.sock"))).expect("a socket");
    let (count, serve) = (Arc::new(AtomicUsize::new(0)), Arc::new(serve));
    let counted = count.clone();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(stream) = stream else { return };
            counted.fetch_add(1, Relaxed);
            let serve = serve.clone();
            thread::spawn(move || {
                // What a front does to a connection is its own affair.
                let _ = serve(stream);
            });
        }
    });
    count
}

/// Reads a request to its end: an empty piece of its body.
fn whole(stream: &mut UnixStream) -> io::Result<()> {
    let (mut input, mut buffer, mut at) = (Vec::new(), vec![0; 1 << 16], 0);
    loop {
        while let Ok(Some(record)) = decode(&input[at..]) {
            at += record.consumed;
            if record.kind == Kind::Stdin && record.content.is_empty() {
                return Ok(());
            }
        }
        match stream.read(&mut buffer)? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            count => input.extend_from_slice(&buffer[..count]),
        }
    }
}

/// Answers requests one after the other: the body comes back as it arrives, behind the address that was asked for.
fn echo(mut stream: UnixStream) -> io::Result<()> {
    let (mut input, mut buffer, mut out) = (Vec::new(), vec![0; 1 << 16], Vec::new());
    loop {
        let mut at = 0;
        while let Ok(Some(record)) = decode(&input[at..]) {
            at += record.consumed;
            match record.kind {
                Kind::Params if !record.content.is_empty() => {
                    let asked = pairs(record.content).filter_map(Result::ok).find(|(name, _)| *name == b"REQUEST_URI");
                    let head = format!("X-Asked: {}\r\n\r\n", String::from_utf8_lossy(asked.map_or(b"", |(_, value)| value)));
                    write_record(Kind::Stdout, 1, head.as_bytes(), &mut out);
                }
                Kind::Stdin if record.content.is_empty() => {
                    write_end(Kind::Stdout, 1, &mut out);
                    EndRequest { app_status: 0, protocol: ProtocolStatus::Complete }.write(1, &mut out);
                }
                Kind::Stdin => write_record(Kind::Stdout, 1, record.content, &mut out),
                _ => {}
            }
        }
        input.drain(..at);
        stream.write_all(&out)?;
        out.clear();
        let count = stream.read(&mut buffer)?;
        if count == 0 {
            return Ok(());
        }
        input.extend_from_slice(&buffer[..count]);
    }
}

fn ask(skep: &Skep, head: &str, body: &[u8]) -> Reply {
    let mut client = Client::connect(skep.address()).expect("a connection");
    client.send(head.as_bytes()).and_then(|()| client.send(body)).expect("sent");
    client.read_reply().expect("a reply")
}

#[test]
fn php_fpm_answers_behind_both_servers() {
    let site = Site::new();
    site.write(
        "www/form.php",
        "<?php header('X-Kind: fpm'); error_log('words for the log');
        foreach ($_POST as $name => $value) echo \"$name=$value\\n\";
        foreach ($_FILES as $name => $file) echo \"$name \", $file['name'], ' ', $file['size'], \"\\n\";
        echo $_SERVER['PATH_INFO'] ?? '-', ' ', $_SERVER['SCRIPT_NAME'], ' ', $_SERVER['OWN'], ' ', $_SERVER['HTTP_PROXY'] ?? '-', \"\\n\";",
    );
    site.write("www/index.php", "<?php header('Location: /fpm/form.php/local'); header_remove('Content-Type'); http_response_code(200);");
    site.write("www/big.php", "<?php for ($i = 0; $i < 2000; $i++) echo str_repeat('x', 10000);");
    let _fpm = Fpm::start(site.path(), &format!("{}/fpm.sock", site.path().display()), 2);
    let skep = start(site);
    let mut body =
        b"--b\r\nContent-Disposition: form-data; name=\"text\"\r\n\r\nwords\r\n--b\r\nContent-Disposition: form-data; name=\"upload\"; \
                     filename=\"a b.bin\"\r\n\r\n"
            .to_vec();
    body.extend_from_slice(&vec![b'z'; 300_000]);
    body.extend_from_slice(b"\r\n--b--\r\n");
    let length = body.len();
    let head = format!(
        "POST /fpm/form.php/in%20fo HTTP/1.1\r\nHost: a\r\nProxy: evil\r\nContent-Type: multipart/form-data; boundary=b\r\nContent-Length: {length}\r\n\r\n"
    );
    let reply = ask(&skep, &head, &body);
    assert_eq!((reply.status, reply.header("x-kind")), (200, Some("fpm")));
    assert_eq!(reply.text(), "text=words\nupload a b.bin 300000\n/in fo /fpm/form.php value -\n");
    logged(&skep, &["form.php: ", "words for the log"]);
    let chunked = "POST /fpm/form.php HTTP/1.1\r\nHost: a\r\nContent-Type: application/x-www-form-urlencoded\r\nTransfer-Encoding: chunked\r\n\r\n\
                   3\r\na=1\r\n4\r\n&b=2\r\n0\r\n\r\n";
    assert_eq!(ask(&skep, chunked, b"").text(), "a=1\nb=2\n- /fpm/form.php value -\n");
    assert_eq!(get(skep.address(), "/fpm/big.php").expect("a reply").body.len(), 20_000_000);
    assert_eq!(get(skep.address(), "/fpm/missing.php").expect("a reply").status, 404);
    assert_eq!(get(skep.address(), "/fpm/form").expect("a reply").status, 404);
    let socket = skep.site.path().join("run/fcgi.sock");
    let answer = front::ask(&socket, "/fpm/form.php/x", &[("CONTENT_TYPE", "application/x-www-form-urlencoded")], b"a=1");
    assert!(answer.ended && answer.output.ends_with("a=1\n/x /fpm/form.php value -\n"), "{}", answer.output);
    for _ in 0..30 {
        assert_eq!(get(skep.address(), "/fpm/form.php").expect("a reply").status, 200);
    }
}

#[test]
fn large_bodies_go_both_ways_in_flat_memory() {
    let site = Site::new();
    serve(site.path(), "echo", echo);
    let skep = start(site);
    let client = Client::connect(skep.address()).expect("a connection");
    let mut stream = client.stream();
    let head = format!("POST /echo/a.cgi HTTP/1.1\r\nHost: a\r\nContent-Length: {SIZE}\r\nConnection: close\r\n\r\n");
    stream.write_all(head.as_bytes()).expect("sent");
    let mut writing = stream.try_clone().expect("a socket");
    let writer = thread::spawn(move || {
        let piece = vec![7; 1 << 20];
        for _ in 0..SIZE / piece.len() {
            writing.write_all(&piece).expect("sent");
        }
    });
    let (mut received, mut buffer) = (0u64, vec![0; 1 << 16]);
    loop {
        match stream.read(&mut buffer).expect("an answer") {
            0 => break,
            count => received += count as u64,
        }
    }
    writer.join().expect("all was sent");
    assert!(received > SIZE as u64, "{received}");
    let status = fs::read_to_string(format!("/proc/{}/status", skep.settled(1).workers[0].pid)).expect("a process");
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("a figure");
    let kilobytes: u64 = peak.trim().trim_end_matches(" kB").parse().expect("a number");
    println!("the worker's most memory: {kilobytes} kB");
    assert!(kilobytes < 96 << 10, "{peak}");
}

#[test]
fn connections_are_kept_and_stale_ones_cost_nothing() {
    let site = Site::new();
    let kept = serve(site.path(), "echo", echo);
    // One request a connection, whatever was asked for.
    let once = serve(site.path(), "once", |mut stream| {
        whole(&mut stream)?;
        let mut out = Vec::new();
        write_record(Kind::Stdout, 1, b"A: b\n\nonce", &mut out);
        EndRequest { app_status: 0, protocol: ProtocolStatus::Complete }.write(1, &mut out);
        stream.write_all(&out)
    });
    let skep = start(site);
    for number in 0..10 {
        let reply = get(skep.address(), &format!("/echo/a.cgi?{number}")).expect("a reply");
        assert_eq!((reply.status, reply.header("x-asked")), (200, Some(format!("/echo/a.cgi?{number}").as_str())));
        let reply = get(skep.address(), "/once/a.cgi").expect("a reply");
        assert_eq!((reply.status, reply.text().as_str()), (200, "once"));
    }
    assert_eq!((kept.load(Relaxed), once.load(Relaxed)), (1, 10));
    wait::until("the last request to be over", || skep.status().upstreams.iter().all(|one| one.active == 0));
    let all = skep.status().upstreams;
    let of = |app: &str| all.iter().find(|one| one.app == app).unwrap_or_else(|| panic!("{app}: {all:?}"));
    let (echo, down) = (of("echo"), of("down"));
    assert!(
        echo.upstream.starts_with("unix:/") && (echo.requests, echo.failures, echo.active, echo.idle, echo.well) == (10, 0, 0, 1, 1),
        "{echo:?}"
    );
    assert_eq!((down.requests, down.failures), (0, 0));
    assert_eq!(get(skep.address(), "/down/a.php").expect("a reply").status, 502);
    let down = skep.status().upstreams.into_iter().find(|one| one.app == "down").expect("a server");
    assert_eq!((down.requests, down.failures, down.active), (1, 1, 0));
}

#[test]
fn a_kept_connection_that_is_closed_instead_of_an_answer_is_replaced() {
    let site = Site::new();
    let asked = serve(site.path(), "once", |mut stream| {
        whole(&mut stream)?;
        let mut out = Vec::new();
        write_record(Kind::Stdout, 1, b"A: b\n\nonce", &mut out);
        EndRequest { app_status: 0, protocol: ProtocolStatus::Complete }.write(1, &mut out);
        stream.write_all(&out)?;
        whole(&mut stream)
    });
    let skep = start(site);
    for _ in 0..10 {
        assert_eq!(get(skep.address(), "/once/a.cgi").expect("a reply").text(), "once");
    }
    assert_eq!(asked.load(Relaxed), 10);
    // What may not be repeated is not: nobody knows what was done of it.
    let post = |length: usize| format!("POST /once/a.cgi HTTP/1.1\r\nHost: a\r\nContent-Length: {length}\r\n\r\n");
    assert_eq!(ask(&skep, &post(0), b"").status, 502);
    assert_eq!(ask(&skep, &post(3), b"abc").status, 200);
    assert_eq!(ask(&skep, &post(3), b"abc").status, 502);
}

#[test]
fn servers_that_are_down_slow_full_or_wrong_are_told_apart() {
    let site = Site::new();
    let mute = |mut stream: UnixStream| io::copy(&mut stream, &mut io::sink()).map(|_| ());
    serve(site.path(), "mute", mute);
    let narrow = serve(site.path(), "narrow", mute);
    // What is closed with something unread in it is reset, and may take its own answer with it.
    let answer = |out: Vec<u8>| {
        move |mut stream: UnixStream| {
            whole(&mut stream)?;
            stream.write_all(&out)
        }
    };
    serve(site.path(), "garbage", answer(b"HTTP/1.1 400 Bad Request\r\n\r\n".to_vec()));
    let mut out = Vec::new();
    EndRequest { app_status: 0, protocol: ProtocolStatus::Overloaded }.write(1, &mut out);
    serve(site.path(), "once", answer(out));
    let mut out = Vec::new();
    write_record(Kind::Stdout, 1, b"A: b\n\nhalf", &mut out);
    serve(site.path(), "echo", answer(out));
    let skep = start(site);
    let status = |path: &str| get(skep.address(), path).expect("a reply").status;
    assert_eq!(status("/down/a.php"), 502);
    logged(&skep, &["a.php", "down.sock cannot be reached"]);
    assert_eq!(status("/mute/a.cgi"), 504);
    assert_eq!(status("/garbage/a.cgi"), 502);
    logged(&skep, &["a.cgi", "this is no FastCGI 1"]);
    assert_eq!(status("/once/a.cgi"), 503);
    let broken = get(skep.address(), "/echo/a.cgi").expect_err("an answer that breaks off");
    assert_eq!(broken.kind(), io::ErrorKind::UnexpectedEof);
    logged(&skep, &["a.cgi", "it closed the connection before its answer was whole"]);
    let mut client = Client::connect(skep.address()).expect("a connection");
    client.send(b"GET /narrow/a.cgi HTTP/1.1\r\nHost: a\r\n\r\n").expect("sent");
    wait::until("the only place to be taken", || narrow.load(Relaxed) == 1);
    let reply = get(skep.address(), "/narrow/a.cgi").expect("a reply");
    assert_eq!((reply.status, reply.header("retry-after")), (503, Some("10")));
}

#[test]
fn a_client_that_leaves_closes_the_connection() {
    let site = Site::new();
    let gone = Arc::new(AtomicUsize::new(0));
    let ended = gone.clone();
    let asked = serve(site.path(), "narrow", move |mut stream| {
        let copied = io::copy(&mut stream, &mut io::sink()).map(|_| ());
        ended.fetch_add(1, Relaxed);
        copied
    });
    let skep = start(site);
    for number in 1..4 {
        let mut client = Client::connect(skep.address()).expect("a connection");
        client.send(b"GET /narrow/a.cgi HTTP/1.1\r\nHost: a\r\n\r\n").expect("sent");
        wait::until("the request to be there", || asked.load(Relaxed) == number);
        drop(client);
        wait::until("the connection to be gone", || gone.load(Relaxed) == number);
    }
}
