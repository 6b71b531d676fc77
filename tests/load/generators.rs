//! Clients and servers that others wrote: curl, ab, wrk, and nginx in front of us.

use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};

use crate::support::client;
use crate::support::server::{Skep, free_address};
use crate::support::wait;
use crate::{alone, hello, workers};

fn start() -> Skep {
    hello(&workers(2)).start()
}

/// Runs a command to its end and returns what it wrote.
fn run(name: &str, arguments: &[&str]) -> String {
    let output = Command::new(name).args(arguments).stdin(Stdio::null()).output();
    let output = output.unwrap_or_else(|error| panic!("{name}: {error}: tests/peers/http.sh installs it"));
    let text = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{name}: {}\n{text}", output.status);
    text
}

fn url(address: SocketAddr, path: &str) -> String {
    format!("http://{address}{path}")
}

#[test]
fn curl_gets_pages_on_one_connection() {
    let _alone = alone();
    let skep = start();
    let (first, second) = (url(skep.address(), "/first"), url(skep.address(), "/second"));
    let text = run("curl", &["--silent", "--show-error", "--fail", "--write-out", " %{num_connects}\n", &first, &second]);
    assert_eq!(text, "Hello, /first 1\nHello, /second 0\n");
}

#[test]
fn curl_waits_for_a_continue_before_a_large_body() {
    let _alone = alone();
    let skep = start();
    let body = skep.site.path().join("body");
    std::fs::write(&body, vec![b'x'; 2 * 1024 * 1024]).expect("a file");
    let data = format!("@{}", body.display());
    let text = run(
        "curl",
        &[
            "--silent",
            "--show-error",
            "--verbose",
            "--header",
            "Expect: 100-continue",
            "--header",
            "Content-Type: application/octet-stream",
            "--data-binary",
            &data,
            &url(skep.address(), "/post"),
        ],
    );
    assert!(text.contains("Hello, /post"), "{text}");
    assert!(text.contains("< HTTP/1.1 200"), "{text}");
}

#[test]
fn ab_counts_no_failure() {
    let _alone = alone();
    let skep = start();
    for keep_alive in [&["-k"][..], &[]] {
        let address = url(skep.address(), "/ab");
        let arguments: Vec<&str> = ["-q", "-n", "3000", "-c", "50"].iter().chain(keep_alive).copied().chain([address.as_str()]).collect();
        let text = run("ab", &arguments);
        let line = |name: &str| {
            text.lines().find(|line| line.starts_with(name)).and_then(|line| line.split_whitespace().last()).map(str::to_owned)
        };
        assert_eq!(line("Complete requests:").as_deref(), Some("3000"), "{text}");
        assert_eq!(line("Failed requests:").as_deref(), Some("0"), "{text}");
        assert_eq!(line("Non-2xx responses:"), None, "{text}");
    }
}

#[test]
fn wrk_counts_no_failure() {
    let _alone = alone();
    let skep = start();
    let text = run("wrk", &["-t1", "-c100", "-d2s", &url(skep.address(), "/wrk")]);
    assert!(text.contains("requests in"), "{text}");
    assert!(!text.contains("Socket errors") && !text.contains("Non-2xx"), "{text}");
}

/// nginx, ended with the test.
struct Nginx(Child);

impl Drop for Nginx {
    fn drop(&mut self) {
        // nginx ends its worker on SIGTERM; killed, it would leave it behind.
        crate::support::server::send(i32::try_from(self.0.id()).expect("a process id"), nix::sys::signal::Signal::SIGTERM);
        let _status = self.0.wait();
    }
}

#[test]
fn nginx_in_front_keeps_connections_to_us() {
    let _alone = alone();
    let skep = start();
    let front = free_address();
    let folder = skep.site.path().display().to_string();
    let user = if nix::unistd::geteuid().is_root() { "user root;" } else { "" };
    skep.site.write(
        "nginx.conf",
        &format!(
            "{user} worker_processes 1; pid {folder}/nginx.pid; error_log {folder}/nginx.log;\nevents {{ worker_connections 256; }}\nhttp {{\n  \
             access_log off; client_body_temp_path {folder}/b; proxy_temp_path {folder}/p; fastcgi_temp_path {folder}/f;\n  \
             uwsgi_temp_path {folder}/u; scgi_temp_path {folder}/s;\n  upstream ours {{ server {}; keepalive 8; }}\n  \
             server {{ listen {front}; location / {{ proxy_pass http://ours; proxy_http_version 1.1; proxy_set_header Connection \"\"; }} }}\n}}\n",
            skep.address()
        ),
    );
    let nginx = Command::new("nginx")
        .args(["-p", &folder, "-c", &format!("{folder}/nginx.conf"), "-g", "daemon off;"])
        .stdin(Stdio::null())
        .spawn();
    let _nginx = Nginx(nginx.unwrap_or_else(|error| panic!("nginx: {error}: tests/peers/http.sh installs it")));
    wait::until("nginx", || client::get(front, "/up").is_ok_and(|reply| reply.status == 200));
    let accepted = |skep: &Skep| skep.status().workers.iter().map(|worker| worker.accepts).sum::<u64>();
    let before = accepted(&skep);
    let mut client = client::Client::connect(front).expect("a connection");
    for number in 0..200 {
        let path = format!("/{number}");
        assert_eq!(client.get(&path).expect("an answer").text(), format!("Hello, {path}"));
    }
    let opened = accepted(&skep) - before;
    assert!(opened <= 8, "{opened} connections for 200 requests");
}
