//! What a child does between fork and exec when it becomes another program.

use std::ffi::CString;
use std::io;
use std::os::unix::process::CommandExt;
use std::process::Command;

use nix::libc;
use nix::sys::prctl;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::signal::Signal;
use nix::unistd::{Gid, Uid, chdir, chroot, getppid, setgroups, setresgid, setresuid};

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

/// Who a program is and where it stands; `None` is as this process. Root, user and group can be changed by root only.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Standing {
    /// Its root directory.
    pub root: Option<CString>,
    /// Its working directory, as seen inside its root.
    pub directory: Option<CString>,
    /// Its group, and all groups that it is in.
    pub groups: Option<(u32, Vec<Gid>)>,
    /// Its user.
    pub user: Option<u32>,
    /// The process that is about to start it: when the thread that does ends, the program is killed.
    pub dies_with: Option<i32>,
}

impl Standing {
    /// In a child before its exec. Takes no lock and allocates nothing.
    fn take(&self) -> io::Result<()> {
        if let Some(root) = &self.root {
            chroot(root.as_c_str())?;
            chdir(c"/")?;
        }
        if let Some(directory) = &self.directory {
            chdir(directory.as_c_str())?;
        }
        if let Some((group, groups)) = &self.groups {
            let group = Gid::from_raw(*group);
            setgroups(groups)?;
            setresgid(group, group, group)?;
        }
        if let Some(user) = self.user {
            let user = Uid::from_raw(user);
            setresuid(user, user, user)?;
        }
        if let Some(parent) = self.dies_with {
            // A change of user clears it, so it comes last.
            prctl::set_pdeathsig(Signal::SIGKILL)?;
            if getppid().as_raw() != parent {
                return Err(io::ErrorKind::BrokenPipe.into());
            }
        }
        Ok(())
    }
}

/// Lets exec close every descriptor but the standard ones: ours are marked so, but those that our own parent left open are not. A kernel before
/// 5.11 does not know the call, and then they stay open.
fn keep_descriptors_back() {
    // SAFETY: the call takes three numbers and marks descriptors of this process.
    unsafe { libc::syscall(libc::SYS_close_range, 3 as libc::c_uint, libc::c_uint::MAX, libc::CLOSE_RANGE_CLOEXEC) };
}

/// Lets the program start with the signals as every program expects them, and within its limits. This process ignores TERM and others,
/// which exec would hand on: a program could then not be asked to end.
pub fn prepare(command: &mut Command, limits: ProgramLimits, standing: Standing) {
    let enter = move || {
        signals::reset_for_exec()?;
        let wanted = [(Resource::RLIMIT_CPU, limits.cpu), (Resource::RLIMIT_AS, limits.memory), (Resource::RLIMIT_NOFILE, limits.files)];
        for (resource, limit) in wanted {
            if let Some(limit) = limit {
                let (_, hard) = getrlimit(resource)?;
                setrlimit(resource, limit.min(hard), limit.min(hard))?;
            }
        }
        keep_descriptors_back();
        standing.take()
    };
    // SAFETY: other threads may hold locks, so only calls that take none are allowed here: these are sigaction, sigprocmask, getrlimit,
    // setrlimit, close_range, prctl and those of `Standing::take`; paths are C strings already, and errors are plain numbers. Nothing allocates.
    unsafe { command.pre_exec(enter) };
}
