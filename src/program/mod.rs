//! Programs that were started: their pipes, their end, and everything that they have started in turn.
//!
//! A program is the first of a process group of its own. Whoever holds it may wait for its end; dropped, it is killed with its group and reaped.

mod command;
mod spawner;

pub use command::{Command, Stream};
pub use spawner::spawn;

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;
use std::task::{Context, Poll};

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::libc;
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;

use crate::reactor::Io;
use crate::sys::program::{ProgramLimits, Standing, launch};

/// One end of a pipe.
pub type Pipe = Io<OwnedFd>;

/// A program that was started. Dropped, it is killed with everything that it has started.
pub struct Program {
    pid: Pid,
    /// `None` once it was reaped.
    child: RefCell<Option<Child>>,
    end: Io<OwnedFd>,
    status: Cell<Option<ExitStatus>>,
}

/// Our ends of the pipes that a program was given.
pub struct Pipes<P = Pipe> {
    /// What it reads.
    pub stdin: Option<P>,
    /// What it writes.
    pub stdout: Option<P>,
    /// What it says of itself.
    pub stderr: Option<P>,
}

/// A child that was not reaped: its number is its own, and its group exists. Dropped, it is killed with its group, and reaped.
struct Child(Option<Pid>);

impl Child {
    fn pid(&self) -> Option<Pid> {
        self.0
    }

    /// Reaps it; the caller knows that it has ended.
    fn reap(mut self) -> io::Result<ExitStatus> {
        let pid = self.0.take().ok_or_else(|| io::Error::other("the program is gone"))?;
        reap(pid)
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        if let Some(pid) = self.0.take() {
            // Whoever of them has ended needs no killing.
            let _ = killpg(pid, Signal::SIGKILL);
            blocking::unblock(move || reap(pid)).detach();
        }
    }
}

/// Waits for the end of a child of this process.
fn reap(pid: Pid) -> io::Result<ExitStatus> {
    let mut status: libc::c_int = 0;
    loop {
        match crate::sys::program::wait(pid.as_raw(), &mut status) {
            Ok(()) => return Ok(ExitStatus::from_raw(status)),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

/// A child, the descriptor that tells its end, and our ends of its pipes: not yet watched by any loop.
struct Started {
    child: Child,
    end: OwnedFd,
    pipes: Pipes<OwnedFd>,
}

/// The part that may wait. The child's ends of pipes are its alone after the return.
fn start(command: Command, limits: ProgramLimits, standing: Standing) -> io::Result<Started> {
    let (what, pipes) = command.prepare(limits, standing)?;
    let (pid, end) = launch(what)?;
    Ok(Started { child: Child(Some(Pid::from_raw(pid))), end, pipes })
}

/// Watches a child from the event loop of this thread. One that cannot be watched does not stay.
fn adopt(started: Started) -> io::Result<(Program, Pipes)> {
    let Started { child, end, pipes } = started;
    let pid = child.pid().ok_or_else(|| io::Error::other("the program is gone"))?;
    let pipes = Pipes {
        stdin: pipes.stdin.map(non_blocking).transpose()?,
        stdout: pipes.stdout.map(non_blocking).transpose()?,
        stderr: pipes.stderr.map(non_blocking).transpose()?,
    };
    Ok((Program { pid, child: RefCell::new(Some(child)), end: Io::new(end)?, status: Cell::new(None) }, pipes))
}

/// A descriptor that waits for nothing, for the event loop.
///
/// # Errors
/// The kernel refuses.
fn non_blocking(fd: impl Into<OwnedFd>) -> io::Result<Pipe> {
    let fd = fd.into();
    let flags = OFlag::from_bits_retain(fcntl(&fd, FcntlArg::F_GETFL)?);
    fcntl(&fd, FcntlArg::F_SETFL(flags | OFlag::O_NONBLOCK))?;
    Io::new(fd)
}

impl Program {
    /// Its process id, which is that of its group too.
    #[must_use]
    pub fn pid(&self) -> i32 {
        self.pid.as_raw()
    }

    /// Sends a signal to the program and what it has started. One that has ended is left alone.
    ///
    /// # Errors
    /// It may not be signalled any more: it became another user.
    pub fn signal(&self, signal: Signal) -> io::Result<()> {
        if self.status.get().is_some() {
            return Ok(());
        }
        match killpg(self.pid, signal) {
            // All of them have ended meanwhile.
            Ok(()) | Err(Errno::ESRCH) => Ok(()),
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
            if !has_ended(self.pid)? {
                return Err(io::ErrorKind::WouldBlock.into());
            }
            let child = slot.take().ok_or_else(|| io::Error::other("the program is gone"))?;
            // None of them may be left.
            let _ = killpg(self.pid, Signal::SIGKILL);
            let status = child.reap()?;
            self.status.set(Some(status));
            Ok(status)
        })
    }
}

/// Whether a child has ended, without reaping it.
fn has_ended(pid: Pid) -> io::Result<bool> {
    use nix::sys::wait::{Id, WaitPidFlag, WaitStatus, waitid};
    let flags = WaitPidFlag::WEXITED | WaitPidFlag::WNOHANG | WaitPidFlag::WNOWAIT;
    Ok(waitid(Id::Pid(pid), flags)? != WaitStatus::StillAlive)
}
