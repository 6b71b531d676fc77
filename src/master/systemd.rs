//! What a service manager gives and wants: sd_notify(3), sd_listen_fds(3), sd_watchdog_enabled(3). Nothing of it without systemd.

use std::ffi::OsStr;
use std::io;
use std::os::fd::{OwnedFd, RawFd};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::{Duration, Instant};

use crate::sys::{descriptors, environment};

/// The first descriptor that is passed, by convention.
const FIRST: RawFd = 3;
/// More sockets than this are not believed.
const MOST: usize = 256;

/// The way to the service manager; without one, every call does nothing.
#[derive(Debug, Default)]
pub struct Notifier {
    socket: Option<(UnixDatagram, SocketAddr)>,
    /// How often it wants to hear from us, halved, and when the next time is.
    watchdog: Option<(Duration, Instant)>,
    name: Option<String>,
}

impl Notifier {
    /// Reads `NOTIFY_SOCKET`, `WATCHDOG_USEC` and `WATCHDOG_PID`, and takes them out of the environment.
    #[must_use]
    pub fn from_environment(now: Instant) -> Notifier {
        let name = environment::take("NOTIFY_SOCKET");
        let socket = name.as_deref().and_then(|name| match connect(name) {
            Ok(socket) => Some(socket),
            Err(error) => {
                crate::log_warn!("cannot reach the service manager at {name}: {error}");
                None
            }
        });
        let micros = environment::take("WATCHDOG_USEC").and_then(|text| text.parse::<u64>().ok()).filter(|&micros| micros > 0);
        let pid = environment::take("WATCHDOG_PID").and_then(|text| text.parse::<u32>().ok());
        let ours = pid.is_none_or(|pid| pid == std::process::id());
        let watchdog = micros.filter(|_| ours && socket.is_some()).map(|micros| (Duration::from_micros(micros / 2), now));
        Notifier { socket, watchdog, name }
    }

    /// The environment variables to hand on to the binary that takes over.
    #[must_use]
    pub fn environment(&self) -> Vec<(&'static str, String)> {
        let name = self.name.iter().map(|name| ("NOTIFY_SOCKET", name.clone()));
        let watchdog = self.watchdog.iter().map(|(half, _)| ("WATCHDOG_USEC", (half.as_micros() * 2).to_string()));
        name.chain(watchdog).collect()
    }

    /// Everything serves.
    pub fn ready(&self, status: &str) {
        self.send(&format!("READY=1\nMAINPID={}\nSTATUS={status}", std::process::id()));
    }

    /// The configuration is being applied; `ready` follows.
    pub fn reloading(&self) {
        self.send(&format!("RELOADING=1\nMONOTONIC_USEC={}", crate::scoreboard::now_ms() * 1000));
    }

    /// Another process is the main one from now on; only the one that is can say so.
    pub fn main_pid(&self, pid: i32) {
        self.send(&format!("MAINPID={pid}"));
    }

    /// The end has begun.
    pub fn stopping(&self) {
        self.send("STOPPING=1");
    }

    /// When [`Notifier::beat`] is due next.
    #[must_use]
    pub fn next_beat(&self) -> Option<Instant> {
        self.watchdog.map(|(_, at)| at)
    }

    /// Tells the watchdog that the master's loop turns, when it is time to.
    pub fn beat(&mut self, now: Instant) {
        let Some((every, at)) = &mut self.watchdog else { return };
        if now < *at {
            return;
        }
        *at = now + *every;
        self.send("WATCHDOG=1");
    }

    fn send(&self, text: &str) {
        let Some((socket, address)) = &self.socket else { return };
        if let Err(error) = socket.send_to_addr(text.as_bytes(), address) {
            crate::log_warn!("the service manager did not hear {text:?}: {error}");
        }
    }
}

fn connect(name: &str) -> io::Result<(UnixDatagram, SocketAddr)> {
    let address = match name.strip_prefix('@') {
        Some(rest) => SocketAddr::from_abstract_name(rest.as_bytes())?,
        None => SocketAddr::from_pathname(OsStr::from_bytes(name.as_bytes()))?,
    };
    let socket = UnixDatagram::unbound()?;
    socket.set_nonblocking(true)?;
    Ok((socket, address))
}

/// The listening sockets that systemd has opened for us (`LISTEN_FDS`, meant for `LISTEN_PID`), taken out of the environment.
#[must_use]
pub fn activated_sockets() -> Vec<OwnedFd> {
    let pid = environment::take("LISTEN_PID").and_then(|text| text.parse::<u32>().ok());
    let count = environment::take("LISTEN_FDS").and_then(|text| text.parse::<usize>().ok()).unwrap_or(0);
    let _ = environment::take("LISTEN_FDNAMES");
    if pid != Some(std::process::id()) {
        return Vec::new();
    }
    let numbers = (FIRST..).take(count.min(MOST));
    numbers
        .filter_map(|number| match descriptors::inherited(number) {
            Ok(fd) => Some(fd),
            Err(error) => {
                crate::log_warn!("socket activation: descriptor {number} cannot be used: {error}");
                None
            }
        })
        .collect()
}
