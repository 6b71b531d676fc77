//! Limits by address in the real binary: they hold over all workers together.

#[path = "support/mod.rs"]
mod support;

use std::io::Read;
use std::net::{SocketAddr, TcpStream};
use std::process::Command;
use std::time::Duration;

use nix::sys::signal::Signal;
use support::client::{Client, get};
use support::server::{Site, Skep, free_address, send};
use support::wait;

const APP: &str = r#"
local app = {}

function app.request(req)
    if req.path == "/wait" then
        req:sleep(3600)
    end
    return req.remote.address
end

function app.websocket(ws)
    for message in ws:messages() do
        ws:send(message)
    end
end

return app
"#;

/// Two servers of three workers: the first has no limits of its own and is what the start waits for; the second is announced by a proxy.
fn start(server: &str, routes: &str) -> (Skep, SocketAddr) {
    let site = Site::new();
    let limited = free_address();
    site.write("apps/site.luau", APP);
    configure(&site, limited, server, routes);
    let skep = site.start();
    skep.settled(3);
    (skep, limited)
}

fn configure(site: &Site, limited: SocketAddr, server: &str, routes: &str) {
    let open = site.address;
    site.write(
        "config.ron",
        &format!(
            "Config(data: \"data\", run: \"run\", pid_file: \"run/skep.pid\", auto_reload: false, log: (level: Warn), admin: (listen: []),\n\
             workers: (start: 3, min: 3, max: 3, min_spare: 0, max_spare: 3), limiter: (addresses: 1024),\n\
             apps: {{\"site\": Script(path: \"apps/site.luau\")}}, servers: {{\n\
             \"open\": Http(listen: [\"{open}\"], routes: [(path: \"/\", reply: (body: \"open\"))]),\n\
             \"limited\": Http(listen: [\"{limited}\"], {server} routes: [{routes}])}})\n"
        ),
    );
}

/// How many of so many requests, each on a connection of its own, were answered with each status; the last answer.
fn ask(address: SocketAddr, path: &str, count: usize) -> (usize, usize) {
    let statuses: Vec<u16> = (0..count).map(|_| get(address, path).expect("an answer").status).collect();
    let of = |wanted| statuses.iter().filter(|&&status| status == wanted).count();
    (of(200), of(429))
}

#[test]
fn a_rate_holds_over_all_workers() {
    let (skep, address) = start(
        "",
        r#"(path: "/", app: "site"), (path: "/few", app: "site", limits: (rate: "10/h")), (path: "/fixed", reply: (body: "x"), limits: (rate: "1/h", burst: 4)),
           (path: "/free", app: "site", limits: (rate: "1/h", exempt: ["127.0.0.0/8"])), (path: "/dry", app: "site", limits: (rate: "1/h", dry_run: true))"#,
    );
    assert_eq!(ask(address, "/few", 40), (10, 30));
    assert_eq!(ask(address, "/fixed", 10), (4, 6));
    assert_eq!(ask(address, "/free", 10), (10, 0));
    assert_eq!(ask(address, "/dry", 10), (10, 0));
    assert_eq!(ask(address, "/", 10), (10, 0));
    // What an application behind `/` may take for the limited path leads nowhere.
    assert_eq!(get(address, "//few").expect("an answer").status, 404);
    let refused = get(address, "/few").expect("an answer");
    let wait: u64 = refused.header("retry-after").and_then(|wait| wait.parse().ok()).expect("a time");
    assert!((1..=360).contains(&wait) && refused.text().contains("too many requests"), "{refused:?}");
    let limits = skep.status().limits;
    assert_eq!((limits.requests, limits.connections, limits.uncounted), (37, 0, 0));
    let output = skep.output();
    assert!(output.contains("server limited, route /few: 127.0.0.1 asks more often than 10/h: refused"), "{output}");
    assert!(output.contains("route /dry: 127.0.0.1 asks more often than 1/h: would be refused"), "{output}");
    let shown = skep.order("status");
    assert!(String::from_utf8_lossy(&shown.stdout).contains("37 requests and 0 connections refused by address"), "{shown:?}");
}

#[test]
fn a_server_counts_what_leads_nowhere_too_and_follows_an_update() {
    let (skep, address) = start("limits: (rate: \"5/h\"),", "(path: \"/fixed\", reply: (body: \"x\"))");
    // On one connection, which stays; the fixed reply is not answered past the limit.
    let mut client = Client::connect(address).expect("connected");
    let mut seen = Vec::new();
    for path in ["/none", "/fixed", "/fixed", "/none", "/fixed", "/fixed", "/none"] {
        seen.push(client.get(path).expect("an answer").status);
    }
    assert_eq!(seen, [404, 200, 200, 404, 200, 429, 429]);
    client.send(b"POST /fixed HTTP/1.1\r\nHost: test\r\nContent-Length: 5\r\n\r\nabcde").expect("sent");
    assert_eq!(client.read_reply().expect("an answer").status, 429);
    assert_eq!(client.get("/fixed").expect("the connection is kept").status, 429);
    configure(&skep.site, address, "limits: (rate: \"5/h\", burst: 8),", "(path: \"/fixed\", reply: (body: \"x\"))");
    skep.order("update");
    // What was counted stays counted.
    assert_eq!((0..5).map(|_| client.get("/fixed").expect("an answer").status).collect::<Vec<_>>(), [200, 200, 200, 429, 429]);
    configure(&skep.site, address, "", "(path: \"/fixed\", reply: (body: \"x\"))");
    skep.order("update");
    assert_eq!(client.get("/fixed").expect("an answer").status, 200);
}

/// A connection that has been used and stays.
fn kept(address: SocketAddr) -> Client {
    let mut client = Client::connect(address).expect("connected");
    assert_eq!(client.get("/").expect("an answer").status, 200);
    client
}

/// Whether another connection is served.
fn is_served(address: SocketAddr) -> bool {
    let reply = get(address, "/").expect("an answer");
    assert!(reply.status == 200 || (reply.status == 429 && reply.closes() && reply.header("retry-after") == Some("1")), "{reply:?}");
    reply.status == 200
}

#[test]
fn connections_are_counted_over_all_workers_and_killed_ones_are_not() {
    let (skep, address) = start("limits: (connections: 4),", "(path: \"/\", app: \"site\")");
    let clients: Vec<Client> = (0..4).map(|_| kept(address)).collect();
    assert!(!is_served(address));
    assert!(skep.status().limits.connections >= 1);
    // One that asks for nothing is closed soon, without an answer.
    let mut silent = TcpStream::connect(address).expect("connected");
    silent.set_read_timeout(Some(Duration::from_secs(10))).expect("set");
    assert_eq!(silent.read(&mut [0; 100]).expect("an end"), 0);
    drop(clients);
    wait::until("all to be gone", || skep.status().workers.iter().all(|worker| worker.connections == 0));
    let clients: Vec<Client> = (0..4).map(|_| kept(address)).collect();
    assert!(!is_served(address));
    for worker in skep.status().workers {
        send(worker.pid, Signal::SIGKILL);
    }
    wait::until("room again", || get(address, "/").is_ok_and(|reply| reply.status == 200));
    drop(clients);
}

#[test]
fn far_too_many_connections_are_closed_without_an_answer() {
    let (skep, address) = start("limits: (connections: 1),", "(path: \"/\", app: \"site\")");
    let _first = kept(address);
    let mut more: Vec<Client> = (0..12).map(|_| Client::connect(address).expect("connected")).collect();
    wait::until("all to be taken", || skep.status().limits.connections >= 12);
    // 8 are answered at the same time at most, once they ask for something.
    let answered = more.iter_mut().filter_map(|client| client.get("/").ok()).inspect(|reply| assert_eq!(reply.status, 429)).count();
    assert!(answered <= 8, "{answered}");
}

#[test]
fn http2_is_told_so_and_told_to_go() {
    let (skep, address) = start("limits: (connections: 1),", "(path: \"/\", app: \"site\")");
    let _first = kept(address);
    let output = Command::new("curl")
        .args(["--silent", "--show-error", "--max-time", "60", "--http2-prior-knowledge", "--verbose"])
        .args(["--write-out", " %{http_version} %{http_code}", &format!("http://{address}/")])
        .current_dir(skep.site.path())
        .output()
        .expect("curl: tests/peers/http2.sh installs it");
    let (said, verbose) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(said.contains("too many connections") && said.ends_with(" 2 429"), "{said}{verbose}");
    assert!(verbose.to_lowercase().contains("retry-after: 1"), "{verbose}");
}

#[test]
fn what_is_under_way_is_counted_until_it_ends() {
    let (skep, address) = start(
        "limits: (concurrent: 3),",
        r#"(path: "/", app: "site"), (path: "/one", app: "site", limits: (concurrent: 1)), (path: "/talk", app: "site", limits: (concurrent: 1))"#,
    );
    let under_way = |path: &str| {
        let mut client = Client::connect(address).expect("connected");
        client.send(format!("GET {path} HTTP/1.1\r\nHost: test\r\n\r\n").as_bytes()).expect("sent");
        client
    };
    let refused = |path: &str| get(address, path).expect("an answer").status == 429;
    // To ask for it would take a place itself.
    let active =
        |count| wait::until("requests under way", || skep.status().workers.iter().map(|worker| worker.active).sum::<u64>() == count);
    let first = under_way("/one/wait");
    active(1);
    assert!(refused("/one") && !refused("/"));
    active(1);
    let others = [under_way("/wait"), under_way("/wait")];
    active(3);
    assert!(refused("/"));
    drop(others);
    drop(first);
    wait::until("room again", || !refused("/one"));
    // An open WebSocket is under way.
    let mut talk = Client::connect(address).expect("connected");
    let ask = "GET /talk HTTP/1.1\r\nHost: test\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
               Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
    talk.send(ask.as_bytes()).expect("sent");
    let mut head = [0; 12];
    talk.stream().read_exact(&mut head).expect("a head");
    assert_eq!(&head, b"HTTP/1.1 101");
    assert!(refused("/talk"));
    drop(talk);
    wait::until("room again", || !refused("/talk"));
}

#[test]
fn clients_that_a_proxy_announces_are_counted_each_by_itself() {
    let (_skep, address) =
        start("proxy_protocol: [\"127.0.0.0/8\"], limits: (connections: 1, rate: \"2/h\"),", "(path: \"/\", app: \"site\")");
    let announced = |client: &str| {
        let mut connection = Client::connect(address).expect("connected");
        connection.send(format!("PROXY TCP4 {client} 192.0.2.9 4711 80\r\n").as_bytes()).expect("sent");
        connection
    };
    let mut one = announced("203.0.113.1");
    assert_eq!(one.get("/").expect("an answer").status, 200);
    assert_eq!(announced("203.0.113.1").get("/").expect("an answer").status, 429);
    let mut other = announced("203.0.113.2");
    assert_eq!((0..3).map(|_| other.get("/").expect("an answer").status).collect::<Vec<_>>(), [200, 200, 429]);
    assert_eq!(one.get("/").expect("an answer").status, 200);
}

#[test]
fn clients_that_a_trusted_proxy_names_are_counted_each_by_itself() {
    let (_skep, address) =
        start("trusted: (proxies: [\"127.0.0.0/8\"]), limits: (connections: 1, rate: \"2/h\"),", "(path: \"/\", app: \"site\")");
    // The proxy's own connections are for all of them, so none is one too many.
    let mut connections: Vec<Client> = (0..4).map(|_| Client::connect(address).expect("connected")).collect();
    let mut ask = |connection: usize, client: &str| {
        let connection: &mut Client = &mut connections[connection];
        connection.send(format!("GET / HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: {client}\r\n\r\n").as_bytes()).expect("sent");
        let reply = connection.read_reply().expect("an answer");
        assert!(reply.status == 429 || reply.text() == client, "{reply:?}");
        reply.status
    };
    assert_eq!((0..4).map(|at| ask(at, "203.0.113.1")).collect::<Vec<_>>(), [200, 200, 429, 429]);
    assert_eq!((0..3).map(|at| ask(at, "203.0.113.2")).collect::<Vec<_>>(), [200, 200, 429]);
}
