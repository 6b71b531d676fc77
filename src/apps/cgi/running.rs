//! A program at work on a request: its input as the client sends it, its output as it comes, what it says of itself, its end.

use std::future::Future;
use std::future::poll_fn;
use std::os::unix::process::ExitStatusExt;
use std::pin::Pin;
use std::process::ExitStatus;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Buf, Bytes};
use nix::unistd::{read, write};

use super::errors::Errors;
use crate::apps::clock::Clock;
use crate::apps::failure::Failure;
use crate::apps::gate::Pass;
use crate::apps::work;
use crate::program::{Pipe, Pipes, Program};
use crate::reactor::Alarm;
use crate::request::Body;

/// What is read of a pipe at once.
const PIECE: usize = 32 << 10;
/// How often one side is served before the others have their turn.
const TURNS: usize = 16;
/// A program that has closed its output has so long to end before its answer counts as whole: how it ended tells whether it is.
const GRACE: Duration = Duration::from_secs(1);

/// What a program may.
#[derive(Clone, Copy, Debug)]
pub(super) struct Allowance {
    pub(super) time: Duration,
    pub(super) output: Option<u64>,
}

/// Dropped, it kills the program and everything that the program has started.
pub(super) struct Running {
    program: Program,
    stdin: Option<Pipe>,
    /// `None` at its end.
    stdout: Option<Pipe>,
    stderr: Option<Pipe>,
    buffer: Box<[u8]>,
    body: Body,
    /// What of the body the program has not taken yet.
    pending: Bytes,
    errors: Errors,
    clock: Clock,
    allowance: Allowance,
    written: u64,
    /// On between the end of the output and that of the program.
    grace: Alarm,
    _pass: Pass,
}

impl Running {
    /// `pipes` has an output at least; `body` goes to its input where it has one.
    pub(super) fn new((program, pipes): (Program, Pipes), body: Body, errors: Errors, allowance: Allowance, pass: Pass) -> Self {
        Self {
            program,
            stdin: pipes.stdin,
            stdout: pipes.stdout,
            stderr: pipes.stderr,
            buffer: vec![0; PIECE].into(),
            body,
            pending: Bytes::new(),
            errors,
            clock: Clock::new(allowance.time),
            allowance,
            written: 0,
            grace: Alarm::new(),
            _pass: pass,
        }
    }

    /// Hands the body on. Whether the program may be waiting for the client.
    fn poll_input(&mut self, cx: &mut Context<'_>) -> Result<bool, Failure> {
        for _ in 0..TURNS {
            let Some(stdin) = &self.stdin else { return Ok(false) };
            if self.pending.is_empty() {
                match self.body.poll_chunk(cx) {
                    Poll::Ready(Ok(Some(chunk))) => self.pending = chunk,
                    Poll::Ready(Ok(None)) => self.stdin = None,
                    Poll::Ready(Err(error)) => return Err(Failure::Body(error)),
                    Poll::Pending => return Ok(true),
                }
                continue;
            }
            match stdin.poll_write_with(cx, |fd| Ok(write(fd, &self.pending)?)) {
                Poll::Ready(Ok(count)) => self.pending.advance(count),
                // A program need not read its input.
                Poll::Ready(Err(_)) => {
                    self.stdin = None;
                    self.pending = Bytes::new();
                }
                Poll::Pending => return Ok(false),
            }
        }
        cx.waker().wake_by_ref();
        Ok(false)
    }

    fn poll_errors(&mut self, cx: &mut Context<'_>) {
        let mut buffer = [0; 4 << 10];
        for _ in 0..TURNS {
            let Some(stderr) = self.stderr.as_ref().filter(|_| !self.errors.is_full()) else { return };
            match stderr.poll_read_with(cx, |fd| Ok(read(fd, &mut buffer)?)) {
                Poll::Ready(Ok(count @ 1..)) => self.errors.push(&buffer[..count]),
                Poll::Ready(_) => self.stderr = None,
                Poll::Pending => return,
            }
        }
        cx.waker().wake_by_ref();
    }

    fn poll_stdout(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Bytes>, Failure>> {
        let Self { stdout, buffer, program, .. } = &mut *self;
        if let Some(stdout) = stdout {
            let mut polled = stdout.poll_read_with(cx, |fd| Ok(read(fd, buffer)?));
            if polled.is_pending() && program.poll_ended(cx).is_ready() {
                // What it has left behind may hold the pipe open for ever: what is in it now is the rest.
                stdout.recheck();
                polled = Poll::Ready(match stdout.poll_read_with(cx, |fd| Ok(read(fd, buffer)?)) {
                    Poll::Ready(read) => read,
                    Poll::Pending => Ok(0),
                });
            }
            match ready!(polled) {
                Ok(0) => self.stdout = None,
                Ok(count) => {
                    self.written += count as u64;
                    if let Some(most) = self.allowance.output.filter(|&most| self.written > most) {
                        return Poll::Ready(Err(Failure::TooMuch(most)));
                    }
                    return Poll::Ready(Ok(Some(Bytes::copy_from_slice(&self.buffer[..count]))));
                }
                Err(error) => return Poll::Ready(Err(Failure::Io(error))),
            }
        }
        self.poll_whole(cx)
    }

    /// What the answer takes of standard error.
    fn errors_for_answer(&mut self) -> Option<Result<Bytes, Failure>> {
        let piece = self.errors.piece()?;
        self.written += piece.len() as u64;
        Some(match self.allowance.output.filter(|&most| self.written > most) {
            Some(most) => Err(Failure::TooMuch(most)),
            None => Ok(piece),
        })
    }

    /// Whether output that has ended is whole.
    fn poll_whole(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Bytes>, Failure>> {
        if !self.grace.is_set() {
            self.grace.set(GRACE);
        }
        match self.program.poll_ended(cx) {
            Poll::Ready(status) => {
                self.stdin = None;
                // Its last words are in the pipe already.
                self.poll_errors(cx);
                if let Some(piece) = self.errors_for_answer() {
                    return Poll::Ready(piece.map(Some));
                }
                Poll::Ready(status.map_err(Failure::Io).and_then(whole))
            }
            Poll::Pending => self.grace.poll(cx).map(|()| Ok(None)),
        }
    }
}

impl work::Program for Running {
    fn poll_output(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Bytes>, Failure>> {
        let starved = self.poll_input(cx)?;
        self.poll_errors(cx);
        let polled = match self.errors_for_answer() {
            Some(piece) => Poll::Ready(piece.map(Some)),
            None => self.poll_stdout(cx),
        };
        if polled.is_ready() || starved {
            // From here on it is the client who takes his time.
            self.clock.pause();
            return polled;
        }
        self.clock.run();
        self.clock.poll(cx).map(|()| Err(Failure::TimedOut(self.allowance.time)))
    }

    fn is_fed(&self) -> bool {
        self.stdin.is_none()
    }

    fn errors_into_answer(&mut self) -> Bytes {
        self.errors.answer_takes();
        let said = self.errors.piece().unwrap_or_default();
        self.written += said.len() as u64;
        said
    }

    fn finish(mut self) -> Pin<Box<dyn Future<Output = Result<(), Failure>>>> {
        Box::pin(async move {
            self.errors.answer_ends();
            while poll_fn(|cx| self.poll_output(cx)).await?.is_some() {}
            // Who closed its output and goes on has the rest of its time.
            self.clock.run();
            let ended = poll_fn(|cx| {
                self.poll_errors(cx);
                match self.program.poll_ended(cx) {
                    Poll::Ready(ended) => Poll::Ready(ended.map(|_| ()).map_err(Failure::Io)),
                    Poll::Pending => self.clock.poll(cx).map(|()| Err(Failure::TimedOut(self.allowance.time))),
                }
            });
            ended.await
        })
    }
}

/// A program that says by its exit code that it failed has still said all that it wanted to; one that was killed has not.
fn whole(status: ExitStatus) -> Result<Option<Bytes>, Failure> {
    status.signal().map_or(Ok(None), |signal| Err(Failure::Killed(signal)))
}
