//! The real binary with a configuration of its own, on free ports, in a temporary folder.

use std::collections::BTreeSet;
use std::fs;
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::Mutex;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use skep::process::Status;
use tempfile::TempDir;

use super::client;
use super::wait;

/// A configuration and the files beside it, before the start.
pub struct Site {
    folder: TempDir,
    pub address: SocketAddr,
}

impl Site {
    pub fn new() -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        Self { folder, address: free_address() }
    }

    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    /// Writes a file, and the folders on its way, by a rename: nobody sees half of it.
    pub fn write(&self, name: &str, text: &str) {
        let path = self.path().join(name);
        fs::create_dir_all(path.parent().expect("a file is in a folder")).expect("a folder");
        let unfinished = path.with_extension("new");
        fs::write(&unfinished, text).expect("a file");
        fs::rename(unfinished, path).expect("a new name");
    }

    /// Writes config.ron: `workers`, `apps` and `routes` are what stands between their brackets.
    pub fn configure(&self, workers: &str, apps: &str, routes: &str) {
        self.configure_with("", workers, apps, routes);
    }

    /// The same with more fields of the whole, each with its comma.
    pub fn configure_with(&self, fields: &str, workers: &str, apps: &str, routes: &str) {
        let address = self.address;
        self.write(
            "config.ron",
            &format!(
                "Config(\n    data: \"data\", run: \"run\", pid_file: \"run/skep.pid\", auto_reload: false,\n    log: (level: Warn), {fields}\n    \
                 workers: ({workers}),\n    admin: (listen: []),\n    apps: {{{apps}}},\n    servers: {{\n        \
                 \"web\": Http(listen: [\"{address}\"], routes: [{routes}]),\n    }},\n)\n"
            ),
        );
    }

    /// Starts `skep run` and waits for its first answer.
    pub fn start(self) -> Skep {
        let output = fs::File::options().create(true).append(true).open(self.path().join(OUTPUT)).expect("a log");
        let child = self
            .command("run")
            .stdin(Stdio::null())
            .stdout(output.try_clone().expect("a descriptor"))
            .stderr(output)
            .spawn()
            .expect("the binary starts");
        let mut skep = Skep { site: self, child };
        let address = skep.site.address;
        wait::until("the first answer", || {
            if let Some(status) = skep.child.try_wait().expect("a child") {
                panic!("skep run ended with {status}\n{}", skep.output());
            }
            client::get(address, "/").is_ok()
        });
        skep
    }

    /// `skep NAME` for this configuration.
    pub fn command(&self, name: &str) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_skep"));
        command.arg(name).arg("--config").arg(self.config()).current_dir(self.path());
        command
    }

    pub fn config(&self) -> PathBuf {
        self.path().join("config.ron")
    }
}

/// What the running binary writes, in its folder.
const OUTPUT: &str = "output.log";

/// An address that nobody listens on just now, and that this test program was not given before: the kernel may give a port again at once.
pub fn free_address() -> SocketAddr {
    static GIVEN: Mutex<BTreeSet<u16>> = Mutex::new(BTreeSet::new());
    loop {
        let address = TcpListener::bind(("127.0.0.1", 0)).and_then(|listener| listener.local_addr()).expect("a free port");
        if GIVEN.lock().expect("a list").insert(address.port()) {
            return address;
        }
    }
}

/// A running instance; it ends when this is dropped, whatever has become of it.
pub struct Skep {
    pub site: Site,
    child: Child,
}

impl Skep {
    pub fn address(&self) -> SocketAddr {
        self.site.address
    }

    /// The process that was started: the master.
    pub fn master(&self) -> i32 {
        i32::try_from(self.child.id()).expect("a process id")
    }

    /// Runs `skep NAME` and returns what it wrote.
    ///
    /// # Panics
    /// When it fails.
    pub fn order(&self, name: &str) -> Output {
        let output = self.site.command(name).output().expect("the binary starts");
        assert!(output.status.success(), "skep {name}: {}\n{}{}", output.status, text(&output.stderr), self.output());
        output
    }

    pub fn status(&self) -> Status {
        let output = self.site.command("status").arg("--json").output().expect("the binary starts");
        serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {}{}", text(&output.stdout), text(&output.stderr)))
    }

    /// Waits until `count` workers serve and none is coming or going.
    pub fn settled(&self, count: usize) -> Status {
        let mut status = self.status();
        wait::until(format!("{count} workers"), || {
            status = self.status();
            status.states.total == count && status.states.idle + status.states.busy == count
        });
        status
    }

    /// Kills the hub, or a worker, and waits until another one is in its place.
    pub fn lose(&self, the_hub: bool) {
        let status = self.status();
        let victim = if the_hub { status.hub.expect("a hub").pid } else { status.workers[0].pid };
        send(victim, Signal::SIGKILL);
        wait::until("another process", || {
            let now = self.status();
            let others = now.workers.iter().all(|worker| worker.pid != victim) && now.hub.is_some_and(|hub| hub.pid != victim);
            others && now.workers.len() == status.workers.len()
        });
    }

    /// What it wrote so far.
    pub fn output(&self) -> String {
        fs::read_to_string(self.site.path().join(OUTPUT)).unwrap_or_default()
    }

    /// Every process of this instance that lives: they all have its folder as their configuration or were forked from one that has.
    pub fn processes(&self) -> Vec<i32> {
        let config = self.site.config();
        let of_this = |pid: &i32| {
            fs::read(format!("/proc/{pid}/cmdline")).is_ok_and(|line| {
                let line = text(&line);
                line.contains(&*config.to_string_lossy()) && !is_gone(*pid)
            })
        };
        let all = fs::read_dir("/proc").expect("/proc").filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
        all.filter(of_this).collect()
    }

    /// Waits for the end of the master after it was told to go, and says how it ended.
    pub fn wait_for_end(&mut self) -> std::process::ExitStatus {
        let mut ended = None;
        wait::until("the end of the master", || {
            ended = self.child.try_wait().expect("a child");
            ended.is_some()
        });
        ended.expect("it was waited for")
    }

    /// Ends the instance and gives back its folder, to be started in again.
    pub fn into_site(mut self) -> Site {
        self.end();
        let empty = Site::new();
        std::mem::replace(&mut self.site, empty)
    }

    /// Tells the master to end at once, and forces whatever stays.
    fn end(&mut self) {
        let all = self.processes();
        // After an upgrade the master is another process than the one that was started; a master is who has no parent among the others.
        for &pid in all.iter().filter(|&&pid| !all.contains(&parent(pid))) {
            send(pid, Signal::SIGINT);
        }
        wait::briefly(|| {
            // The one that was started is a child of this test, so it is gone only once it was waited for.
            let _status = self.child.try_wait();
            self.processes().is_empty()
        });
        for pid in self.processes() {
            send(pid, Signal::SIGKILL);
        }
        let _status = self.child.wait();
    }
}

impl Drop for Skep {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let output = self.output();
            let lines: Vec<&str> = output.lines().collect();
            eprintln!("--- the end of what skep wrote ---\n{}", lines[lines.len().saturating_sub(20)..].join("\n"));
        }
        self.end();
    }
}

/// Sends a signal. A process that is gone already is fine.
pub fn send(pid: i32, signal: Signal) {
    let _gone = kill(Pid::from_raw(pid), signal);
}

/// Whether a process has ended, waited for or not.
pub fn is_gone(pid: i32) -> bool {
    fs::read_to_string(format!("/proc/{pid}/stat"))
        .map_or(true, |stat| stat.rsplit_once(") ").is_none_or(|(_, rest)| rest.starts_with(['Z', 'X'])))
}

/// How many descriptors a process has open.
pub fn descriptors(pid: i32) -> usize {
    fs::read_dir(format!("/proc/{pid}/fd")).map_or(0, Iterator::count)
}

/// Resident memory of a process, bytes.
pub fn memory(pid: i32) -> u64 {
    let pages = fs::read_to_string(format!("/proc/{pid}/statm")).unwrap_or_default();
    pages.split(' ').nth(1).and_then(|pages| pages.parse::<u64>().ok()).map_or(0, |pages| pages * 4096)
}

/// The parent of a process; 0 when there is none to be seen.
fn parent(pid: i32) -> i32 {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(") ").and_then(|(_, rest)| rest.split(' ').nth(1)?.parse().ok()).unwrap_or(0)
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
