//! Clients behind a real HAProxy that announces them, over HTTP, HTTPS and raw connections.

#[path = "support/mod.rs"]
mod support;

use std::fmt::Write as _;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::{Child, Command, Stdio};

use nix::sys::signal::Signal;
use support::client::Client;
use support::server::{Site, Skep, free_address, send};
use support::wait;

const APP: &str = r"
local app = {}

function app.request(req)
    return `{req.remote.address} {req.remote.port} {req.server.scheme}`
end

function app.connection(connection)
    connection:write(`{connection.remote.address} {connection.remote.port}\n`)
end

return app
";

/// HAProxy in front of a skep, which trusts nobody else to announce.
struct Front {
    skep: Skep,
    haproxy: Child,
    /// Where HAProxy listens: HTTP by version 1 and 2, HTTPS by version 2, raw by version 1.
    ways: [SocketAddr; 4],
    /// skep itself: HTTP from announcing proxies, HTTPS from them, HTTP of which nothing is announced.
    announced: SocketAddr,
    secure: SocketAddr,
    plain: SocketAddr,
}

impl Front {
    fn start() -> Self {
        let site = Site::new();
        let made = Command::new("openssl")
            .args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2", "-subj", "/CN=one.test"])
            .args(["-addext", "subjectAltName=DNS:one.test", "-keyout", "key.pem", "-out", "cert.pem"])
            .current_dir(site.path())
            .output()
            .expect("openssl: tests/peers/tls.sh installs it");
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        let ways = std::array::from_fn(|_| free_address());
        let (announced, secure, raw, plain) = (free_address(), free_address(), free_address(), site.address);
        site.write("apps/hello.luau", APP);
        site.write(
            "config.ron",
            &format!(
                "Config(data: \"data\", run: \"run\", pid_file: \"run/skep.pid\", auto_reload: false,\n\
                 log: (level: Debug),\n\
                 workers: (start: 2, min: 2, max: 2, min_spare: 0, max_spare: 2), admin: (listen: []),\n\
                 apps: {{\"hello\": Script(path: \"apps/hello.luau\")}}, servers: {{\n\
                 \"plain\": Http(listen: [\"{plain}\"], proxy_protocol: [\"192.0.2.0/24\"], routes: [(path: \"/\", app: \"hello\")]),\n\
                 \"announced\": Http(listen: [\"{announced}\"], proxy_protocol: [\"127.0.0.0/8\"], routes: [(path: \"/\", app: \"hello\")]),\n\
                 \"secure\": Http(listen: [\"{secure}\"], proxy_protocol: [\"127.0.0.0/8\"], tls: (certificate: \"cert.pem\", key: \"key.pem\"),\n\
                 routes: [(path: \"/\", app: \"hello\")]),\n\
                 \"raw\": Script(listen: [\"{raw}\"], proxy_protocol: [\"127.0.0.1\"], app: \"hello\")}})\n"
            ),
        );
        let to = [(announced, "send-proxy"), (announced, "send-proxy-v2"), (secure, "send-proxy-v2"), (raw, "send-proxy")];
        let mut text =
            "global\n nbthread 1\ndefaults\n mode tcp\n timeout connect 10s\n timeout client 60s\n timeout server 60s\n".to_owned();
        for (number, (way, (address, how))) in std::iter::zip(ways, to).enumerate() {
            let _ = write!(text, "listen way{number}\n bind {way}\n server skep {address} {how}\n");
        }
        site.write("haproxy.cfg", &text);
        let skep = site.start();
        skep.settled(2);
        let haproxy = Command::new("haproxy")
            .args(["-db", "-f", "haproxy.cfg"])
            .current_dir(skep.site.path())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap_or_else(|error| panic!("haproxy: {error}: tests/peers/http.sh installs it"));
        for way in ways {
            wait::until("HAProxy to listen", || TcpStream::connect(way).is_ok());
        }
        Self { skep, haproxy, ways, announced, secure, plain }
    }

    /// What comes for bytes sent to an address, until it closes.
    fn heard(address: SocketAddr, bytes: &[u8]) -> String {
        let mut stream = TcpStream::connect(address).expect("a connection");
        stream.write_all(bytes).expect("sent");
        let mut heard = Vec::new();
        // A reset is an end as well.
        let _ = stream.read_to_end(&mut heard);
        String::from_utf8_lossy(&heard).into_owned()
    }
}

impl Drop for Front {
    fn drop(&mut self) {
        send(i32::try_from(self.haproxy.id()).unwrap_or(-1), Signal::SIGKILL);
        let _ = self.haproxy.wait();
    }
}

#[test]
fn the_client_is_known_behind_a_proxy() {
    let front = Front::start();
    for way in &front.ways[..2] {
        let mut client = Client::connect(*way).expect("a connection");
        let own = client.stream().local_addr().expect("an address").port();
        for _ in 0..2 {
            assert_eq!(client.get("/").expect("a reply").text(), format!("127.0.0.1 {own} http"));
        }
    }
    let mut raw = TcpStream::connect(front.ways[3]).expect("a connection");
    let own = raw.local_addr().expect("an address").port();
    let mut heard = String::new();
    raw.read_to_string(&mut heard).expect("text");
    assert_eq!(heard, format!("127.0.0.1 {own}\n"));
    let port = front.ways[2].port();
    let output = Command::new("curl")
        .args(["--silent", "--show-error", "--max-time", "60", "--cacert", "cert.pem", "--resolve", &format!("one.test:{port}:127.0.0.1")])
        .args(["--write-out", " %{local_port}", &format!("https://one.test:{port}/")])
        .current_dir(front.skep.site.path())
        .output()
        .expect("curl: tests/peers/tls.sh installs it");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let (said, own) = text.rsplit_once(' ').unwrap_or_else(|| panic!("{text} {}", String::from_utf8_lossy(&output.stderr)));
    assert_eq!(said, format!("127.0.0.1 {own} https"));
}

#[test]
fn announcements_come_in_pieces_and_with_what_follows() {
    let front = Front::start();
    let request = "GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
    let said = Front::heard(front.announced, format!("PROXY TCP4 198.51.100.7 203.0.113.9 4711 80\r\n{request}").as_bytes());
    assert!(said.ends_with("198.51.100.7 4711 http"), "{said}");
    let said = Front::heard(front.announced, format!("PROXY UNKNOWN\r\n{request}").as_bytes());
    assert!(said.contains("\r\n127.0.0.1 "), "{said}");

    let mut stream = TcpStream::connect(front.announced).expect("a connection");
    stream.set_nodelay(true).expect("set");
    for byte in format!("PROXY TCP6 2001:db8::1 2001:db8::2 1 2\r\n{request}").as_bytes() {
        stream.write_all(&[*byte]).expect("sent");
    }
    let mut said = String::new();
    stream.read_to_string(&mut said).expect("text");
    assert!(said.ends_with("2001:db8::1 1 http"), "{said}");
}

#[test]
fn what_is_not_announced_gets_nothing_where_it_must_be() {
    let front = Front::start();
    let request = b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
    for address in [front.announced, front.secure] {
        assert_eq!(Front::heard(address, request), "");
        assert_eq!(Front::heard(address, b"PROXY TCP4 1.2.3.4 1.2.3.4 99999 1\r\n"), "");
    }
    wait::until("the log to say why", || front.skep.output().contains("announces no connection: what comes first is no PROXY line"));
    // Who is not listed cannot say that it is somebody else.
    let forged = [b"PROXY TCP4 198.51.100.7 203.0.113.9 4711 80\r\n".as_slice(), request].concat();
    assert!(Front::heard(front.plain, &forged).starts_with("HTTP/1.1 400 "));
    assert!(Front::heard(front.plain, request).contains("\r\n127.0.0.1 "));
}
