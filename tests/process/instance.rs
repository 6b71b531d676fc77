//! One instance of skep in a directory of its own, gone when the test ends.

use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

/// The binary under test.
pub const SKEP: &str = env!("CARGO_BIN_EXE_skep");
/// How long a condition may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(30);

/// What `config.ron` begins with; a test adds its own fields.
pub const PLAIN: &str = "workers: (start: 2, min: 2), ";

/// A directory with a configuration.
pub struct Instance {
    pub directory: tempfile::TempDir,
}

/// An answer over HTTP.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub body: String,
}

impl Instance {
    /// With the fields of a configuration besides log, admin and the web server, which answers "hello".
    pub fn new(fields: &str) -> Instance {
        let directory = tempfile::tempdir().expect("a directory");
        let instance = Instance { directory };
        instance.configure(fields, "hello");
        instance
    }

    /// Writes another configuration, in one step as editors do.
    pub fn configure(&self, fields: &str, reply: &str) {
        self.write_config(&format!(
            r#"Config(
                auto_reload: false, log: (file: "skep.log", level: Debug), admin: (listen: ["127.0.0.1:0"]), {fields}
                servers: {{ "web": Http(listen: ["127.0.0.1:0"], routes: [(path: "/", reply: (body: "{reply}"))]) }},
            )"#
        ));
    }

    /// Writes the whole configuration.
    pub fn write_config(&self, text: &str) {
        fs::write(self.path("new.ron"), text).expect("written");
        fs::rename(self.path("new.ron"), self.path("config.ron")).expect("renamed");
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// A command about this instance, to run or spawn.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(SKEP);
        command.args(arguments).current_dir(self.directory.path()).stdin(Stdio::null());
        for variable in ["NOTIFY_SOCKET", "LISTEN_FDS", "LISTEN_PID", "RUST_BACKTRACE"] {
            command.env_remove(variable);
        }
        command
    }

    /// Runs a command to its end.
    pub fn skep(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().expect("the binary runs")
    }

    /// Runs a command that must end well; its stdout.
    pub fn ok(&self, arguments: &[&str]) -> String {
        let output = self.skep(arguments);
        assert!(output.status.success(), "{arguments:?}: {} {}\n{}", text(&output.stdout), text(&output.stderr), self.log());
        text(&output.stdout)
    }

    /// Runs a command that must fail with a code; its stderr.
    pub fn fails(&self, arguments: &[&str], code: i32) -> String {
        let output = self.skep(arguments);
        let shown = format!("{} {}", text(&output.stdout), text(&output.stderr));
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {shown}\n{}", self.log());
        text(&output.stderr)
    }

    /// Starts it in the background.
    pub fn start(self) -> Instance {
        self.ok(&["start"]);
        self
    }

    pub fn log(&self) -> String {
        fs::read_to_string(self.path("skep.log")).unwrap_or_default()
    }

    pub fn status(&self) -> Value {
        serde_json::from_str(&self.ok(&["status", "--json"])).expect("JSON")
    }

    pub fn master(&self) -> i32 {
        let text = fs::read_to_string(self.path("run/skep.pid")).expect("a pid file");
        text.trim().parse().expect("a number")
    }

    pub fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.master()), signal).expect("the master is there");
    }

    /// Where a server listens.
    pub fn address(&self, server: &str) -> SocketAddr {
        let status = self.status();
        let listeners = status["master"]["listeners"].as_array().expect("a list").clone();
        let found = listeners.iter().find(|l| l["server"] == server).expect("it listens");
        found["address"].as_str().expect("text").parse().expect("an address")
    }

    pub fn get(&self) -> Answer {
        get(self.address("web"))
    }

    /// Waits until something is so of the status.
    pub fn until(&self, what: &str, mut so: impl FnMut(&Value) -> bool) -> Value {
        let mut last = Value::Null;
        wait_for(what, || {
            last = self.status();
            so(&last)
        });
        last
    }

    /// Waits until the log says something.
    pub fn until_logged(&self, text: &str) {
        wait_for(&format!("the log to say {text:?}"), || self.log().contains(text));
    }
}

impl Drop for Instance {
    fn drop(&mut self) {
        let pid = fs::read_to_string(self.path("run/skep.pid")).ok().and_then(|text| text.trim().parse().ok());
        if let Some(pid) = pid.filter(|pid| command_line(*pid).contains("skep")) {
            // Its children end with it.
            let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
        }
        if std::thread::panicking() {
            eprintln!("--- skep.log of the failed test\n{}", self.log());
        }
    }
}

fn command_line(pid: i32) -> String {
    fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap_or_default()
}

/// Process ids of the workers in a status.
pub fn workers(status: &Value) -> Vec<i32> {
    let workers = status["workers"].as_array().expect("a list");
    workers.iter().map(|w| i32::try_from(w["pid"].as_i64().expect("a number")).expect("a pid")).collect()
}

pub fn hub(status: &Value) -> Option<i32> {
    status["hub"]["pid"].as_i64().and_then(|pid| i32::try_from(pid).ok())
}

/// Whether a process exists and is no zombie.
pub fn lives(pid: i32) -> bool {
    fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| stat.rsplit_once(')').is_some_and(|(_, rest)| !rest.starts_with(" Z")))
}

/// One request on a connection of its own.
pub fn get(address: SocketAddr) -> Answer {
    ask(address, "GET / HTTP/1.1\r\nHost: test")
}

/// A request of these lines and no body, on a connection of its own.
pub fn ask(address: SocketAddr, lines: &str) -> Answer {
    let mut stream = TcpStream::connect(address).expect("connected");
    stream.write_all(format!("{lines}\r\nConnection: close\r\n\r\n").as_bytes()).expect("sent");
    read_answer(stream)
}

pub fn read_answer(mut stream: impl Read) -> Answer {
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).expect("an answer");
    let text = text(&bytes);
    let status = text.split(' ').nth(1).and_then(|code| code.parse().ok()).unwrap_or_else(|| panic!("no HTTP: {text:?}"));
    let body = text.split_once("\r\n\r\n").map(|(_, body)| body.to_owned()).unwrap_or_default();
    Answer { status, body }
}

/// Waits for a condition, looking again and again.
pub fn wait_for(what: &str, mut so: impl FnMut() -> bool) {
    let started = Instant::now();
    while !so() {
        assert!(started.elapsed() < PATIENCE, "waited in vain for {what}");
        std::thread::park_timeout(Duration::from_millis(10));
    }
}

pub fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

pub fn exists(path: &Path) -> bool {
    fs::symlink_metadata(path).is_ok()
}
