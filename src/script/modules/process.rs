//! `@skep/process`: programs, within limits, with everything that they start.

use std::cell::RefCell;
use std::ffi::CString;
use std::io;
use std::os::unix::ffi::OsStringExt;
use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;
use std::rc::Rc;
use std::time::Duration;

use bytes::BytesMut;
use mlua::{Lua, LuaString, Table, UserData, UserDataFields, UserDataMethods, Value};
use nix::sys::signal::Signal;

use super::AppContext;
use crate::program::{Command, Pipes, Program, Stream, spawn};
use crate::reactor::timeout;
use crate::script::arguments::{Options, kind};
use crate::script::connection::{Connection, ConnectionHandle, Pipe, reason};
use crate::script::gauge::Permit;
use crate::sys::program::{ProgramLimits, Standing};

/// How long `run` and `wait` take at most if nothing else is said.
const LIMIT: Duration = Duration::from_mins(1);
/// The most output of either kind that `run` takes if nothing else is said.
const MAX_OUTPUT: usize = 4 << 20;
/// What a program gets of our environment.
const PASSED: [&str; 5] = ["PATH", "HOME", "LANG", "TZ", "TMPDIR"];

pub(super) fn open(lua: &Lua, app: &Rc<AppContext>) -> mlua::Result<Table> {
    let module = lua.create_table()?;
    let context = app.clone();
    module.raw_set(
        "run",
        lua.create_async_function(move |lua, (command, options): (Value, Options)| {
            let app = context.clone();
            async move { run(&lua, &app, &command, &options).await }
        })?,
    )?;
    let context = app.clone();
    module.raw_set(
        "start",
        lua.create_async_function(move |_, (command, options): (Value, Options)| {
            let app = context.clone();
            async move {
                options.only(&["cwd", "env", "stderr"])?;
                start(&app, &command, &options).await.map(|running| ProcessHandle(Rc::new(running)))
            }
        })?,
    )?;
    Ok(module)
}

fn fail(what: impl std::fmt::Display) -> mlua::Error {
    mlua::Error::runtime(format!("process: {what}"))
}

/// A program that was started. Dropped, it is killed with everything that it has started.
struct Running {
    name: String,
    program: Program,
    stdin: Rc<Connection>,
    stdout: Rc<Connection>,
    stderr: Option<Rc<Connection>>,
    /// The place it takes, given back at its end.
    permit: RefCell<Option<Permit>>,
}

fn words(command: &Value) -> mlua::Result<Vec<String>> {
    let Value::Table(words) = command else {
        return Err(fail(format_args!("a command is a list of texts, the program first, not a {}", kind(command))));
    };
    let words = words.sequence_values::<String>().collect::<mlua::Result<Vec<_>>>()?;
    match words.first() {
        Some(program) if !program.is_empty() && words.iter().all(|word| !word.contains('\0')) => Ok(words),
        _ => Err(fail("a command is a list of texts, the program first")),
    }
}

async fn start(app: &AppContext, command: &Value, options: &Options) -> mlua::Result<Running> {
    let words = words(command)?;
    let permit = app.processes.take().map_err(fail)?;
    let mut command = Command::new(&words[0]);
    for word in &words[1..] {
        command.arg(word);
    }
    command.stdin(Stream::Pipe).stdout(Stream::Pipe);
    for (name, value) in PASSED.iter().filter_map(|name| Some((name, std::env::var_os(name)?))) {
        command.env(name, value);
    }
    if let Some(environment) = options.get::<Table>("env")? {
        environment.for_each(|name: String, value: String| {
            command.env(name, value);
            Ok(())
        })?;
    }
    let directory = options.get::<String>("cwd")?.unwrap_or_else(|| ".".to_owned());
    let directory = app.readable(&directory).map_err(fail)?;
    let directory = CString::new(directory.into_os_string().into_vec()).map_err(fail)?;
    let standing = Standing { directory: Some(directory), ..Standing::default() };
    match options.get::<String>("stderr")?.as_deref() {
        None | Some("pipe") => command.stderr(Stream::Pipe),
        Some("null") => command.stderr(Stream::Nowhere),
        Some(other) => return Err(fail(format_args!("stderr is \"pipe\" or \"null\", not {other:?}"))),
    };
    let failed = |error: io::Error| fail(format_args!("{} ({})", reason(&error), words[0]));
    let (program, pipes) = spawn(command, ProgramLimits::default(), standing).await.map_err(failed)?;
    Running::new(&words[0], program, pipes, permit).map_err(failed)
}

impl Running {
    fn new(name: &str, program: Program, pipes: Pipes, permit: Permit) -> io::Result<Running> {
        let connection = |pipe: Pipe, what: &str| Rc::new(Connection::new("process", format!("{name} {what}"), Rc::new(pipe), None));
        let missing = || io::Error::from(io::ErrorKind::BrokenPipe);
        let input = pipes.stdin.ok_or_else(missing)?;
        let output = pipes.stdout.ok_or_else(missing)?;
        Ok(Running {
            name: name.to_owned(),
            program,
            stdin: connection(Pipe { input: None, output: RefCell::new(Some(Rc::new(input))) }, "stdin"),
            stdout: connection(Pipe { input: Some(output), output: RefCell::default() }, "stdout"),
            stderr: pipes.stderr.map(|errors| connection(Pipe { input: Some(errors), output: RefCell::default() }, "stderr")),
            permit: RefCell::new(Some(permit)),
        })
    }

    /// Sends a signal to the program and what it has started.
    fn signal(&self, signal: Signal) -> mlua::Result<()> {
        self.program.signal(signal).map_err(|error| fail(format_args!("{} ({})", reason(&error), self.name)))
    }

    /// Waits for the end. What the program has started and left behind is killed then.
    async fn ended(&self) -> io::Result<ExitStatus> {
        let status = self.program.ended().await?;
        self.permit.take();
        Ok(status)
    }
}

async fn run(lua: &Lua, app: &AppContext, command: &Value, options: &Options) -> mlua::Result<Table> {
    options.only(&["stdin", "timeout", "cwd", "env", "max_output", "stderr"])?;
    let limit = options.span("timeout", LIMIT)?;
    let most = options.size(lua, "max_output", MAX_OUTPUT)?;
    let input = options.get::<LuaString>("stdin")?.map(|input| input.as_bytes().to_vec()).unwrap_or_default();
    let running = start(app, command, options).await?;
    // The whole run has the limit; its parts must not end it first.
    let unhurried = limit.saturating_mul(2).saturating_add(Duration::from_secs(1));
    let feeding = async {
        if !input.is_empty() {
            // A program that does not read to the end of its input is none that failed.
            let _ = running.stdin.write(&input, unhurried).await;
        }
        running.stdin.close();
        Ok(())
    };
    let errors = async {
        match &running.stderr {
            Some(stderr) => stderr.read_all(most, unhurried).await,
            None => Ok(BytesMut::new()),
        }
    };
    let outputs = futures_lite::future::try_zip(running.stdout.read_all(most, unhurried), errors);
    let all = async {
        // Too much output ends it at once: the program is killed when it is dropped.
        let ((), outputs) = futures_lite::future::try_zip(feeding, outputs).await?;
        let status = running.ended().await.map_err(|error| fail(reason(&error)))?;
        Ok::<_, mlua::Error>((status, outputs))
    };
    let bounded = async {
        // The pipes stay open while anything that was started has them: the program's own end counts.
        let ended = async {
            running.ended().await.map_err(|error| fail(reason(&error)))?;
            std::future::pending().await
        };
        futures_lite::future::or(all, ended).await
    };
    let (status, (stdout, stderr)) = match timeout(limit, bounded).await {
        Ok(result) => result?,
        Err(_) => return Err(fail(format_args!("timed out and killed ({})", running.name))),
    };
    let table = outcome(lua, status)?;
    table.raw_set("stdout", lua.create_string(stdout)?)?;
    table.raw_set("stderr", lua.create_string(stderr)?)?;
    Ok(table)
}

fn outcome(lua: &Lua, status: ExitStatus) -> mlua::Result<Table> {
    let table = lua.create_table()?;
    table.raw_set("ok", status.success())?;
    table.raw_set("code", status.code())?;
    table.raw_set("signal", status.signal().and_then(|signal| Signal::try_from(signal).ok()).map(Signal::as_str))?;
    Ok(table)
}

struct ProcessHandle(Rc<Running>);

impl UserData for ProcessHandle {
    fn add_fields<F: UserDataFields<Self>>(fields: &mut F) {
        fields.add_field_method_get("pid", |_, this| Ok(this.0.program.pid()));
        fields.add_field_method_get("stdin", |_, this| Ok(ConnectionHandle(this.0.stdin.clone())));
        fields.add_field_method_get("stdout", |_, this| Ok(ConnectionHandle(this.0.stdout.clone())));
        fields.add_field_method_get("stderr", |_, this| Ok(this.0.stderr.clone().map(ConnectionHandle)));
    }

    fn add_methods<M: UserDataMethods<Self>>(methods: &mut M) {
        methods.add_async_method("wait", |lua, this, options: Options| {
            let running = this.0.clone();
            async move {
                options.only(&["timeout"])?;
                match timeout(options.span("timeout", LIMIT)?, running.ended()).await {
                    Ok(status) => outcome(&lua, status.map_err(|error| fail(reason(&error)))?),
                    Err(_) => Err(fail(format_args!("timed out ({})", running.name))),
                }
            }
        });
        methods.add_method("kill", |_, this, signal: Option<String>| {
            let signal = signal.unwrap_or_else(|| "KILL".to_owned());
            let full = if signal.starts_with("SIG") { signal.clone() } else { format!("SIG{signal}") };
            this.0.signal(full.parse().map_err(|_| fail(format_args!("no signal named {signal:?}")))?)
        });
    }
}
