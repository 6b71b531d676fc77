//! What is to be started: the program, its arguments, its environment, and where its standard descriptors lead.

use std::ffi::{CString, OsStr, OsString};
use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use super::Pipes;
use crate::sys::program::{Launch, ProgramLimits, Standing};

/// Where a program without a slash in its name is looked for if its environment has no `PATH` (execvp(3)).
const PATH: &str = "/bin:/usr/bin";

/// Where a standard descriptor of a program leads.
#[derive(Debug)]
pub enum Stream {
    /// Nowhere: `/dev/null`.
    Nowhere,
    /// To us.
    Pipe,
}

/// A program that is not started yet. It gets only the environment that is given here.
#[derive(Debug)]
pub struct Command {
    program: OsString,
    arguments: Vec<OsString>,
    /// `NAME=value` each.
    environment: Vec<Vec<u8>>,
    /// Standard input, output and error.
    streams: [Stream; 3],
}

impl Command {
    /// A program by its path; without a slash it is looked for in the `PATH` of its environment. It reads nothing, and what it says goes nowhere.
    pub fn new(program: impl Into<OsString>) -> Self {
        let streams = [Stream::Nowhere, Stream::Nowhere, Stream::Nowhere];
        Self { program: program.into(), arguments: Vec::new(), environment: Vec::new(), streams }
    }

    /// Adds an argument.
    pub fn arg(&mut self, argument: impl Into<OsString>) -> &mut Self {
        self.arguments.push(argument.into());
        self
    }

    /// Sets a variable of its environment.
    pub fn env(&mut self, name: impl AsRef<OsStr>, value: impl AsRef<OsStr>) -> &mut Self {
        let (name, value) = (name.as_ref().as_bytes(), value.as_ref().as_bytes());
        let same = |entry: &Vec<u8>| entry.strip_prefix(name).is_some_and(|rest| rest.first() == Some(&b'='));
        let entry = [name, b"=", value].concat();
        match self.environment.iter_mut().find(|entry| same(entry)) {
            Some(before) => *before = entry,
            None => self.environment.push(entry),
        }
        self
    }

    /// Says what it reads.
    pub fn stdin(&mut self, stream: Stream) -> &mut Self {
        self.streams[0] = stream;
        self
    }

    /// Says where its output goes.
    pub fn stdout(&mut self, stream: Stream) -> &mut Self {
        self.streams[1] = stream;
        self
    }

    /// Says where it goes what it says of itself.
    pub fn stderr(&mut self, stream: Stream) -> &mut Self {
        self.streams[2] = stream;
        self
    }

    /// Opens what it is given.
    ///
    /// # Errors
    /// A word or a variable has a zero byte in it, no descriptor is left, there is no `/dev/null` here.
    pub(super) fn prepare(self, limits: ProgramLimits, standing: Standing) -> io::Result<(Launch, Pipes<OwnedFd>)> {
        let places = self.places().into_iter().map(|place| text(place.into_os_string())).collect::<io::Result<_>>()?;
        let words = std::iter::once(self.program).chain(self.arguments).map(text).collect::<io::Result<_>>()?;
        let environment = self.environment.into_iter().map(|entry| Ok(CString::new(entry)?)).collect::<io::Result<_>>()?;
        let [stdin, stdout, stderr] = self.streams;
        let (its_stdin, stdin) = match stdin {
            Stream::Nowhere => (File::open("/dev/null")?.into(), None),
            Stream::Pipe => io::pipe().map(|(reader, writer)| (reader.into(), Some(writer.into())))?,
        };
        let output = |stream| -> io::Result<(OwnedFd, Option<OwnedFd>)> {
            Ok(match stream {
                Stream::Nowhere => (File::options().write(true).open("/dev/null")?.into(), None),
                Stream::Pipe => io::pipe().map(|(reader, writer)| (writer.into(), Some(reader.into())))?,
            })
        };
        let ((its_stdout, stdout), (its_stderr, stderr)) = (output(stdout)?, output(stderr)?);
        let standard = [its_stdin, its_stdout, its_stderr];
        Ok((Launch { places, words, environment, standard, limits, standing }, Pipes { stdin, stdout, stderr }))
    }

    /// Where the program may be.
    fn places(&self) -> Vec<PathBuf> {
        if self.program.as_bytes().contains(&b'/') {
            return vec![self.program.clone().into()];
        }
        let path = self.environment.iter().find_map(|entry| entry.strip_prefix(b"PATH=")).unwrap_or(PATH.as_bytes());
        // An empty name among them is the working directory.
        let folder =
            |folder: &[u8]| if folder.is_empty() { Path::new(".").to_owned() } else { Path::new(OsStr::from_bytes(folder)).to_owned() };
        path.split(|&byte| byte == b':').map(|name| folder(name).join(&self.program)).collect()
    }
}

fn text(word: OsString) -> io::Result<CString> {
    Ok(CString::new(word.into_vec())?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(places: &[PathBuf]) -> Vec<&str> {
        places.iter().filter_map(|place| place.to_str()).collect()
    }

    #[test]
    fn a_name_without_a_slash_is_looked_for() {
        let mut command = Command::new("tool");
        assert_eq!(shown(&command.places()), ["/bin/tool", "/usr/bin/tool"]);
        command.env("PATH", "/a::/b");
        assert_eq!(shown(&command.places()), ["/a/tool", "./tool", "/b/tool"]);
        assert_eq!(shown(&Command::new("./tool").places()), ["./tool"]);
    }

    #[test]
    fn a_variable_that_is_set_again_is_there_once() {
        let mut command = Command::new("tool");
        command.env("A", "1").env("AB", "2").env("A", "3");
        assert_eq!(command.environment, [b"A=3".to_vec(), b"AB=2".to_vec()]);
    }

    #[test]
    fn a_zero_byte_is_refused() {
        let refused = |command: Command| command.prepare(ProgramLimits::default(), Standing::default()).is_err();
        let mut argument = Command::new("tool");
        argument.arg("a\0b");
        assert!(refused(argument));
        let mut variable = Command::new("tool");
        variable.env("A", "a\0b");
        assert!(refused(variable));
    }
}
