//! How a directory of CGI programs is served.

use std::collections::BTreeMap;
use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::apps::collected::Chunked;
use crate::units::{HumanDuration, HumanSize};

/// CGI programs of a directory: docs/cgi.md. Names that begin with a dot are never run, and nothing outside the directory is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Cgi {
    /// The directory.
    pub root: PathBuf,
    /// Which program runs a file, by the end of the file's name: `{".php": "/usr/bin/php-cgi"}`. Other files run by themselves, if they may be executed.
    pub interpreters: BTreeMap<String, PathBuf>,
    /// Files that answer for a directory; the first that exists does.
    pub index: Vec<String>,
    /// Whether symbolic links are followed: relative ones that lead to something inside `root`; absolute ones never.
    pub follow_symlinks: bool,
    /// How long a program may take. While it waits for its client its time does not run. After it the program is killed: 504, or an answer that breaks off.
    pub timeout: HumanDuration,
    /// The most bytes of an answer; what writes more is killed. None: any number.
    pub max_output: Option<HumanSize>,
    /// Programs at the same time, in each worker.
    pub max_processes: u32,
    /// Requests that may wait for a place among them. More: 503.
    pub queue: u32,
    /// How long they may wait. Longer: 503.
    pub queue_timeout: HumanDuration,
    /// The environment of every program besides what CGI says; nothing is inherited. Without a `PATH` it is `/usr/local/bin:/usr/bin:/bin`.
    pub env: BTreeMap<String, String>,
    /// Whether programs see the `Authorization` header of a request.
    pub authorization: bool,
    /// Where the standard error of programs goes.
    pub stderr: Stderr,
    /// A request body of unknown length (chunked): handed on while it arrives, without CONTENT_LENGTH, or collected first.
    pub chunked: Chunked,
    /// Directories of files that a program may have sent in the place of its own body, with the field `X-Sendfile`. An empty list: none.
    pub sendfile_roots: Vec<PathBuf>,
    /// What a front may say about a program with parameters of FastCGI.
    pub overrides: Overrides,
}

impl Default for Cgi {
    fn default() -> Self {
        Self {
            root: PathBuf::new(),
            interpreters: BTreeMap::new(),
            index: Vec::new(),
            follow_symlinks: true,
            timeout: HumanDuration::seconds(60),
            max_output: Some(HumanSize::mib(1024)),
            max_processes: 16,
            queue: 64,
            queue_timeout: HumanDuration::seconds(10),
            env: BTreeMap::new(),
            authorization: false,
            stderr: Stderr::Log,
            chunked: Chunked::Stream,
            sendfile_roots: Vec::new(),
            overrides: Overrides::default(),
        }
    }
}

/// Where the standard error of programs goes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Stderr {
    /// To the log, at most a hundred lines of a request.
    #[default]
    Log,
    /// Into the answer's body, as soon as that begins. An answer that has none, or announces its length, has no room for it: then to the log.
    Output,
    /// Nowhere.
    Discard,
}

/// What a front may say about a program with parameters of FastCGI. What is not allowed here is answered with 403. Parameters of HTTP clients do not exist.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Overrides {
    /// `BINPATH`: other interpreters, by the names that it may give them: `{"php7": "/usr/bin/php7-cgi"}`.
    pub binpath: BTreeMap<String, PathBuf>,
    /// `CHROOT`: directories that may be the program's root; those below them too. Needs workers that are root.
    pub chroot: Vec<PathBuf>,
    /// `SETUSER`: users that the program may run as. Needs workers that are root.
    pub setuser: Vec<String>,
    /// `SETGROUP`: groups that it may run as. Needs workers that are root.
    pub setgroup: Vec<String>,
    /// `CWD`: directories that it may run in; those below them too.
    pub cwd: Vec<PathBuf>,
}
