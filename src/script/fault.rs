//! An error of a script as people need it: the message, the place, the calls that led there, the source lines around.

use std::fmt;

use super::source::Source;

/// Chunks with this name are skep's own Luau code; they are left out of traces.
pub(super) const OWN_CHUNK: &str = "[skep]";
/// How many source lines are shown before and after the faulty one.
const AROUND: u32 = 6;
/// The longest message that is kept, in bytes.
const MAX_MESSAGE: usize = 16 << 10;

/// What kind of error it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FaultKind {
    /// The source does not compile.
    Syntax,
    /// An error that the script, or a function it called, raised.
    Runtime,
    /// The memory limit was reached.
    Memory,
    /// The step limit was reached.
    StepLimit,
}

/// A place in the source: `file:line`, the file relative to the application's directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The file, relative to the application's directory.
    pub file: String,
    /// The line, from 1.
    pub line: u32,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.file, self.line)
    }
}

/// One call in a trace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    /// Where the call stood.
    pub place: Place,
    /// The function's name, when it has one.
    pub function: Option<String>,
}

/// Source lines around a place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Excerpt {
    /// The number of the first line.
    pub first: u32,
    /// The lines.
    pub lines: Vec<String>,
}

/// An uncaught error of a script.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// What kind of error.
    pub kind: FaultKind,
    /// The message, without place and trace.
    pub message: String,
    /// Where it was raised, as far as known.
    pub place: Option<Place>,
    /// The calls, innermost first.
    pub frames: Vec<Frame>,
    /// The source around `place`.
    pub excerpt: Option<Excerpt>,
}

impl Fault {
    /// Takes an error of the VM apart. The source lines are read from `source`.
    #[must_use]
    pub fn new(error: &mlua::Error, app: &str, source: &Source) -> Fault {
        let (message, trace) = split(error);
        let frames = parse_trace(&trace, app);
        let (place, message) = match take_place(&message, app) {
            Some((place, rest)) => (Some(place), rest.to_owned()),
            None => (frames.first().map(|frame| frame.place.clone()), message),
        };
        let excerpt = place.as_ref().and_then(|place| excerpt(source, place));
        Fault { kind: kind_of(error, &message), message, place, frames, excerpt }
    }
}

/// One line: place and message.
impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.place {
            Some(place) => write!(f, "{place}: {}", self.message),
            None => f.write_str(&self.message),
        }
    }
}

impl Fault {
    /// Message and trace, a line each call, for the log.
    #[must_use]
    pub fn with_trace(&self) -> String {
        let mut text = self.to_string();
        for frame in &self.frames {
            text.push_str("\n    at ");
            text.push_str(&frame.place.to_string());
            if let Some(function) = &frame.function {
                text.push_str(" in ");
                text.push_str(function);
            }
        }
        text
    }
}

/// The message that a script sees when it catches a native error: the place of the call, then the cause.
pub(super) fn message_for_scripts(error: &mlua::Error) -> String {
    let (message, trace) = split(error);
    match parse_lines(&trace).next() {
        Some((file, line, _)) if !has_place(&message) => format!("{file}:{line}: {message}"),
        _ => message,
    }
}

fn kind_of(error: &mlua::Error, message: &str) -> FaultKind {
    match root(error) {
        mlua::Error::SyntaxError { .. } => FaultKind::Syntax,
        mlua::Error::MemoryError(_) => FaultKind::Memory,
        _ if message.starts_with("step limit: ") => FaultKind::StepLimit,
        _ => FaultKind::Runtime,
    }
}

/// The error inside the layers that callbacks wrap around it.
fn root(error: &mlua::Error) -> &mlua::Error {
    match error {
        mlua::Error::CallbackError { cause, .. } | mlua::Error::WithContext { cause, .. } => root(cause),
        mlua::Error::BadArgument { cause, .. } if matches!(**cause, mlua::Error::CallbackError { .. }) => root(cause),
        error => error,
    }
}

/// Message and trace.
fn split(error: &mlua::Error) -> (String, String) {
    let mut trace = String::new();
    let mut layer = error;
    while let mlua::Error::CallbackError { cause, traceback } = layer {
        trace.clone_from(traceback);
        layer = cause;
    }
    let whole = match root(error) {
        mlua::Error::RuntimeError(message) | mlua::Error::SyntaxError { message, .. } => message.clone(),
        mlua::Error::MemoryError(_) => "out of memory: the application's memory limit is reached".to_owned(),
        other => other.to_string(),
    };
    let (message, own_trace) = match whole.split_once("\nstack traceback:") {
        Some((message, trace)) => (message.to_owned(), trace.to_owned()),
        None => (whole, String::new()),
    };
    let mut message = message;
    if message.len() > MAX_MESSAGE {
        let cut = message.floor_char_boundary(MAX_MESSAGE);
        message.truncate(cut);
    }
    (message, if own_trace.is_empty() { trace } else { own_trace })
}

/// `file, line, function` of each line of a trace, without native functions and skep's own code.
fn parse_lines(trace: &str) -> impl Iterator<Item = (&str, u32, Option<&str>)> {
    trace.lines().filter_map(|line| {
        let (place, function) = line.trim().split_once(": in ")?;
        let (file, line) = place.rsplit_once(':')?;
        if file == OWN_CHUNK || file.starts_with("__mlua") {
            return None;
        }
        let function = function.strip_prefix("function '").and_then(|name| name.strip_suffix('\''));
        Some((file, line.parse().ok()?, function))
    })
}

/// What `debug.traceback` says of a coroutine that waits, a line each call: `\n    at main.luau:20 in request`. Native functions and skep's own code
/// are left out.
pub(super) fn waiting_trace(trace: &str, app: &str) -> String {
    let mut text = String::new();
    for line in trace.lines() {
        let (place, function) = line.split_once(' ').unwrap_or((line, ""));
        let Some((file, number)) = place.rsplit_once(':') else { continue };
        if file == OWN_CHUNK || !file.contains(".luau") {
            continue;
        }
        text.extend(["\n    at ", own_path(file, app), ":", number]);
        if let Some(name) = function.strip_prefix("function ") {
            text.extend([" in ", name]);
        }
    }
    text
}

fn parse_trace(trace: &str, app: &str) -> Vec<Frame> {
    parse_lines(trace)
        .map(|(file, line, function)| Frame {
            place: Place { file: own_path(file, app).to_owned(), line },
            function: function.map(str::to_owned),
        })
        .collect()
}

/// Chunks are named `application/path`; inside one application the path says it all.
fn own_path<'a>(file: &'a str, app: &str) -> &'a str {
    file.strip_prefix(app).and_then(|rest| rest.strip_prefix('/')).unwrap_or(file)
}

fn has_place(message: &str) -> bool {
    message.split(": ").next().is_some_and(|place| {
        place
            .rsplit_once(':')
            .is_some_and(|(file, line)| file.contains(".luau") && !line.is_empty() && line.bytes().all(|byte| byte.is_ascii_digit()))
    })
}

/// Splits `app/file:line: message`.
fn take_place<'a>(message: &'a str, app: &str) -> Option<(Place, &'a str)> {
    if !has_place(message) {
        return None;
    }
    let (place, rest) = message.split_once(": ")?;
    let (file, line) = place.rsplit_once(':')?;
    let file = own_path(file, app).to_owned();
    Some((Place { file, line: line.parse().ok()? }, rest))
}

fn excerpt(source: &Source, place: &Place) -> Option<Excerpt> {
    let text = source.read(&place.file).ok()??;
    let first = place.line.saturating_sub(AROUND).max(1);
    let count = (place.line + AROUND + 1).saturating_sub(first);
    let lines: Vec<String> =
        text.lines().skip(first as usize - 1).take(count as usize).map(|line| line.chars().take(300).collect()).collect();
    (!lines.is_empty()).then_some(Excerpt { first, lines })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_runtime_error_is_taken_apart() {
        let source = Source::memory([("lib/a.luau", "one\ntwo\nthree\n")]);
        let text = "app/lib/a.luau:2: no such: thing\nstack traceback:\n\t[C]: in function 'error'\n\tapp/lib/a.luau:2: in function 'f'\n\t[skep]:9: in function 'pcall'\n\tapp/main.luau:7: in function <app/main.luau:5>";
        let fault = Fault::new(&mlua::Error::RuntimeError(text.to_owned()), "app", &source);
        assert_eq!(fault.to_string(), "lib/a.luau:2: no such: thing");
        assert_eq!(fault.kind, FaultKind::Runtime);
        assert_eq!(fault.with_trace(), "lib/a.luau:2: no such: thing\n    at lib/a.luau:2 in f\n    at main.luau:7");
        let excerpt = fault.excerpt.expect("source is there");
        assert_eq!((excerpt.first, excerpt.lines), (1, vec!["one".to_owned(), "two".to_owned(), "three".to_owned()]));
    }

    #[test]
    fn a_coroutine_that_waits_shows_its_calls() {
        let trace = "[C] function sleep\napp/lib/a.luau:12 function rest\napp/main.luau:20\n[skep]:71\n";
        assert_eq!(waiting_trace(trace, "app"), "\n    at lib/a.luau:12 in rest\n    at main.luau:20");
    }

    #[test]
    fn messages_without_a_place_are_kept_whole() {
        let source = Source::memory::<&str, &str>([]);
        let fault = Fault::new(&mlua::Error::RuntimeError("net: refused (127.0.0.1:80)".to_owned()), "app", &source);
        assert_eq!((fault.place.clone(), fault.to_string()), (None, "net: refused (127.0.0.1:80)".to_owned()));
    }
}
