//! What a child does between fork and exec when it becomes another program.

use std::io;
use std::os::unix::process::CommandExt;
use std::process::Command;

use nix::sys::resource::{Resource, getrlimit, setrlimit};

use super::signals;

/// What the kernel allows a program, each of its processes by itself; `None` is what this process is allowed. See setrlimit(2).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ProgramLimits {
    /// Seconds of CPU time.
    pub cpu: Option<u64>,
    /// Bytes of address space.
    pub memory: Option<u64>,
    /// Open descriptors.
    pub files: Option<u64>,
}

/// Lets the program start with the signals as every program expects them, and within its limits. This process ignores TERM and others,
/// which exec would hand on: a program could then not be asked to end.
pub fn prepare(command: &mut Command, limits: ProgramLimits) {
    let enter = move || {
        signals::reset_for_exec()?;
        let wanted = [(Resource::RLIMIT_CPU, limits.cpu), (Resource::RLIMIT_AS, limits.memory), (Resource::RLIMIT_NOFILE, limits.files)];
        for (resource, limit) in wanted {
            if let Some(limit) = limit {
                let (_, hard) = getrlimit(resource)?;
                setrlimit(resource, limit.min(hard), limit.min(hard))?;
            }
        }
        io::Result::Ok(())
    };
    // SAFETY: other threads may hold locks, so only calls that take none are allowed here: these are sigaction, sigprocmask, getrlimit
    // and setrlimit, and errors are plain numbers. Nothing allocates.
    unsafe { command.pre_exec(enter) };
}
