//! Which core does what: the server on one, the load on the other, so that neither takes time from the one that is measured.

use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::unistd::Pid;

use crate::Result;

/// The two cores of a run. With only one core they are the same, and the report says so.
#[derive(Clone, Copy)]
pub struct Cores {
    server: usize,
    load: usize,
}

impl Cores {
    /// Takes the first two cores that this process may use.
    pub fn choose() -> Result<Self> {
        let allowed = sched_getaffinity(Pid::from_raw(0))?;
        let mut usable = (0..CpuSet::count()).filter(|&core| allowed.is_set(core).unwrap_or(false));
        let server = usable.next().ok_or("no core to run on")?;
        let load = usable.next().unwrap_or(server);
        Ok(Self { server, load })
    }

    /// Whether the load takes time from the server.
    pub fn shared(self) -> bool {
        self.server == self.load
    }

    /// Runs `start` on the server's core, which its children inherit, and comes back to the load's.
    pub fn on_server<T>(self, start: impl FnOnce() -> T) -> Result<T> {
        pin(self.server)?;
        let started = start();
        pin(self.load)?;
        Ok(started)
    }

    /// Moves this thread to the load's core.
    pub fn to_load(self) -> Result<()> {
        pin(self.load)
    }
}

fn pin(core: usize) -> Result<()> {
    let mut set = CpuSet::new();
    set.set(core)?;
    sched_setaffinity(Pid::from_raw(0), &set)?;
    Ok(())
}
