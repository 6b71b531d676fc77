//! Another program in a process of its own.
//!
//! A fork of a worker would copy its page tables, and every page that the worker writes to next: half a millisecond, and more the larger it is. So the
//! child borrows the memory of its parent until it is another program (vfork(2), which posix_spawn(3) does too; that one cannot do what [`Standing`]
//! asks for).

use std::cell::Cell;
use std::ffi::{CStr, CString};
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::ptr;

use nix::fcntl::{FcntlArg, fcntl};
use nix::libc;
use nix::sys::signal::{SigSet, SigmaskHow, Signal, sigprocmask};

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
    pub groups: Option<(u32, Vec<u32>)>,
    /// Its user.
    pub user: Option<u32>,
    /// The process that is about to start it: when the thread that does ends, the program is killed.
    pub dies_with: Option<i32>,
}

/// A program, and what it is told and given.
pub struct Launch {
    /// Where it may be, as seen from where it stands: the first that is there is it.
    pub places: Vec<CString>,
    /// Its name and its arguments.
    pub words: Vec<CString>,
    /// `NAME=value` each.
    pub environment: Vec<CString>,
    /// What becomes its standard input, output and error.
    pub standard: [OwnedFd; 3],
    /// What it may.
    pub limits: ProgramLimits,
    /// Who it is and where.
    pub standing: Standing,
}

/// What the child needs of stack: a few calls with small arguments.
const STACK: usize = 32 << 10;
/// What runs a file that says nothing of an interpreter (execvp(3)).
const SHELL: &CStr = c"/bin/sh";

/// What the child reads while it borrows the memory of its parent, made ready before: it allocates nothing.
struct Plan<'a> {
    places: &'a [CString],
    /// The shell, the program's name, its arguments, and the null pointer at the end: from the second on they are the program's words.
    words: &'a [Cell<*const libc::c_char>],
    environment: &'a [*const libc::c_char],
    standard: [RawFd; 3],
    limits: ProgramLimits,
    standing: &'a Standing,
    /// What went wrong, if it came to that.
    failure: Cell<libc::c_int>,
}

/// Starts a program, the first of a process group of its own. Returns when the kernel has loaded it: its process id, and a descriptor that becomes
/// readable at its end.
///
/// # Errors
/// There is no such program, it may not be run, or it may not stand where it should; no process can be started.
pub fn launch(mut launch: Launch) -> io::Result<(i32, OwnedFd)> {
    for fd in &mut launch.standard {
        above_standard(fd)?;
    }
    let words = [SHELL.as_ptr()].into_iter().chain(launch.words.iter().map(|word| word.as_ptr())).chain([ptr::null()]);
    let words: Vec<_> = words.map(Cell::new).collect();
    let environment: Vec<_> = launch.environment.iter().map(|entry| entry.as_ptr()).chain([ptr::null()]).collect();
    let plan = Plan {
        places: &launch.places,
        words: &words,
        environment: &environment,
        standard: [0, 1, 2].map(|index: usize| launch.standard[index].as_raw_fd()),
        limits: launch.limits,
        standing: &launch.standing,
        failure: Cell::new(0),
    };
    let mut stack: Vec<MaybeUninit<u128>> = Vec::with_capacity(STACK / size_of::<u128>());
    let mut pidfd: libc::c_int = -1;
    // No handler of ours may run in the child, on memory that it has borrowed.
    let mut blocked = SigSet::empty();
    sigprocmask(SigmaskHow::SIG_SETMASK, Some(&SigSet::all()), Some(&mut blocked))?;
    let flags = libc::CLONE_VM | libc::CLONE_VFORK | libc::CLONE_PIDFD | libc::SIGCHLD;
    // SAFETY: this thread stands still until the child is another program or gone (CLONE_VFORK), so what the plan borrows and the stack, which grows
    // down from its end and is as aligned as a u128, live long enough. Other threads go on: the child touches nothing of theirs (see `become_program`).
    // With CLONE_PIDFD the kernel writes a descriptor to where the first argument after the plan points.
    let pid = unsafe {
        let top = stack.as_mut_ptr().add(stack.capacity()).cast();
        libc::clone(child, top, flags, (&raw const plan).cast_mut().cast(), &raw mut pidfd)
    };
    let failed = io::Error::last_os_error();
    sigprocmask(SigmaskHow::SIG_SETMASK, Some(&blocked), None)?;
    if pid < 0 {
        return Err(failed);
    }
    // SAFETY: the kernel has just made this descriptor for us alone.
    let end = unsafe { OwnedFd::from_raw_fd(pidfd) };
    let failure = plan.failure.get();
    if failure != 0 {
        // It has ended, and there is nothing to learn of that.
        let _ = nix::sys::wait::waitpid(nix::unistd::Pid::from_raw(pid), None);
        return Err(io::Error::from_raw_os_error(failure));
    }
    Ok((pid, end))
}

/// Waits for the end of a child and reaps it: its status as waitpid(2) gives it.
///
/// # Errors
/// There is no such child; a signal came.
pub fn wait(pid: i32, status: &mut i32) -> io::Result<()> {
    // SAFETY: the kernel writes to a number that lives.
    if unsafe { libc::waitpid(pid, status, 0) } < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// A descriptor that no standard descriptor of the child overwrites.
fn above_standard(fd: &mut OwnedFd) -> io::Result<()> {
    if fd.as_raw_fd() > libc::STDERR_FILENO {
        return Ok(());
    }
    let copy = fcntl(&*fd, FcntlArg::F_DUPFD_CLOEXEC(libc::STDERR_FILENO + 1))?;
    // SAFETY: the kernel has just made this descriptor for us alone.
    *fd = unsafe { OwnedFd::from_raw_fd(copy) };
    Ok(())
}

extern "C" fn child(plan: *mut libc::c_void) -> libc::c_int {
    // SAFETY: `launch` gives a plan, and waits.
    let plan = unsafe { &*plan.cast::<Plan<'_>>() };
    plan.failure.set(plan.become_program());
    // SAFETY: ends the child at once: nothing of the parent's is flushed or torn down.
    unsafe { libc::_exit(127) }
}

impl Plan<'_> {
    /// In the child. Returns only with an error. Other threads of the parent share its memory and go on: no lock is taken here, nothing allocated, and
    /// nothing written but the stack, what belongs to the plan, and `errno` of the thread that stands still.
    fn become_program(&self) -> libc::c_int {
        let prepared = self.prepare();
        let Err(errno) = prepared else { return self.exec() };
        errno
    }

    fn prepare(&self) -> Result<(), libc::c_int> {
        for (target, fd) in (0..).zip(self.standard) {
            // SAFETY: takes two numbers; the descriptors of the child are its own.
            check(unsafe { libc::dup2(fd, target) }.into())?;
        }
        // SAFETY: takes two numbers.
        check(unsafe { libc::setpgid(0, 0) }.into())?;
        // Every program expects these as they are by default; this process ignores TERM and others, which exec would hand on. Nothing is blocked after it.
        signals::reset_for_exec().map_err(|error| error.raw_os_error().unwrap_or(libc::EINVAL))?;
        let limits = [(libc::RLIMIT_CPU, self.limits.cpu), (libc::RLIMIT_AS, self.limits.memory), (libc::RLIMIT_NOFILE, self.limits.files)];
        for (resource, limit) in limits {
            if let Some(limit) = limit {
                set_limit(resource, limit)?;
            }
        }
        keep_descriptors_back();
        self.standing.take()
    }

    /// As execvp(3): the first place that has the program; a file without an interpreter is the shell's.
    fn exec(&self) -> libc::c_int {
        let mut failure = libc::ENOENT;
        for place in self.places {
            let failed = self.exec_at(place, &self.words[1..]);
            match failed {
                libc::ENOEXEC => {
                    self.words[1].set(place.as_ptr());
                    return self.exec_at(SHELL, self.words);
                }
                libc::EACCES => failure = failed,
                libc::ENOENT | libc::ENOTDIR | libc::ESTALE | libc::ENODEV | libc::ETIMEDOUT => {}
                _ => return failed,
            }
        }
        failure
    }

    fn exec_at(&self, place: &CStr, words: &[Cell<*const libc::c_char>]) -> libc::c_int {
        // SAFETY: the path and every pointer lead to C strings that live, a null pointer ends both lists; a cell is laid out as what it holds.
        unsafe { libc::execve(place.as_ptr(), words.as_ptr().cast(), self.environment.as_ptr()) };
        errno()
    }
}

fn errno() -> libc::c_int {
    nix::errno::Errno::last_raw()
}

/// What a system call gives, or the error that it leaves behind.
fn check(result: libc::c_long) -> Result<(), libc::c_int> {
    if result < 0 { Err(errno()) } else { Ok(()) }
}

/// No more than what this process is allowed.
fn set_limit(resource: libc::__rlimit_resource_t, limit: u64) -> Result<(), libc::c_int> {
    let mut limits = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: the kernel writes to a structure of its kind, and reads one.
    unsafe {
        check(libc::getrlimit(resource, &raw mut limits).into())?;
        let limit = limit.min(limits.rlim_max);
        limits = libc::rlimit { rlim_cur: limit, rlim_max: limit };
        check(libc::setrlimit(resource, &raw const limits).into())
    }
}

/// Lets exec close every descriptor but the standard ones: ours are marked so, but those that our own parent left open are not. A kernel before
/// 5.11 does not know the call, and then they stay open.
fn keep_descriptors_back() {
    // SAFETY: the call takes three numbers and marks descriptors of this process.
    unsafe { libc::syscall(libc::SYS_close_range, 3 as libc::c_uint, libc::c_uint::MAX, libc::CLOSE_RANGE_CLOEXEC) };
}

impl Standing {
    /// In the child. The C library would have every thread of the process change its user and groups with this one; so the kernel is asked itself.
    fn take(&self) -> Result<(), libc::c_int> {
        // SAFETY: paths are C strings that live; the groups are as many numbers as is said; everything else is a number.
        unsafe {
            if let Some(root) = &self.root {
                check(libc::chroot(root.as_ptr()).into())?;
                check(libc::chdir(c"/".as_ptr()).into())?;
            }
            if let Some(directory) = &self.directory {
                check(libc::chdir(directory.as_ptr()).into())?;
            }
            if let Some((group, groups)) = &self.groups {
                check(libc::syscall(libc::SYS_setgroups, groups.len(), groups.as_ptr()))?;
                check(libc::syscall(libc::SYS_setresgid, *group, *group, *group))?;
            }
            if let Some(user) = self.user {
                check(libc::syscall(libc::SYS_setresuid, user, user, user))?;
            }
            if let Some(parent) = self.dies_with {
                // A change of user clears it, so it comes last.
                check(libc::prctl(libc::PR_SET_PDEATHSIG, Signal::SIGKILL as libc::c_ulong).into())?;
                if libc::getppid() != parent {
                    return Err(libc::EPIPE);
                }
            }
        }
        Ok(())
    }
}
