//! What a server is sent, and what the client is answered.

use std::io::Read;

use crate::support::client::{Client, get};
use crate::support::wait;
use crate::upstream::{Scripted, configured, proxy, proxy_behind, proxy_of};

const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

/// Sends a head and gives back what the server got of it, without the first line's end, in lines.
fn passed(skep: &crate::support::server::Skep, server: &Scripted, head: &str) -> Vec<String> {
    let mut client = Client::connect(skep.address()).unwrap();
    client.send(head.as_bytes()).unwrap();
    assert_eq!(client.read_reply().unwrap().status, 200);
    server.heads().pop().unwrap().lines().map(str::to_owned).filter(|line| !line.is_empty()).collect()
}

#[test]
fn a_head_is_written_anew_with_who_the_client_is() {
    let server = Scripted::answering(OK);
    let skep = proxy(&[server.address], "");
    let lines = passed(
        &skep,
        &server,
        "GET /a%20b/../c?d=%ff HTTP/1.1\r\nHost: Some.example:81\r\nConnection: keep-alive, X-Secret\r\nX-Secret: 1\r\nKeep-Alive: 5\r\nTE: trailers\r\n\
         Upgrade: h2c\r\nHTTP2-Settings: x\r\nProxy-Authorization: y\r\nX-Forwarded-For: 6.6.6.6\r\nX_Forwarded_For: 6.6.6.7\r\nForwarded: for=6.6.6.6\r\n\
         X-Real-IP: 6.6.6.6\r\nX-Forwarded-Proto: https\r\nX-Kept: yes\r\nCookie: a=b\r\n\r\n",
    );
    assert_eq!(
        lines,
        [
            "GET /c?d=%ff HTTP/1.1",
            "host: Some.example:81",
            "x-kept: yes",
            "cookie: a=b",
            "x-forwarded-for: 127.0.0.1",
            "x-forwarded-proto: http",
            "x-forwarded-host: Some.example:81",
            "forwarded: for=127.0.0.1;host=\"Some.example:81\";proto=http",
        ]
    );
}

#[test]
fn a_trusted_proxy_is_believed() {
    let server = Scripted::answering(OK);
    let skep = proxy_behind("trusted: (proxies: [\"127.0.0.0/8\"], host: true),", &[server.address], "");
    let lines = passed(
        &skep,
        &server,
        "GET / HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: 6.6.6.6\r\nX-Forwarded-For: 7.7.7.7\r\nForwarded: for=6.6.6.6\r\nX-Forwarded-Proto: https\r\n\
         X-Forwarded-Host: b\r\nX-Real-IP: 6.6.6.6\r\nX_Real_IP: 8.8.8.8\r\n\r\n",
    );
    assert_eq!(
        lines[2..],
        [
            "x-real-ip: 6.6.6.6",
            "x-forwarded-for: 6.6.6.6, 7.7.7.7, 127.0.0.1",
            "x-forwarded-proto: https",
            "x-forwarded-host: b",
            "forwarded: for=6.6.6.6, for=127.0.0.1;host=b;proto=https",
        ]
    );
}

#[test]
fn paths_hosts_and_locations_are_made_to_fit() {
    let server = Scripted::start(|mut exchange| {
        let address = exchange.stream.local_addr().unwrap();
        while let Some(head) = exchange.head() {
            let location = match head.split(' ').nth(1).unwrap() {
                "/inner/absolute" => format!("http://{address}/inner/x"),
                "/inner/path" => "/inner/y?z".to_owned(),
                _ => "https://elsewhere.example/".to_owned(),
            };
            exchange.say(&format!("HTTP/1.1 302 Found\r\nLocation: {location}\r\nContent-Length: 0\r\n\r\n")).unwrap();
        }
    });
    let skep = proxy_of(
        &format!("\"http://{}/inner/\"", server.address),
        "strip: true, host: Upstream, redirects: true",
        "(path: \"/api\", app: \"proxy\"), (path: \"/\", reply: (body: \"root\"))",
    );
    for (path, location) in [
        ("/api/absolute", "/api/x"),
        ("/api/path", "/api/y?z"),
        ("/api/other", "https://elsewhere.example/"),
        ("/api", "https://elsewhere.example/"),
    ] {
        let reply = get(skep.address(), path).unwrap();
        assert_eq!((reply.status, reply.header("location")), (302, Some(location)), "{path}");
    }
    let heads = server.heads();
    let firsts: Vec<&str> = heads.iter().map(|head| head.lines().next().unwrap()).collect();
    assert_eq!(firsts, ["GET /inner/absolute HTTP/1.1", "GET /inner/path HTTP/1.1", "GET /inner/other HTTP/1.1", "GET /inner/ HTTP/1.1"]);
    assert!(
        heads[0].contains(&format!("host: {}\r\n", server.address)) && heads[0].contains("x-forwarded-prefix: /api\r\n"),
        "{}",
        heads[0]
    );
}

#[test]
fn an_answer_loses_what_belongs_to_its_connection() {
    let server = Scripted::answering(
        "HTTP/1.1 102 Processing\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 201 Created\r\nConnection: X-Secret\r\nX-Secret: 1\r\nKeep-Alive: 5\r\n\
         Trailer: X-T\r\nServer: other\r\nDate: yesterday\r\nSet-Cookie: a\r\nSet-Cookie: b\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\nX-T: 1\r\n\r\n",
    );
    let skep = proxy(&[server.address], "");
    let mut client = Client::connect(skep.address()).unwrap();
    for _ in 0..3 {
        let reply = client.get("/").unwrap();
        let names: Vec<&str> = reply.headers.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!((reply.status, reply.text().as_str()), (201, "ok"));
        assert_eq!(names, ["set-cookie", "set-cookie", "transfer-encoding", "server", "date"]);
        assert_eq!(reply.header("server"), Some("skep"));
    }
    assert_eq!(server.connections(), 1 + usize::from(server.connections() > 1), "connections are kept");
}

#[test]
fn answers_without_a_body_keep_both_connections() {
    let server = Scripted::start(|mut exchange| {
        while let Some(head) = exchange.head() {
            let answer = match head.split(' ').nth(1).unwrap() {
                "/head" => "HTTP/1.1 200 OK\r\nContent-Length: 12345\r\n\r\n",
                "/none" => "HTTP/1.1 204 No Content\r\n\r\n",
                "/old" => "HTTP/1.1 304 Not Modified\r\nETag: \"x\"\r\nContent-Length: 99\r\n\r\n",
                _ => "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
            };
            exchange.say(answer).unwrap();
        }
    });
    let skep = proxy(&[server.address], "");
    let before = server.connections();
    let mut client = Client::connect(skep.address()).unwrap();
    for _ in 0..2 {
        client.send(b"HEAD /head HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            client.stream().read_exact(&mut byte).unwrap();
            head.push(byte[0]);
        }
        assert!(String::from_utf8(head).unwrap().contains("Content-Length: 12345\r\n"));
        assert_eq!(client.get("/none").unwrap().status, 204);
        let old = client.get("/old").unwrap();
        assert_eq!((old.status, old.header("etag"), old.header("content-length")), (304, Some("\"x\""), None));
        assert_eq!(client.get("/empty").unwrap().body, b"");
    }
    assert!(server.connections() <= before.max(1), "one connection served all of them");
}

#[test]
fn a_unix_socket_and_the_proxy_protocol_are_spoken() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("app.sock");
    let listener = std::os::unix::net::UnixListener::bind(&path).unwrap();
    let (tell, told) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            use std::io::{BufRead, BufReader, Write};
            let mut stream = BufReader::new(stream.unwrap());
            let mut lines = Vec::new();
            loop {
                let mut line = String::new();
                if stream.read_line(&mut line).unwrap() == 0 || line == "\r\n" {
                    break;
                }
                lines.push(line.trim_end().to_owned());
            }
            stream.get_mut().write_all(OK.as_bytes()).unwrap();
            if tell.send(lines).is_err() {
                return;
            }
        }
    });
    let skep = proxy_of(&format!("\"unix:{}\"", path.display()), "proxy_protocol: V1", "(path: \"/\", app: \"proxy\")");
    let mut client = Client::connect(skep.address()).unwrap();
    let port = client.stream().local_addr().unwrap().port();
    for _ in 0..2 {
        assert_eq!(client.get("/").unwrap().text(), "ok");
    }
    let expected = format!("PROXY TCP4 127.0.0.1 127.0.0.1 {port} {}", skep.address().port());
    let mut seen = 0;
    wait::until("both requests", || {
        let Ok(lines) = told.try_recv() else { return false };
        if lines[0] == expected {
            assert_eq!(lines[1..3], ["GET / HTTP/1.1", "host: test"]);
            assert!(lines.contains(&"connection: close".to_owned()));
            seen += 1;
        }
        seen == 2
    });
}

#[test]
fn a_body_that_is_not_there_is_not_announced() {
    let server = Scripted::answering(OK);
    let skep = proxy(&[server.address], "");
    // Only its end tells that there is none, and that may come later: so it is with FastCGI, where most requests have no CONTENT_LENGTH.
    let mut client = Client::connect(skep.address()).unwrap();
    client.send(b"GET /none HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n").unwrap();
    client.send(b"0\r\n\r\n").unwrap();
    assert_eq!(client.read_reply().unwrap().status, 200);
    let head = server.heads().pop().unwrap();
    assert!(head.starts_with("GET /none ") && !head.contains("transfer-encoding") && !head.contains("content-length"), "{head}");
}

#[test]
fn a_server_has_files_sent_from_named_directories_only() {
    let server = Scripted::start(|mut exchange| {
        while let Some(head) = exchange.head() {
            let path = head.split(' ').nth(1).unwrap().trim_start_matches("/files").to_owned();
            let answer = format!(
                "HTTP/1.1 200 OK\r\nX-Sendfile: {path}\r\nX-Own: 1\r\nContent-Type: text/x-own\r\nConnection: x-hop\r\nX-Hop: 1\r\nContent-Length: 7\r\n\r\nignored"
            );
            if exchange.say(&answer).is_err() {
                return;
            }
        }
    });
    let to = format!("\"http://{}\"", server.address);
    let route = "(path: \"/\", app: \"proxy\")";
    let site = configured(&to, "sendfile_roots: [\"sent\"],", route);
    site.write("sent/file.txt", "0123456789");
    site.write("outside.txt", "secret");
    let (inside, outside) = (site.path().join("sent/file.txt"), site.path().join("outside.txt"));
    let skep = site.start();
    let path = format!("/files{}", inside.display());
    let reply = get(skep.address(), &path).unwrap();
    assert_eq!((reply.status, reply.text().as_str(), reply.header("x-own")), (200, "0123456789", Some("1")));
    assert_eq!((reply.header("content-type"), reply.header("x-sendfile"), reply.header("x-hop")), (Some("text/x-own"), None, None));
    let mut client = Client::connect(skep.address()).unwrap();
    client.send(format!("GET {path} HTTP/1.1\r\nHost: a\r\nRange: bytes=3-5\r\n\r\n").as_bytes()).unwrap();
    let part = client.read_reply().unwrap();
    assert_eq!((part.status, part.text().as_str()), (206, "345"));
    for path in [outside.display().to_string(), "/etc/passwd".to_owned(), inside.with_file_name("none").display().to_string()] {
        assert_eq!(get(skep.address(), &format!("/files{path}")).unwrap().status, 404, "{path}");
    }
    wait::until("the log to say why", || skep.output().contains("lies in none of `sendfile_roots`"));
    // The connection is kept: what stood in the place of the file was small.
    assert_eq!(server.connections(), 1);
    // Without such directories it is a field like others.
    let plain = proxy(&[server.address], "");
    let reply = get(plain.address(), "/files/etc/passwd").unwrap();
    assert_eq!((reply.text().as_str(), reply.header("x-sendfile")), ("ignored", Some("/etc/passwd")));
}
