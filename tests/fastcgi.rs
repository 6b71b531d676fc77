//! FastCGI behind a real nginx: over TCP and a unix socket, with kept connections and without.

#[path = "support/mod.rs"]
mod support;

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use nix::sys::signal::Signal;
use serde_json::Value;
use skep::scoreboard::StoredStatus;
use support::client::{Client, Reply, get};
use support::server::{Site, Skep, free_address, send};
use support::steady::Steady;
use support::wait;

const APP: &str = r#"
local skep = require("@skep")
local app = { stream = true }

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
    elseif req.path == "/asked" then
        return skep.json_reply {
            method = req.method, query = req.get, host = req.headers.host, remote = req.remote.address, long = #(req.headers["x-long"] or ""),
            root = req.server.parameters.DOCUMENT_ROOT,
        }
    elseif req.path == "/fail" then
        error("on purpose")
    elseif req.path == "/big" then
        return string.rep("x", 3000000)
    elseif req.path == "/bigger" then
        return string.rep("x", 5000000)
    elseif req.path == "/named" then
        return { headers = { ["X-Sendfile"] = req.get.name } }
    elseif req.path == "/wait" then
        skep.sleep(3600)
    end
    return { status = 201, body = "here", headers = { ["x-kind"] = "fastcgi" } }
end

return app
"#;

/// nginx in front of a skep; both end with it.
struct Front {
    skep: Skep,
    nginx: Child,
    /// Keeps its connections to a unix socket, and passes bodies on as they come.
    kept: SocketAddr,
    /// Opens a connection over TCP for each request, and collects bodies first.
    fresh: SocketAddr,
    /// Passes no body on, only the names of files that have them, and sends the files that answers name.
    files: SocketAddr,
}

impl Front {
    fn start() -> Self {
        let site = Site::new();
        let (kept, fresh, files, tcp) = (free_address(), free_address(), free_address(), free_address());
        site.write("apps/site/main.luau", APP);
        site.write("public/file.txt", &"0123456789".repeat(100_000));
        fs::create_dir(site.path().join("body")).expect("a folder");
        let web = site.address;
        site.write(
            "config.ron",
            &format!(
                "Config(data: \"data\", run: \"run\", pid_file: \"run/skep.pid\", auto_reload: false, log: (level: Warn),\n\
                 workers: (start: 2, min: 2, max: 2, min_spare: 0, max_spare: 2), admin: (listen: []),\n\
                 apps: {{\"site\": Script(path: \"apps/site\", sendfile_roots: [\"public\"]), \"files\": Files(root: \"public\")}},\n\
                 servers: {{\"web\": Http(listen: [\"{web}\"], routes: [(path: \"/\", app: \"site\")]),\n\
                 \"fcgi\": FastCgi(listen: [\"{tcp}\", \"unix:run/fcgi.sock\"], max_body: \"1 GiB\", body_files: [\"body\"],\n\
                 sendfile: (directory: \"spool\", field: AccelRedirect, prefix: \"/spool/\", min: \"1 KiB\", max_file: \"4 MiB\", max_total: \"8 MiB\", keep: \"300ms\"),\n\
                 routes: [(path: \"/\", app: \"site\"), (path: \"/files\", app: \"files\")])}})\n"
            ),
        );
        let folder = site.path().display().to_string();
        let user = if nix::unistd::geteuid().is_root() { "user root;" } else { "" };
        site.write(
            "nginx.conf",
            &format!(
                "{user} worker_processes 1; pid {folder}/nginx.pid; error_log {folder}/nginx.log warn; daemon off;\n\
                 events {{ worker_connections 1000; }}\n\
                 http {{ access_log off; client_max_body_size 0; client_header_buffer_size 32k; large_client_header_buffers 4 64k;\n\
                 client_body_temp_path {folder}/body; fastcgi_temp_path {folder}/fastcgi; proxy_temp_path {folder}/proxy;\n\
                 uwsgi_temp_path {folder}/uwsgi; scgi_temp_path {folder}/scgi;\n\
                 upstream skep {{ server unix:{folder}/run/fcgi.sock; keepalive 16; }}\n\
                 server {{ listen {kept}; location / {{ include /etc/nginx/fastcgi_params; fastcgi_pass skep; fastcgi_keep_conn on;\n\
                 fastcgi_request_buffering off; fastcgi_buffering off; }} }}\n\
                 server {{ listen {fresh}; location / {{ include /etc/nginx/fastcgi_params; fastcgi_pass {tcp}; }} }}\n\
                 server {{ listen {files}; client_body_in_file_only clean;\n\
                 include /etc/nginx/fastcgi_params; fastcgi_pass_request_body off;\n\
                 fastcgi_param USE_SENDFILE 1; fastcgi_param DONT_USE_SENDFILE $arg_direct; fastcgi_param REQUEST_BODY_FILE $request_body_file;\n\
                 location / {{ fastcgi_pass skep; fastcgi_keep_conn on; }}\n\
                 location /outside {{ include /etc/nginx/fastcgi_params; fastcgi_param REQUEST_BODY_FILE /etc/passwd; fastcgi_pass skep; }}\n\
                 location /spool/ {{ internal; alias {folder}/spool/; }} }} }}\n"
            ),
        );
        let skep = site.start();
        skep.settled(2);
        let output = fs::File::create(skep.site.path().join("nginx.out")).expect("a log");
        let nginx = Command::new("nginx")
            .args(["-p", &folder, "-c", &format!("{folder}/nginx.conf")])
            .stdin(Stdio::null())
            .stderr(output)
            .spawn()
            .unwrap_or_else(|error| panic!("nginx: {error}: tests/peers/http.sh installs it"));
        let front = Self { skep, nginx, kept, fresh, files };
        for address in [kept, fresh, files] {
            wait::until("nginx to answer", || get(address, "/").is_ok());
        }
        front
    }

    fn both(&self) -> [SocketAddr; 2] {
        [self.kept, self.fresh]
    }
}

impl Drop for Front {
    fn drop(&mut self) {
        send(i32::try_from(self.nginx.id()).unwrap_or(-1), Signal::SIGTERM);
        let _ = self.nginx.wait();
    }
}

fn ask(address: SocketAddr, head: &str, body: &[u8]) -> Reply {
    let mut client = Client::connect(address).expect("a connection");
    client.send(head.as_bytes()).and_then(|()| client.send(body)).expect("sent");
    client.read_reply().expect("a reply")
}

#[test]
fn requests_and_replies_come_through_whole() {
    let front = Front::start();
    for address in front.both() {
        let reply = get(address, "/").expect("a reply");
        assert_eq!((reply.status, reply.header("x-kind"), reply.text().as_str()), (201, Some("fastcgi"), "here"));
        let long = "v".repeat(20_000);
        let reply = ask(address, &format!("GET /asked?a=b%20c HTTP/1.1\r\nHost: some.example:81\r\nX-Long: {long}\r\n\r\n"), b"");
        // Debian's parameters pass the host without its port.
        let asked: Value = serde_json::from_slice(&reply.body).expect("JSON");
        assert_eq!((&asked["method"], &asked["query"]["a"], &asked["host"]), (&"GET".into(), &"b c".into(), &"some.example".into()));
        assert_eq!((asked["remote"].as_str(), asked["long"].as_u64()), (Some("127.0.0.1"), Some(20_000)));
        assert!(asked["root"].as_str().is_some_and(|root| root.starts_with('/')), "{asked}");
        assert_eq!(get(address, "/stream").expect("a reply").text(), "line 1\nline 2\nline 3\nline 4\nline 5\n");
        assert_eq!(get(address, "/big").expect("a reply").body.len(), 3_000_000);
        let file = get(address, "/files/file.txt").expect("a reply");
        assert_eq!((file.status, file.body.len()), (200, 1_000_000));
        let part = ask(address, "GET /files/file.txt HTTP/1.1\r\nHost: a\r\nRange: bytes=5-14\r\n\r\n", b"");
        assert_eq!((part.status, part.text().as_str()), (206, "5678901234"));
        assert_eq!(get(address, "/fail").expect("a reply").status, 500);
        assert_eq!(get(address, "/nothing/../..").map_or(400, |reply| reply.status), 400);
        assert_eq!(get(address, "/").expect("a reply").status, 201, "the others go on");
    }
}

/// Files of answers that lie there.
fn spooled(front: &Front) -> Vec<PathBuf> {
    let entries = |path: &Path| fs::read_dir(path).into_iter().flatten().flatten().map(|entry| entry.path()).collect::<Vec<_>>();
    entries(&front.skep.site.path().join("spool")).iter().flat_map(|folder| entries(folder)).collect()
}

#[test]
fn answers_go_as_files_and_leave_none_behind() {
    let front = Front::start();
    // nginx gives what it sends from a file a tag.
    let as_file = |reply: &Reply| reply.header("etag").is_some();
    let big = get(front.files, "/big").expect("a reply");
    assert_eq!((big.status, as_file(&big), big.body.len()), (200, true, 3_000_000));
    assert!(big.body.iter().all(|&byte| byte == b'x'));
    let part = ask(front.files, "GET /big HTTP/1.1\r\nHost: a\r\nRange: bytes=5-14\r\n\r\n", b"");
    assert_eq!((part.status, part.text().as_str()), (206, "xxxxxxxxxx"));
    let lines = get(front.files, "/stream").expect("a reply");
    assert_eq!((as_file(&lines), lines.text().as_str()), (true, "line 1\nline 2\nline 3\nline 4\nline 5\n"));

    for (path, status, length) in [("/big?direct=1", 200, 3_000_000), ("/", 201, 4), ("/fail", 500, 0)] {
        let reply = get(front.files, path).expect("a reply");
        assert_eq!((reply.status, as_file(&reply)), (status, false), "{path}");
        assert!(reply.body.len() >= length, "{path}");
    }
    // What an application names is a file already, and sent by skep: the front would not find it in the spool.
    let named = front.skep.site.path().join("public/file.txt").display().to_string();
    let reply = get(front.files, &format!("/named?name={named}")).expect("a reply");
    assert_eq!((reply.status, reply.body.len()), (200, 1_000_000));
    assert_eq!(get(front.files, "/named?name=/etc/passwd").expect("a reply").status, 404);

    // More than may lie there: the rest goes as it is.
    let replies: Vec<_> = (0..8).map(|_| get(front.files, "/big").expect("a reply")).collect();
    assert!(replies.iter().all(|reply| reply.status == 200 && reply.body.len() == 3_000_000));
    let bigger = get(front.files, "/bigger").expect("a reply");
    assert_eq!((bigger.status, as_file(&bigger), bigger.body.len()), (200, false, 5_000_000));
    let stored = |front: &Front, count: fn(&StoredStatus) -> u64| {
        front.skep.status().workers.iter().map(|worker| count(&worker.stored)).sum::<u64>()
    };
    wait::until("the status to count them", || {
        stored(&front, |stored| stored.answers) >= 3 && stored(&front, |stored| stored.as_they_are) >= 1
    });
    wait::until("the files to go", || spooled(&front).is_empty());
    wait::until("the status to say so", || stored(&front, |stored| stored.files + stored.bytes) == 0);

    // Workers that are killed leave theirs to who comes next.
    wait::until("a file to lie there", || get(front.files, "/big").is_ok() && !spooled(&front).is_empty());
    for worker in front.skep.settled(2).workers {
        send(worker.pid, Signal::SIGKILL);
    }
    wait::until("the files of dead workers to go", || spooled(&front).is_empty());
    wait::until("the status to say so", || stored(&front, |stored| stored.abandoned) >= 1);
}

#[test]
fn bodies_are_read_from_where_the_front_has_put_them() {
    let front = Front::start();
    let body = vec![b'b'; 5_000_000];
    let reply = ask(front.files, &format!("POST /upload HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n\r\n", body.len()), &body);
    assert_eq!((reply.status, reply.text().as_str()), (200, "5000000"));
    let reply = ask(front.files, "POST /upload HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n", b"");
    assert_eq!((reply.status, reply.text().as_str()), (200, "0"));
    assert_eq!(get(front.files, "/outside").expect("a reply").status, 500);
    wait::until("the log to say why", || front.skep.output().contains("REQUEST_BODY_FILE: \"/etc/passwd\" lies in none of `body_files`"));
}

#[test]
fn a_large_upload_takes_no_memory() {
    const SIZE: usize = 256 << 20;
    let front = Front::start();
    let mut client = Client::connect(front.kept).expect("a connection");
    client.send(format!("POST /upload HTTP/1.1\r\nHost: a\r\nContent-Length: {SIZE}\r\n\r\n").as_bytes()).expect("sent");
    let piece = vec![7; 1 << 20];
    for _ in 0..SIZE / piece.len() {
        client.send(&piece).expect("sent");
    }
    assert_eq!(client.read_reply().expect("a reply").text(), SIZE.to_string());
    for worker in front.skep.status().workers {
        let status = fs::read_to_string(format!("/proc/{}/status", worker.pid)).expect("a process");
        let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("a figure");
        let kilobytes: u64 = peak.trim().trim_end_matches(" kB").parse().expect("a number");
        assert!(kilobytes < 96 << 10, "{peak}");
    }
}

#[test]
fn a_client_that_leaves_takes_its_request_with_it() {
    let front = Front::start();
    let connections = || front.skep.status().workers.iter().map(|worker| worker.connections).sum::<u64>();
    // nginx keeps some of its own.
    let before = connections();
    let mut clients: Vec<Client> = (0..8).map(|_| Client::connect(front.fresh).expect("a connection")).collect();
    for client in &mut clients {
        client.send(b"GET /wait HTTP/1.1\r\nHost: a\r\n\r\n").expect("sent");
    }
    wait::until("the requests to wait", || connections() >= before + 8);
    drop(clients);
    wait::until("all of them to be gone", || connections() <= before);
    assert_eq!(get(front.fresh, "/").expect("a reply").status, 201);
}

#[test]
fn twenty_reloads_under_load_lose_nothing() {
    let front = Front::start();
    let right = |reply: &Reply| reply.status == 201 && reply.body == b"here";
    let load = [Steady::start(front.kept, "/", right, 4, 2), Steady::start(front.fresh, "/", right, 4, 2)];
    for _ in 0..20 {
        front.skep.order("reload");
        front.skep.settled(2);
    }
    for one in load {
        let tally = one.stop();
        assert!(tally.failures.is_empty(), "{:?}", &tally.failures[..tally.failures.len().min(5)]);
        assert!(tally.answers > 100);
    }
}

#[test]
fn a_killed_worker_costs_its_own_requests_only() {
    let front = Front::start();
    for _ in 0..3 {
        let victim = front.skep.status().workers[0].pid;
        send(victim, Signal::SIGKILL);
        wait::until("another worker", || {
            let workers = front.skep.status().workers;
            workers.len() == 2 && workers.iter().all(|worker| worker.pid != victim)
        });
        for address in front.both() {
            wait::until("answers", || get(address, "/").is_ok_and(|reply| reply.status == 201));
            assert_eq!(get(address, "/big").expect("a reply").body.len(), 3_000_000);
        }
    }
}
