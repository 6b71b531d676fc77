//! The contenders: each is started by the benchmark on a free port with a configuration of its own, and ended with it.

mod centrifuge;
mod fcgiwrap;
mod kernel;
mod nchan;
mod nginx;
mod php;
mod realtime;
mod redis;
mod skep;
mod tls;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::cores::Cores;
use crate::folder::Folder;
use crate::group::Group;
use crate::process::{self, Cpu, Resident};
use crate::{Result, wait};

pub use kernel::serve as serve_kernel_limit;
pub use realtime::Liveness;

/// Longest time from the start to the first answer.
const START: Duration = Duration::from_secs(15);

/// Longest time from the request to end until it is forced.
const STOP: Duration = Duration::from_secs(5);

/// Who can serve.
#[derive(Clone)]
pub enum Peer {
    /// Our binary.
    Skep(PathBuf),
    /// Our binary in front of another server.
    SkepProxy(PathBuf, SocketAddr),
    /// Our binary with a certificate, over HTTP/1.1 and HTTP/2.
    SkepTls(PathBuf),
    /// Our binary behind FastCGI, with an application in Luau.
    SkepFastCgi(PathBuf),
    /// Our binary behind FastCGI, with a program that is started for each request.
    SkepCgi(PathBuf),
    /// Our binary as a lock server.
    SkepLocks(PathBuf),
    /// Our binary as an RTEP server.
    SkepRtep(PathBuf),
    /// Our binary as a server of WebSocket connections, all with one topic.
    SkepRealtime(PathBuf, Liveness),
    /// nginx from the system, with Nchan.
    Nchan(Liveness),
    /// The Centrifuge library for Go.
    Centrifuge(Liveness),
    /// Redis from the system.
    Redis,
    /// nginx from the system, with its Lua module.
    Nginx,
    /// nginx in front of another server.
    NginxProxy(SocketAddr),
    /// nginx in front of a FastCGI server, which is told of this script.
    NginxFastCgi(SocketAddr, PathBuf),
    /// nginx with a certificate, over HTTP/1.1 and HTTP/2.
    NginxTls,
    /// PHP's own FastCGI server.
    PhpFpm,
    /// The FastCGI server from the system that starts programs.
    Fcgiwrap,
    /// A loop of `epoll_wait`, `read` and `write` that parses nothing: what the kernel alone costs.
    KernelLimit,
}

/// A command that is ready to be started, and what it needs while it runs.
struct Prepared {
    command: Command,
    folder: Folder,
}

impl Peer {
    pub fn name(&self) -> &'static str {
        match self {
            Self::Skep(_)
            | Self::SkepProxy(..)
            | Self::SkepTls(_)
            | Self::SkepFastCgi(_)
            | Self::SkepCgi(_)
            | Self::SkepLocks(_)
            | Self::SkepRtep(_)
            | Self::SkepRealtime(..) => "skep",
            Self::Nchan(_) => "Nchan",
            Self::Centrifuge(_) => "Centrifuge",
            Self::Redis => "Redis",
            Self::Nginx | Self::NginxProxy(_) | Self::NginxFastCgi(..) | Self::NginxTls => "nginx",
            Self::PhpFpm => "PHP-FPM",
            Self::Fcgiwrap => "fcgiwrap",
            Self::KernelLimit => "kernel limit",
        }
    }

    /// Whether it could be had on this machine.
    pub fn is_here(&self) -> bool {
        !matches!(self, Self::Centrifuge(_)) || centrifuge::is_here()
    }

    /// Name and version, as the contender says it.
    pub fn version(&self) -> Result<String> {
        match self {
            Self::Skep(binary)
            | Self::SkepProxy(binary, _)
            | Self::SkepTls(binary)
            | Self::SkepFastCgi(binary)
            | Self::SkepCgi(binary)
            | Self::SkepLocks(binary)
            | Self::SkepRtep(binary)
            | Self::SkepRealtime(binary, _) => skep::version(binary),
            Self::Nchan(_) => nchan::version(),
            Self::Centrifuge(_) => centrifuge::version(),
            Self::Redis => redis::version(),
            Self::Nginx | Self::NginxProxy(_) | Self::NginxFastCgi(..) | Self::NginxTls => nginx::version(),
            Self::PhpFpm => php::version(),
            Self::Fcgiwrap => Ok(fcgiwrap::version()),
            Self::KernelLimit => Ok(self.name().to_owned()),
        }
    }

    /// Starts it on the server's core and waits for its first answer.
    pub fn start(&self, cores: Cores) -> Result<Running> {
        self.start_in(None, cores)
    }

    /// Starts it so that the CPU time of programs counts which it starts itself, and which end.
    pub fn start_counted(&self, cores: Cores) -> Result<Running> {
        self.start_in(Some(Group::new()?), cores)
    }

    fn start_in(&self, group: Option<Group>, cores: Cores) -> Result<Running> {
        let address = free_address()?;
        let Prepared { mut command, folder } = match self {
            Self::Skep(binary) => skep::prepare(binary, address)?,
            Self::SkepProxy(binary, behind) => skep::prepare_proxy(binary, address, *behind)?,
            Self::SkepTls(binary) => skep::prepare_tls(binary, address)?,
            Self::SkepFastCgi(binary) => skep::prepare_fastcgi(binary, address)?,
            Self::SkepCgi(binary) => skep::prepare_cgi(binary, address)?,
            Self::SkepLocks(binary) => skep::prepare_locks(binary, address)?,
            Self::SkepRtep(binary) => skep::prepare_rtep(binary, address)?,
            Self::SkepRealtime(binary, liveness) => skep::prepare_realtime(binary, address, *liveness)?,
            Self::Nchan(liveness) => nchan::prepare(address, *liveness)?,
            Self::Centrifuge(liveness) => centrifuge::prepare(address, *liveness)?,
            Self::Redis => redis::prepare(address)?,
            Self::Nginx => nginx::prepare(address)?,
            Self::NginxProxy(behind) => nginx::prepare_proxy(address, *behind)?,
            Self::NginxFastCgi(behind, script) => nginx::prepare_fastcgi(address, *behind, script)?,
            Self::NginxTls => nginx::prepare_tls(address)?,
            Self::PhpFpm => php::prepare(address)?,
            Self::Fcgiwrap => fcgiwrap::prepare(address)?,
            Self::KernelLimit => kernel::prepare(address)?,
        };
        let started = Instant::now();
        let mut spawn = || cores.on_server(|| command.spawn());
        let child = match &group {
            Some(group) => group.within(spawn)?,
            None => spawn(),
        };
        let child = child?.map_err(|error| format!("{}: {error}", self.name()))?;
        let mut running = Running { peer: self.clone(), child, group, address, folder, first_answer: Duration::ZERO };
        running.wait_for_answer()?;
        running.first_answer = started.elapsed();
        Ok(running)
    }
}

/// An address that nobody listens on just now.
fn free_address() -> Result<SocketAddr> {
    Ok(TcpListener::bind(("127.0.0.1", 0))?.local_addr()?)
}

/// A contender that serves; it ends when this is dropped.
pub struct Running {
    peer: Peer,
    child: Child,
    /// Where its CPU time is counted, if not by process. Goes after the processes: [`Running::drop`] comes first.
    group: Option<Group>,
    pub address: SocketAddr,
    folder: Folder,
    /// From the start of the process to the end of its first answer.
    pub first_answer: Duration,
}

impl Running {
    fn pid(&self) -> Result<i32> {
        Ok(i32::try_from(self.child.id())?)
    }

    /// Name and version.
    pub fn version(&self) -> Result<String> {
        self.peer.version()
    }

    /// A web server that hands requests to it by FastCGI.
    pub fn front(&self) -> Peer {
        Peer::NginxFastCgi(self.address, self.folder.path().join(SCRIPT))
    }

    /// CPU time of all its processes so far.
    pub fn cpu(&self) -> Result<Cpu> {
        match &self.group {
            Some(group) => group.cpu(),
            None => process::cpu(self.pid()?),
        }
    }

    /// Resident memory of all its processes, in bytes.
    pub fn resident(&self) -> Result<u64> {
        process::resident_tree(self.pid()?)
    }

    /// Resident memory of all its processes, in bytes, with what they share counted once.
    pub fn proportional(&self) -> Result<u64> {
        process::proportional_tree(self.pid()?)
    }

    /// Resident memory of each process, the first one first.
    pub fn resident_each(&self) -> Result<Vec<Resident>> {
        process::members(self.pid()?)?.into_iter().map(process::resident).collect()
    }

    /// Looks all the time, not now and then: the moment of the first answer is a result.
    fn wait_for_answer(&mut self) -> Result<()> {
        let end = Instant::now() + START;
        while !self.peer.answers(self.address) {
            if let Some(status) = self.child.try_wait()? {
                return Err(format!("{} ended with {status}{}", self.peer.name(), self.last_words()).into());
            }
            if Instant::now() > end {
                return Err(format!("{} did not answer within {START:?}{}", self.peer.name(), self.last_words()).into());
            }
            std::thread::yield_now();
        }
        Ok(())
    }

    /// An error of the load with the name of who caused it, and what that one had to say.
    pub fn blame(&self, error: &dyn std::error::Error) -> Box<dyn std::error::Error> {
        format!("{}: {error}{}", self.peer.name(), self.last_words()).into()
    }

    /// The end of what it wrote to its log.
    fn last_words(&self) -> String {
        let log = std::fs::read_to_string(self.folder.path().join(LOG)).unwrap_or_default();
        let lines: Vec<&str> = log.lines().rev().take(20).collect();
        lines.iter().rev().fold(String::new(), |all, line| all + "\n  " + line)
    }
}

/// The script of the contenders that run one, in their folder.
const SCRIPT: &str = "answer";

/// Where every contender's standard output and error go, in its folder.
const LOG: &str = "output.log";

/// Sends what `command` writes to the log in `folder`.
fn logged(mut command: Command, folder: &Path) -> Result<Command> {
    let log = std::fs::File::create(folder.join(LOG))?;
    command.stdin(std::process::Stdio::null()).stdout(log.try_clone()?).stderr(log);
    Ok(command)
}

impl Peer {
    /// Whether the right beginning of an answer comes to the first question of its protocol.
    fn answers(&self, address: SocketAddr) -> bool {
        let (question, answer): (&[u8], &[u8]) = match self {
            Self::SkepTls(_) | Self::NginxTls => return tls::answers(address),
            // The web server in front asks it for the first answer.
            Self::SkepFastCgi(_) | Self::SkepCgi(_) | Self::PhpFpm | Self::Fcgiwrap => return TcpStream::connect(address).is_ok(),
            Self::SkepLocks(_) => (b"hello 2\n", b"HELLO 2\n"),
            Self::SkepRtep(_) => (b"{\"id\":1,\"type\":\"request\",\"request\":{\"op\":\"ping\"}}\n", b"{\"id\":1,"),
            Self::Redis => (b"PING\r\n", b"+PONG\r\n"),
            _ => (b"GET /fixed HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n", b"HTTP/1.1 200"),
        };
        let ask = || -> std::io::Result<bool> {
            let mut stream = TcpStream::connect(address)?;
            stream.set_read_timeout(Some(Duration::from_secs(2)))?;
            stream.write_all(question)?;
            let mut head = vec![0; answer.len()];
            stream.read_exact(&mut head)?;
            Ok(head == answer)
        };
        // Refused, reset, not yet right: all the same here, it is asked again.
        ask().unwrap_or(false)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let Ok(pid) = self.pid() else { return };
        let members = process::members(pid).unwrap_or_else(|_| vec![pid]);
        let asked = kill(Pid::from_raw(pid), Signal::SIGTERM);
        let ended = asked.is_ok() && wait::until(STOP, || !matches!(self.child.try_wait(), Ok(None)));
        if !ended {
            eprintln!("{} had to be killed", self.peer.name());
            for member in members {
                // It may have ended by itself in the meantime.
                let _gone = kill(Pid::from_raw(member), Signal::SIGKILL);
            }
            if let Err(error) = self.child.wait() {
                eprintln!("{}: {error}", self.peer.name());
            }
        }
    }
}
