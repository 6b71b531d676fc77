//! Changes of the configuration, applied in place.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;

use crate::instance::{Instance, PLAIN, exists, read_answer, workers};

/// A connection that is kept over several requests.
struct Kept(BufReader<TcpStream>);

impl Kept {
    fn open(instance: &Instance) -> Kept {
        Kept(BufReader::new(TcpStream::connect(instance.address("web")).expect("connected")))
    }

    fn get(&mut self) -> String {
        self.0.get_mut().write_all(b"GET / HTTP/1.1\r\nHost: test\r\n\r\n").expect("sent");
        let mut length = 0;
        loop {
            let mut line = String::new();
            assert_ne!(self.0.read_line(&mut line).expect("a line"), 0, "the connection was closed");
            if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
                length = value.trim().parse().expect("a number");
            }
            if line == "\r\n" {
                break;
            }
        }
        let mut body = vec![0; length];
        self.0.read_exact(&mut body).expect("the body");
        String::from_utf8(body).expect("text")
    }
}

fn with_socket(instance: &Instance, sockets: &str, reply: &str) {
    instance.write_config(&format!(
        r#"Config(
            auto_reload: false, log: (file: "skep.log"), admin: (listen: ["127.0.0.1:0"]), {PLAIN}
            servers: {{
                "web": Http(listen: ["127.0.0.1:0"], routes: [(path: "/", reply: (body: "{reply}"))]),
                "more": Http(listen: [{sockets}], routes: [(path: "/", reply: (body: "more"))]),
            }},
        )"#
    ));
}

fn get_unix(instance: &Instance, name: &str) -> String {
    let mut stream = UnixStream::connect(instance.path(name)).expect("connected");
    stream.write_all(b"GET / HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n").expect("sent");
    read_answer(stream).body
}

#[test]
fn listeners_come_and_go_and_connections_of_the_others_stay() {
    let instance = Instance::new(PLAIN).start();
    let (before, address) = (instance.status(), instance.address("web"));
    let mut kept = Kept::open(&instance);
    assert_eq!(kept.get(), "hello");
    with_socket(&instance, r#""unix:more.sock""#, "hello");
    let said = instance.ok(&["update"]);
    assert!(said.contains("more.sock"), "{said}");
    assert_eq!(get_unix(&instance, "more.sock"), "more");
    assert_eq!(kept.get(), "hello");
    with_socket(&instance, r#""unix:other.sock""#, "changed");
    instance.ok(&["update"]);
    assert_eq!(get_unix(&instance, "other.sock"), "more");
    assert!(!exists(&instance.path("more.sock")), "its file is gone");
    assert_eq!(kept.get(), "changed", "the kept connection sees the new routes");
    let after = instance.status();
    assert_eq!(workers(&before), workers(&after), "no process was replaced");
    assert_eq!(instance.address("web"), address);
    assert_eq!(after["master"]["revision"], 3);
}

#[test]
fn a_bad_configuration_changes_nothing_and_shows_everywhere() {
    let instance = Instance::new(PLAIN).start();
    let before = instance.status();
    instance.write_config("Config(\n    workers: (start: \"many\"),\n)");
    let said = instance.fails(&["update"], 2);
    assert!(said.contains("config.ron:2") && said.contains('^'), "{said}");
    let status = instance.status();
    assert!(status["master"]["last_error"].as_str().is_some_and(|e| e.contains("config.ron:2")), "{status}");
    assert!(instance.log().contains("config.ron:2"));
    assert_eq!((workers(&before), &status["master"]["revision"]), (workers(&status), &before["master"]["revision"]));
    assert_eq!(instance.get().body, "hello");
    instance.configure(PLAIN, "good again");
    instance.ok(&["update"]);
    assert_eq!(instance.get().body, "good again");
    assert!(instance.status()["master"]["last_error"].is_null());
}

#[test]
fn an_address_that_cannot_be_bound_undoes_the_whole_update() {
    let instance = Instance::new(PLAIN).start();
    std::fs::write(instance.path("taken.sock"), "a file").expect("written");
    with_socket(&instance, r#""unix:more.sock", "unix:taken.sock""#, "changed");
    assert!(instance.fails(&["update"], 1).contains("taken.sock"));
    assert_eq!(instance.get().body, "hello");
    assert_eq!(instance.status()["master"]["revision"], 1);
}

#[test]
fn what_workers_cannot_do_is_put_back_in_all_of_them() {
    let instance = Instance::new(PLAIN).start();
    // The directory is not there, so no worker can open the log.
    instance.configure(r#"workers: (start: 2, min: 2), access_log: (file: "nowhere/access.log"), "#, "changed");
    let output = instance.skep(&["update"]);
    assert_ne!(output.status.code(), Some(0));
    for _ in 0..10 {
        assert_eq!(instance.get().body, "hello");
    }
    let status = instance.status();
    assert_eq!(status["master"]["revision"], 1);
    assert_eq!(status["master"]["crashes"], 0, "nobody had to die for it: {status}");
}

#[test]
fn what_needs_a_restart_is_named_and_the_rest_applied() {
    let instance = Instance::new(PLAIN).start();
    instance.configure(r#"workers: (start: 2, min: 2, max_total: 50), pid_file: "run/other.pid", "#, "changed");
    let said = instance.ok(&["update"]);
    assert!(said.contains("pid_file") && said.contains("restart"), "{said}");
    assert_eq!(instance.get().body, "changed");
    assert!(instance.path("run/skep.pid").exists());
    instance.configure(PLAIN, "changed");
}

#[test]
fn the_number_of_workers_follows() {
    let instance = Instance::new(PLAIN).start();
    instance.configure("workers: (start: 4, min: 4), ", "hello");
    instance.ok(&["update"]);
    instance.until("four workers", |s| s["states"]["idle"] == 4);
    instance.configure("workers: (start: 1, min: 1, max: 1), ", "hello");
    instance.ok(&["update"]);
    instance.until("one worker", |s| s["states"]["total"] == 1);
    assert_eq!(instance.status()["master"]["crashes"], 0);
}

#[test]
fn fifty_updates_and_reloads_lose_no_request() {
    let instance = Instance::new(PLAIN).start();
    let address = instance.address("web");
    let stop = std::sync::atomic::AtomicBool::new(false);
    let relaxed = std::sync::atomic::Ordering::Relaxed;
    std::thread::scope(|scope| {
        let clients: Vec<_> = (0..2)
            .map(|_| {
                scope.spawn(|| {
                    let mut count = 0;
                    while !stop.load(relaxed) {
                        assert_eq!(crate::instance::get(address).status, 200);
                        count += 1;
                    }
                    count
                })
            })
            .collect();
        for round in 0..50 {
            instance.configure(PLAIN, &format!("round {round}"));
            instance.ok(&["update"]);
            instance.ok(&["reload"]);
        }
        stop.store(true, relaxed);
        for client in clients {
            assert!(client.join().expect("no request failed") > 50);
        }
    });
    let status = instance.status();
    assert_eq!((&status["master"]["crashes"], &status["master"]["revision"]), (&0.into(), &51.into()), "{status}");
}
