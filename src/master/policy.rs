//! `workers.mpm: Script(path)`: the configuration's own algorithm for the number of workers.
//!
//! The file returns a function from the state (the fields of [`Load`] and [`Limits`]) to a number. It is asked in a process of its own
//! that lives for one answer: the master runs no scripts, and what a script breaks is gone with that process.

use std::fmt::Display;
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use mlua::{Function, Lua, Table, Value, VmState};
use nix::fcntl::OFlag;
use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, pipe2};

use super::mpm::{Limits, Load};
use crate::log_error;
use crate::sys::privileges::Target;
use crate::sys::{limits, signals};

/// How long the script may compute.
const TIME: Duration = Duration::from_millis(200);
/// How long its process may live, start included.
const LIFE: Duration = Duration::from_secs(2);
/// What it may allocate, bytes.
const MEMORY: usize = 16 << 20;
/// The longest answer that is read, bytes.
const LONGEST_ANSWER: usize = 4096;
/// The largest script, bytes.
const LONGEST_SCRIPT: u64 = 1 << 20;

/// One question to the script.
#[derive(Debug)]
pub struct Policy {
    path: PathBuf,
    load: Load,
    limits: Limits,
    /// Who the process becomes before it runs the script.
    pub target: Target,
    answer: Option<OwnedFd>,
}

/// A question that is being answered.
#[derive(Debug)]
pub struct Running {
    pid: Option<Pid>,
    pipe: File,
    text: Vec<u8>,
    deadline: Instant,
    load: Load,
}

impl Policy {
    /// A question.
    #[must_use]
    pub fn new(path: PathBuf, load: Load, limits: Limits) -> Policy {
        Policy { path, load, limits, target: Target::default(), answer: None }
    }

    /// In the forked process: asks the script, writes its answer; returns the exit code.
    pub fn answer(mut self) -> i32 {
        let answer = match self.ask() {
            Ok(wanted) => format!("{wanted}\n"),
            Err(why) => format!("!{}\n", why.replace('\n', " ")),
        };
        let Some(pipe) = self.answer.take() else { return 1 };
        let cut = answer.floor_char_boundary(LONGEST_ANSWER - 1);
        i32::from(File::from(pipe).write_all(&answer.as_bytes()[..cut]).is_err())
    }

    fn ask(&self) -> Result<usize, String> {
        signals::reset_in_child().and_then(|()| limits::set_title("skep-mpm")).map_err(|e| e.to_string())?;
        let script = read(&self.path)?;
        self.target.enter().map_err(|e| e.to_string())?;
        evaluate(&script, &self.path.display().to_string(), &self.load, &self.limits)
    }
}

impl Running {
    /// Both ends of the answer.
    ///
    /// # Errors
    /// No descriptors are left.
    pub fn prepare(mut policy: Policy) -> io::Result<(Running, Policy)> {
        let (read, write) = pipe2(OFlag::O_CLOEXEC)?;
        crate::sys::descriptors::set_nonblocking(read.as_fd())?;
        let deadline = Instant::now() + LIFE;
        let running = Running { pid: None, pipe: File::from(read), text: Vec::new(), deadline, load: policy.load };
        policy.answer = Some(write);
        Ok((running, policy))
    }

    /// With the process that answers.
    #[must_use]
    pub fn of(self, pid: Pid) -> Running {
        Running { pid: Some(pid), ..self }
    }

    pub fn fd(&self) -> BorrowedFd<'_> {
        self.pipe.as_fd()
    }

    pub fn deadline(&self) -> Instant {
        self.deadline
    }

    /// What the script was asked with.
    pub fn load(&self) -> Load {
        self.load
    }

    /// Kills it when it takes too long; that it did not answer is then seen on the pipe.
    pub fn enforce_deadline(&mut self, now: Instant) {
        if let Some(pid) = self.pid.filter(|_| self.deadline <= now) {
            self.deadline = now + LIFE;
            if let Err(error) = kill(pid, Signal::SIGKILL) {
                log_error!("the mpm script's process could not be killed: {error}");
            }
        }
    }

    /// The answer, once it is whole: the number wanted, or why there is none.
    pub fn answer(&mut self) -> Option<Result<usize, String>> {
        let mut buffer = [0; 512];
        loop {
            match self.pipe.read(&mut buffer) {
                Ok(0) => break,
                Ok(count) if self.text.len() + count <= LONGEST_ANSWER => self.text.extend_from_slice(&buffer[..count]),
                Ok(_) => return Some(Err("its answer is too long".to_owned())),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return None,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Some(Err(error.to_string())),
            }
        }
        let text = String::from_utf8_lossy(&self.text);
        let text = text.trim_end();
        Some(match text.strip_prefix('!') {
            Some(why) => Err(why.to_owned()),
            None => text.parse().map_err(|_| "it did not answer in time".to_owned()),
        })
    }
}

/// Whether a process is the one that answers.
#[must_use]
pub fn is_policy(pid: Pid, running: Option<&Running>) -> bool {
    running.is_some_and(|running| running.pid == Some(pid))
}

fn read(path: &Path) -> Result<String, String> {
    let failed = |error: io::Error| format!("{}: {error}", path.display());
    let mut text = String::new();
    File::open(path).map_err(failed)?.take(LONGEST_SCRIPT).read_to_string(&mut text).map_err(failed)?;
    Ok(text)
}

/// Runs the script in a sandbox within its limits of time and memory.
fn evaluate(script: &str, name: &str, load: &Load, limits: &Limits) -> Result<usize, String> {
    let failed = |error: mlua::Error| plain(&error);
    let lua = Lua::new();
    lua.set_memory_limit(MEMORY).map_err(failed)?;
    lua.sandbox(true).map_err(failed)?;
    let end = Instant::now() + TIME;
    lua.set_interrupt(move |_| {
        if Instant::now() < end {
            Ok(VmState::Continue)
        } else {
            Err(mlua::Error::runtime(format!("it took longer than {} ms", TIME.as_millis())))
        }
    });
    let function: Function = lua.load(script).set_name(format!("={name}")).eval().map_err(failed)?;
    let value: Value = function.call(state(&lua, load, limits).map_err(failed)?).map_err(failed)?;
    let number = match value {
        Value::Integer(number) => number as f64,
        Value::Number(number) => number,
        other => return Err(format!("{name}: it returned a {} instead of a number", other.type_name())),
    };
    if !number.is_finite() || number < 0.0 {
        return Err(format!("{name}: it returned {number}, which is no number of workers"));
    }
    Ok(number.round().min(1e6) as usize)
}

fn state(lua: &Lua, load: &Load, limits: &Limits) -> mlua::Result<Table> {
    let table = lua.create_table()?;
    table.set("workers", load.workers)?;
    table.set("busy", load.busy)?;
    table.set("connections", load.connections)?;
    table.set("active", load.active)?;
    table.set("requests_a_second", load.requests_a_second)?;
    table.set("wanted", load.wanted)?;
    table.set("min", limits.min)?;
    table.set("max", limits.max)?;
    table.set("min_spare", limits.min_spare)?;
    table.set("max_spare", limits.max_spare)?;
    Ok(table)
}

/// An error without its traceback.
fn plain(error: &dyn Display) -> String {
    error.to_string().lines().next().unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: Limits = Limits { min: 1, max: 8, min_spare: 1, max_spare: 4 };

    fn run(script: &str) -> Result<usize, String> {
        let load = Load { workers: 2, busy: 1.5, connections: 10, wanted: 2, ..Load::default() };
        evaluate(script, "mpm.luau", &load, &LIMITS)
    }

    #[test]
    fn a_function_from_the_state_to_a_number() {
        assert_eq!(run("return function(s) return math.max(s.min, s.workers + s.connections / 10) end"), Ok(3));
        assert_eq!(run("return function(s) return s.busy end"), Ok(2));
    }

    #[test]
    fn every_field_of_the_state_is_documented() {
        let lua = Lua::new();
        let state = state(&lua, &Load::default(), &LIMITS).expect("a table");
        let manual = include_str!("../../docs/processes.md");
        for pair in state.pairs::<String, Value>() {
            let (name, _) = pair.expect("text keys");
            assert!(manual.contains(&format!("`state.{name}`")), "{name}");
        }
    }

    #[test]
    fn what_goes_wrong_is_said_and_ends_in_time() {
        let cases = [
            ("return 5", "function"),
            ("return function(s) return 'x' end", "returned a string"),
            ("return function(s) return 0/0 end", "no number of workers"),
            ("return function(s) error('no idea') end", "no idea"),
            ("return function(s) while true do end end", "longer than 200 ms"),
            ("while true do pcall(function() while true do end end) end", "longer than 200 ms"),
            ("return function(s) local t = {} while true do t[#t+1] = string.rep('x', 1e6) end end", "memory"),
            ("return function(", "mpm.luau:1"),
        ];
        for (script, wanted) in cases {
            let started = Instant::now();
            let why = run(script).unwrap_err();
            assert!(why.contains(wanted), "{script}: {why}");
            assert!(started.elapsed() < Duration::from_secs(2), "{script}");
        }
    }
}
