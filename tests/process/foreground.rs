//! `skep run`: the terminal, signals, and what a service manager gives and wants.

use std::fs;
use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixDatagram;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use nix::sys::signal::Signal;

use crate::instance::{Instance, PLAIN, SKEP, exists, get, wait_for, workers};

/// A foreground process that is killed when the test is over.
struct Foreground(Child);

impl Foreground {
    fn run(instance: &Instance) -> Foreground {
        Foreground::spawn(instance.command(&["run"]).stdout(Stdio::piped()))
    }

    fn spawn(command: &mut Command) -> Foreground {
        Foreground(command.spawn().expect("the binary runs"))
    }

    fn first_lines(&mut self, count: usize) -> String {
        let stdout = self.0.stdout.take().expect("piped");
        BufReader::new(stdout).lines().take(count).map(|line| line.expect("text") + "\n").collect()
    }

    fn code(&mut self) -> Option<i32> {
        self.0.wait().expect("own child").code()
    }
}

impl Drop for Foreground {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn the_first_screen_says_what_runs_and_where() {
    let instance = Instance::new(PLAIN);
    let mut running = Foreground::run(&instance);
    let screen = running.first_lines(3);
    let address = instance.address("web");
    assert!(screen.starts_with("skep 0.") && screen.contains("2 workers") && screen.contains("config.ron"), "{screen}");
    assert!(screen.contains(&format!("http://{address}/")), "{screen}");
    instance.signal(Signal::SIGTERM);
    assert_eq!(running.code(), Some(0));
    assert!(!exists(&instance.path("run/skep.pid")));
}

#[test]
fn every_signal_does_what_it_did_in_the_original() {
    let instance = Instance::new(PLAIN);
    let mut running = Foreground::run(&instance);
    running.first_lines(1);
    instance.configure(PLAIN, "changed");
    instance.signal(Signal::SIGHUP);
    instance.until("the new configuration", |s| s["master"]["revision"] == 2);
    assert_eq!(instance.get().body, "changed");

    fs::rename(instance.path("skep.log"), instance.path("skep.log.1")).expect("rotated");
    instance.signal(Signal::SIGUSR1);
    instance.until_logged("opened again");

    let before = workers(&instance.status());
    instance.signal(Signal::SIGUSR2);
    instance.until("new workers", |s| workers(s).len() == 2 && workers(s).iter().all(|w| !before.contains(w)));

    instance.signal(Signal::SIGINT);
    assert_eq!(running.code(), Some(0));
    for signal in [Signal::SIGQUIT, Signal::SIGTERM] {
        let mut running = Foreground::run(&instance);
        running.first_lines(1);
        instance.signal(signal);
        assert_eq!(running.code(), Some(0), "{signal}");
    }
}

#[test]
fn a_saved_configuration_is_picked_up_by_itself() {
    let instance = Instance::new(PLAIN);
    let text = |reply: &str| {
        format!(
            r#"Config(log: (file: "skep.log"), admin: (listen: []), servers: {{ "web": Http(listen: ["127.0.0.1:0"], routes: [(path: "/", reply: (body: "{reply}"))]) }})"#
        )
    };
    instance.write_config(&text("one"));
    let instance = instance.start();
    assert_eq!(instance.get().body, "one");
    instance.write_config("Config(oops");
    instance.until("the error in the status", |s| s["master"]["last_error"].is_string());
    assert_eq!(instance.get().body, "one");
    instance.write_config(&text("two"));
    instance.until("the error to be gone", |s| s["master"]["last_error"].is_null() && s["master"]["revision"] == 2);
    assert_eq!(instance.get().body, "two");
}

#[test]
fn the_service_manager_is_told() {
    let instance = Instance::new(PLAIN);
    let socket = UnixDatagram::bind(instance.path("notify")).expect("bound");
    socket.set_read_timeout(Some(Duration::from_secs(30))).expect("set");
    let mut command = instance.command(&["run"]);
    command.env("NOTIFY_SOCKET", instance.path("notify")).env("WATCHDOG_USEC", "400000").stdout(Stdio::null());
    let mut running = Foreground::spawn(&mut command);
    let until = |wanted: &str| {
        let mut buffer = [0; 4096];
        loop {
            let count = socket.recv(&mut buffer).unwrap_or_else(|error| panic!("never heard {wanted}: {error}"));
            let text = String::from_utf8_lossy(&buffer[..count]).into_owned();
            if text.lines().any(|line| line.starts_with(wanted)) {
                return text;
            }
        }
    };
    let ready = until("READY=1");
    assert!(ready.contains(&format!("MAINPID={}", running.0.id())), "{ready}");
    until("WATCHDOG=1");
    instance.configure(PLAIN, "other");
    instance.signal(Signal::SIGHUP);
    assert!(until("RELOADING=1").contains("MONOTONIC_USEC="));
    until("READY=1");
    instance.signal(Signal::SIGTERM);
    until("STOPPING=1");
    assert_eq!(running.code(), Some(0));
}

#[test]
fn a_socket_that_was_passed_in_is_used() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("bound");
    let instance = Instance::new(PLAIN);
    instance.write_config(&format!(
        r#"Config(log: (file: "skep.log"), admin: (listen: []), servers: {{ "web": Http(listen: ["{address}"], routes: [(path: "/", reply: (body: "passed"))]) }})"#
    ));
    // The shell knows its own process id, which is the one of what it executes.
    let script = format!("exec 3<&0 </dev/null; LISTEN_PID=$$ LISTEN_FDS=1 exec {SKEP} run");
    let mut command = Command::new("sh");
    command.args(["-c", &script]).current_dir(instance.directory.path()).stdin(Stdio::from(OwnedFd::from(listener))).stdout(Stdio::null());
    let mut running = Foreground::spawn(&mut command);
    // The queue is the kernel's from the first moment: this waits for the workers.
    assert_eq!(get(address).body, "passed");
    wait_for("the pid file", || exists(&instance.path("run/skep.pid")));
    instance.signal(Signal::SIGTERM);
    assert_eq!(running.code(), Some(0));
}
