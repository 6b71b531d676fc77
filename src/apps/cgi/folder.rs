//! The application: a directory of programs that answer requests.

use std::ffi::OsStr;
use std::future::Future;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;

use nix::errno::Errno;

use super::config::{Cgi, Stderr};
use super::errors::Errors;
use super::overrides::{Allowed, Said};
use super::place::{Found, Nowhere, Place, find};
use super::running::{Allowance, Running};
use super::tally::Tally;
use crate::apps::answer::answer;
use crate::apps::collected::{Uncollected, body};
use crate::apps::error_log::ErrorLog;
use crate::apps::failure::Failure;
use crate::apps::gate::Gate;
use crate::apps::variables::{Script, variables};
use crate::apps::work::Work;
use crate::program::{self, Command, Stream};
use crate::reactor::{Scope, timeout};
use crate::request::file::{Refusal, Root, SentFiles};
use crate::request::{Answer, Body, Handler, Request, Response, StartError};
use crate::sys::program::ProgramLimits;

/// Where programs look for others, unless the configuration says otherwise.
const PATH: &str = "/usr/local/bin:/usr/bin:/bin";

/// A directory of programs.
pub struct CgiFolder {
    name: Rc<str>,
    config: Cgi,
    root: Arc<Root>,
    /// The directory, as text for the environment.
    base: String,
    index: Arc<Vec<String>>,
    allowed: Allowed,
    tally: Rc<Tally>,
    sent: SentFiles,
    gate: Rc<Gate>,
    /// Programs whose answers are through and that have not ended.
    scope: Scope,
}

impl CgiFolder {
    /// Opens the directory.
    ///
    /// # Errors
    /// It, or one of those of files to be sent, is not there or cannot be opened; a user or a group does not exist.
    pub fn open(name: &str, config: &Cgi) -> Result<Self, StartError> {
        let root = Root::open(&config.root, config.follow_symlinks)
            .map_err(|error| StartError(format!("cannot open the directory {}: {error}", config.root.display())))?;
        let base = config.root.to_str().ok_or_else(|| StartError("the name of the directory is no UTF-8".to_owned()))?;
        Ok(Self {
            name: name.into(),
            root: Arc::new(root),
            base: base.trim_end_matches('/').to_owned(),
            index: Arc::new(config.index.clone()),
            tally: Tally::new(name, base.trim_end_matches('/')),
            allowed: Allowed::new(&config.overrides)?,
            sent: SentFiles::open(&config.sendfile_roots)?,
            gate: Gate::new(config.max_processes as usize, config.queue as usize, *config.queue_timeout),
            scope: Scope::new(),
            config: config.clone(),
        })
    }

    async fn answer(self: Rc<Self>, request: Request) -> Response {
        let (root, index, path) = (self.root.clone(), self.index.clone(), request.path().to_owned());
        match blocking::unblock(move || find(&root, &index, &path)).await {
            Ok(Found::File(place)) => self.run(&request, &place).await,
            Ok(Found::NeedsSlash) => to_slash(&request),
            Err(nowhere) => self.nowhere(&nowhere),
        }
    }

    async fn run(&self, request: &Request, place: &Place) -> Response {
        let work = Work::new(&self.name, request.id, &place.path, &self.scope);
        let said = match self.allowed.read(&request.origin.parameters) {
            Ok(said) => said,
            Err(refused) => {
                work.error(&refused.to_string());
                return Response::error(403, "");
            }
        };
        let interpreter = said.interpreter.clone().or_else(|| self.interpreter(&place.path));
        if interpreter.is_none() && !place.executable {
            work.error("the file may not be executed and its name has no interpreter; chmod +x, or `interpreters` in the configuration");
            return Response::error(403, "this may not be run");
        }
        let body = match body(request, self.config.chunked).await {
            Ok(body) => body,
            Err(Uncollected::Body(error)) => return Response::error(error.status(), &error.to_string()),
            Err(Uncollected::Io(error)) => {
                work.error(&format!("the request body cannot be kept: {error}"));
                return Response::error(500, "");
            }
        };
        let pass = match self.gate.enter().await {
            Ok(pass) => pass,
            Err(busy) => return self.gate.refused(&work, &busy),
        };
        let counted = self.tally.count();
        let errors = Errors::new(ErrorLog::new(&work), self.config.stderr == Stderr::Output);
        let starting = self.start(request, place, &said, interpreter.as_deref(), &body);
        let started = match timeout(*self.config.timeout, starting).await {
            Ok(Ok(started)) => started,
            Ok(Err(error)) => {
                counted.failed();
                return not_started(&work, interpreter.as_deref(), &error);
            }
            Err(_) => {
                counted.failed();
                return Failure::TimedOut(*self.config.timeout).response(&work);
            }
        };
        let allowance = Allowance { time: *self.config.timeout, output: self.config.max_output.map(|most| *most) };
        answer(Running::new(started, body, errors, allowance, (pass, counted)), request, &self.sent, &work).await
    }

    /// The interpreter for the longest end of the file's name that has one.
    fn interpreter(&self, path: &str) -> Option<PathBuf> {
        let matching = self.config.interpreters.iter().filter(|(end, _)| path.ends_with(end.as_str()));
        matching.max_by_key(|(end, _)| end.len()).map(|(_, program)| program.clone())
    }

    async fn start(
        &self,
        request: &Request,
        place: &Place,
        said: &Said,
        interpreter: Option<&Path>,
        body: &Body,
    ) -> io::Result<(program::Program, program::Pipes)> {
        let outside = || io::Error::new(io::ErrorKind::NotFound, "the program lies outside its root");
        let base = said.inside(Path::new(&self.base)).ok_or_else(outside)?;
        let text = base.to_str().ok_or_else(outside)?.trim_end_matches('/').to_owned();
        let script = Script { root: text, path: place.path.clone(), info: place.info.clone() };
        let file = script.file();
        let mut command = match interpreter {
            Some(interpreter) => {
                let mut command = Command::new(interpreter);
                command.arg(&file);
                command
            }
            None => Command::new(&file),
        };
        command.env("PATH", PATH);
        for (name, value) in &self.config.env {
            command.env(name, value);
        }
        for (name, value) in variables(request, &script, body.length(), self.config.authorization) {
            command.env(&*name, OsStr::from_bytes(&value));
        }
        command.stdin(if body.is_empty() { Stream::Nowhere } else { Stream::Pipe });
        command.stdout(Stream::Pipe).stderr(if self.config.stderr == Stderr::Discard { Stream::Nowhere } else { Stream::Pipe });
        let directory = Path::new(&file).parent().unwrap_or(Path::new("/"));
        let standing = said.standing(directory)?;
        program::spawn(command, ProgramLimits::default(), standing).await
    }

    fn nowhere(&self, nowhere: &Nowhere) -> Response {
        match nowhere {
            Nowhere::Malformed => Response::error(400, "the path is not encoded properly"),
            Nowhere::Refused(Refusal::NotFound) => Response::error(404, "there is no such program"),
            Nowhere::Refused(Refusal::Forbidden) => Response::error(403, "this may not be read"),
            Nowhere::Refused(Refusal::Wait) => Response::error(503, "the program cannot be found now"),
            Nowhere::Refused(Refusal::Failed(error)) => {
                crate::log_error!(app = &self.name; "a program could not be looked up: {error}");
                Response::error(503, "the program cannot be found now")
            }
        }
    }
}

impl Handler for CgiFolder {
    fn request(self: Rc<Self>, request: Request) -> Answer {
        Answer::Later(Box::pin(self.answer(request)))
    }

    fn drain(self: Rc<Self>) -> Pin<Box<dyn Future<Output = ()>>> {
        Box::pin(async move { self.scope.wait().await })
    }
}

fn to_slash(request: &Request) -> Response {
    let query = request.head.query().map_or(String::new(), |query| format!("?{query}"));
    let location = format!("{}/{query}", request.head.path());
    Response::redirect(301, &location).unwrap_or_else(|error| Response::error(400, &error.to_string()))
}

/// The answer for a program that could not be started, and a line for the log that says why.
fn not_started(work: &Work, interpreter: Option<&Path>, error: &io::Error) -> Response {
    let what = interpreter.map_or_else(|| "the file".to_owned(), |interpreter| interpreter.display().to_string());
    let errno = error.raw_os_error().map(Errno::from_raw);
    let (status, why) = match errno {
        Some(Errno::EACCES) => (403, format!("{what} may not be executed by this user")),
        Some(Errno::EPERM) => (500, "its root, user or group cannot be changed: the workers are not root".to_owned()),
        Some(Errno::ENOENT) if interpreter.is_none() => {
            (500, "the interpreter in its first line is not there, or its directory".to_owned())
        }
        Some(Errno::ENOENT) => (500, format!("{what} is not there, or the directory to run it in")),
        Some(Errno::EAGAIN | Errno::ENOMEM | Errno::EMFILE | Errno::ENFILE) => (503, format!("no process can be started now: {error}")),
        _ => (500, format!("{what} cannot be started: {error}")),
    };
    work.error(&why);
    Response::error(status, "the program cannot be run")
}
