//! Signals as readable descriptors: blocked for the whole process, read in the one loop. See signalfd(2).

use std::io;
use std::os::fd::{AsFd, BorrowedFd};

use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, SigmaskHow, Signal, sigaction, sigprocmask};
use nix::sys::signalfd::{SfdFlags, SignalFd};

/// The signals of the master, blocked and collected.
#[derive(Debug)]
pub struct Signals {
    fd: SignalFd,
}

impl Signals {
    /// Blocks `signals` and opens a descriptor that reports them.
    ///
    /// # Errors
    /// The kernel refuses the descriptor.
    pub fn new(signals: &[Signal]) -> io::Result<Signals> {
        let set: SigSet = signals.iter().copied().collect();
        sigprocmask(SigmaskHow::SIG_BLOCK, Some(&set), None)?;
        let fd = SignalFd::with_flags(&set, SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC)?;
        Ok(Signals { fd })
    }

    /// The next signal that has arrived, if any.
    ///
    /// # Errors
    /// Reading the descriptor failed.
    pub fn next(&self) -> io::Result<Option<Signal>> {
        let Some(info) = self.fd.read_signal()? else { return Ok(None) };
        let number = i32::try_from(info.ssi_signo).map_err(io::Error::other)?;
        Ok(Some(Signal::try_from(number)?))
    }
}

impl AsFd for Signals {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// In a child: nothing is blocked, everything does what it does by default, except SIGPIPE, which stays ignored (a write to a
/// connection that has gone is an error, not the end of the process), and INT, TERM, HUP, QUIT, USR1, USR2, which are ignored as
/// well: a terminal sends its Ctrl-C to the whole group, and what children do is the master's to say.
///
/// # Errors
/// The kernel refuses.
pub fn reset_in_child() -> io::Result<()> {
    let ignored = [Signal::SIGPIPE, Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP, Signal::SIGQUIT, Signal::SIGUSR1, Signal::SIGUSR2];
    set_all(&ignored, SigHandler::SigIgn)?;
    set_all(&[Signal::SIGCHLD], SigHandler::SigDfl)?;
    sigprocmask(SigmaskHow::SIG_SETMASK, Some(&SigSet::empty()), None)?;
    Ok(())
}

/// Before an exec: nothing blocked, everything as a fresh program expects it.
///
/// # Errors
/// The kernel refuses.
pub fn reset_for_exec() -> io::Result<()> {
    let reset = [
        Signal::SIGPIPE,
        Signal::SIGINT,
        Signal::SIGTERM,
        Signal::SIGHUP,
        Signal::SIGQUIT,
        Signal::SIGUSR1,
        Signal::SIGUSR2,
        Signal::SIGCHLD,
    ];
    set_all(&reset, SigHandler::SigDfl)?;
    sigprocmask(SigmaskHow::SIG_SETMASK, Some(&SigSet::empty()), None)?;
    Ok(())
}

fn set_all(signals: &[Signal], handler: SigHandler) -> io::Result<()> {
    let action = SigAction::new(handler, SaFlags::empty(), SigSet::empty());
    for signal in signals {
        // SAFETY: the handlers are the kernel's own (default, ignore); no code of ours runs in signal context.
        unsafe { sigaction(*signal, &action)? };
    }
    Ok(())
}
