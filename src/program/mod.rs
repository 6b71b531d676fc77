//! Programs that were started: their pipes, their end, and everything that they have started in turn.
//!
//! A program is the first of a process group of its own. Whoever holds it may wait for its end; dropped, it is killed with its group and reaped.

mod spawner;

pub use spawner::spawn;

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, ExitStatus};
use std::task::{Context, Poll};

use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;

use crate::reactor::Io;
use crate::sys::pidfd;
use crate::sys::program::{ProgramLimits, Standing, prepare};

/// One end of a pipe.
pub type Pipe = Io<OwnedFd>;

/// A program that was started. Dropped, it is killed with everything that it has started.
pub struct Program {
    pid: u32,
    /// `None` once it was reaped.
    child: RefCell<Option<Child>>,
    end: Io<OwnedFd>,
    status: Cell<Option<ExitStatus>>,
}

/// Our ends of the pipes that a program was given.
pub struct Pipes {
    /// What it reads.
    pub stdin: Option<Pipe>,
    /// What it writes.
    pub stdout: Option<Pipe>,
    /// What it says of itself.
    pub stderr: Option<Pipe>,
}

/// Starts a program on this thread, which waits until the kernel has loaded it.
///
/// # Errors
/// It cannot be started, or not be watched.
pub fn spawn_here(command: Command, limits: ProgramLimits, standing: Standing) -> io::Result<(Program, Pipes)> {
    adopt(start(command, limits, standing)?)
}

/// The part that may wait. The command is dropped before the return: ends of pipes that it held are the child's alone then.
fn start(mut command: Command, limits: ProgramLimits, standing: Standing) -> io::Result<Child> {
    command.process_group(0);
    prepare(&mut command, limits, standing);
    command.spawn()
}

/// Watches a child from the event loop of this thread.
fn adopt(mut child: Child) -> io::Result<(Program, Pipes)> {
    let watch = |child: &mut Child| {
        let pipes = Pipes {
            stdin: child.stdin.take().map(non_blocking).transpose()?,
            stdout: child.stdout.take().map(non_blocking).transpose()?,
            stderr: child.stderr.take().map(non_blocking).transpose()?,
        };
        io::Result::Ok((Io::new(pidfd::open(child.id())?)?, pipes))
    };
    match watch(&mut child) {
        Ok((end, pipes)) => {
            let program = Program { pid: child.id(), child: RefCell::new(Some(child)), end, status: Cell::new(None) };
            Ok((program, pipes))
        }
        Err(error) => {
            // Started, but not to be watched: it must not stay.
            discard(child);
            Err(error)
        }
    }
}

/// Kills a child that was not reaped, with its group, and reaps it.
fn discard(mut child: Child) {
    // Its group exists as long as it was not reaped.
    let _ = killpg(Pid::from_raw(child.id() as i32), Signal::SIGKILL);
    blocking::unblock(move || child.wait()).detach();
}

/// A descriptor that waits for nothing, for the event loop.
///
/// # Errors
/// The kernel refuses.
pub fn non_blocking(fd: impl Into<OwnedFd>) -> io::Result<Pipe> {
    let fd = fd.into();
    let flags = OFlag::from_bits_retain(fcntl(&fd, FcntlArg::F_GETFL)?);
    fcntl(&fd, FcntlArg::F_SETFL(flags | OFlag::O_NONBLOCK))?;
    Io::new(fd)
}

impl Program {
    /// Its process id, which is that of its group too.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// Sends a signal to the program and what it has started. One that has ended is left alone.
    ///
    /// # Errors
    /// It may not be signalled any more: it became another user.
    pub fn signal(&self, signal: Signal) -> io::Result<()> {
        if self.status.get().is_some() {
            return Ok(());
        }
        match killpg(Pid::from_raw(self.pid as i32), signal) {
            // All of them have ended meanwhile.
            Ok(()) | Err(nix::errno::Errno::ESRCH) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// Waits for the end. What the program has started and left behind is killed then, before its number can be used again.
    ///
    /// # Errors
    /// The kernel does not tell how it ended.
    pub async fn ended(&self) -> io::Result<ExitStatus> {
        poll_fn(|cx| self.poll_ended(cx)).await
    }

    /// [`Program::ended`] for one task at a time.
    ///
    /// # Errors
    /// As there.
    pub fn poll_ended(&self, cx: &mut Context<'_>) -> Poll<io::Result<ExitStatus>> {
        self.end.poll_read_with(cx, |_| {
            if let Some(status) = self.status.get() {
                return Ok(status);
            }
            let mut slot = self.child.borrow_mut();
            let Some(child) = slot.as_mut() else { return Err(io::Error::other("the program is gone")) };
            if !has_ended(self.pid)? {
                return Err(io::ErrorKind::WouldBlock.into());
            }
            let _ = killpg(Pid::from_raw(self.pid as i32), Signal::SIGKILL);
            let status = child.wait()?;
            self.status.set(Some(status));
            slot.take();
            Ok(status)
        })
    }
}

/// Whether a child has ended, without reaping it.
fn has_ended(pid: u32) -> io::Result<bool> {
    use nix::sys::wait::{Id, WaitPidFlag, WaitStatus, waitid};
    let flags = WaitPidFlag::WEXITED | WaitPidFlag::WNOHANG | WaitPidFlag::WNOWAIT;
    Ok(waitid(Id::Pid(Pid::from_raw(pid as i32)), flags)? != WaitStatus::StillAlive)
}

impl Drop for Program {
    fn drop(&mut self) {
        if let Some(child) = self.child.take() {
            discard(child);
        }
    }
}
