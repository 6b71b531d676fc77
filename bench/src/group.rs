//! A control group of the kernel, which counts CPU time of all processes that were ever in it: of those too that nobody waited for.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use crate::Result;
use crate::process::Cpu;

/// Removed when dropped, once its processes are gone.
pub struct Group(PathBuf);

/// Where a process is put into a group.
const PROCESSES: &str = "cgroup.procs";

impl Group {
    /// An empty group (cgroups(7), version 2, which counts time without any controller). Only root can make one.
    pub fn new() -> Result<Self> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let name = format!("skep-bench-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let path = root()?.join(name);
        fs::create_dir(&path).map_err(|error| format!("{}: {error}: counting programs that end needs root", path.display()))?;
        Ok(Self(path))
    }

    /// Runs `start` within the group, which its children inherit, and leaves it.
    pub fn within<T>(&self, start: impl FnOnce() -> T) -> Result<T> {
        let mine = fs::read_to_string("/proc/self/cgroup")?;
        let mine = mine.lines().find_map(|line| line.strip_prefix("0::")).ok_or("this process is in no control group of version 2")?;
        let before = root()?.join(mine.trim_start_matches('/'));
        fs::write(self.0.join(PROCESSES), "0")?;
        let started = start();
        fs::write(before.join(PROCESSES), "0")?;
        Ok(started)
    }

    /// What its processes have used so far.
    pub fn cpu(&self) -> Result<Cpu> {
        let text = fs::read_to_string(self.0.join("cpu.stat"))?;
        let field = |name: &str| -> Result<Duration> {
            let line = text.lines().find_map(|line| line.strip_prefix(name)).ok_or_else(|| format!("no {name} in cpu.stat"))?;
            Ok(Duration::from_micros(line.trim().parse()?))
        };
        Ok(Cpu { total: field("usage_usec ")?, user: field("user_usec ")?, sys: field("system_usec ")? })
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        // Whoever is left: fcgiwrap leaves its workers behind, and programs that were started last may still be on their way out.
        if let Err(error) = fs::write(self.0.join("cgroup.kill"), "1") {
            eprintln!("{}: {error}", self.0.display());
        }
        if !crate::wait::until(Duration::from_secs(10), || fs::remove_dir(&self.0).is_ok()) {
            eprintln!("{} stays", self.0.display());
        }
    }
}

/// Where groups of version 2 are.
fn root() -> Result<PathBuf> {
    let mounts = fs::read_to_string("/proc/mounts")?;
    let path = mounts.lines().find_map(|line| {
        let mut fields = line.split(' ');
        let path = fields.nth(1)?;
        (fields.next()? == "cgroup2").then(|| Path::new(path).to_owned())
    });
    Ok(path.ok_or("no control groups of version 2 are mounted")?)
}
