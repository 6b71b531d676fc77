//! nginx behind the proxy: several, killed in the middle of requests and started again, and one that speaks TLS.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use nix::sys::signal::Signal;
use tempfile::TempDir;

use crate::support::client::{Client, Reply, get};
use crate::support::server::{Skep, descriptors, free_address, is_gone, send};
use crate::support::steady::Steady;
use crate::support::wait;
use crate::upstream::{proxy, proxy_of};

/// A running nginx; it ends with this.
pub struct Nginx {
    folder: TempDir,
    child: Child,
    pub address: SocketAddr,
}

impl Nginx {
    /// With this in its `server` block, and files in `public`.
    pub fn start(server: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        Self::start_in(folder, free_address(), "", server)
    }

    /// `tls` stands behind the address.
    pub fn start_in(folder: TempDir, address: SocketAddr, tls: &str, server: &str) -> Self {
        let path = folder.path().display().to_string();
        fs::create_dir_all(folder.path().join("public")).unwrap();
        fs::write(folder.path().join("public/file.txt"), "0123456789".repeat(100_000)).unwrap();
        let user = if nix::unistd::geteuid().is_root() { "user root;" } else { "" };
        let config = format!(
            "{user} worker_processes 1; pid {path}/nginx.pid; error_log {path}/nginx.log warn; daemon off;\n\
             events {{ worker_connections 1000; }}\n\
             http {{ access_log off; client_max_body_size 0; client_body_temp_path {path}/body; fastcgi_temp_path {path}/fastcgi;\n\
             proxy_temp_path {path}/proxy; uwsgi_temp_path {path}/uwsgi; scgi_temp_path {path}/scgi; limit_rate_after 64k;\n\
             server {{ listen {address} {tls}; root {path}/public; {server} }} }}\n"
        );
        fs::write(folder.path().join("nginx.conf"), config).unwrap();
        let child = launch(folder.path());
        Self { folder, child, address }
    }

    /// Ends it at once, in the middle of whatever it does.
    pub fn kill(&mut self) {
        let workers = fs::read_to_string(format!("/proc/{0}/task/{0}/children", self.child.id())).unwrap_or_default();
        // The master first: it would start another worker.
        send(i32::try_from(self.child.id()).unwrap(), Signal::SIGKILL);
        let _status = self.child.wait();
        for pid in workers.split_whitespace().filter_map(|pid| pid.parse().ok()) {
            send(pid, Signal::SIGKILL);
            wait::until("the end of a worker", || is_gone(pid));
        }
    }

    /// Starts it again on the same address.
    pub fn restart(&mut self) {
        self.child = launch(self.folder.path());
    }
}

fn launch(folder: &Path) -> Child {
    let output = fs::File::create(folder.join("nginx.out")).unwrap();
    Command::new("nginx")
        .args(["-p", &folder.display().to_string(), "-c", &folder.join("nginx.conf").display().to_string()])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(output)
        .spawn()
        .unwrap_or_else(|error| panic!("nginx: {error}: tests/peers/http.sh installs it"))
}

impl Drop for Nginx {
    fn drop(&mut self) {
        send(i32::try_from(self.child.id()).unwrap(), Signal::SIGTERM);
        let _status = self.child.wait();
    }
}

#[test]
fn killed_servers_cost_what_they_were_doing_and_nothing_else() {
    let server = "location = /ok { return 200 fine; } location = /file.txt { limit_rate 200k; }";
    let mut servers: Vec<Nginx> = (0..3).map(|_| Nginx::start(server)).collect();
    let addresses: Vec<SocketAddr> = servers.iter().map(|nginx| nginx.address).collect();
    for address in &addresses {
        wait::until("nginx to answer", || get(*address, "/ok").is_ok());
    }
    let skep = proxy(&addresses, "failures: (count: 1, away: \"100ms\", longest: \"200ms\"),");
    let worker = skep.settled(1).workers[0].pid;
    let before = descriptors(worker) - kept(&skep);
    let right = |reply: &Reply| reply.status == 200 && reply.body == b"fine";
    let load = Steady::start(skep.address(), "/ok", right, 4, 2);
    for round in 0..6 {
        let victim = &mut servers[round % 3];
        victim.kill();
        if round % 2 == 0 {
            wait::until("answers by the others", || (0..10).all(|_| get(skep.address(), "/ok").is_ok_and(|reply| right(&reply))));
        }
        victim.restart();
        wait::until("nginx to answer", || get(victim.address, "/ok").is_ok());
    }
    let tally = load.stop();
    assert!(tally.failures.is_empty(), "{:?}", &tally.failures[..tally.failures.len().min(5)]);
    assert!(tally.answers > 100);
    let file = get(skep.address(), "/nothing").unwrap();
    assert_eq!(file.status, 404);
    wait::until("the descriptors to be closed", || descriptors(worker) <= before + kept(&skep));
    assert_eq!(skep.settled(1).workers[0].pid, worker);
}

/// Connections that the proxy keeps while no request is under way.
fn kept(skep: &Skep) -> usize {
    let mut kept = 0;
    wait::until("the requests to be over", || {
        let all = skep.status().upstreams;
        kept = all.iter().map(|one| usize::try_from(one.idle).unwrap()).sum();
        all.iter().all(|one| one.active == 0)
    });
    kept
}

#[test]
fn an_answer_under_way_at_the_death_of_its_server_does_not_look_whole() {
    let mut nginx = Nginx::start("location = /ok { return 200 fine; } location = /file.txt { limit_rate 50k; }");
    wait::until("nginx to answer", || get(nginx.address, "/ok").is_ok());
    let skep = proxy(&[nginx.address], "");
    let mut client = Client::connect(skep.address()).unwrap();
    client.send(b"GET /file.txt HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
    client.stream().peek(&mut [0]).unwrap();
    let worker = skep.settled(1).workers[0].pid;
    let during = descriptors(worker);
    nginx.kill();
    assert_eq!(client.read_reply().unwrap_err().kind(), std::io::ErrorKind::UnexpectedEof);
    wait::until("the client's connection and that to nginx to be closed", || descriptors(worker) <= during - 2);
    assert_eq!(get(skep.address(), "/ok").unwrap().status, 502);
    nginx.restart();
    wait::until("nginx to be found again", || get(skep.address(), "/ok").unwrap().text() == "fine");
}

#[test]
fn connections_to_nginx_are_kept_and_found_again_after_a_restart() {
    let mut nginx = Nginx::start("location = /ok { return 200 fine; } location = /count { return 200 $connection; } keepalive_requests 5;");
    wait::until("nginx to answer", || get(nginx.address, "/ok").is_ok());
    let skep = proxy(&[nginx.address], "");
    let mut client = Client::connect(skep.address()).unwrap();
    // nginx closes a connection after five requests; that is noticed before the sixth, or repaired.
    let numbers: Vec<String> = (0..20).map(|_| client.get("/count").unwrap().text()).collect();
    let mut different = numbers.clone();
    different.sort();
    different.dedup();
    assert!((4..=5).contains(&different.len()), "{numbers:?}");
    for _ in 0..3 {
        nginx.kill();
        nginx.restart();
        wait::until("nginx to answer", || get(nginx.address, "/ok").is_ok());
        assert_eq!(client.get("/ok").unwrap().text(), "fine");
    }
    assert_eq!(client.get("/file.txt").unwrap().body.len(), 1_000_000);
}

#[test]
fn a_certificate_is_checked() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().to_owned();
    let made = Command::new("openssl")
        .args([
            "req",
            "-x509",
            "-newkey",
            "rsa:2048",
            "-nodes",
            "-days",
            "2",
            "-subj",
            "/CN=localhost",
            "-addext",
            "subjectAltName=DNS:localhost",
        ])
        .args(["-addext", "basicConstraints=critical,CA:FALSE"])
        .arg("-keyout")
        .arg(path.join("key.pem"))
        .arg("-out")
        .arg(path.join("certificate.pem"))
        .output()
        .unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let address = free_address();
    let server = format!(
        "ssl_certificate {0}/certificate.pem; ssl_certificate_key {0}/key.pem; location = /ok {{ return 200 $scheme; }}",
        path.display()
    );
    let _nginx = Nginx::start_in(folder, address, "ssl", &server);
    wait::until("nginx to listen", || std::net::TcpStream::connect(address).is_ok());
    let to = format!("\"https://localhost:{}\"", address.port());
    let route = "(path: \"/\", app: \"proxy\")";
    let trusting = proxy_of(&to, &format!("authorities: \"{}/certificate.pem\"", path.display()), route);
    let mut client = Client::connect(trusting.address()).unwrap();
    for _ in 0..3 {
        assert_eq!(client.get("/ok").unwrap().text(), "https");
    }
    assert_eq!(client.get("/file.txt").unwrap().body.len(), 1_000_000);
    let wary = proxy_of(&to, "", route);
    assert_eq!(get(wary.address(), "/ok").unwrap().status, 502);
    assert!(wary.output().contains("the certificate"), "{}", wary.output());
}
